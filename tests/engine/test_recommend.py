"""``recommend``: limits, reasons to abstain, the value of information, and the explanation."""

from dataclasses import replace

import numpy as np
import pytest
from _toys import KEY, calibrated

from gemel.core.advice import AbstentionReason
from gemel.core.errors import DomainError, ModelError
from gemel.engine.explain import carriers, influence
from gemel.engine.forecast import compare
from gemel.engine.model import Domain
from gemel.engine.plan import ContinuousPlans, GridPlans
from gemel.engine.recommend import Abstained, Choice, Limit, Objective, recommend
from gemel.engine.status import Status
from gemel.twins.toys import growth_room, linear_room
from gemel.twins.toys.plans import TARGET

LINEAR = linear_room.objective()


def advise(twin, plans=None, objective=LINEAR, limits=(), n=256, **more):
    return recommend(
        twin, linear_room.plans(twin) if plans is None else plans, objective, limits, times=twin.times(600, 1440), n=n, key=KEY, **more
    )


def dose(twin, amount):
    return twin.observed.plan.with_events((float(twin.model_time(np.array([twin.now]))[0]) + 1.0, 0.0, amount, 0))


def test_the_best_plan_is_chosen_and_explained():
    twin = calibrated("toy-linear")
    advice = advise(twin)
    assert isinstance(advice, Choice)
    assert advice.plan == advice.ranking[0].plan == "2 mg"
    assert advice.ranking[0].utility >= advice.ranking[1].utility >= advice.ranking[2].utility
    assert sum(s.probability_best for s in advice.ranking) == pytest.approx(1.0)
    assert advice.evpi >= 0
    told = advice.explanation
    assert next(iter(told["parameters"])) == "response"
    assert {"best", "second", "gain", "parameters", "flip", "data"} <= set(told)
    assert told["gain"]["low"] <= told["gain"]["mean"] <= told["gain"]["high"]
    proposal = advice.proposal()
    assert proposal.choice == "2 mg"
    assert proposal.lineage.parents == (twin.lineage.id,)


def test_growth_keeps_its_hard_wall():
    twin = calibrated("toy-growth")
    limits = growth_room.limits()
    advice = recommend(twin, growth_room.plans(twin), growth_room.objective(), limits, times=growth_room.times(twin), n=128, key=KEY)
    assert isinstance(advice, Choice)
    assert advice.plan == "three doses of 6 mg"
    wall = next(s for s in advice.ranking if s.plan == "30 mg at once")
    assert not wall.feasible
    assert wall.violations == {"largest dose": 1.0}
    assert wall.probability_best == 0.0  # what may not be done cannot be best
    assert advice.explanation["data"]


def test_the_wall_also_holds_for_what_is_already_planned():
    twin = calibrated("toy-linear")
    forbidden = Limit("anything at all", 0.0, check=lambda plan: "there are doses" if plan.events else None)
    advice = advise(twin, {"as planned": None}, limits=(forbidden,))
    assert isinstance(advice, Abstained)
    assert advice.reason == AbstentionReason.NO_FEASIBLE_PLAN


def test_no_feasible_plan():
    advice = advise(calibrated("toy-linear"), limits=(Limit("always", 0.05, violated=lambda f: np.ones(len(f.draws), bool)),))
    assert isinstance(advice, Abstained)
    assert advice.reason == AbstentionReason.NO_FEASIBLE_PLAN
    assert "always" in advice.sentence
    assert len(advice.ranking) == 3
    assert advice.proposal().choice is None


def test_only_plan_left():
    twin = calibrated("toy-linear")
    limit = Limit("dose", 0.0, check=lambda plan: "too much" if len(plan.events) > len(twin.observed.plan.events) else None)
    advice = advise(twin, limits=(limit,))
    assert isinstance(advice, Choice)
    assert advice.plan == "no dose"
    assert advice.evpi == 0.0


def test_plans_that_cannot_be_told_apart():
    twin = calibrated("toy-linear")
    plans = {"2.00 mg": dose(twin, 2.0), "2.01 mg": dose(twin, 2.01)}
    even = Objective("nearness", "[arb'U]", lambda f: -((f.draws[:, -1, 0] - f.draws[:, -1, 0].mean()) ** 2), threshold=0.99)
    advice = advise(twin, plans, even)
    assert isinstance(advice, Abstained)
    assert advice.reason == AbstentionReason.INDISTINGUISHABLE
    assert advice.evpi >= 0
    first = advise(twin, plans, even, measuring_cost=-1.0)
    assert first.reason == AbstentionReason.MEASURE_FIRST
    assert "worth" in first.sentence


def test_first_among_many_that_do_the_same_is_no_choice():
    """Six plans that tie in most draws: one is best in 23 % of them, more than its share, and beats the second, best in 20 %, hardly more than half the time."""
    twin = calibrated("toy-linear")
    plans = {f"{k} mg": dose(twin, float(k)) for k in range(6)}
    winner = np.searchsorted(np.cumsum([0.23, 0.20, 0.15, 0.14, 0.14]), (np.arange(1000) + 0.5) / 1000)
    tie = Objective("nothing that matters", "1", lambda f: 1e-9 * (winner == int(f.plan[0])))
    found = advise(twin, plans, tie, n=1000)
    assert isinstance(found, Abstained)
    assert found.reason == AbstentionReason.INDISTINGUISHABLE
    assert "beats '1 mg' with probability 52% only" in found.sentence
    assert found.ranking[0].probability_best == pytest.approx(0.23)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"domain": Domain(AbstentionReason.OUT_OF_DOMAIN, "too young")}, AbstentionReason.OUT_OF_DOMAIN),
        ({"status": Status.PRIOR_DATA_CONFLICT}, AbstentionReason.PRIOR_DATA_CONFLICT),
        ({"status": Status.PSIS_TOO_HEAVY}, AbstentionReason.POSTERIOR_NOT_USABLE),
    ],
)
def test_gates_make_it_abstain(changes, reason):
    advice = advise(replace(calibrated("toy-linear"), **changes))
    assert isinstance(advice, Abstained)
    assert advice.reason == reason
    assert advice.sentence


def test_a_forecast_without_numbers_makes_it_abstain():
    twin = calibrated("toy-growth")
    broken = replace(twin, stream=replace(twin.stream, rows=np.full_like(twin.stream.rows, np.nan)))
    advice = recommend(broken, growth_room.plans(twin), growth_room.objective(), times=growth_room.times(twin), n=128, key=KEY)
    assert isinstance(advice, Abstained)
    assert advice.reason == AbstentionReason.POSTERIOR_NOT_USABLE


def test_grid_and_continuous_spaces_find_the_dose():
    twin = calibrated("toy-linear")
    smooth = Objective("closeness", "[arb'U]", lambda f: -((f.draws[:, 0, 0] - TARGET) ** 2), threshold=0.0)
    grid = GridPlans({"dose": [0.0, 2.0, 4.0, 8.0]}, lambda s: dose(twin, s["dose"]))
    advice = advise(twin, grid, smooth)
    assert advice.plan in {"dose 2", "dose 4"}
    space = ContinuousPlans({"dose": (0.0, 10.0)}, lambda s: dose(twin, s["dose"]), evaluations=48)
    found = advise(twin, space, smooth, n=128)
    assert isinstance(found, Choice)
    best = float(found.plan.removeprefix("dose "))
    from gemel.twins.toys.model import exact_posterior

    mean, covariance = exact_posterior(twin.model, twin.observed)
    base = np.asarray(twin.model.design(twin.observed.plan, twin.model_time(twin.times(600)), twin.observed.context))[0]
    # least E[(base + (d c) - target)^2]: the derivative in d is linear
    exact = -(base @ covariance[:, 2] + (base @ mean - TARGET) * mean[2]) / (mean[2] ** 2 + covariance[2, 2])
    assert best == pytest.approx(exact, abs=1.0)  # 128 draws with noise 0.5 in a parabola: about 0.3
    with pytest.raises(DomainError, match="interval"):
        ContinuousPlans({"dose": (1.0, 1.0)}, lambda s: None)


def test_bad_questions_are_refused():
    twin = calibrated("toy-linear")
    with pytest.raises(ModelError, match="no plan"):
        advise(twin, {})
    with pytest.raises(ModelError, match="one utility per draw"):
        advise(twin, objective=Objective("mean", "1", lambda f: f.draws[:3, 0, 0]))


def test_evpi_of_two_actions_is_known():
    """Net benefit ~ N(m, s^2) against 0: EVPI = s phi(m/s) - |m| Phi(-|m|/s)."""
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    gain = rng.normal(0.4, 1.3, 200_000)
    kept = np.stack([gain, np.zeros_like(gain)], axis=1)
    evpi = kept.max(axis=1).mean() - kept.mean(axis=0).max()
    exact = 1.3 * norm.pdf(0.4 / 1.3) - 0.4 * norm.cdf(-0.4 / 1.3)
    assert evpi == pytest.approx(exact, abs=3 * 1.3 / np.sqrt(200_000))


def test_carriers_share_the_variance():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(4000, 3)) * [1.0, 2.0, 0.5]
    gain = 3 * z[:, 0] + 0.5 * z[:, 1] + 5.0
    share, flip = carriers(z, ("a", "b", "c"), gain)
    assert next(iter(share)) == "a"
    assert share["a"] == pytest.approx(0.9, abs=0.03)
    assert sum(share.values()) == pytest.approx(1.0, abs=1e-3)
    assert flip["a"] == pytest.approx(-5 / 3, abs=0.1)
    assert carriers(z, ("a", "b", "c"), np.ones(4000)) == ({}, {})


def test_influence_agrees_with_leaving_out():
    """In the linear toy the mean gain without a datum is known in closed form."""
    from gemel.engine.data import Dataset
    from gemel.twins.toys.model import exact_posterior

    twin = calibrated("toy-linear")
    z = np.asarray(twin.inference.posterior.draw(4000, key=KEY))
    told = influence(twin.model, z, twin.observed, z[:, 2])
    use = np.asarray(twin.observed.data.mask)
    time, value = np.asarray(twin.observed.data.time)[use], np.asarray(twin.observed.data.value)[use]
    mean, covariance = exact_posterior(twin.model, twin.observed)
    row = int(np.argmin(np.abs(value - told[0]["value"])))
    kept = np.arange(len(time)) != row
    without, _ = exact_posterior(twin.model, replace(twin.observed, data=Dataset.of(time[kept], value[kept])))
    assert told[0]["moved"] == pytest.approx(mean[2] - without[2], abs=0.2 * np.sqrt(covariance[2, 2]))
    assert compare(twin, {"a": None}, twin.times(60), n=4, key=KEY).forecasts["a"].usable


def test_states_that_carry_the_advice_are_called_by_their_names():
    from gemel.engine.model import state_names
    from gemel.twins.toys.model import GrowthModel

    assert state_names(GrowthModel()) == ("size now", "drug now", "cleared now")
