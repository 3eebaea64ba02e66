"""Diagnostic figures against published examples, brute force and independent solvers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from gemel.core.errors import EvidenceError
from gemel.evidence import diagnostic as d


@pytest.fixture
def rows():
    rng = np.random.default_rng(4)
    logit = rng.normal(-1, 1.2, 400)
    y = (rng.random(400) < 1 / (1 + np.exp(-(0.3 + 0.8 * logit)))).astype(float)
    return y, 1 / (1 + np.exp(-logit)), np.round(logit + rng.normal(0, 1, 400), 1)


def kernel(a: float, b: float) -> float:
    return 1.0 if a > b else 0.5 if a == b else 0.0


def test_auroc_is_the_share_of_pairs_in_order(rows):
    y, _, score = rows
    pairs = [kernel(a, b) for a, b in itertools.product(score[y == 1], score[y == 0])]
    assert d.auroc(y, score) == pytest.approx(np.mean(pairs), abs=1e-13)


def test_delong_is_the_covariance_of_placement_values_by_brute_force(rows):
    y, p, score = rows
    v10, v01 = [], []
    for s in (p, score):
        table = np.array([[kernel(a, b) for b in s[y == 0]] for a in s[y == 1]])
        v10.append(table.mean(axis=1))
        v01.append(table.mean(axis=0))
    covariance = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    area = [v.mean() for v in v10]
    found = d.compare_auroc(y, p, score)
    se = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.difference.se == pytest.approx(se, rel=1e-10)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(area[0] - area[1]) / se), rel=1e-9)
    assert d.delong(y, score).se == pytest.approx(math.sqrt(covariance[1, 1]), rel=1e-10)


def test_obuchowski_equals_delong_with_one_row_a_person_and_ignores_copies(rows):
    y, p, _ = rows
    alone = d.delong(y, p)
    assert d.delong(y, p, patient=np.arange(len(y))).se == alone.se
    twice = d.delong(np.tile(y, 2), np.tile(p, 2), patient=np.tile(np.arange(len(y)), 2))
    # every row copied: the same people, so the same width (factors n/(n-1) of 149 and 251 people apart)
    assert twice.se == pytest.approx(alone.se, rel=0.01)
    assert d.delong(np.tile(y, 2), np.tile(p, 2)).se < 0.75 * alone.se


def test_delong_holds_its_level():
    rng = np.random.default_rng(1)
    truth, held = stats.norm.cdf(1 / math.sqrt(2)), 0
    for _ in range(600):
        y = np.repeat([1, 0], [60, 90])
        found = d.delong(y, rng.normal(size=150) + y)
        held += found.low <= truth <= found.high
    assert 0.92 < held / 600 < 0.98  # binomial 99 % limits of 0.95 at 600 are 0.927 and 0.973; DeLong's normal interval is a little short


def test_average_precision_on_a_worked_example():
    # 1: precision 1 at recall 1/2; 3rd: precision 2/3 at recall 1
    assert d.auprc([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert d.auprc([1, 0, 0, 0], [0.5] * 4) == pytest.approx(0.25)


def test_rates_of_a_two_by_two_table():
    y = np.repeat([1, 1, 0, 0], [30, 10, 20, 140])
    p = np.repeat([0.9, 0.1, 0.9, 0.1], [30, 10, 20, 140])
    found = d.rates(y, p)
    assert found == pytest.approx(
        {
            "sensitivity": 0.75,
            "specificity": 0.875,
            "ppv": 0.6,
            "npv": 140 / 150,
            "selection_rate": 0.25,
            "prevalence": 0.2,
            "accuracy": 0.85,
        }
    )
    assert d.rates(y, p, weights=np.full(200, 3)) == pytest.approx(found)
    assert math.isnan(d.rates([0, 0], [0.1, 0.2])["sensitivity"])


def test_net_benefit_is_tp_less_weighted_fp():
    y = np.repeat([1, 1, 0, 0], [30, 10, 20, 140])
    p = np.repeat([0.9, 0.1, 0.9, 0.1], [30, 10, 20, 140])
    assert d.net_benefit(y, p, threshold=0.2) == pytest.approx(30 / 200 - 20 / 200 * 0.25)


def test_recalibration_equals_an_independent_optimiser_and_its_hessian(rows):
    y, p, _ = rows
    logit = np.log(p / (1 - p))
    x = np.column_stack([np.ones_like(logit), logit])

    def loss(b):
        return np.sum(np.logaddexp(0, x @ b) - y * (x @ b))

    best = optimize.minimize(loss, [0, 1], method="BFGS", options={"gtol": 1e-10, "maxiter": 500})
    found = d.recalibration(y, p)
    assert [found.intercept.value, found.slope.value] == pytest.approx(best.x, abs=1e-6)  # BFGS stops at a gradient of about 1e-7
    m = 1 / (1 + np.exp(-x @ best.x))
    se = np.sqrt(np.diag(np.linalg.inv((x * (m * (1 - m))[:, None]).T @ x)))
    assert [found.intercept.se, found.slope.se] == pytest.approx(se, rel=1e-5)
    shift = optimize.brentq(lambda a: np.sum(y - 1 / (1 + np.exp(-(a + logit)))), -5, 5, xtol=1e-14)
    assert found.large.value == pytest.approx(shift, abs=1e-9)


def test_weights_are_copies(rows):
    y, p, score = rows
    w = np.random.default_rng(0).integers(0, 4, len(y))
    yy, pp, ss = np.repeat(y, w), np.repeat(p, w), np.repeat(score, w)
    for f in (d.auroc, d.auprc):
        assert f(y, score, weights=w) == pytest.approx(f(yy, ss), abs=1e-12)
    for f in (d.brier, d.expected_calibration_error):
        assert f(y, p, weights=w) == pytest.approx(f(yy, pp), abs=1e-12)
    assert d.recalibration(y, p, weights=w).slope.value == pytest.approx(d.recalibration(yy, pp).slope.value, abs=1e-7)


def test_clustered_slope_does_not_shrink_when_rows_are_copied(rows):
    y, p, _ = rows
    who = np.tile(np.arange(len(y)), 3)
    one = d.recalibration(y, p, patient=np.arange(len(y)))
    copied = d.recalibration(np.tile(y, 3), np.tile(p, 3), patient=who)
    assert copied.slope.se == pytest.approx(one.slope.se, rel=1e-6)


def test_calibration_error_of_two_bins():
    assert d.expected_calibration_error([1, 0, 1, 1], [0.2, 0.2, 0.9, 0.9], bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.1)
    assert d.brier([1, 0], [0.8, 0.3]) == pytest.approx((0.04 + 0.09) / 2)


def test_bland_altman_of_the_peak_flow_meters():
    # Bland and Altman 1986, table 1: Wright and mini meter, first measurements, l/min
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = d.bland_altman(wright, mini)
    # his text: mean -2.1, SD 38.8 l/min; interval of the bias -22.0 to 17.8, of the lower limit -114.3 to -45.1 with 2 SD; 1.96 here
    assert found.bias.value == pytest.approx(-2.1, abs=0.05)
    assert (found.bias.low, found.bias.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    assert found.upper.value - found.lower.value == pytest.approx(2 * 1.95996 * 38.8, abs=0.3)


def test_agreement_with_many_pairs_a_person_is_over_people():
    rng = np.random.default_rng(2)
    person = np.repeat(np.arange(30), 40)
    between = rng.normal(0, 1, 30)
    a = between[person] + rng.normal(0, 0.1, 1200)
    found = d.bland_altman(a, np.zeros(1200), patient=person, replicates=400)
    assert found.bias.high - found.bias.low == pytest.approx(2 * 1.96 * between.std(ddof=1) / math.sqrt(30), rel=0.2)
    assert found.people == 30
    with pytest.raises(EvidenceError, match="too few people"):
        d.bland_altman([1, 2, 3], [1, 2, 3], patient=[1, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"value": 3.9, "low": 1.8, "high": 8.7}, (7.26, 3.0)),  # VanderWeele and Ding 2017: formula feeding and respiratory death
        ({"value": 0.8, "low": 0.71, "high": 0.91}, (1.81, 1.43)),  # the same: breast feeding and leukaemia; by hand 1/0.8 and 1/0.91
        ({"value": 1.2, "low": 0.9, "high": 1.6}, (1.69, 1.0)),  # holds one
    ],
)
def test_published_e_values(arguments, expected):
    assert d.e_value(**arguments) == pytest.approx(expected, abs=0.006)


def test_e_values_of_odds_and_hazards():
    assert d.e_value(4.0, kind="OR")[0] == pytest.approx(2 + math.sqrt(2))  # sqrt(4) = 2
    assert d.e_value(4.0, kind="OR", is_rare=True)[0] == pytest.approx(4 + math.sqrt(12))
    ratio = (1 - 0.5 ** math.sqrt(2)) / (1 - 0.5 ** math.sqrt(0.5))
    assert d.e_value(2.0, kind="HR")[0] == pytest.approx(ratio + math.sqrt(ratio * (ratio - 1)))
    assert d.e_value(0.5)[0] == pytest.approx(d.e_value(2.0)[0])
    assert d.e_value(1.0) == (1.0, None)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: d.auroc([0, 2], [0.1, 0.2]), "neither 0 nor 1"),
        (lambda: d.auroc([0, 1], [0.1, np.nan]), "missing"),
        (lambda: d.auroc([0, 1], [0.1]), "one length"),
        (lambda: d.recalibration([0, 1, 0], [0.1, 1.0, 0.3]), "in row 1"),
        (lambda: d.recalibration([0, 0, 0], [0.1, 0.2, 0.3]), "one kind"),
        (lambda: d.recalibration([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]), "perfectly"),
        (lambda: d.delong([1, 0, 0], [0.1, 0.2, 0.3]), "two of each"),
        (lambda: d.net_benefit([1, 0], [0.1, 0.2], threshold=1), "between 0 and 1"),
        (lambda: d.e_value(-1), "positive"),
        (lambda: d.e_value(2, low=3), "outside its interval"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(EvidenceError, match=says):
        call()
