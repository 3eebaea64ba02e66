"""Linear adjustment: published tables, an identity, invariances, and what noise does to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from _trials import ACTG, actg, adas, estimand, made, simulated
from gemel.core.errors import DataError, EvidenceError
from gemel.trials import analyse
from gemel.trials.adjust.ancova import ancova, dose_trend, least_squares, unadjusted

PAIR = estimand("arm0", "arm1")


@pytest.mark.data
@pytest.mark.parametrize(
    ("pair", "estimate", "error", "p", "interval"),
    [
        (("Placebo", "Xanomeline Low Dose"), -0.46678, 0.81804, 0.568847, (-2.1, 1.1)),
        (("Placebo", "Xanomeline High Dose"), -1.00601, 0.84053, 0.232641, (-2.7, 0.7)),
        (("Xanomeline Low Dose", "Xanomeline High Dose"), -0.53923, 0.83611, 0.520, None),  # the report prints -0.5, 0.84, 0.520
    ],
)
def test_cdisc_table_14_3_01(pair, estimate, error, p, interval):
    data = adas("BASE", "SITEGR1")
    assert sorted(np.bincount(data.arm).tolist()) == [74, 79, 81]
    found = ancova(data, estimand(*pair), interaction=False, variance="model")
    assert (found.estimate, found.standard_error) == (pytest.approx(estimate, abs=5e-6), pytest.approx(error, abs=5e-6))
    assert found.p_value == pytest.approx(p, abs=5e-7 if interval else 5e-4)  # as many digits as printed
    if interval:
        assert tuple(round(v, 1) for v in found.interval) == interval


@pytest.mark.data
def test_cdisc_dose_response():
    doses = {"Placebo": 0.0, "Xanomeline Low Dose": 54.0, "Xanomeline High Dose": 81.0}
    found = dose_trend(adas("BASE", "SITEGR1"), estimand("Placebo", "Xanomeline High Dose"), doses, variance="model")
    assert found.p_value == pytest.approx(0.244706, abs=5e-7)
    with pytest.raises(DataError, match="dose"):
        dose_trend(adas("BASE"), estimand("Placebo", "Xanomeline High Dose"), {"Placebo": 0.0})


@pytest.mark.data
@pytest.mark.parametrize(
    ("baseline", "interaction", "estimate", "hc1", "hc3", "ratio"),
    [
        ((), False, 51.4364, 7.2681, 7.2746, 1.0),
        (("cd40",), False, 53.0955, 5.7906, 5.7992, 1.575),
        (ACTG, False, 53.2096, 5.6697, 5.6996, 1.643),
        (ACTG, True, 53.6401, 5.6570, 5.7251, 1.651),
    ],
)
def test_actg_175_both_drugs(baseline, interaction, estimate, hc1, hc3, ratio):
    data, pair = actg(*baseline), estimand("0", "1")
    first = ancova(data, pair, interaction=interaction, variance="hc1", target="sample")
    third = ancova(data, pair, interaction=interaction, variance="hc3", target="sample")
    assert (first.estimate, first.standard_error) == (pytest.approx(estimate, abs=5e-5), pytest.approx(hc1, abs=5e-5))
    assert third.standard_error == pytest.approx(hc3, abs=5e-5)
    assert first.variance_ratio == pytest.approx(ratio, abs=5e-4)
    assert first.effective_n == pytest.approx(1578 * first.variance_ratio)


@pytest.mark.data
@pytest.mark.parametrize(
    ("arm", "n", "rows"),
    [
        ("1", 1054, [((), 67.0333, 8.8905, 1.0), (("cd40",), 70.0094, 7.3646, 1.457), (ACTG, 70.1638, 7.2166, 1.518)]),
        ("2", 1056, [((), 35.8991, 8.1875, 1.0), (("cd40",), 36.2104, 6.3963, 1.639), (ACTG, 36.4234, 6.2337, 1.725)]),
    ],
)
def test_actg_175_one_drug(arm, n, rows):
    for baseline, estimate, error, ratio in rows:
        found = ancova(actg(*baseline, arms=("0", arm)), estimand("0", "1"), interaction=False, variance="hc1")
        assert found.n == n
        assert (found.estimate, found.standard_error) == (pytest.approx(estimate, abs=5e-5), pytest.approx(error, abs=5e-5))
        assert found.variance_ratio == pytest.approx(ratio, abs=5e-4)


def test_two_slopes_are_two_regressions():
    """ANHECOVA is the difference of each arm's own regression at the mean of all patients."""
    data = made(simulated(120, arms=3), "x", "noise")
    mean, at = data.covariates.mean(axis=0), {}
    for a in range(3):
        own = data.arm == a
        design = np.column_stack([np.ones(own.sum()), data.covariates[own]])
        at[a] = np.linalg.lstsq(design, data.outcome[own], rcond=None)[0] @ np.r_[1.0, mean]
    found = ancova(data, estimand("arm1", "arm2"))
    assert found.estimate == pytest.approx(at[2] - at[1], abs=1e-10)


def test_robust_variances_are_those_of_the_formulas():
    data = made(simulated(80), "x", "site")
    x = np.column_stack([np.ones(80), data.arm, data.centred])
    inverse = np.linalg.inv(x.T @ x)
    e = data.outcome - x @ (inverse @ x.T @ data.outcome)
    h = np.einsum("ij,jk,ik->i", x, inverse, x)
    for kind, w in (("hc1", e**2 * 80 / (80 - x.shape[1])), ("hc2", e**2 / (1 - h)), ("hc3", (e / (1 - h)) ** 2)):
        slow = inverse @ (x.T * w) @ x @ inverse
        assert np.allclose(least_squares(x, data.outcome, variance=kind).covariance, slow, rtol=1e-10)
    weights = np.linspace(0.5, 2, 80)
    fit = least_squares(x, data.outcome, weights=weights)
    assert np.allclose(fit.coefficients, np.linalg.solve((x.T * weights) @ x, (x.T * weights) @ data.outcome))


def test_degrees_of_freedom_of_hc2_are_those_of_the_whole_hat_matrix():
    data = made(simulated(60, arms=3), "x", "site")
    arms = np.stack([data.arm == a for a in (1, 2)], axis=1)
    x = np.column_stack([np.ones(60), arms, data.centred])
    maker = np.eye(60) - x @ np.linalg.solve(x.T @ x, x.T)
    for contrast, pair in (((0, 1, 0), ("arm0", "arm1")), ((0, -1, 1), ("arm1", "arm2"))):
        c = x @ np.linalg.solve(x.T @ x, np.r_[contrast, np.zeros(x.shape[1] - 3)])
        spread = maker @ np.diag(c**2 / np.diag(maker)) @ maker
        found = ancova(data, estimand(*pair), interaction=False, variance="hc2")
        assert found.df == pytest.approx(np.trace(spread) ** 2 / np.trace(spread @ spread), rel=1e-9)
    assert ancova(data, PAIR, interaction=False, variance="hc3").df == 60 - x.shape[1]


def test_hc2_without_covariates_is_welch_and_unbiased():
    columns = simulated(70, seed=3)
    data = made(columns)
    a, b = (data.outcome[data.arm == k] for k in (1, 0))
    found = unadjusted(data, PAIR, variance="hc2")
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert found.estimate / found.standard_error == pytest.approx(welch.statistic, rel=1e-10)
    n1, n0 = len(a), len(b)  # Welch's degrees of freedom where both arms have one variance
    assert found.df == pytest.approx((1 / n0 + 1 / n1) ** 2 / (1 / (n0**2 * (n0 - 1)) + 1 / (n1**2 * (n1 - 1))), rel=1e-10)


@pytest.mark.parametrize("method", ["ancova1", "ancova2"])
def test_units_origin_and_order_change_nothing(method):
    columns = simulated(90)
    base = analyse(made(columns, "x", "site"), PAIR, method)
    order = np.random.default_rng(2).permutation(90)
    turned = {k: [v[i] for i in order] for k, v in columns.items()}
    turned["x"] = [1e3 * v - 7 for v in turned["x"]]
    turned["y"] = [100 + 5 * v for v in turned["y"]]
    again = analyse(made(turned, "x", "site"), PAIR, method)
    assert again.estimate == pytest.approx(5 * base.estimate, rel=1e-9)
    assert again.standard_error == pytest.approx(5 * base.standard_error, rel=1e-9)
    assert (again.p_value, again.variance_ratio) == (pytest.approx(base.p_value, rel=1e-8), pytest.approx(base.variance_ratio, rel=1e-8))
    swapped = analyse(made(columns, "x", "site"), estimand("arm1", "arm0"), method)
    assert (swapped.estimate, swapped.standard_error) == (pytest.approx(-base.estimate), pytest.approx(base.standard_error))


def test_noise_changes_nothing_in_expectation_and_signal_saves_r_squared():
    gaps, noise, signal = [], [], []
    for seed in range(150):
        columns = simulated(200, seed=seed)
        plain = unadjusted(made(columns), PAIR)
        useless, useful = (analyse(made(columns, name), PAIR, "ancova1") for name in ("noise", "x"))
        gaps.append(useless.estimate - plain.estimate)
        noise.append(1 / useless.variance_ratio)
        signal.append(1 / useful.variance_ratio)
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / math.sqrt(150)
    assert np.mean(noise) == pytest.approx(1 + 1 / 200, abs=0.005)  # 1/n for chance imbalance, HC2 is unbiased; 3 SE
    assert np.mean(signal) == pytest.approx((1 - 0.36) * (1 + 1 / 200), abs=0.02)  # R² 0.36; 3 SE of 150 trials


def test_the_level_holds_whatever_the_covariate_is():
    rng, rejected, replicates = np.random.default_rng(11), {"noise": 0, "biased": 0, "against": 0}, 1500
    for _ in range(replicates):
        x, arm = rng.normal(size=80), rng.permutation(np.arange(80) % 2)
        y = 0.6 * x + 0.8 * rng.normal(size=80)
        for name, m in (("noise", rng.normal(size=80)), ("biased", x + 1 + 0.5 * rng.normal(size=80)), ("against", -x)):
            fit = least_squares(np.column_stack([np.ones(80), arm, m - m.mean()]), y)
            rejected[name] += abs(fit.coefficients[1]) > 1.9917 * math.sqrt(fit.covariance[1, 1])  # t(77) at 0.975
    # 3.3 SE of 1,500 trials are 0.0186; HC2 is at its level
    assert all(abs(count / replicates - 0.05) < 0.0186 for count in rejected.values()), rejected


def test_the_estimated_centre_counts_for_a_population():
    rng = np.random.default_rng(0)
    columns = simulated(400)
    columns["y"] = [y + 2.0 * x * (a == "arm1") for y, x, a in zip(columns["y"], columns["x"], columns["arm"], strict=True)]
    data = made(columns, "x")
    sample, population = (ancova(data, PAIR, target=t) for t in ("sample", "superpopulation"))
    slopes = [np.polyfit(data.covariates[data.arm == a, 0], data.outcome[data.arm == a], 1)[0] for a in (0, 1)]
    extra = (slopes[1] - slopes[0]) ** 2 * data.covariates[:, 0].var(ddof=1) / 400
    assert population.standard_error**2 - sample.standard_error**2 == pytest.approx(extra, rel=1e-9)
    estimates = []
    for _ in range(1500):  # the truth: draws of whole trials
        x, arm = rng.normal(size=100), rng.permutation(np.arange(100) % 2)
        y = 0.6 * x + 0.8 * rng.normal(size=100) + arm * (0.4 + 2.0 * x)
        xc = x - x.mean()
        estimates.append(least_squares(np.column_stack([np.ones(100), arm, xc, arm * xc]), y).coefficients[1])
    assert 4 * np.var(estimates) == pytest.approx(4 * (4 * 0.64 + 4) / 100, rel=0.12)  # 3 SE of a variance from 1,500; 1/n


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ancova(made(simulated(60) | {"twice": simulated(60)["x"]}, "x", "twice"), PAIR), "linearly dependent"),
        (lambda: ancova(made(simulated(60), "x"), estimand("arm0", "arm1", "odds ratio")), "gives a difference"),
        (lambda: ancova(made(simulated(24) | {f"c{i}": np.random.default_rng(i).normal(size=24).tolist() for i in range(12)}, *(f"c{i}" for i in range(12))), PAIR), "too few"),
        (lambda: ancova(made(simulated(60) | {"site": ["only"] + ["a", "b"] * 29 + ["a"]}, "site"), PAIR, interaction=False), "leverage 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_identified_is_refused(call, words):
    with pytest.raises(EvidenceError, match=words):
        call()


def test_names_that_are_not_there_are_refused():
    data = made(simulated(60), "x")
    for call in (
        lambda: ancova(data, PAIR, variance="hc9"),
        lambda: ancova(data, PAIR, target="all"),
        lambda: ancova(data, estimand("arm0", "arm7")),
    ):
        with pytest.raises(DataError):
            call()
