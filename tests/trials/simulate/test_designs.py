"""Sequential and adaptive designs run through the simulator: level and power are theory's within Monte-Carlo error."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core.errors import ModelError
from gemel.trials.design.boundary import boundary, crossing, inflation
from gemel.trials.design.conditional import futility
from gemel.trials.design.enrichment import closed, inverse_normal, simes
from gemel.trials.design.spending import Spending
from gemel.trials.simulate import (
    Abstained,
    BinaryWorld,
    Design,
    Enrichment,
    Enrolment,
    Limits,
    LinearModel,
    LinearWorld,
    LongitudinalWorld,
    NonlinearWorld,
    Recommended,
    Reestimation,
    ResponseAdaptive,
    RiskDifference,
    SubgroupWorld,
    SurvivalWorld,
    compare,
    recommend,
    simulate,
)
from gemel.trials.simulate.batch import generator
from gemel.trials.simulate.worlds.base import given, potential

BOTH = (LinearModel(0, "hc2"), LinearModel(1, "hc2"))
LOOKS = (0.4, 0.7, 1.0)


@pytest.mark.parametrize("family", ["obrien-fleming", "pocock", Spending("obrien-fleming")])
@pytest.mark.parametrize("allocation", ["fixed", "blocks"])
def test_looks_spend_their_level_and_cost_their_power(family, allocation):
    plan = boundary(LOOKS, family)
    design = Design(150, 150, BOTH, boundary=plan, allocation=allocation)
    null = simulate(design, LinearWorld(0.0), 4000, key=1)
    under = simulate(design, LinearWorld(0.3), 4000, key=2)
    for name, ratio in (("unadjusted", 1.0), ("ancova", 0.75)):
        theory = crossing(plan.fractions, plan.upper, plan.lower, 0.3 / np.sqrt(ratio * 4 / 300))
        one = under[name]
        assert abs(null[name].power - 0.05) < 3 * null[name].errors["power"]
        # z of t with 117 degrees of freedom or more, a slope estimated: within 0.004 of theory besides
        assert abs(one.power - theory.power - theory.lower.sum()) < 3 * one.errors["power"] + 0.004
        assert one.patients == pytest.approx(300 * theory.expected_information, abs=3 * one.errors["patients"] + 1.5)
        np.testing.assert_allclose(one.stops[:2], (theory.upper + theory.lower)[:2], atol=0.03)
        assert one.bias > 0  # a trial that stops early overstates


def test_futility_saves_patients_and_spends_no_level():
    plan = boundary(LOOKS, "obrien-fleming", sides=1, alpha=0.025)
    drift, _, _ = inflation(plan, 0.9)
    low = futility(plan, drift)
    plain, saving = (
        simulate(Design(100, 100, BOTH[:1], boundary=plan, futility=f), LinearWorld(), 4000, key=3)["unadjusted"] for f in ((), low)
    )
    assert saving.patients < 0.8 * plain.patients
    assert saving.power <= plain.power
    expected = crossing(plan.fractions, plan.upper, low, 0.0)
    assert abs(saving.power - expected.power) < 3 * saving.errors["power"] + 0.001
    assert saving.patients == pytest.approx(200 * expected.expected_information, abs=3 * saving.errors["patients"] + 1)


def test_a_blinded_second_look_saves_a_plan_that_was_too_sure():
    """Planned for SD 1 and R² 0.25; the trial has SD 1.3. The planned size keeps about 69 % of 90 %."""
    truth = LinearWorld(0.4, sd=1.3)
    plain = simulate(Design(100, 100, (LinearModel(1, "hc2"),)), truth, 2000, key=4)["ancova"]
    design = Reestimation(50, 100, 250, 0.4, (LinearModel(1, "hc2"),))
    found, null = simulate(design, truth, 2000, key=4)["ancova"], simulate(design, truth.null(), 4000, key=5)["ancova"]
    assert plain.power < 0.75
    assert abs(found.power - 0.9) < 3 * found.errors["power"] + 0.012  # the residual variance is estimated from 100 patients
    assert abs(null.power - 0.05) < 3 * null.errors["power"]
    assert found.patients == pytest.approx(4 * 1.69 * 0.75 * (1.959964 + 1.281552) ** 2 / 0.16 + 1.92 + 1, rel=0.03)


def test_a_twin_that_is_noise_makes_the_second_look_enrol_more():
    design = Reestimation(50, 100, 250, 0.4, (LinearModel(1, "hc2"),))
    good, bad = (simulate(design, LinearWorld(0.4, twin=t), 1000, key=6)["ancova"] for t in ("true", "noise"))
    assert bad.patients > 1.2 * good.patients
    assert bad.power > 0.86


def test_combination_and_closure():
    rng = np.random.default_rng(7)
    p = rng.random((4, 100_000))
    for combined in (inverse_normal(p[0], p[1]), inverse_normal(p[0], p[1], 0.2), simes(p[0], p[1])):
        assert abs((combined < 0.05).mean() - 0.05) < 3.5 * np.sqrt(0.05 * 0.95 / 1e5)
    whole, part = closed((p[0], p[1]), (p[2], p[3]))
    assert ((whole < 0.025) | (part < 0.025)).mean() < 0.025 + 3 * np.sqrt(0.025 / 1e5)
    narrow, only = closed((p[0], p[1]), (p[2], p[3]), enriched=True)
    assert (narrow == 1).all()
    assert (only >= inverse_normal(p[2], p[3]) - 1e-15).all()


def test_enrichment_holds_its_family_and_finds_the_subgroup():
    design = Enrichment(60, 60)
    null = simulate(design, SubgroupWorld(), 4000, key=8)
    assert null["either"].power < 0.025 + 3 * null["either"].errors["power"]
    strong = simulate(design, SubgroupWorld(inside=0.7, outside=0.0, share=0.4), 1500, key=9)
    assert strong["subgroup"].power > strong["whole"].power + 0.2
    partial = simulate(design, SubgroupWorld(inside=0.6, outside=0.0), 1500, key=10)
    fixed = simulate(Design(120, 120, (LinearModel(1),)), SubgroupWorld(inside=0.6, outside=0.0), 1500, key=10)["ancova"]
    assert partial["either"].power > fixed.power - 0.02
    assert partial["subgroup"].effect == 0.6
    assert null["either"].patients < 0.8 * 240  # nothing there: most stop


def test_a_true_part_is_not_claimed_too_often():
    """Only the subgroup has an effect... outside is zero, so that the whole has half of it: only a claim of neither can be false here. All false under the null is tested above."""
    found = simulate(Enrichment(60, 60), SubgroupWorld(inside=0.0, outside=0.5), 2000, key=11)
    assert found["subgroup"].power < 0.025 + 3 * found["subgroup"].errors["power"]


def test_the_smallest_design_that_keeps_its_limits():
    designs = {str(n): Design(n // 2, n // 2, BOTH) for n in (160, 210, 280, 340)}
    found = recommend(designs, LinearWorld(0.4), Limits(0.9, 0.055), replicates=4000, key=12)
    assert isinstance(found, Recommended)
    assert (found.design, found.analysis) == ("210", "ancova")  # theory: 197 with a twin of R² 0.25, 263 without
    assert [w.patients for w in found.weighed] == sorted(w.patients for w in found.weighed)
    small = next(w for w in found.weighed if w.design == "160" and w.analysis == "ancova")
    assert any("power" in line for line in small.against)


def test_no_design_is_an_abstention_with_its_reason():
    found = recommend({"small": Design(30, 30, BOTH)}, LinearWorld(0.4), Limits(0.9), replicates=1000, key=13)
    assert isinstance(found, Abstained)
    assert "power" in found.reason
    assert "Monte-Carlo" in found.reason
    liberal = recommend(
        {"model": Design(30, 90, (LinearModel(0, "model"),))}, LinearWorld(1.5, sd_ratio=0.3), Limits(0.5), replicates=2000, key=14
    )
    assert isinstance(liberal, Abstained)
    assert "type-I error" in liberal.reason


def test_refusals():
    for call in (
        lambda: recommend({}, LinearWorld(0.4), Limits(), key=1),
        lambda: recommend({"a": Design(30, 30, BOTH)}, LinearWorld(0.0), Limits(), key=1),
        lambda: Limits(0.04, 0.05),
        lambda: Reestimation(50, 40, 100, 0.4),
        lambda: Reestimation(50, 60, 100, 0.4, (LinearModel(), LinearModel())),
        lambda: Enrichment(5, 50),
        lambda: simulate(Enrichment(50, 50), LinearWorld(), 250, key=1),
        lambda: simulate(Reestimation(20, 30, 40, 0.4), LongitudinalWorld(dropout=0.2), 250, key=1),
        lambda: SubgroupWorld(share=1.0),
    ):
        with pytest.raises(ModelError):
            call()


def test_designs_are_compared_on_the_same_patients():
    found = compare({"a": Design(40, 40, BOTH), "b": Design(40, 40, BOTH)}, LinearWorld(), 300, key=15)
    np.testing.assert_array_equal(found["a"]["ancova"].estimates, found["b"]["ancova"].estimates)


def test_the_same_patients_under_both_arms():
    rng = generator((1, 1), 0)
    for world in (
        LinearWorld(0.4, dropout=0.2),
        NonlinearWorld(0.4, heterogeneity=0.3),
        LongitudinalWorld(3.0, dropout=0.2, intermittent=0.1),
        BinaryWorld(0.3, 0.5),
        SurvivalWorld(hazard_ratio=0.5, dropout=0.1),
        SubgroupWorld(0.5),
    ):
        control, treated = potential(world, 40, 6, rng)
        np.testing.assert_array_equal(control.covariates, treated.covariates)
        arm = np.tile(np.arange(40) % 2, (6, 1))
        mixed = given((control, treated), arm)
        np.testing.assert_array_equal(mixed.outcome[:, ::2], control.outcome[:, ::2])
        np.testing.assert_array_equal(mixed.outcome[:, 1::2], treated.outcome[:, 1::2])


def test_minimisation_narrows_the_unadjusted_estimate_and_keeps_the_adjusted_level():
    coin, balanced = (
        simulate(Design(60, 60, BOTH, allocation=a), LinearWorld(correlation=0.8), 3000, key=16) for a in ("simple", "minimisation")
    )
    assert balanced["unadjusted"].sd < 0.93 * coin["unadjusted"].sd
    assert balanced["unadjusted"].power < 0.04  # the analysis that ignores the factors is conservative
    assert abs(balanced["ancova"].power - 0.05) < 3.3 * balanced["ancova"].errors["power"]
    with pytest.raises(ModelError, match="equal arms"):
        Design(50, 60, BOTH, allocation="minimisation")


def test_an_urn_treats_more_by_the_better_arm_and_its_level_is_simulated():
    design = ResponseAdaptive(150, (RiskDifference(),), start=5.0)
    null, under = (simulate(design, BinaryWorld(0.3, p), 2000, key=17)["proportions"] for p in (0.3, 0.6))
    assert null.power < 0.05 + 3.3 * null.errors["power"] + 0.01
    assert under.power > 0.85
    assert "simulated" in design.flag
    few = simulate(ResponseAdaptive(12, (RiskDifference(),), start=0.01, added=3.0), BinaryWorld(0.05, 0.95), 500, key=18)["proportions"]
    assert few.failed > 0
    for wrong in (lambda: ResponseAdaptive(5, (RiskDifference(),)), lambda: simulate(design, LinearWorld(), 250, key=1)):
        with pytest.raises(ModelError):
            wrong()


def test_adjusted_estimates_have_independent_increments():
    """What a look adds does not depend on what it had: the canonical joint distribution that the boundaries assume."""
    arm = np.r_[np.zeros(100, int), np.ones(100, int)]
    batch = LinearWorld(0.3).draw(Enrolment(arm, 4000), generator((7, 7), 0))
    half = batch.take(np.r_[:50, 100:150])
    for analysis in BOTH:
        early, late = analysis.read(half), analysis.read(batch)
        r = np.corrcoef(early.estimate - late.estimate, late.estimate)[0, 1]
        assert abs(r) < 3.3 / np.sqrt(4000)
        assert np.corrcoef(early.z, late.z)[0, 1] == pytest.approx(np.sqrt(0.5), abs=0.03)
