"""Standardised means against the printed digits of RobinCar2, the randomisation in the variance, and the refusals."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import special

from _data import require_dataset
from _trials import estimand, made, robincar, simulated
from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.base import of_means
from gemel.trials.adjust.gcomputation import canonical, gcomputation, standardised, unadjusted_means
from gemel.trials.adjust.randomisation import Randomisation, randomisation_of
from gemel.trials.estimand import Summary

PAIRS = (("pbo", "trt1"), ("pbo", "trt2"), ("trt1", "trt2"))
PAIR = estimand("arm0", "arm1")


def snapshot(name: str, after: str) -> list[list[float]]:
    """Rows of numbers of the first table after a line of a snapshot."""
    text = (require_dataset("robincar2-glm") / f"{name}.md").read_text(encoding="utf-8")
    part = text[text.index(after) + len(after) :]
    rows = []
    for line in part.splitlines():
        found = re.match(r"\s+(?:trt\d v\.s\. \w+|pbo|trt\d)\s+(-?\d.*)", line)
        if found:
            rows.append([float(v) for v in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", found.group(1))])
        elif rows:
            break
    assert len(rows) == 3
    return rows


@pytest.mark.data
@pytest.mark.parametrize("contrast", ["log_risk_ratio", "difference"])
def test_robincar2_glm(contrast):
    means = standardised(robincar("y_b", "s1"), interaction=True)
    for a, row in enumerate(snapshot("robin_glm", "robin_res1")):
        assert (round(means.means[a], 6), round(means.standard_errors[a], 6)) == tuple(row[:2])
    summary = "risk ratio" if contrast == "log_risk_ratio" else "risk difference"
    for pair, row in zip(PAIRS, snapshot("robin_glm", f"Contrast     :  {contrast}"), strict=True):
        found = gcomputation(robincar("y_b", "s1"), estimand(*pair, summary), interaction=True)
        assert (round(found.estimate, 6), round(found.standard_error, 6)) == tuple(row[:2])
        assert found.p_value == pytest.approx(row[3], rel=5e-4)  # four digits printed


@pytest.mark.data
def test_robincar2_intervals():
    for pair, row in zip(PAIRS, snapshot("confint", "confint(robin_res1$contrast)"), strict=True):
        found = gcomputation(robincar("y_b", "s1"), estimand(*pair, "risk ratio"), interaction=True)
        assert (found.ratio, *found.interval) == pytest.approx(tuple(row), abs=5e-7)  # printed to six decimals
    for pair, row in zip(PAIRS, snapshot("confint", "confint(robin_res1$contrast, level = 0.7)"), strict=True):
        found = gcomputation(robincar("y_b", "s1"), estimand(*pair, "risk ratio"), interaction=True, level=0.7)
        assert (found.ratio, *found.interval) == pytest.approx(tuple(row), abs=5e-7)


@pytest.mark.data
def test_robincar2_linear():
    means = standardised(robincar("y_b", "s1"), family="gaussian")
    for a, row in enumerate(snapshot("robin_lm", "robin_lm(")):
        assert (round(means.means[a], 6), round(means.standard_errors[a], 6)) == tuple(row[:2])


@pytest.mark.data
def test_robincar2_with_a_covariate_of_one_slope():
    """Their models are ``~ treatment * s1 + covar``: slopes per arm for the stratum, one for the covariate."""
    for outcome, after, digits in (("y_b", "fit_binom, treatment = treatment ~ s1, eff_measure", 6), ("y", "fit_lm", 5)):
        for pair, row in zip(PAIRS, snapshot("treatment_effect", after), strict=True):
            data = robincar(outcome, "s1", "covar")
            found = gcomputation(data, estimand(*pair), interaction=[n for n in data.names if n != "covar"])
            assert (round(found.estimate, digits), round(found.standard_error, digits)) == tuple(row[:2])


@pytest.mark.data
def test_robincar2_covariances_in_both_forms():
    data = robincar("y_b", "s1", "covar")
    apart = [n for n in data.names if n != "covar"]
    for form, after in ((False, "vcovG(pc)"), (True, "decompose = FALSE)")):
        covariance = standardised(data, interaction=apart, residual_form=form).covariance
        assert np.allclose(covariance, snapshot("variance", after), rtol=5e-7, atol=0)  # seven digits printed


def test_a_linear_model_without_covariates_is_the_plain_comparison():
    data = made(simulated(90, arms=3))
    means, plain = standardised(data), unadjusted_means(data)
    assert np.allclose(means.means, plain.means, atol=1e-12)
    assert np.allclose(means.covariance, plain.covariance, atol=1e-15)
    for a in range(3):
        own = data.outcome[data.arm == a]
        assert plain.covariance[a, a] == pytest.approx(own.var(ddof=1) / len(own))
    assert np.allclose(plain.covariance - np.diag(np.diag(plain.covariance)), 0, atol=1e-15)


def test_blocks_take_away_what_the_strata_explain():
    """Plain means under blocks within strata have the variance of the stratified comparison; once the strata are in the model nothing is left."""
    columns = simulated(300)
    shift = {"a": -1.0, "b": 0.0, "c": 1.0}
    columns["y"] = [y + 2 * shift[s] for y, s in zip(columns["y"], columns["site"], strict=True)]
    data = made(columns, "site", strata=("site",))
    blocks, simple = randomisation_of("blocks(site)"), Randomisation("simple")
    plain = [of_means(unadjusted_means(data, how), Summary.MEAN_DIFFERENCE, 0, 1)[1] for how in (simple, blocks)]
    assert plain[1] < 0.75 * plain[0]
    adjusted = [
        of_means(standardised(data, interaction=True, randomisation=how), Summary.MEAN_DIFFERENCE, 0, 1)[1] for how in (simple, blocks)
    ]
    assert adjusted[1] == pytest.approx(adjusted[0], rel=1e-9)  # a saturated model leaves no residual in a stratum
    assert plain[1] == pytest.approx(adjusted[1], rel=0.03)
    minimised = standardised(data, randomisation=randomisation_of("minimisation(site)")).covariance
    assert np.allclose(minimised, standardised(data).covariance)


def test_the_block_variance_is_that_of_trials_randomised_in_blocks():
    rng, estimates, told = np.random.default_rng(5), [], []
    for _ in range(600):
        site = np.repeat([0, 1], 60)
        arm = np.concatenate([rng.permutation(np.arange(60) % 2) for _ in range(2)])
        y = 1.5 * site + rng.normal(size=120)
        data = made(
            {"id": [str(i) for i in range(120)], "arm": [f"arm{a}" for a in arm], "y": y.tolist(), "site": [f"s{s}" for s in site]},
            strata=("site",),
        )
        estimate, error = of_means(unadjusted_means(data, randomisation_of("blocks(site)")), Summary.MEAN_DIFFERENCE, 0, 1)
        estimates.append(estimate)
        told.append(error)
    assert np.std(estimates) == pytest.approx(np.mean(told), rel=0.09)  # 3 SE of a standard deviation from 600


def test_the_optimum_is_an_optimum():
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(300), rng.normal(size=(300, 3)) * [1, 10, 0.01]])
    y = (rng.random(300) < special.expit(0.3 + x[:, 1])).astype(float)
    beta = canonical(x, y, "binomial")
    assert np.allclose(x.T @ (y - special.expit(x @ beta)), 0, atol=1e-7)
    counts = rng.poisson(np.exp(0.5 + 0.4 * x[:, 1])).astype(float)
    beta = canonical(x, counts, "poisson")
    assert np.allclose(x.T @ (counts - np.exp(x @ beta)), 0, atol=1e-6)


def test_separation_is_refused():
    columns = simulated(80, binary=True)
    columns["site"] = ["event" if y else "none" for y in columns["y"]]
    with pytest.raises(EvidenceError, match="separate the outcomes"):
        gcomputation(made(columns, "site"), PAIR)
    none = simulated(80, binary=True)
    none["y"] = [0.0 if a == "arm0" else y for y, a in zip(none["y"], none["arm"], strict=True)]
    with pytest.raises(EvidenceError, match="separate the outcomes"):
        gcomputation(made(none, "x"), PAIR)


def test_a_summary_must_exist():
    with pytest.raises(EvidenceError, match="does not exist"):
        gcomputation(made(simulated(80), "x"), estimand("arm0", "arm1", "odds ratio"))
    with pytest.raises(DataError, match="0 or 1"):
        gcomputation(made(simulated(80), "x"), PAIR, family="binomial")
    with pytest.raises(DataError, match="not negative"):
        gcomputation(made(simulated(80), "x"), PAIR, family="poisson")


@pytest.mark.parametrize("text", ["simple(site)", "coin", "blocks(site", ""])
def test_a_randomisation_that_cannot_be_read_is_refused(text):
    with pytest.raises(DataError, match="randomisation"):
        randomisation_of(text)


def test_a_randomisation_says_itself():
    for text in ("simple", "blocks(site,sex)", "minimisation(site)", "blocks()"):
        assert str(randomisation_of(text)) == text
