"""Evidence of the type 2 twin: published figures, what is conserved, and questions outside the domain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gemel.core.code import Code
from gemel.core.record import Finding, PatientRecord
from gemel.core.time import HOUR
from gemel.evidence.study import Problem
from gemel.physics.ode import RK4, integrate
from gemel.twins.metabolic.evidence import a_silent_sensor, less_than_a_day, pregnancy
from gemel.twins.metabolic.t2d._dalla_man import Drive, MealState, basal_production, derivative, held_at
from gemel.twins.metabolic.t2d.model import Type2Model, with_drugs
from gemel.twins.metabolic.t2d.observe import CARBOHYDRATE
from gemel.twins.metabolic.t2d.priors import column

__all__ = ["CONSERVATION", "MEALS", "OUTSIDE", "PRODUCTION", "VERIFICATION", "ReferenceMeal", "meal_path", "production_at_rest"]

PRODUCTION = {True: 1.92, False: 2.01}
"""Published production of glucose at rest, mg/kg/min: without diabetes (True) and in type 2 diabetes."""


@dataclass(frozen=True)
class ReferenceMeal:
    """A meal of 78 g eaten at once, from the steady state without a meal: figures of an independent integration (LSODA, 1e-8).

    ``rest`` : glucose (mg/dL) and insulin (pmol/L). ``peak`` : glucose and its minute. ``at`` : glucose by minute. ``insulin`` : its peak and minute.
    """

    is_normal: bool
    rest: tuple[float, float]
    peak: tuple[float, int]
    at: dict[int, float]
    insulin: tuple[float, int]


MEALS = (
    ReferenceMeal(True, (91.745, 25.556), (157.3, 66), {60: 156.96, 120: 132.89, 180: 98.17, 420: 89.75}, (253.7, 98)),
    ReferenceMeal(False, (161.968, 57.027), (281.1, 124), {60: 244.41, 120: 280.98, 180: 259.90, 420: 143.22}, (263.6, 195)),
)


def production_at_rest(is_normal: bool) -> float:
    """Return production of glucose at the basal state of a column, mg/kg/min."""
    return float(basal_production({name: jnp.asarray(v) for name, v in column(is_normal).items()}))


def meal_path(
    is_normal: bool, *, grams: float = 78.0, minutes: int = 420, substeps: int = 1
) -> tuple[tuple[float, float], np.ndarray, np.ndarray]:
    """Return glucose and insulin at rest, and both at the end of each minute after a meal eaten at once (mg/dL, pmol/L)."""
    rest, path, volumes = _meal(is_normal, grams, minutes, substeps)
    glucose, insulin = (np.asarray(x) / v for x, v in zip((path.Gp, path.Ip), volumes, strict=True))
    return (float(rest.Gp / volumes[0]), float(rest.Ip / volumes[1])), glucose, insulin


@partial(jax.jit, static_argnums=(0, 2, 3))
def _meal(is_normal: bool, grams: float, minutes: int, substeps: int) -> tuple[MealState, MealState, tuple[Array, Array]]:
    """Return the state at rest, all states of the meal, and the volumes that turn amounts into concentrations."""
    p = {name: jnp.asarray(v) for name, v in column(is_normal).items()}

    def run(start: MealState, count: int, meal: Array | float) -> MealState:
        still = jnp.zeros(count)
        return integrate(derivative, start, Drive(still, jnp.full(count, meal), still, still), p, integrator=RK4(substeps))

    rest = jax.tree.map(lambda x: x[-1], run(held_at(p["Gb"], jnp.zeros(()), p), 10_000, 0.0))
    path = run(eqx.tree_at(lambda s: s.solid, rest, jnp.asarray(1000.0 * grams)), minutes, 1000.0 * grams)
    return rest, path, (p["Vg"], p["Vi"])


def _column(is_normal: bool) -> tuple[Problem, ...]:
    """Return the problems of one column of the published table."""
    meal, name = next(m for m in MEALS if m.is_normal == is_normal), "without diabetes" if is_normal else "type 2"
    lsoda = "independent integration, LSODA at 1e-8"

    def peak() -> float:
        return float(meal_path(is_normal)[1].max())

    def insulin() -> float:
        return float(meal_path(is_normal)[2].max())

    def late() -> float:
        return float(meal_path(is_normal)[1][419])

    def steps() -> float:
        return float(np.abs(meal_path(is_normal, substeps=8)[1] - meal_path(is_normal)[1]).max())

    return (
        Problem(f"production at rest, {name}", "production of glucose at the basal state", PRODUCTION[is_normal], 0.005, lambda: production_at_rest(is_normal), "mg/kg/min", source="doi:10.1109/TBME.2007.893506"),
        Problem(f"peak of glucose, {name}", "78 g eaten at once", meal.peak[0], 0.005 * meal.peak[0], peak, "mg/dL", source=lsoda),
        Problem(f"glucose at 420 min, {name}", "78 g eaten at once", meal.at[420], 0.005 * meal.at[420], late, "mg/dL", source=lsoda),
        Problem(f"peak of insulin, {name}", "78 g eaten at once", meal.insulin[0], 0.005 * meal.insulin[0], insulin, "pmol/L", source=lsoda),
        Problem(f"step of a minute, {name}", "against steps an eighth as long", 0.0, 1e-3, steps, "mg/dL", (3,), "the same method, finer"),
    )  # fmt: skip


VERIFICATION = (*_column(True), *_column(False))
"""Problems with known answers."""


def eaten_is_absorbed_or_in_the_gut(model: Type2Model, params, plan, times, context):
    """Relative error, slot by slot, of carbohydrate absorbed and still in stomach and gut against what had been eaten.

    What is absorbed is the outflow of the gut, integrated by the same Runge-Kutta steps, which keep linear invariants exactly.
    """
    del times
    rates = plan.rates(0.0, model.slot, context.end.shape[0], len(model.channels))
    p = model.person(params, context.weight, context.sensitivity, context.function)
    path = model.trajectory(params, plan, context)
    solid, liquid, gut = (jnp.concatenate([jnp.zeros(1), x[:-1]]) for x in (path.body.solid, path.body.liquid, path.body.gut))
    eaten = rates[:, CARBOHYDRATE] * 1000.0 * params["counted"]

    def absorbed(solid, liquid, gut, meal, rate, shares):
        now = with_drugs(p, shares * 1440.0, params["response"])
        start = (held_at(p["Gb"], jnp.zeros(()), p), jnp.zeros(()))
        body = eqx.tree_at(lambda s: (s.solid, s.liquid, s.gut), start[0], (solid, liquid, gut))

        def flow(time, state, drive, q):
            return derivative(time, state[0], drive, q), q["kabs"] * state[0].gut

        zero = jnp.zeros(())
        return model.integrator.advance(flow, zero, (body, zero), Drive(rate, meal, zero, zero), now, model.slot)[1]

    out = jax.vmap(absorbed)(solid, liquid, gut, path.meal, eaten, rates[:, CARBOHYDRATE + 1 :])
    inside = path.body.solid + path.body.liquid + path.body.gut
    total = jnp.cumsum(eaten) * model.slot
    return (inside + jnp.cumsum(out) - total) / jnp.maximum(total[-1], 1.0)


eaten_is_absorbed_or_in_the_gut.tolerance = 1e-10  # type: ignore[attr-defined]  # rounding over some hundred slots

CONSERVATION = (eaten_is_absorbed_or_in_the_gut,)
"""Laws: ``law(model, params, plan, times, context) -> relative errors``."""


def type_1_diabetes(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask about somebody with type 1 diabetes."""
    return record.with_facts(Finding(code=Code(system="snomed", code="46635009"), time=now - HOUR)), now


def a_boy_of_twelve(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask about a child."""
    return record.model_copy(update={"demographics": record.demographics.model_copy(update={"age": 12.0})}), now


OUTSIDE = (a_silent_sensor, less_than_a_day, pregnancy, type_1_diabetes, a_boy_of_twelve)
"""Questions outside the validated domain: ``(record, now) -> (record, now)``."""
