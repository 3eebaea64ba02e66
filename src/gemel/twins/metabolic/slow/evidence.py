"""Evidence of the slow axis: problems with known answers, what is conserved, and questions outside the domain.

Published aggregates of trials stand in ``_external.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gemel.core.code import Code
from gemel.core.record import Finding, PatientRecord
from gemel.core.time import DAY, HOUR
from gemel.engine.forecast import Forecast
from gemel.evidence.study import Problem
from gemel.physics.ode import RK4, Adaptive, integrate
from gemel.twins.metabolic.slow import _topp
from gemel.twins.metabolic.slow._body_weight import Body, BodyState, balanced, derivative, fat, resting, weight
from gemel.twins.metabolic.slow._external import CREDIBILITY, DIRECT, LOOK_AHEAD, Check, external_checks
from gemel.twins.metabolic.slow._glycation import adag, kernel, kinetic
from gemel.twins.metabolic.slow.model import SlowModel
from gemel.twins.metabolic.slow.observe import CHANNEL
from gemel.twins.metabolic.slow.priors import DRUGS, fixed

__all__ = [
    "CONSERVATION", "CREDIBILITY", "DIRECT", "LOOK_AHEAD", "OUTSIDE", "VERIFICATION", "WEIGHTS", "Check", "Weighed", "external_checks", "memory_error", "quasi_steady_error",
    "topp_error", "topp_rates", "weight_path",
]  # fmt: skip


@dataclass(frozen=True)
class Weighed:
    """A published course of weight: who, under which change of intake (kcal/d), and the weights (kg) at days."""

    weight: float
    height: float
    age: float
    is_male: bool
    activity: float
    energy: float
    at: tuple[tuple[int, float], ...]


WEIGHTS = (
    Weighed(100.0, 1.80, 50.0, True, 1.5, -500.0, ((30, 98.053), (90, 95.397), (180, 91.922), (365, 86.377), (1095, 77.396))),
    Weighed(85.0, 1.63, 58.0, False, 1.4, -500.0, ((30, 82.920), (90, 80.292), (180, 76.748), (365, 70.743), (1095, 58.836))),
)
"""Courses by the equations of the R package ``bw``."""


def weight_path(case: Weighed, *, as_published: bool = True, substeps: int = 1) -> tuple[Body, Float[Array, " day"]]:
    """Return the body and its weight (kg) at the end of each day, by the published equations or with the dimensionally right term of glycogen."""
    return _weighed(
        tuple(float(x) for x in (case.weight, case.height, case.age, case.is_male, case.activity, case.energy)),
        case.at[-1][0],
        as_published,
        substeps,
    )


@partial(jax.jit, static_argnums=(1, 2, 3))
def _weighed(who: tuple[float, ...], days: int, as_published: bool, substeps: int) -> tuple[Body, Array]:
    body = balanced(*(jnp.asarray(x) for x in who[:5]))
    drive = (jnp.full(days, who[5]), jnp.zeros(days), jnp.zeros(days))
    states = integrate(partial(derivative, as_published=as_published), resting(body), drive, body, integrator=RK4(substeps))
    return body, jax.vmap(lambda s: weight(s, body))(states)


def topp_error() -> float:
    """Return the largest rate at the published fixed points, relative to the largest single flow there."""
    worst = 0.0
    for glucose, insulin, mass in _topp.FIXED_POINTS:
        exact = _exact(glucose)
        assert abs(exact[0] - insulin) <= 1e-9 * max(insulin, 1.0), "the table is rounded more than its digits"
        assert abs(exact[1] - mass) <= 0.005, "the table is rounded more than its digits"
        rates = topp_rates(np.array([glucose, *exact]))
        flows = np.array([fixed("topp_R0"), fixed("topp_k") * max(insulin, 1.0), fixed("topp_d0") * max(exact[1], 1.0)])
        worst = max(worst, float(np.abs(rates / flows).max()))
    return worst


@jax.jit
def topp_rates(state: Float[Array, " 3"], sensitivity: float | None = None) -> Float[Array, " 3"]:
    """Return the rates of glucose, insulin and mass (mg/dL, mU/L, mg, per day) at a state in this order."""
    insulin = jnp.asarray(fixed("topp_SI") if sensitivity is None else sensitivity)
    return jnp.stack(jax.tree.leaves(_topp.derivative(jnp.zeros(()), _topp.ToppState(*state), jnp.zeros(()), insulin)))


def _exact(glucose: float) -> tuple[float, float]:
    """Return insulin and mass at rest from the balance of glucose, in plain arithmetic."""
    insulin = (fixed("topp_R0") / glucose - fixed("topp_EG0")) / fixed("topp_SI")
    return insulin, insulin * fixed("topp_k") * (fixed("topp_alpha") + glucose**2) / (fixed("topp_sigma") * glucose**2)


def quasi_steady_error(*, days: int = 720, mass: float = 250.0, factor: float = 0.6) -> tuple[float, float]:
    """Return the largest error of glucose (mg/dL) and of mass (relative) of the reduced system against the whole, stiff one.

    Both start with less mass and less sensitivity (``factor``) than the healthy, and glucose at rest; the whole is solved by Kvaerno's method.
    """
    whole, glucose, reduced = _both(days // 10, mass, factor)
    return float(np.abs(glucose - whole.glucose).max()), float(np.abs(reduced / whole.mass - 1.0).max())


@partial(jax.jit, static_argnums=0)
def _both(steps: int, mass: float, factor: float) -> tuple[_topp.ToppState, Array, Array]:
    """Return the whole system every ten days, and glucose and mass of the reduced one."""
    sensitivity, start = jnp.asarray(factor * fixed("topp_SI")), jnp.asarray(mass)
    glucose = _topp.glucose_at_rest(sensitivity, start)
    nothing = jnp.zeros(steps)
    stiff = Adaptive(diffrax.Kvaerno5(), rtol=1e-9, atol=1e-9)
    state = _topp.ToppState(glucose, _topp.insulin_at_rest(glucose, start), start)
    whole = integrate(_topp.derivative, state, nothing, sensitivity, step=10.0, integrator=stiff)

    def slowly(time, log_mass, inputs, p):
        del time, inputs
        return _topp.growth(_topp.glucose_at_rest(p, jnp.exp(log_mass)))

    reduced = jnp.exp(integrate(slowly, jnp.log(start), nothing, sensitivity, step=10.0, integrator=RK4(10)))
    return whole, _topp.glucose_at_rest(sensitivity, reduced), reduced


def memory_error(glucose: float = 154.0) -> tuple[float, float]:
    """Return the error of the kernel's shares of the last 30, of 30-60 and of 60-120 days, and of HbA1c under constant glucose against the ADAG line."""
    weights = kernel(120)
    shares = np.array([weights[:30].sum(), weights[30:60].sum(), weights[60:].sum()])
    line = np.abs(np.asarray(jax.jit(kinetic)(np.full(400, glucose), np.asarray(90.0)))[150:] - adag(glucose)).max()
    return float(np.abs(shares - (0.4375, 0.3125, 0.25)).max()), float(line)


def _weighed_at(number: int, day: int) -> Callable[[], float]:
    return lambda: float(np.asarray(weight_path(WEIGHTS[number])[1])[day - 1])


VERIFICATION = (
    *(
        Problem(f"{name}, weight after {day} d", "500 kcal/d less", kilograms, 0.01, _weighed_at(i, day), "kg", source="equations of the R package bw")
        for i, (name, case) in enumerate(zip(("V9", "V10"), WEIGHTS, strict=True))
        for day, kilograms in case.at
    ),
    Problem("fixed points of glucose, insulin and mass", "largest rate there, of the largest flow", 0.0, 1e-10, topp_error, source="doi:10.1006/jtbi.2000.2150"),
    Problem("reduced against whole system", "largest gap of glucose over two years", 0.0, 0.1, lambda: quasi_steady_error()[0], "mg/dL", (4, 6), "stiff solver, Kvaerno 5"),
    Problem("V11", "shares of the red cells' memory", 0.0, 1e-12, lambda: memory_error()[0]),
    Problem("V12", "HbA1c of constant glucose is on the ADAG line", 0.0, 1e-10, lambda: memory_error()[1], "%"),
)  # fmt: skip
"""Problems with known answers."""


def energy_eaten_is_spent_or_stored(model: SlowModel, params, plan, times, context):
    """Relative error, day by day, of energy eaten less energy spent against what glycogen, lean tissue and fat hold more, their cost of building included.

    What is spent is integrated by the same Runge-Kutta steps as the body; fat follows lean tissue by Forbes's exponential, which they keep to fourth order.
    """
    del times
    rates = plan.rates(0.0, 1.0, context.day.shape[0], len(model.channels))
    energy = params["energy_offset"] + rates[:, CHANNEL["energy"]]
    body = balanced(context.weight * params["start"], context.height, context.age, context.is_male, params["activity"])

    def flow(time, state: tuple[BodyState, Array], inputs, p):
        s, _ = state
        e, _, _ = inputs
        spent = p.constant + p.per_weight * weight(s, p) + fixed("thermic") * e + s.adaptation + fixed("gamma_lean") * s.lean
        return derivative(time, s, inputs, p), p.intake + e - spent - fixed("gamma_fat") * fat(s, p)

    still = jnp.zeros_like(energy)
    states, net = integrate(flow, (resting(body), jnp.zeros_like(body.lean)), (energy, still, still), body, integrator=model.integrator)

    def held(s: BodyState) -> Array:
        tissue = (fixed("rho_lean") + fixed("eta_lean")) * s.lean + (fixed("rho_fat") + fixed("eta_fat")) * fat(s, body)
        return fixed("rho_glycogen") * s.glycogen + tissue

    return (jax.vmap(held)(states) - held(resting(body)) - net) / (body.intake * context.day)


# One step a day: 1.4e-6 over prior draws, 5e-8 with two steps and 2.5e-9 with four. What is left is the step's error, not the law's.
energy_eaten_is_spent_or_stored.tolerance = 1e-5  # type: ignore[attr-defined]


def constant_glucose_gives_the_adag_line(model: SlowModel, params, plan, times, context):
    """Relative error of HbA1c against the ADAG line of a glucose that has been constant for longer than a red cell lives."""
    del model, plan, times
    glucose = 150.0 * params["excess"]
    days = jnp.broadcast_to(glucose, context.day.shape)
    return kinetic(days, 0.5 * glucose)[round(fixed("red_cell_days")) :] / adag(glucose) - 1.0


CONSERVATION = (energy_eaten_is_spent_or_stored, constant_glucose_gives_the_adag_line)
"""Laws: ``law(model, params, plan, times, context) -> relative errors``."""


def two_years_without_a_weighing(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask two years after the last fact."""
    return record, now + 730 * DAY


def no_hba1c(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask without any HbA1c."""
    return record.model_copy(update={"series": tuple(s for s in record.series if s.code.code != "4548-4")}), now


def type_1_diabetes(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask about somebody with type 1 diabetes."""
    return record.with_facts(Finding(code=Code(system="snomed", code="46635009"), time=now - HOUR)), now


def pregnancy(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask about somebody who is known to be pregnant."""
    return record.with_facts(Finding(code=Code(system="snomed", code="77386006"), time=now - HOUR)), now


OUTSIDE = (two_years_without_a_weighing, no_hba1c, type_1_diabetes, pregnancy)
"""Questions outside the validated domain: ``(record, now) -> (record, now)``."""


def assumed() -> list[str]:
    """Return what is ASSUMED in this room: constants, and the effects of every class of drugs."""
    from gemel.twins.metabolic.slow.priors import CONSTANTS

    names = [name for name, c in CONSTANTS.items() if c.source.startswith("ASSUMED")]
    return names + [f"effect of {name}" for name in DRUGS]


def remission(forecast: Forecast, *, below: float = 6.5) -> float:
    """Return the share of draws in which HbA1c at the last time lies below a threshold (%). A model consequence under stated assumptions; drugs are not looked at."""
    return float(np.mean(forecast.draws[:, -1, 0] < below))


def main() -> None:
    """Print the external checks."""
    print("\n".join(external_checks(key=jax.random.key(0)).lines()))


if __name__ == "__main__":
    main()
