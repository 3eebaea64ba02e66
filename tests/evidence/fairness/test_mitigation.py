"""Remedies do what their papers promise, on people they were not made from, and say what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core.errors import EvidenceError, FormatError
from gemel.evidence.diagnostic import recalibration
from gemel.evidence.fairness import mitigation as m
from gemel.evidence.fairness import public_synthetic
from gemel.evidence.fairness.audit import Settings
from gemel.evidence.fairness.mitigation.adversarial import Adversary, Predictor, combine
from gemel.evidence.fairness.planted import PlantedBias
from gemel.evidence.fairness.scored import Scored

QUICK = Settings(replicates=200)


def people(n: int, seed: int = 0):
    """Two groups: one input is about the outcome, one is about the group, and outcomes are less frequent in b."""
    rng = np.random.default_rng(seed)
    group = np.where(rng.random(n) < 0.5, "a", "b")
    z = rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-(1.2 * z - 0.4 + 1.2 * (group == "a"))))).astype(float)
    inputs = {"signal": z, "about group": (group == "a") + rng.normal(0, 0.5, n), "site": rng.choice(["x", "y"], n)}
    return y, group, inputs


def test_reweighing_makes_group_and_outcome_independent():
    y, group, _ = people(500)
    w = m.reweighing(y, group)
    assert w.sum() == pytest.approx(len(y))
    assert w @ y == pytest.approx(y.sum())
    rate = [w[group == g] @ y[group == g] / w[group == g].sum() for g in "ab"]
    assert rate == pytest.approx([y.mean()] * 2)


def test_reweighing_narrows_the_selection_gap_and_says_what_it_costs():
    y, group, inputs = people(5000)
    found = m.mitigate("reweighing", Scored(outcome=y, probability=np.full(5000, 0.5), inputs=inputs), {"g": group}, settings=QUICK)
    before, after = (report.gap("selection_rate", "g").difference.value for report in (found.before, found.after))
    assert after < 0.75 * before
    assert found.costs
    assert any(c.group == "g a" for c in found.costs)
    assert "not the predictions of the file" in " ".join(found.notes)
    assert found.to_dict()["name"] == "reweighing"


@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize("goal", ["equalised odds", "demographic parity"])
def test_gradients_are_those_of_finite_differences(hidden, goal):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20, 3)), rng.integers(0, 2, 20).astype(float)
    each = np.eye(3)[rng.integers(0, 3, 20)]
    size = 3 * hidden + 2 * hidden + 1 if hidden else 4
    predictor = Predictor(rng.normal(size=size), 3, hidden)
    adversary = Adversary(rng.normal(size=1 + (4 if goal == "equalised odds" else 2) * 3), 3, goal)

    def loss(w, v):
        return Adversary(v, 3, goal).loss(Predictor(w, 3, hidden).forward(x)[0], y, each)[0]

    def numeric(f, at):
        return np.array([(f(at + e) - f(at - e)) / 2e-6 for e in 1e-6 * np.eye(len(at))])

    logit, inner = predictor.forward(x)
    _, own, on_logit = adversary.loss(logit, y, each)
    # central differences of step 1e-6: rounding 1e-16/1e-6
    assert own == pytest.approx(numeric(lambda v: loss(predictor.weights, v), adversary.weights), abs=1e-8)
    assert predictor.backward(x, inner, on_logit) == pytest.approx(
        numeric(lambda w: loss(w, adversary.weights), predictor.weights), abs=1e-8
    )


def test_the_step_never_helps_the_adversary():
    rng = np.random.default_rng(0)
    for _ in range(50):
        own, against = rng.normal(size=(2, 7))
        step = combine(own, against, 0.7)
        assert -step @ against == pytest.approx(0.7 * against @ against)  # the step is -gradient: the adversary's loss rises
    assert combine(own, 0 * own, 1.0) == pytest.approx(own)


def test_an_adversary_narrows_the_gap_of_selection_at_a_price():
    y, group, inputs = people(4000)
    scored = Scored(outcome=y, probability=np.full(4000, 0.5), inputs=inputs)
    found = m.mitigate("adversarial-parity", scored, {"g": group}, settings=QUICK)
    before, after = (report.gap("selection_rate", "g").difference.value for report in (found.before, found.after))
    assert after < 0.6 * before
    assert found.after.overall.metrics["auroc"].value > 0.65
    assert any(c.metric == "auroc" for c in found.costs)
    x = m.design(inputs)[0]
    one, two = (m.train_adversarial(x[:500], y[:500], group[:500], epochs=2, seed=3).weights for _ in range(2))
    assert (one == two).all()


def test_without_an_adversary_it_is_a_logistic_regression():
    y, group, inputs = people(2000)
    x, names = m.design(inputs)
    assert names == ("signal", "about group", "site=y")
    network = m.train_adversarial(x, y, group, alpha=0, hidden=0, epochs=200, batch=2000, rate=0.05)
    assert network(x) == pytest.approx(m.logistic(x, y, np.arange(2000), ridge=0.0), abs=2e-3)  # Adam stops near, not at, the maximum


def test_multicalibration_leaves_no_group_at_any_level_off():
    rng = np.random.default_rng(1)
    n = 20_000
    a, b = rng.choice(["0", "1"], n), rng.choice(["x", "y", "z"], n)
    z = rng.normal(0, 1, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-(z + 0.7 * (a == "1") - 0.7 * (b == "z"))))).astype(float)
    p = 1 / (1 + np.exp(-z))
    found = m.multicalibrate(y, p, {"a": a, "b": b}, tolerance=0.02, fewest=200)
    after = found(p, {"a": a, "b": b})
    assert found.is_done
    level = np.clip((after * 10).astype(int), 0, 9)
    for column in (np.full(n, ""), a, b):
        for label in np.unique(column):
            for v in range(10):
                rows = (column == label) & (level == v)
                if rows.sum() >= 200:
                    assert abs(np.mean(y[rows] - after[rows])) <= 0.02
    assert np.mean((after - y) ** 2) < np.mean((p - y) ** 2)
    assert not m.multicalibrate(y, p, {"a": a}, most=1).is_done


def test_recalibration_gives_each_group_intercept_zero_and_slope_one():
    rng = np.random.default_rng(1)
    n = 30_000
    z, group = rng.normal(size=n), np.where(np.arange(n) % 3, "a", "b")
    y = (rng.random(n) < 1 / (1 + np.exp(-np.where(group == "b", 0.5 + 0.5 * z, z)))).astype(float)
    p = 1 / (1 + np.exp(-z))
    found = m.recalibrate_groups(y, p, group)
    for name in "ab":
        again = recalibration(y[group == name], found(p, group)[group == name])
        assert (again.intercept.value, again.slope.value) == pytest.approx((0, 1), abs=1e-5)
    assert m.recalibrate_groups(y[:12], p[:12], group[:12]).left == ("a", "b")
    after = m.mitigate("recalibration", Scored(outcome=y, probability=p), {"g": group}, settings=QUICK)
    slope = after.after.group(g="b").metrics["calibration_slope"]
    assert abs(slope.value - 1) < 4 * 2**0.5 * slope.se  # half of the noise is that of the half it was made from
    assert any(c.is_better and (c.group, c.metric) == ("g b", "calibration_slope") for c in after.changes)


def test_conformal_holds_its_level_in_every_group():
    rng = np.random.default_rng(5)
    held = {"a": [], "b": []}
    for _ in range(400):
        group = np.repeat(["a", "b"], [60, 40])
        value = rng.normal(0, np.where(group == "a", 1.0, 3.0))
        found = m.conformal_groups(value, np.full(100, -1.0), np.full(100, 1.0), group, level=0.8)
        for name, sd in (("a", 1.0), ("b", 3.0)):
            low, high = found(np.array([-1.0] * 50), np.array([1.0] * 50), np.array([name] * 50))
            fresh = rng.normal(0, sd, 50)
            held[name].append(np.mean((fresh >= low) & (fresh <= high)))
    for name, n in (("a", 60), ("b", 40)):
        share, se = np.mean(held[name]), np.std(held[name]) / 20
        assert 0.8 - 4 * se < share < 0.8 + 1 / (n + 1) + 4 * se
    few = m.conformal_groups(np.arange(30.0), np.zeros(30), np.ones(30), np.array(["a"] * 27 + ["c"] * 3), level=0.9)
    assert few.left == ("c",)
    assert few(np.zeros(1), np.ones(1), np.array(["new"]))[1][0] == 1 + few.pooled
    with pytest.raises(EvidenceError, match="9 or more"):
        m.conformal_groups(np.arange(5.0), np.zeros(5), np.ones(5), np.array(["a"] * 5), level=0.9)


def test_conformal_by_name_and_its_price_in_width():
    rng = np.random.default_rng(2)
    group = rng.choice(["a", "b"], 3000)
    value = rng.normal(0, np.where(group == "a", 1.0, 2.0))
    scored = Scored(value=value, lower=np.full(3000, -2.2), upper=np.full(3000, 2.2), level=0.9)
    found = m.mitigate("conformal", scored, {"g": group}, settings=QUICK)
    assert found.before.group(g="b").metrics["coverage"].high < 0.9
    after = found.after.group(g="b").metrics["coverage"]
    assert after.low < 0.9 < after.high
    assert any((c.group, c.metric) == ("g b", "width") for c in found.costs)


def test_changing_the_label_is_shown_on_other_people():
    people = PlantedBias().draw(3000, seed=1)
    rng = np.random.default_rng(0)
    x = m.design({"one": people.need + rng.normal(0, 0.4, 6000), "two": people.need + rng.normal(0, 0.4, 6000)})[0]
    found = m.change_label(people.score, people.need, people.group, x, reference="A", replicates=150, seed=4)
    assert found.counts["rows_used"] == 3000
    assert found.group("B").before.is_flagged
    assert found.group("B").reduction.low > 0.5


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("magic", {}, "no such remedy"),
        ("conformal", {}, "--value"),
        ("reweighing", {}, "inputs"),
        ("recalibration", {"keep_certain": True, "probability": np.r_[1.0, np.full(299, 0.5)]}, "exactly 0 or 1"),
    ],
)
def test_refused(name, given, says):
    y, group, _ = people(300)
    with pytest.raises(EvidenceError, match=says):
        m.mitigate(name, Scored(**{"outcome": y, "probability": np.full(300, 0.5)} | given), {"g": group}, settings=QUICK)


def test_halves_share_no_person():
    scored = Scored(outcome=[0, 1] * 50, probability=[0.5] * 100, patient=np.arange(100) % 20)
    one, two = m.halves(scored, seed=1)
    assert not set(one % 20) & set(two % 20)
    assert len(one) + len(two) == 100
    with pytest.raises(EvidenceError, match="too few people"):
        m.halves(Scored(outcome=[0, 1], probability=[0.5, 0.5], patient=[1, 1]), seed=0)


def test_inputs_that_cannot_be_learnt_from():
    x, names = m.design({"n": np.array(["1", "", "3"]), "same": np.ones(3)})
    assert names == ("n", "n missing")
    assert x.mean(axis=0) == pytest.approx([0, 0])
    with pytest.raises(EvidenceError, match="too many words"):
        m.design({"id": np.array([f"p{i}" for i in range(40)])})


@pytest.fixture
def public_file(tmp_path):
    """A file with the columns of the public one and people of ours: costs run lower in one group at equal need."""
    rng = np.random.default_rng(0)
    n = 6000
    black = rng.random(n) < 0.3
    burden = rng.gamma(1.5, 1.0, n)
    conditions = rng.poisson(burden)
    earlier = rng.poisson(burden)
    cost, before = (np.round(np.exp(6 + 0.5 * np.sqrt(burden + 1) * 2 - 0.5 * black + rng.normal(0, 0.5, n)), 0) for _ in range(2))
    rows = ["race,risk_score_t,cost_t,cost_avoidable_t,gagne_sum_t,gagne_sum_tm1,cost_tm1,dem_female,age_tm1,race_tm1,flat_tm1"]
    rows += [
        f"{'black' if b else 'white'},{before[i] / 1000:.3f},{cost[i]:.0f},{cost[i] * 0.1:.1f},{conditions[i]},{earlier[i]},{before[i]:.0f},{i % 2},{50 + i % 30},{int(b)},1"
        for i, b in enumerate(black)
    ]
    path = tmp_path / "made_up.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_the_reader_of_the_public_file_on_a_made_up_one(public_file):
    file = public_synthetic.read_public_file(public_file)
    assert file.names == ("gagne_sum_tm1", "cost_tm1", "age_tm1")  # never race, nothing that does not vary, nothing of the year itself
    assert not file.is_the_known_file
    assert len(public_synthetic.SHA256) == 64
    found = {a.label: a.audit for a in public_synthetic.audit_labels(file, replicates=100, bins=40)}
    assert set(found) == {"log cost", "log avoidable cost", "active chronic conditions", "the file's own score"}
    cost = found["log cost"].group("black")
    assert cost.reference == "white"
    assert cost.before.gap.low > 0
    assert cost.reduction.value > 0
    assert cost.after.share_above.value > cost.before.share_above.value
    assert found["active chronic conditions"].group("black").reduction.value == 0
    assert {c.label for c in found["log cost"].concentrations} == {"cost", "active chronic conditions"}


@pytest.mark.parametrize("body", ["", "a,b\n1,2\n", "race,cost_t,cost_avoidable_t,gagne_sum_t,x_tm1\nblack,1,2,x,4\n", "\xff"])
def test_other_files_are_refused(tmp_path, body):
    path = tmp_path / "other.csv"
    path.write_bytes(body.encode("latin-1"))
    with pytest.raises(FormatError):
        public_synthetic.read_public_file(path)
