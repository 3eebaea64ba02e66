"""The adjusted log-rank test, the marginal hazard ratio and augmented restricted means against dense code, and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from _survival import columns, freireich, made
from _trials import estimand
from gemel.core.errors import EvidenceError, InferenceError
from gemel.trials import trial_data
from gemel.trials.adjust.ancova import ancova
from gemel.trials.survival import SurvivalData, adjusted_logrank, logrank, marginal_hazard, restricted_means
from gemel.trials.survival.adjusted_logrank import adjustment, scores
from gemel.trials.survival.kaplan_meier import curve
from gemel.trials.survival.rmst import influence, restricted_mean


def dense(data: SurvivalData, theta: float = 0.0, held: tuple | None = None):
    """The formulas of the specification, one patient and one time at a time; none of it is shared with the code."""
    t, d, a, x, n = data.time, data.event, data.trial.arm, data.trial.covariates, data.n
    w = math.exp(theta)
    grid = sorted(set(t[d].tolist()))
    o, u, s2, information = np.zeros(n), 0.0, 0.0, 0.0
    for s in grid:
        y = np.array([1.0 if t[i] >= s else 0.0 for i in range(n)])
        dn = np.array([1.0 if t[i] == s and d[i] else 0.0 for i in range(n)])
        y1, y0, total, events = (y * a).sum(), (y * (1 - a)).sum(), y.sum(), dn.sum()
        bottom = w * y1 + y0
        u += sum((a[i] - w * y1 / bottom) * dn[i] for i in range(n)) / n
        part = w * y1 * y0 / bottom**2 * events
        information += part / n
        s2 += part * ((total - events) / (total - 1) if total > 1 else 0.0) / n
        for i in range(n):
            if a[i]:
                o[i] += y0 / bottom * (dn[i] - w * y[i] * events / bottom)
            else:
                o[i] += w * y1 / bottom * (dn[i] - y[i] * events / bottom)
    b = []
    for k in (0, 1):
        design = np.column_stack([np.ones((a == k).sum()), x[a == k]])
        b.append(np.linalg.solve(design.T @ design, design.T @ o[a == k])[1:])
    b = list(held) if held else b
    mean = x.mean(axis=0)
    shift = sum((x[i] - mean) @ b[1] if a[i] else -(x[i] - mean) @ b[0] for i in range(n)) / n
    p = a.mean()
    saved = p * (1 - p) * (b[0] + b[1]) @ np.atleast_2d(np.cov(x, rowvar=False)) @ (b[0] + b[1])
    return u - shift, s2 - saved, information, tuple(b), saved


@pytest.mark.parametrize("digits", [None, 1])  # without ties, and with many
def test_the_adjusted_test_is_the_formula(digits):
    data = made(columns(60, log_ratio=-0.4, digits=digits), "x", "noise")
    found, (u, s2, *_) = adjusted_logrank(data), dense(data)
    assert found.score / 60 == pytest.approx(u, abs=1e-14)  # sums of 60 terms below 1
    assert found.variance / 60 == pytest.approx(s2, abs=1e-14)
    assert found.z == pytest.approx(math.sqrt(60) * u / math.sqrt(s2), rel=1e-12)
    assert found.unadjusted_score == pytest.approx(logrank(data).observed - logrank(data).expected)


def test_the_marginal_ratio_is_the_root_of_the_dense_score():
    data = made(columns(60, log_ratio=-0.6), "x")
    plain = optimize.brentq(lambda theta: _plain(data, theta), -5, 5)
    held = dense(data, plain)[3]
    root = optimize.brentq(lambda theta: dense(data, theta, held)[0], -5, 5)
    _, _, information, _, saved = dense(data, root)
    found = marginal_hazard(data)
    assert found.unadjusted == pytest.approx(plain, abs=1e-9)  # brentq's default 2e-12; the search stops at 1e-9 events
    assert found.log_ratio == pytest.approx(root, abs=1e-9)
    assert found.standard_error == pytest.approx(math.sqrt((information - saved) / 60) / information, rel=1e-8)
    assert found.standard_error < found.unadjusted_error


def _plain(data, theta):
    """The partial-likelihood score by its definition."""
    t, d, a = data.time, data.event, data.trial.arm
    risk = [np.exp(theta * a[t >= t[i]]) for i in np.flatnonzero(d)]
    treated = [(np.exp(theta) * (a[t >= t[i]] == 1)).sum() for i in np.flatnonzero(d)]
    return sum(a[i] - s / r.sum() for i, s, r in zip(np.flatnonzero(d), treated, risk, strict=True))


def test_strata_are_summed():
    source = columns(120)
    data = made(source, "x", strata=("site",))
    parts = [
        logrank(made({k: [v for v, s in zip(vs, source["site"], strict=True) if s == level] for k, vs in source.items()}))
        for level in "abc"
    ]
    found = logrank(data, strata=("site",))
    assert found.observed - found.expected == pytest.approx(sum(p.observed - p.expected for p in parts))
    assert found.variance == pytest.approx(sum(p.variance for p in parts))
    assert adjusted_logrank(data, strata=("site",)).unadjusted_variance == pytest.approx(found.variance)
    assert adjusted_logrank(data, strata=("site",)).variance < found.variance
    one = made(source | {"site": ["a"] * 120}, "x", strata=("site",))
    assert adjusted_logrank(one, strata=("site",)) == adjusted_logrank(one)


def test_a_covariate_that_explains_nothing_changes_nothing():
    """V12: with slopes of nothing the test is the log-rank test; with an independent covariate the variances meet as n grows."""
    data = freireich()
    balanced = np.zeros(data.n)  # orthogonal to the parts of both arms by construction
    o = scores(data).outcome
    rng = np.random.default_rng(0)
    for a in (0, 1):
        own = data.trial.arm == a
        basis = np.column_stack([np.ones(own.sum()), o[own]])
        raw = rng.normal(size=own.sum())
        balanced[own] = raw - basis @ np.linalg.lstsq(basis, raw, rcond=None)[0]
    shift, saved = adjustment(SurvivalData(data.trial.with_covariate("z", balanced), data.event), o)
    assert abs(shift) < 1e-12
    assert saved < 1e-24
    large = made(columns(4000), "noise")
    found = adjusted_logrank(large)
    # (b_1 + b_0)² Var X of the order of 1/n each: the ratio is 1 within a few of 1/4000
    assert found.unadjusted_variance / found.variance == pytest.approx(1, abs=3e-3)
    assert found.z == pytest.approx(found.unadjusted_score / math.sqrt(found.unadjusted_variance), abs=0.15)


def test_covariates_must_vary_in_each_arm():
    source = columns(60)
    data = made(source | {"double": [2 * v for v in source["x"]]}, "x", "double")
    for call in (adjusted_logrank, marginal_hazard, lambda d: restricted_means(d, 0.5)):
        with pytest.raises(EvidenceError, match="linearly dependent"):
            call(data)


def test_a_ratio_that_does_not_exist_is_an_error():
    source = columns(60)
    none = source | {"d": [0 if a == "arm1" else v for v, a in zip(source["d"], source["arm"], strict=True)]}
    with pytest.raises(EvidenceError, match="arm has no events"):
        marginal_hazard(made(none))
    assert adjusted_logrank(made(none)).z < 0  # the test is defined
    apart = source | {"t": [t + (10 if a == "arm1" else 0) for t, a in zip(source["t"], source["arm"], strict=True)], "d": [1] * 60}
    with pytest.raises(InferenceError, match="not converged"):
        marginal_hazard(made(apart))
    with pytest.raises(EvidenceError, match="no event happened"):
        logrank(made(source | {"d": [0] * 60}))


def test_influence_values_have_the_variance_of_greenwood():
    data = made(columns(400), "x")
    for a in (0, 1):
        own = data.trial.arm == a
        found = curve(data.time[own], data.event[own])
        area, variance = restricted_mean(found, 1.0)
        psi = influence(data.time[own], found, data.event[own], 1.0)
        assert psi.mean() == pytest.approx(0, abs=1e-12)
        # Greenwood has n (n - d) where the influence has n²: apart by the order of 1/n at risk
        assert psi @ psi / own.sum() ** 2 == pytest.approx(variance, rel=0.03)
        # leave one out: the jackknife's pseudo-values are the influence up to the same order
        i = int(np.flatnonzero(own)[7])
        without = own.copy()
        without[i] = False
        left = restricted_mean(curve(data.time[without], data.event[without]), 1.0)[0]
        assert own.sum() * area - (own.sum() - 1) * left - area == pytest.approx(psi[7], abs=0.02)


def test_restricted_means_without_censoring_are_means():
    source = columns(200) | {"d": [1] * 200}
    both = restricted_means(made(source), 1.0)
    t, arm = np.minimum(source["t"], 1.0), np.array(source["arm"])
    assert both.means == pytest.approx([t[arm == "arm0"].mean(), t[arm == "arm1"].mean()])
    assert both.unadjusted_error == pytest.approx(math.sqrt(sum(t[arm == a].var() / (arm == a).sum() for a in ("arm0", "arm1"))))
    # with a covariate: ANHECOVA of min(t, 1)
    peer = ancova(trial_data(source | {"y": t.tolist()}, outcome="y", arm="arm", baseline=("x",)), estimand("arm0", "arm1"), variance="hc1")
    ours = restricted_means(made(source, "x"), 1.0)
    assert ours.difference == pytest.approx(peer.estimate, rel=1e-10)
    assert ours.standard_error == pytest.approx(peer.standard_error, rel=0.03)  # one variance is HC1, the other pooled within arm


@pytest.mark.parametrize("tau", [0.0, -1.0, math.inf, 50.0])
def test_a_horizon_beyond_the_data_is_refused(tau):
    with pytest.raises(ValueError, match=r"horizon|not known"):
        restricted_means(made(columns(60)), tau)


def test_level_and_gain_in_simulated_trials():
    """A small version of benchmarks/trials_survival.py: level kept, variance saved, adjusted and plain on the same trials."""
    replicates, n = 400, 150
    rejected, ratios, means, errors, hazards = np.zeros(3), [], [], [], []
    for k in range(replicates):
        data = made(columns(n, seed=k), "x")
        test, rmst, hazard = adjusted_logrank(data), restricted_means(data, 0.4), marginal_hazard(data)
        zs = [test.z, rmst.difference / rmst.standard_error, hazard.log_ratio / hazard.standard_error]
        rejected += np.abs(zs) > 1.959964
        ratios.append(test.unadjusted_variance / test.variance)
        means.append((rmst.difference, rmst.unadjusted))
        errors.append((rmst.standard_error, rmst.unadjusted_error))
        hazards.append((hazard.log_ratio, hazard.standard_error))
    # 400 trials at a level of 0.05 (liberal to 0.06 at 75 an arm): 99.9 % within 0.0525 ± 3.3 * 0.0112
    assert (rejected / replicates < 0.0525 + 0.037).all()
    assert (rejected / replicates > 0.0525 - 0.037).all()
    assert np.mean(ratios) > 1.3  # x explains more than a quarter of the events' variance
    spread, said = np.std(means, axis=0), np.mean(errors, axis=0)
    assert spread == pytest.approx(said, rel=0.12)  # SD of 400 draws: 3.5 %, three of them
    assert spread[0] < 0.95 * spread[1]
    hazards = np.array(hazards)
    assert hazards[:, 0].std() == pytest.approx(hazards[:, 1].mean(), rel=0.12)
    assert abs(hazards[:, 0].mean()) < 4 * hazards[:, 0].std() / math.sqrt(replicates)
