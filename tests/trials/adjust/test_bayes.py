"""The mixture posterior: its known answers, its limits, what drift does to it, and what it refuses."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from scipy import integrate, stats

from _trials import estimand, made, simulated
from gemel.core.errors import DataError, EvidenceError
from gemel.trials import calibrate
from gemel.trials.adjust.ancova import ancova
from gemel.trials.adjust.bayes import UNCONTROLLED, Borrowed, History, bayes, drift_errors, largest_weight, posterior
from gemel.trials.analysis import analyse, with_prognosis

PAIR = estimand("arm0", "arm1")
HISTORY = History(level=1.0, slope=1.0, spread=0.6, sd=0.8, n=200.0)


@pytest.fixture(scope="module")
def bundle():
    columns = simulated(500, seed=9, effect=0.0)
    return calibrate(columns, outcome="y", inputs=("x",)).lock(name="history", today=date(2026, 1, 5))


def trial(bundle, n=120, seed=3, shift=0.0):
    columns = simulated(n, seed=seed)
    columns["y"] = [y + shift for y in columns["y"]]
    return with_prognosis(made(columns, prognosis_inputs=("x",)), bundle)[0]


def design(n=40, seed=0):
    rng = np.random.default_rng(seed)
    m, arm = 0.6 * rng.normal(size=n), np.arange(n) % 2
    y = 1.2 + m + 0.4 * arm + 0.8 * rng.normal(size=n)
    return np.column_stack([np.ones(n), m, arm]), y


def test_each_component_is_the_posterior_by_quadrature():
    """Known answer: the marginal likelihoods and the posterior of the effect, integrated over s² numerically."""
    x, y = design()
    weight, location, scale, df = posterior(x, y, HISTORY, 0.3, np.array([0.0, 0.0, 1.0]))
    evidence, means, sds = [], [], []
    for worth in (HISTORY.n, 1.0):
        precision = np.diag([worth, worth * HISTORY.spread**2, 10.0**-2])
        start = np.array([HISTORY.level, HISTORY.slope, 0.0])
        shape = max(worth, 2.5) / 2
        unit = np.eye(len(y)) + x @ np.linalg.solve(precision, x.T)  # y | s² ~ N(x start, s² unit)
        inverse, log_det = np.linalg.inv(unit), np.linalg.slogdet(unit)[1]
        q = (y - x @ start) @ inverse @ (y - x @ start)
        prior = stats.invgamma(shape, scale=shape * HISTORY.sd**2)

        def density(log_s2, prior=prior, q=q, log_det=log_det):
            s2 = np.exp(log_s2)
            return np.exp(prior.logpdf(s2) + log_s2 - 0.5 * (len(y) * log_s2 + log_det + q / s2) + 40)

        total = integrate.quad(density, -4, 4, epsabs=0, epsrel=1e-11, limit=400)[0]
        after = np.linalg.inv(precision + x.T @ x)
        mean = after @ (precision @ start + x.T @ y)
        s2 = integrate.quad(lambda v, d=density: d(v) * np.exp(v), -4, 4, epsabs=0, epsrel=1e-11, limit=400)[0] / total
        evidence.append(total)
        means.append(mean[2])
        sds.append(np.sqrt(s2 * after[2, 2]))
    odds = 0.3 * evidence[0] / (0.7 * evidence[1])
    assert weight == pytest.approx(odds / (1 + odds), rel=1e-8)  # quadrature to 1e-11
    assert location == pytest.approx(means, rel=1e-10)
    assert scale * np.sqrt(df / (df - 2)) == pytest.approx(sds, rel=1e-8)


def test_the_mixture_is_a_distribution():
    found = Borrowed(0.3, 0.5, np.array([0.0, 1.0]), np.array([0.2, 0.5]), np.array([50.0, 20.0]))
    for p in (0.001, 0.2, 0.5, 0.9):
        assert found.below(found.quantile(p)) == pytest.approx(p, abs=1e-9)
    rng = np.random.default_rng(0)
    first = rng.random(400_000) < 0.3
    draws = np.where(first, 0.2 * rng.standard_t(50, 400_000), 1 + 0.5 * rng.standard_t(20, 400_000))
    assert found.mean == pytest.approx(draws.mean(), abs=4 * draws.std() / 630)  # 4 Monte-Carlo errors
    assert found.sd == pytest.approx(draws.std(), rel=0.01)


def test_a_history_that_agrees_is_borrowed_and_one_that_does_not_is_let_go(bundle):
    near = bayes(trial(bundle), PAIR, bundle)
    far = bayes(trial(bundle, shift=3.0), PAIR, bundle)
    plain = ancova(trial(bundle, shift=3.0), PAIR, interaction=False)
    assert near.standard_error < 0.85 * ancova(trial(bundle), PAIR, interaction=False).standard_error
    assert any("0.50 before the data, 1.00 after" in s for s in near.status)
    assert any("0.00 after" in s for s in far.status)
    # the weak component is one patient of the history among sixty controls, three units off
    assert far.estimate == pytest.approx(plain.estimate + 3 / 61, abs=0.02)
    assert UNCONTROLLED in near.status
    assert near.interval[0] < near.estimate < near.interval[1]


def test_less_worth_borrows_less(bundle):
    data = trial(bundle)
    errors = [bayes(data, PAIR, bundle, worth=w, weight=0.9).standard_error for w in (1.0, 0.2, 0.02)]
    assert errors == sorted(errors)


def test_the_error_rises_with_drift_and_a_weight_is_found_under_a_cap():
    found = drift_errors(HISTORY, 50, 50, weights=(0.02, 0.3, 0.9), drifts=(0.0, 0.2, 0.4), replicates=4000)
    assert found.rates[2, 1] > found.rates[0, 1] + 3 * found.errors[0, 1]
    assert found.rates[2, 2] > 0.15
    assert largest_weight(found, 1.0) == 0.9
    assert largest_weight(found, 0.0) is None
    cap = float((found.rates + 2 * found.errors)[0].max()) + 1e-9
    assert largest_weight(found, cap) == 0.02
    with pytest.raises(DataError, match="too few"):
        drift_errors(HISTORY, 1, 50)


def test_the_interval_covers_without_drift():
    """Simulation-based calibration of the effect: truth from the informative prior and a normal effect."""
    rng = np.random.default_rng(5)
    n, trials, ranks = 60, 600, []
    for _ in range(trials):
        s2 = 1 / rng.gamma(HISTORY.n / 2, 2 / (HISTORY.n * HISTORY.sd**2))
        level = HISTORY.level + np.sqrt(s2 / HISTORY.n) * rng.normal()
        slope = HISTORY.slope + np.sqrt(s2 / HISTORY.n) / HISTORY.spread * rng.normal()
        effect = 10 * np.sqrt(s2) * rng.normal()
        m, arm = HISTORY.spread * rng.normal(size=n), np.arange(n) % 2
        x = np.column_stack([np.ones(n), m, arm])
        y = x @ [level, slope, effect] + np.sqrt(s2) * rng.normal(size=n)
        weight, location, scale, df = posterior(x, y, HISTORY, 1 - 1e-12, np.array([0.0, 0.0, 1.0]))
        ranks.append(Borrowed(float(weight), 0.5, location, scale, df).below(effect))
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3  # an honest posterior fails once in a thousand seeds; the seed is fixed


def test_through_analyse_and_what_is_refused(bundle):
    data = made(simulated(120, seed=3), prognosis_inputs=("x",))
    found = analyse(data, PAIR, "bayes", prognosis=bundle, prior_weight=0.5)
    assert found.estimate == pytest.approx(bayes(trial(bundle), PAIR, bundle).estimate)
    with pytest.raises(DataError, match="weight of its history"):
        analyse(data, PAIR, "bayes", prognosis=bundle)
    with pytest.raises(DataError, match="prior weight"):
        bayes(trial(bundle), PAIR, bundle, weight=1.0)
    with pytest.raises(DataError, match="first covariate"):
        bayes(made(simulated(120), "x"), PAIR, bundle)
    with pytest.raises(EvidenceError, match="difference"):
        bayes(trial(bundle), estimand("arm0", "arm1", "odds ratio"), bundle)
    nothing = bundle.model_copy(update={"r_squared": 0.0})
    with pytest.raises(EvidenceError, match="foretold nothing"):
        History.of(nothing)
