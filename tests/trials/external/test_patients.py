"""Weighted patients from outside: balance that is exact, variances that resampling confirms, estimates that survive one wrong model, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special

import gemel.trials.external
from _external import made, sources
from _trials import estimand
from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.base import of_means
from gemel.trials.estimand import Summary
from gemel.trials.external import LABEL, METHODS, Aggregate, aggregate_of, arm_means, borrow_patients, external_data, treated_data
from gemel.trials.external.analysis import SUMMARY_METHODS
from gemel.trials.external.balance import balance, effective_size
from gemel.trials.external.bias import e_value, e_value_of_difference, tipping_point
from gemel.trials.external.doubly_robust import doubly_robust
from gemel.trials.external.entropy import balancing_weights, entropy
from gemel.trials.external.maic import maic
from gemel.trials.external.simulated_comparison import simulated_comparison
from gemel.trials.external.weights import iptw, overlap
from gemel.trials.learners import Spline

ASKED = estimand("external", "active")


@pytest.fixture(scope="module")
def data():
    return made(sources())


def test_both_sides_are_one_view(data):
    assert [len(y) for y in data.y] == [120, 240]
    assert data.names == ("x", "z")
    assert data.reference == ""
    again = made(sources(arms=2))
    assert [len(y) for y in again.y] == [60, 240]
    assert again.reference == "control"
    assert len(again.rows("control")) == 60
    third = sources(arms=2)
    third[0]["arm"][:12] = ["other"] * 12
    assert any("12 patients of other arms" in n for n in made(third, reference="control").notes)


def test_weights_balance_exactly(data):
    """V15: weighted means are the target to 1e-8; overlap weights balance as a property of the logistic score."""
    (xt, xo) = data.x
    w = entropy(data).outside
    assert w @ xo == pytest.approx(xt.mean(axis=0), abs=1e-8)
    two = entropy(data, conditions=2).outside
    assert two @ xo[:, 0] ** 2 == pytest.approx((xt[:, 0] ** 2).mean(), abs=1e-8)
    both = overlap(data)
    assert both.outside @ xo == pytest.approx(both.treated @ xt, abs=1e-8)
    summary = data.aggregate()
    assert maic(data.y[0], xt, summary).treated @ xt == pytest.approx(summary.means, abs=1e-8)
    deviations = maic(data.y[0], xt, summary, conditions=2, allow_small=True).treated
    known = math.sqrt((deviations @ (xt[:, 0] - summary.means[0]) ** 2) * summary.n / (summary.n - 1))
    assert known == pytest.approx(summary.sds[0], abs=1e-8)


def test_an_exact_match_gives_equal_weights(data):
    """V15."""
    (xt, _) = data.x
    assert balancing_weights(xt, xt.mean(axis=0)) == pytest.approx(np.full(len(xt), 1 / len(xt)), abs=1e-14)
    target = Aggregate(data.names, 500, xt.mean(axis=0), xt.std(axis=0, ddof=1), 0.3, 0.05)
    found = maic(data.y[0], xt, target)
    assert found.means.means == pytest.approx([0.3, data.y[0].mean()])
    assert effective_size(found.treated) == pytest.approx(len(xt))


def test_the_weights_are_the_minimum_of_the_convex_sum(data):
    (xt, xo) = data.x
    z = xo - xt.mean(axis=0)
    found = optimize.minimize(
        lambda a: special.logsumexp(z @ a), np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14}
    )
    assert entropy(data).outside == pytest.approx(special.softmax(z @ found.x), abs=1e-7)  # simplex stops at 1e-10 in a


def test_the_odds_are_those_of_a_logistic_model(data):
    (xt, xo), (yt, yo) = data.x, data.y
    x, s = np.column_stack([np.ones(360), np.vstack([xt, xo])]), np.repeat([1.0, 0.0], [120, 240])
    beta = optimize.minimize(lambda b: (np.logaddexp(0, x @ b) - s * (x @ b)).sum(), np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    w = np.exp(x[120:] @ beta)
    assert iptw(data).means.means == pytest.approx([w @ yo / w.sum(), yt.mean()], abs=1e-6)  # BFGS with numerical gradients
    e = special.expit(x @ beta)
    known = [(e[120:] @ yo) / e[120:].sum(), ((1 - e[:120]) @ yt) / (1 - e[:120]).sum()]
    assert overlap(data).means.means == pytest.approx(known, abs=1e-6)


CALLS = {
    "iptw": iptw,
    "overlap": overlap,
    "entropy": entropy,
    "doubly-robust": doubly_robust,
    "iptw, cross-fitted": lambda d: iptw(d, folds=5),
    "overlap, cross-fitted": lambda d: overlap(d, folds=5),
    "doubly-robust, splines": lambda d: doubly_robust(d, learner=Spline()),
    "entropy, two moments": lambda d: entropy(d, conditions=2),
}


@pytest.mark.parametrize("name", CALLS)
def test_errors_are_those_of_repeated_trials(name):
    """Estimates of 150 trials against their stated errors; the truth, 0.5, is covered."""
    found = [CALLS[name](made(sources(100, 200, seed=k))).means for k in range(150)]
    estimates = np.array([f.means[1] - f.means[0] for f in found])
    said = np.array([math.sqrt(f.covariance[0, 0] + f.covariance[1, 1] - 2 * f.covariance[0, 1]) for f in found])
    # SD of 150 draws: 6 %; sandwich errors at 300 patients are a few per cent small
    assert said.mean() == pytest.approx(estimates.std(), rel=0.2)
    assert abs(estimates.mean() - 0.5) < 4 * estimates.std() / math.sqrt(150)


def test_adjustment_removes_the_difference_that_was_put_in():
    plain = [np.subtract(*(y.mean() for y in made(sources(seed=k)).y)) for k in range(50)]
    assert np.mean(plain) > 0.75  # 0.5 and 0.6 of the shift of x


@pytest.mark.parametrize("call", [iptw, overlap, entropy, doubly_robust])
def test_a_drift_moves_the_estimate_by_as_much(call):
    """What the bootstrapped map rests on."""
    before, after = (call(made(sources(drift=d))).means for d in (0.0, 0.7))
    assert after.means[0] - before.means[0] == pytest.approx(-0.7, abs=1e-9)
    assert after.covariance == pytest.approx(before.covariance, rel=1e-6)


def test_one_of_two_models_may_be_wrong():
    """Outcomes that a straight line misses: the odds still hold; odds that a straight line misses: the outcomes still do."""
    rng = np.random.default_rng(3)

    def one(wrong: str) -> float:
        x = rng.normal(size=900)
        bent = x**2 if wrong == "odds" else x
        s = rng.random(900) < special.expit(0.8 * bent - 1.2)
        y = (x**2 if wrong == "outcome" else 1.5 * x) + 0.5 * rng.normal(size=900) + s
        columns = [{"y": y[g].tolist(), "x": x[g].tolist()} for g in (s, ~s)]
        found = doubly_robust(external_data(*columns, outcome="y", baseline=("x",))).means.means
        return found[1] - found[0]

    for wrong in ("odds", "outcome"):
        estimates = [one(wrong) for _ in range(40)]
        assert abs(np.mean(estimates) - 1) < 4 * np.std(estimates) / math.sqrt(40) + 0.02  # and a bias of the order of 1/n


def test_a_regression_read_off_at_the_published_means(data):
    y, x = data.y[0], data.x[0]
    design = np.column_stack([np.ones(120), x])
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    summary = data.aggregate()
    assert simulated_comparison(y, x, summary).means[1] == pytest.approx(beta @ np.concatenate([[1], summary.means]))
    binary = made(sources(600, 800, binary=True))
    found = simulated_comparison(binary.y[0], binary.x[0], binary.aggregate())
    # g-computation over the patients themselves, instead of over patients drawn from their summary
    from gemel.trials.adjust.gcomputation import canonical

    beta = canonical(np.column_stack([np.ones(600), binary.x[0]]), binary.y[0], "binomial")
    known = special.expit(np.column_stack([np.ones(800), binary.x[1]]) @ beta).mean()
    assert found.means[1] == pytest.approx(known, abs=0.01)  # 20,000 drawn: 0.003; x and z are drawn as if normal
    with pytest.raises(EvidenceError, match="spread of each covariate"):
        simulated_comparison(binary.y[0], binary.x[0], Aggregate(("x", "z"), 50, np.zeros(2), np.full(2, np.nan), 0.4, 0.05))


def test_balance_is_standardised_by_the_pooled_deviation():
    found = balance(("a",), np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]]), (np.ones(2), np.array([3.0, 1.0])))
    assert found.before[0] == pytest.approx((1 - 3) / math.sqrt((2 + 8) / 2))
    assert found.after[0] == pytest.approx((1 - 2) / math.sqrt((2 + 8) / 2))
    assert found.flagged == ("a",)
    assert effective_size(np.array([1.0, 1.0, 2.0])) == pytest.approx(16 / 6)


def test_how_much_would_have_to_be_hidden():
    assert e_value(3.9) == pytest.approx(7.26, abs=5e-3)  # VanderWeele and Ding 2017, their example
    assert e_value(1 / 3.9) == pytest.approx(e_value(3.9))
    assert e_value(1.0) == 1
    assert e_value_of_difference(0.1, 0.2, 1.0)[1] == 1
    assert e_value_of_difference(0.5, 0.1, 1.0)[0] == pytest.approx(e_value(math.exp(0.455)))
    assert tipping_point(0.5, 0.1) == pytest.approx(0.5 - 0.1959964)
    assert tipping_point(-0.5, 0.1) == -tipping_point(0.5, 0.1)
    assert tipping_point(0.1, 0.1) == 0


def test_no_events_outside_leave_no_ratio_but_a_difference():
    trial, outside = sources(200, 300, binary=True)
    found = borrow_patients(made((trial, outside | {"y": [0.0] * 300})), ASKED, "entropy", replicates=50)
    assert math.isnan(found.sensitivity.e_value)
    assert found.result.estimate == pytest.approx(np.mean(trial["y"]))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_and_is_labelled(method):
    data = made(sources(arms=2, seed=2))
    found = borrow_patients(data, ASKED, method, replicates=60)
    assert found.label == LABEL == found.result.status[0 + len(data.notes)]
    assert of_means(arm_means(data, method), Summary.MEAN_DIFFERENCE, 0, 1) == (found.result.estimate, found.result.standard_error)
    assert abs(found.result.estimate - 0.5) < 4 * found.result.standard_error
    assert found.result.lineage.record == data.hash
    assert found.drift_seen is not None
    assert abs(found.drift_seen[0]) < 4 * found.drift_seen[1]  # none was put in
    assert found.map.type_one[-1] > found.map.type_one[0]
    assert (np.diff(found.map.power) >= 0).all()
    assert (found.map.errors[0] < 0.07).all()  # of 60 replicates
    assert found.map.without[0] == pytest.approx(0.05)
    assert (found.balance is None) == (method == "stc")
    if method in ("overlap", "entropy", "maic"):
        assert found.balance.after == pytest.approx(0, abs=1e-7)
        assert found.balance.flagged == ()


def test_own_controls_show_the_drift():
    found = borrow_patients(made(sources(400, 400, arms=2, drift=0.5)), ASKED, "entropy", replicates=20)
    assert found.drift_seen[0] == pytest.approx(0.5, abs=4 * found.drift_seen[1])
    assert any("a drift of" in flag for flag in found.result.status)


@pytest.mark.parametrize("summary", ["risk difference", "risk ratio", "odds ratio"])
def test_risks_and_their_ratios(summary):
    data = made(sources(300, 500, binary=True, effect=1.0))
    found = borrow_patients(data, estimand("external", "active", summary), "iptw", replicates=50)
    assert found.result.p_value < 0.01
    assert (found.result.ratio is None) == (summary == "risk difference")
    assert found.sensitivity.e_value > found.sensitivity.e_value_limit > 1
    assert math.isnan(found.sensitivity.tipping_sd) == (summary != "risk difference")
    assert Summary(summary).value == found.result.summary


@pytest.mark.parametrize("method", SUMMARY_METHODS)
def test_a_published_summary_is_enough(method):
    trial, outside = sources(200, 400)
    full = made((trial, outside))
    x, z, y = (np.array(outside[k]) for k in ("x", "z", "y"))
    row = {
        "n": ["400"],
        "y": [y.mean()],
        "y_sd": [y.std(ddof=1)],
        "x": [x.mean()],
        "x_sd": [x.std(ddof=1)],
        "z": [z.mean()],
        "z_sd": [z.std(ddof=1)],
    }
    summary = aggregate_of(row, outcome="y", baseline=("x", "z"))
    alone = treated_data(trial, outcome="y", baseline=("x", "z"), arm="arm", treatment="active", subject="id")
    told = borrow_patients(alone, ASKED, method, summary=summary, replicates=20)
    assert told.result.estimate == pytest.approx(borrow_patients(full, ASKED, method, replicates=20).result.estimate, rel=1e-9)
    assert told.result.lineage.parents == (summary.hash[:16],)
    assert told.drift_seen is None
    assert math.isnan(told.map.without[0])
    with pytest.raises(DataError, match="needs the patients"):
        borrow_patients(alone, ASKED, "iptw", summary=summary)


def test_too_few_patients_left_is_refused_unless_allowed():
    far = made(sources(60, 200, shift=1.5, seed=1))
    with pytest.raises(EvidenceError, match="too few patients"):
        borrow_patients(far, ASKED, "maic", replicates=10)
    found = maic(far.y[0], far.x[0], far.aggregate(), allow_small=True)
    assert effective_size(found.treated) < 15


@pytest.mark.parametrize("method", ["iptw", "overlap", "doubly-robust"])
def test_groups_that_do_not_overlap_are_refused(method):
    with pytest.raises(EvidenceError, match="do not overlap"):
        borrow_patients(made(sources(shift=9.0)), ASKED, method, replicates=10)


@pytest.mark.parametrize("method", ["entropy", "maic"])
def test_means_that_no_weights_reach_are_refused(method):
    with pytest.raises(EvidenceError, match="no weights balance"):
        borrow_patients(made(sources(shift=9.0)), ASKED, method, replicates=10)


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ({"x": [None] * 240}, {}, DataError, "no rule"),
        ({"id": ["s"] * 240}, {}, DataError, "subject comes twice"),
        ({"y": ["bad"] * 240}, {}, DataError, "holds words"),
        ({}, {"baseline": ()}, EvidenceError, "baseline columns"),
        ({}, {"baseline": ("age",)}, DataError, "missing in the trial"),
        ({}, {"treatment": "nobody"}, DataError, "no such arm"),
        ({}, {"later": ("x",)}, EvidenceError, "after randomisation"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, options, error, words):
    trial, outside = sources()
    call = {"outcome": "y", "baseline": ("x", "z"), "subject": "id", "arm": "arm", "treatment": "active"} | options
    with pytest.raises(error, match=words) as caught:
        external_data(trial, outside | change, **call)
    assert "s0" not in str(caught.value)


def test_a_column_that_one_side_lacks_is_named():
    trial, outside = sources()
    with pytest.raises(DataError, match="missing in the controls from outside"):
        external_data(trial, {k: v for k, v in outside.items() if k != "z"}, outcome="y", baseline=("x", "z"))
    with pytest.raises(DataError, match="no controls from outside"):
        external_data(trial, None, outcome="y", baseline=("x",))
    with pytest.raises(EvidenceError, match="too small"):
        external_data(trial, {k: v[:9] for k, v in outside.items()}, outcome="y", baseline=("x",))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "magic"}, "no such method"),
        ({"method": "iptw", "level": 0.0}, "out of range"),
        ({"method": "iptw", "folds": 1}, "folds"),
    ],
)
def test_settings_that_cannot_be_are_refused(data, options, words):
    with pytest.raises(DataError, match=words):
        borrow_patients(data, ASKED, **options)
    with pytest.raises(EvidenceError, match="estimand"):
        borrow_patients(data, None, "iptw")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"n": ["5"]}, "too few"), ({"x": ["a"]}, "one row of numbers"), ({"y_sd": [0.0]}, "no error"), ({"z": []}, "one row")],
)
def test_a_summary_that_cannot_be_is_refused(change, words):
    row = {"n": ["400"], "y": [1.0], "y_sd": [1.0], "x": [0.0], "z": [0.5]} | change
    with pytest.raises((DataError, EvidenceError), match=words):
        aggregate_of(row, outcome="y", baseline=("x", "z"))
    with pytest.raises(DataError, match="no column"):
        aggregate_of({"n": [40], "y": [0.3]}, outcome="y", baseline=("x",))


def test_exported_members():
    for name in gemel.trials.external.__all__:
        thing = getattr(gemel.trials.external, name)
        if name not in ("LABEL", "METHODS", "PRIORS"):
            assert thing.__doc__
            assert thing.__module__.startswith("gemel.trials.external.")
