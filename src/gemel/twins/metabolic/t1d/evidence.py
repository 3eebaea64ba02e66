"""Evidence of the twin: verification problems with known answers, what is conserved, and questions that it must not answer.

There is no validation protocol: the twin's forecasts for real people are not what it is for, and the protocol of the metabolic room would judge that
room's learnt layer and not these equations. ``gemel bench metabolic-speed`` prints the verification beside the speed.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gemel.evidence.study import Problem
from gemel.physics.ode import RK4, integrate
from gemel.twins.metabolic._gut import appearance, meal_amount
from gemel.twins.metabolic.evidence import a_child_of_five, a_silent_sensor, less_than_a_day, pregnancy
from gemel.twins.metabolic.t1d._uva_padova import PMOL_PER_UNIT, derivative, resting, sensed
from gemel.twins.metabolic.t1d.model import T1DModel
from gemel.twins.metabolic.t1d.observe import CARBOHYDRATE, INSULIN
from gemel.twins.metabolic.t1d.priors import people
from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, simulate

__all__ = ["CONSERVATION", "OUTSIDE", "VERIFICATION", "runge_kutta_day", "standard_day"]

MEALS = ((420, 45.0), (720, 70.0), (1140, 80.0))
"""The day of V1: minute and grams of each meal; every bolus is the carbohydrate over the person's ratio."""
DAY = 1440


def standard_day() -> tuple[dict[str, Array], np.ndarray, np.ndarray]:
    """Return completed parameters of the thirty people, insulin (U/min) and food (g/min) of the standard day, by minute and person."""
    persons = list(people().values())
    p = parameters_of(persons)
    food = np.repeat(eaten(MEALS, DAY)[:, None], len(persons), axis=1)
    doses = np.stack([bolus([(t, g / q.carbohydrate_ratio) for t, g in MEALS], DAY) for q in persons], axis=1)
    return p, doses + np.asarray(basal_rate(p)), food


@partial(jax.jit, static_argnums=3)
def _by_runge_kutta(p: dict[str, Array], insulin: Array, grams: Array, substeps: int) -> Array:
    def step(carry, item):
        s, meal = carry
        u, before, now = item
        meal = meal_amount(meal, s.solid + s.liquid, before=before, eaten=now)
        s = RK4(substeps).advance(derivative, jnp.zeros(()), s, (u, now, meal), p, 1.0)
        return (s, meal), sensed(s, p)

    before = jnp.concatenate([jnp.zeros((1, grams.shape[1])), grams[:-1]])
    start = (resting(p), jnp.zeros(grams.shape[1]))
    return jax.lax.scan(step, start, (insulin * PMOL_PER_UNIT / p["BW"], before, grams))[1]


def runge_kutta_day(p: dict[str, Array], insulin: np.ndarray, food: np.ndarray, substeps: int) -> np.ndarray:
    """Return glucose after every minute by so many Runge-Kutta steps a minute of the whole system (U/min and g/min in, mg/dL out)."""
    return np.asarray(_by_runge_kutta(p, jnp.asarray(insulin), jnp.asarray(food) * 1000.0, substeps))


def step_error() -> float:
    """Return the largest error of Runge-Kutta at half a minute, over thirty people and a day, against 1/32 of the step; mg/dL."""
    day = standard_day()
    return float(np.abs(runge_kutta_day(*day, 2) - runge_kutta_day(*day, 64)).max())


def cascade_error() -> float:
    """Return the same of the cascade by which people are simulated."""
    day = standard_day()
    return float(np.abs(simulate(*day, every=1) - runge_kutta_day(*day, 64)).max())


def resting_error() -> float:
    """Return how far thirty people move from rest in a day without food, under their basal rate; mg/dL."""
    p, insulin, food = standard_day()
    basal = np.broadcast_to(np.asarray(basal_rate(p)), insulin.shape)
    return float(np.abs(simulate(p, basal, 0.0 * food) - np.asarray(p["Gb"])).max())


def order() -> float:
    """Return the order of the Runge-Kutta method on smooth input, from two halvings of the step."""
    p = {k: v[10] for k, v in parameters_of(list(people().values())).items()}

    def end(steps: int) -> float:
        inputs = (jnp.full(steps, 1.5 * p["u2ss"]), jnp.full(steps, 100.0), jnp.full(steps, 60_000.0))
        return float(jax.jit(lambda u: integrate(derivative, resting(p), u, p, step=240.0 / steps).Gp[-1])(inputs))

    exact = end(3840)
    return float(np.log2(abs(end(120) - exact) / abs(end(240) - exact)))


VERIFICATION = (
    Problem(
        "V1",
        "thirty people, three meals: steps of half a minute against 1/64",
        0.0,
        0.01,
        step_error,
        "mg/dL",
        (3,),
        "the same method, finer",
    ),
    Problem("V1, cascade", "the same by the cascade", 0.0, 0.01, cascade_error, "mg/dL", (3,), "the same equations by Runge-Kutta, finer"),
    Problem("V3", "no meal, basal insulin: nothing moves", 0.0, 1e-6, resting_error, "mg/dL"),
    Problem("V5", "order of the method", 4.0, 0.1, order),
)
"""Problems with known answers. V2 needs the peer (`gemel bench metabolic-speed`), V4 is the law of conservation below."""


def eaten_is_absorbed_or_in_the_gut(model: T1DModel, params, plan, times, context):
    """Relative error, slot by slot, of carbohydrate absorbed and still in stomach and gut against what had been eaten.

    What is absorbed is the outflow of the gut integrated beside the equations by the same Runge-Kutta steps, which keep linear invariants exactly.
    """
    del times
    n = context.window.shape[0]
    rates = plan.rates(0.0, model.slot, n, len(model.channels))
    p = model.person(params, context)
    insulin, grams = rates[:, INSULIN] * PMOL_PER_UNIT / p["BW"], rates[:, CARBOHYDRATE] * 1000.0

    def counted(time, state, u, p):
        body, _ = state
        return derivative(time, body, u, p), appearance(body.gut, kabs=p["kabs"], f=1.0, weight=1.0)

    def cross(carry, item):
        (body, taken), meal = carry
        u, before, now = item
        meal = meal_amount(meal, body.solid + body.liquid, before=before, eaten=now * model.slot)
        state = RK4(10).advance(counted, jnp.zeros(()), (body, taken), (u, now, meal), p, model.slot)
        return (state, meal), state[0].solid + state[0].liquid + state[0].gut + state[1]

    start = ((model.begin(p, context.first, context.basal), jnp.zeros(())), jnp.zeros(()))
    found = jax.lax.scan(cross, start, (insulin, jnp.concatenate([jnp.zeros(1), grams[:-1]]), grams))[1]
    whole = jnp.cumsum(grams) * model.slot
    return jnp.abs(found - whole) / jnp.maximum(whole[-1], 1.0)


eaten_is_absorbed_or_in_the_gut.tolerance = 1e-10  # type: ignore[attr-defined]  # rounding over some thousand steps: 1e-13 was seen

CONSERVATION = (eaten_is_absorbed_or_in_the_gut,)
"""Laws: ``law(model, params, plan, times, context) -> relative errors``."""

OUTSIDE = (a_silent_sensor, less_than_a_day, pregnancy, a_child_of_five)
"""Questions outside the validated domain: ``(record, now) -> (record, now)``."""
