"""The audit against brute force, planted differences, and worlds without any."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from gemel.core.errors import EvidenceError
from gemel.evidence import diagnostic
from gemel.evidence.fairness.audit import Settings, audit
from gemel.evidence.fairness.scored import MISSING, Scored
from gemel.evidence.fairness.subgroups import METRICS, crps, measure

QUICK = Settings(replicates=200)


def world(n: int, seed: int = 0, *, shift: float = 0.0, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes, calibrated probabilities and two groups; ``shift`` makes b's predictions too low, ``noise`` makes them worse."""
    rng = np.random.default_rng(seed)
    group = np.where(rng.random(n) < 0.4, "b", "a")
    z = rng.normal(-0.5, 1.3, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    logit = z + np.where(group == "b", -shift + noise * rng.normal(size=n), 0.0)
    return y, 1 / (1 + np.exp(-logit)), group


def test_every_measure_equals_its_definition_on_the_rows_of_the_group():
    y, p, group = world(900)
    site = np.random.default_rng(5).choice(["x", "y", "z"], 900)
    report = audit(Scored(outcome=y, probability=p), {"group": group, "site": site}, settings=Settings(replicates=0, threshold=0.35))
    assert len(report.groups) == 2 + 3 + 6
    for g in report.groups:
        m = np.all([{"group": group, "site": site}[a] == v for a, v in g.key], axis=0)
        rates = diagnostic.rates(y[m], p[m], threshold=0.35)
        slope = diagnostic.recalibration(y[m], p[m])
        expected = {
            "prevalence": y[m].mean(), "selection_rate": (p[m] >= 0.35).mean(), "auroc": diagnostic.auroc(y[m], p[m]), "brier": np.mean((p[m] - y[m]) ** 2),
            "expected_calibration_error": diagnostic.expected_calibration_error(y[m], p[m]), "true_positive_rate": rates["sensitivity"],
            "false_positive_rate": 1 - rates["specificity"], "ppv": rates["ppv"], "npv": rates["npv"], "accuracy": rates["accuracy"],
            "net_benefit": diagnostic.net_benefit(y[m], p[m], threshold=0.35), "calibration_slope": slope.slope.value,
            "calibration_intercept": slope.intercept.value, "calibration_in_the_large": slope.large.value,
        }  # fmt: skip
        assert {k: e.value for k, e in g.metrics.items()} == pytest.approx(expected, abs=1e-9), g.label
        assert (g.rows, g.events) == (m.sum(), y[m].sum())


def test_resamples_equal_the_definition_on_copied_rows():
    y, p, _ = world(300)
    who = np.repeat(np.arange(100), 3)
    scored = Scored(outcome=y, probability=p, patient=who)
    found = measure(scored, [np.arange(300)], threshold=0.5, replicates=5, seed=3)[0]
    drawn = np.random.default_rng(3).integers(0, 100, (5, 100))
    for i, row in enumerate(drawn):
        w = np.bincount(row, minlength=100)[who]
        names = list(METRICS)
        rates = diagnostic.rates(y, p, weights=w)
        assert found.drawn[i, names.index("auroc")] == pytest.approx(diagnostic.auroc(y, p, weights=w), abs=1e-12)
        assert found.drawn[i, names.index("ppv")] == pytest.approx(rates["ppv"], abs=1e-12)
        assert found.drawn[i, names.index("brier")] == pytest.approx(diagnostic.brier(y, p, weights=w), abs=1e-12)
        full = diagnostic.recalibration(y, p, weights=w)
        # one Newton step from the slope of all is off by the square of the move, here under 0.3
        assert found.drawn[i, names.index("calibration_slope")] == pytest.approx(full.slope.value, abs=0.1)
        assert found.drawn[i, names.index("calibration_in_the_large")] == pytest.approx(full.large.value, abs=0.03)


def test_intervals_agree_with_those_of_theory():
    y, p, group = world(3000)
    report = audit(Scored(outcome=y, probability=p), {"group": group}, settings=Settings(replicates=600))
    m = group == "b"
    found = report.group(group="b").metrics
    assert found["auroc"].se == pytest.approx(diagnostic.delong(y[m], p[m]).se, rel=0.12)  # 600 resamples: the se itself is known to 3 %
    assert found["calibration_slope"].se == pytest.approx(diagnostic.recalibration(y[m], p[m]).slope.se, rel=0.15)
    share = found["prevalence"].value
    assert found["prevalence"].se == pytest.approx(math.sqrt(share * (1 - share) / m.sum()), rel=0.12)


def test_people_not_rows_make_the_interval():
    y, p, group = world(400)
    once = audit(Scored(outcome=y, probability=p), {"group": group}, settings=QUICK)
    copied = Scored(outcome=np.repeat(y, 5), probability=np.repeat(p, 5), patient=np.repeat(np.arange(400), 5))
    many = audit(copied, {"group": np.repeat(group, 5)}, settings=QUICK)
    a, b = once.group(group="b"), many.group(group="b")
    assert (b.rows, b.people) == (5 * a.rows, a.people)
    assert b.metrics["brier"].se == pytest.approx(a.metrics["brier"].se, rel=1e-9)


def test_planted_differences_are_found_where_they_are():
    y, p, group = world(6000, shift=0.8)
    report = audit(Scored(outcome=y, probability=p), {"group": group}, settings=QUICK)
    flags = {d.metric for d in report.flagged}
    assert {"calibration_in_the_large", "true_positive_rate", "false_positive_rate"} <= flags
    assert "auroc" not in flags  # a shift does not change the order within a group
    large = report.group(group="b").metrics["calibration_in_the_large"]
    assert large.low < 0.8 < large.high
    assert next(w for w in report.worst if w.metric == "calibration_in_the_large").group == "group b"
    noisy = audit(Scored(outcome=y, probability=world(6000, noise=1.5)[1]), {"group": group}, settings=QUICK)
    assert {"auroc", "calibration_slope"} <= {d.metric for d in noisy.flagged}
    assert noisy.gap("auroc", "group").lowest == "group b"


@pytest.mark.slow
def test_the_null_is_flagged_at_most_at_the_nominal_rate():
    flagged = 0
    for seed in range(60):
        y, p, group = world(600, seed)
        site = np.random.default_rng(seed + 1000).choice(["x", "y", "z"], 600)
        flagged += bool(
            audit(Scored(outcome=y, probability=p), {"group": group, "site": site}, settings=Settings(replicates=200, depth=1)).flagged
        )
    assert flagged <= 8  # P(more than 8 of 60 | 5 %) = 0.3 %; larger runs stand in benchmarks/evidence_fairness.py


def test_an_intersection_can_be_worse_than_its_margins():
    rng = np.random.default_rng(3)
    n = 8000
    a, b = rng.choice(["0", "1"], n), rng.choice(["0", "1"], n)
    z = rng.normal(0, 1.2, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    odd = (a == "1") != (b == "1")
    p = 1 / (1 + np.exp(-np.where(odd, z - 0.6, z + 0.6)))
    report = audit(Scored(outcome=y, probability=p), {"a": a, "b": b}, settings=QUICK)
    assert not [d for d in report.flagged if len(d.attributes) == 1]
    assert [d for d in report.flagged if d.attributes == ("a", "b") and d.metric == "calibration_in_the_large"]


def test_small_groups_have_no_number_anywhere():
    y, p, _ = world(400)
    group = np.array(["a"] * 250 + ["b"] * 100 + ["c"] * 38 + ["d"] * 12)
    report = audit(Scored(outcome=y, probability=p), {"g": group}, settings=QUICK)
    assert {g.label: g.standing for g in report.groups} == {"g a": "shown", "g b": "shown", "g c": "suppressed", "g d": "suppressed"}
    told = report.to_dict()
    assert all(g["rows"] is None and g["people"] is None and g["events"] is None and not g["metrics"] for g in told["groups"][2:])
    named = str([told["differences"], told["gaps"], told["worst"]])
    assert "g c" not in named
    assert "g d" not in named
    assert set(report.resampled) == {(), (("g", "a"),), (("g", "b"),)}
    assert {g.label: g.standing for g in audit(Scored(outcome=y[:150], probability=p[:150]), {"g": group[200:350]}, settings=QUICK).groups} == {
        "g a": "few", "g b": "shown",
    }  # fmt: skip


def test_what_cannot_be_assessed_is_said_and_never_called_fair():
    y, p, group = world(300)
    report = audit(Scored(outcome=y, probability=p), {"sex": None, "race": [""] * 300, "group": group}, settings=QUICK, elsewhere=("age",))
    assert set(report.not_assessable) == {"sex", "race"}
    assert "sex" in report.not_collected
    assert "age" not in report.not_collected
    assert audit(Scored(outcome=y, probability=p), {"sex": None}, settings=QUICK).summary.startswith("Not assessable")
    assert "fair" not in str(report.to_dict()).lower()
    summaries = []
    for seed in range(6):
        y, p, group = world(300, seed)
        summaries.append(audit(Scored(outcome=y, probability=p), {"g": group}, settings=QUICK).summary)
    assert (
        sum("does not show that there is none" in s for s in summaries) >= 4
    )  # two of six flagged by chance: 3 %, and the seeds are fixed


def test_missing_labels_are_a_group_that_is_not_compared():
    y, p, group = world(600)
    group = group.astype("<U9")
    group[:80] = ""
    report = audit(Scored(outcome=y, probability=p), {"g": group}, settings=QUICK)
    assert report.group(g=MISSING).rows == 80
    assert not any(MISSING in d.group + d.reference for d in report.differences)
    assert any("80 of 600 rows have no label" in note for note in report.notes)


def test_missing_outcomes_are_counted():
    y, p, group = world(600)
    y[:90] = np.nan
    report = audit(Scored(outcome=y, probability=p), {"g": group}, settings=QUICK)
    assert report.counts["outcome_missing"] == 90
    assert any("INCOMPLETE" in note for note in report.notes)
    assert report.overall.metrics["prevalence"].value == pytest.approx(y[90:].mean())


def test_forecasts_alarms_and_abstentions():
    rng = np.random.default_rng(1)
    n = 4000
    group = rng.choice(["a", "b"], n)
    value = rng.normal(0, np.where(group == "b", 1.5, 1.0))
    levels = tuple(np.linspace(0.01, 0.99, 99))
    from scipy import stats

    quantiles = np.tile(stats.norm.ppf(levels), (n, 1))
    abstained = rng.random(n) < np.where(group == "b", 0.3, 0.1)
    scored = Scored(
        value=value, lower=np.full(n, -1.645), upper=np.full(n, 1.645), level=0.9, quantiles=quantiles, levels=levels, abstained=abstained,
        alarmed=rng.random(n) < np.where(group == "b", 0.2, 0.1), days=np.full(n, 0.5),
    )  # fmt: skip
    report = audit(scored, {"g": group}, settings=QUICK)
    a, b = report.group(g="a").metrics, report.group(g="b").metrics
    assert a["coverage"].low < 0.9 < a["coverage"].high
    assert b["coverage"].low < 2 * stats.norm.cdf(1.645 / 1.5) - 1 < b["coverage"].high
    assert a["width"].value == pytest.approx(3.29)
    assert a["crps"].value == pytest.approx(1 / math.sqrt(math.pi), abs=0.03)  # the CRPS of a standard normal that is right
    assert b["alarm_burden"].value == pytest.approx(100 * 0.2 / 0.5, rel=0.15)  # per 100 patient-days
    assert {"coverage", "crps", "abstention_rate", "alarm_burden"} <= {d.metric for d in report.flagged}
    assert "auroc" not in a


def test_crps_of_quantiles_nears_the_closed_form():
    from scipy import stats

    levels = (np.arange(2000) + 0.5) / 2000
    found = crps(np.array([0.7]), stats.norm.ppf(levels)[None], levels)[0]
    z = 0.7
    assert found == pytest.approx(z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi), abs=1e-3)


@pytest.mark.parametrize(
    ("groups", "settings", "says"),
    [
        ({"g": ["a"] * 5}, QUICK, "differ in number"),
        ({"g": list(range(300))}, QUICK, "band it"),
        ({"g": ["a", "b"] * 150}, Settings(threshold=0), "threshold"),
    ],
)
def test_refused(groups, settings, says):
    y, p, _ = world(300)
    with pytest.raises(EvidenceError, match=says):
        audit(Scored(outcome=y, probability=p), groups, settings=settings)


def test_refused_references_leaks_and_handfuls():
    y, p, group = world(300)
    with pytest.raises(EvidenceError, match="reference group is not shown"):
        audit(Scored(outcome=y, probability=p), {"g": group}, settings=QUICK, reference={"g": "z"})
    assert {
        d.reference for d in audit(Scored(outcome=y, probability=p), {"g": group}, settings=QUICK, reference={"g": "b"}).differences
    } == {"g b"}
    with pytest.raises(EvidenceError, match="leaks"):
        audit(Scored(outcome=y, probability=p, inputs={"code": y}), {"g": group}, settings=QUICK)
    with pytest.raises(EvidenceError, match="too few people"):
        audit(Scored(outcome=y, probability=p, patient=np.arange(300) % 7), {"g": group}, settings=QUICK)


def test_a_hundred_thousand_rows_and_twenty_groups():
    y, p, _ = world(100_000)
    group = np.random.default_rng(0).integers(0, 20, 100_000)
    begin = time.process_time()
    report = audit(Scored(outcome=y, probability=p), {"g": group}, settings=Settings(replicates=0))
    assert time.process_time() - begin < 10
    assert len(report.groups) == 20
    assert "no resamples" in report.summary
