"""``metabolic-t2d``: glucose of a person with a beta cell, minutes to hours. Gathers equations, priors and observation into the engine's form."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gemel.engine.data import Dataset
from gemel.engine.likelihood import ar1_whiten, masked_sum
from gemel.engine.model import AbstractStateModel, Output
from gemel.engine.plan import Channel, Plan
from gemel.engine.prior import Prior
from gemel.physics.ode import RK4, AbstractIntegrator
from gemel.twins.metabolic import correct
from gemel.twins.metabolic._gut import meal_amount
from gemel.twins.metabolic.t2d import observe
from gemel.twins.metabolic.t2d._dalla_man import Drive, MealState, at_rest, derivative, held_at
from gemel.twins.metabolic.t2d.observe import CARBOHYDRATE, INSULIN, Context
from gemel.twins.metabolic.t2d.priors import DRUGS, column, fixed, person_prior

__all__ = ["DayState", "Type2Model", "model", "with_drugs"]

_FIRST_DRUG = CARBOHYDRATE + 1
_DAY = 1440.0
_LEARNT = ("Gp", "Gt", "IG", "X")


class DayState(eqx.Module):
    """States: the meal model's; ``meal``, the amount of the present meal, and ``before``, what was eaten in the last slot (mg); ``appearance``, glucose that
    nobody announced (mg/dL/min).
    """

    body: MealState
    meal: Array
    before: Array
    appearance: Array


def with_drugs(p: dict[str, Array], shares: Float[Array, " drug"], response: Array) -> dict[str, Array]:
    """Return the parameters under drugs, given their shares of the defined daily dose. The effect saturates: twice the dose has 4/3 of it."""
    acting = response * 2.0 * shares / (1.0 + shares)
    changed: dict[str, Array] = {}
    for i, drug in enumerate(DRUGS.values()):
        for name, log_factor in drug.changes.items():
            changed[name] = changed.get(name, jnp.zeros(())) + log_factor * acting[i]
    return p | {name: p[name] * jnp.exp(total) for name, total in changed.items()}


class Type2Model(AbstractStateModel):
    """The meal model with a beta cell, drugs by class, an unannounced appearance of glucose, and a CGM sensor.

    Parameters
    ----------
    prior : population prior over eight parameters; :func:`gemel.twins.metabolic.t2d.priors.person_prior` has one of people without diabetes too.
    error_sd, error_minutes, nugget_sd : slow and white model error in calibration, mg/dL and minutes.
    appearance_sd, appearance_minutes : unannounced appearance in streams, mg/dL/min and minutes.
    is_normal : take the column of people without diabetes for what is not personal.
    slot : length of a slot, minutes.
    integrator : how a slot is crossed; steps of one minute err by less than 0.001 mg/dL on the published meal.
    """

    prior: Prior = eqx.field(default_factory=person_prior)
    error_sd: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("error_sd")))
    error_minutes: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("error_minutes")))
    nugget_sd: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("nugget_sd")))
    appearance_sd: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("appearance_sd")))
    appearance_minutes: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("appearance_minutes")))
    is_normal: bool = eqx.field(static=True, default=False)
    slot: float = eqx.field(static=True, default=5.0)
    integrator: AbstractIntegrator = eqx.field(static=True, default=RK4(5))
    id: str = eqx.field(static=True, default="metabolic-t2d")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(static=True, default=(Output("glucose", "loinc:99504-3", "mg/dL"),))
    channels: tuple[Channel, ...] = eqx.field(
        static=True, default=(Channel("insulin", "[iU]"), Channel("carbohydrate", "g"), *(Channel(name, "d") for name in DRUGS))
    )
    minutes: float = eqx.field(static=True, default=1.0)
    noise_size: int = eqx.field(static=True, default=3)
    lags: int = eqx.field(static=True, default=0)

    def observe(self, record, now, *, epoch=None):
        """Read CGM, meals, insulin and drugs (see :mod:`gemel.twins.metabolic.t2d.observe`)."""
        return observe.observe(self, record, now, epoch=epoch)

    def context(self, leaves):
        """Rebuild the :class:`gemel.twins.metabolic.t2d.observe.Context`."""
        return Context(*leaves)

    def domain(self, record, now):
        """Abstain where the room is not validated."""
        return observe.domain(record, now)

    def slots(self, record, now, *, epoch):
        """Put readings on the nearest slot, inputs where they act."""
        return observe.slots(self, record, now, epoch=epoch)

    def slot_context(self, observed, start, count):
        """Return what is known of the person, for each slot."""
        return observe.slot_context(self, observed, start, count)

    def person(self, params: dict[str, Array], weight: Array, sensitivity: Array, function: Array) -> dict[str, Array]:
        """Return the table's parameters of this person: at rest at ``Gb`` as calibrated, then changed by the two factors, for which it does not rest there."""
        p: dict[str, Array] = {name: jnp.asarray(value) for name, value in column(self.is_normal).items()}
        own = params["sensitivity"], params["function"]
        p |= {"weight": weight, "Gb": params["Gb"], "kabs": params["kabs"], "kmax": params["kmax"]}
        p |= {"Vmx": p["Vmx"] * own[0], "kp3": p["kp3"] * own[0], "beta": p["beta"] * own[1], "K": p["K"] * own[1]}
        p = at_rest(p, params["EGPb"])
        return p | {
            "Vmx": p["Vmx"] * sensitivity,
            "kp3": p["kp3"] * sensitivity,
            "beta": p["beta"] * function,
            "K": p["K"] * function,
            "secreting": p["secreting"] * function,
        }

    def _slot(self, state: DayState, rates: Array, p: dict[str, Array], params: dict[str, Array]) -> DayState:
        eaten = rates[CARBOHYDRATE] * 1000.0 * params["counted"]
        meal = meal_amount(state.meal, state.body.solid + state.body.liquid, before=state.before, eaten=eaten * self.slot)
        drive = Drive(eaten, meal, rates[INSULIN] * fixed("unit") / p["weight"], state.appearance * p["Vg"])
        now = with_drugs(p, rates[_FIRST_DRUG:] * _DAY, params["response"])
        return DayState(
            self.integrator.advance(derivative, jnp.zeros(()), state.body, drive, now, self.slot), meal, eaten * self.slot, state.appearance
        )

    def _begin(self, G: Array, basal: Array, p: dict[str, Array]) -> DayState:
        zero = jnp.zeros_like(G)
        return DayState(held_at(G, basal * fixed("unit") / p["weight"], p), zero, zero, zero)

    def trajectory(self, params: dict[str, Array], plan: Plan, context: Context) -> DayState:
        """Return all states at the end of every slot of the context, without unannounced appearance."""
        rates = plan.rates(0.0, self.slot, context.end.shape[0], len(self.channels))
        p = self.person(params, context.weight, context.sensitivity, context.function)

        def step(state, u):
            moved = self._slot(state, u, p, params)
            return moved, moved

        return jax.lax.scan(step, self._begin(jnp.asarray(context.first, float), context.basal, p), rates)[1]

    def simulate(self, params, plan, times, context, *, key):
        """Predict interstitial glucose, mg/dL."""
        del key
        path = self.trajectory(params, plan, context).body.IG
        position = jnp.clip(times / self.slot - 1.0, 0.0, path.shape[0] - 1.0)
        return jnp.interp(position, jnp.arange(path.shape[0]), path)[:, None]

    def _errors(self, params, plan: Plan, data: Dataset, context) -> tuple[Array, Array]:
        path = self.trajectory(params, plan, context).body.IG
        index = jnp.clip(jnp.round(data.time / self.slot).astype(int) - 1, 0, path.shape[0] - 1)
        error = data.value - path[index]
        # A reading beyond a limit says only "at least so far": no error while the prediction agrees.
        beyond = jnp.where(data.censored < 0, jnp.minimum(error, 0.0), jnp.maximum(error, 0.0))
        error = jnp.where(data.censored == 0, error, beyond)
        return ar1_whiten(error, data.time, data.mask, sd=self.error_sd, persistence=self.error_minutes, nugget=self.nugget_sd)

    def residual(self, params, plan, data, context):
        """Return innovations of the readings, whitened for slow and white error."""
        return self._errors(params, plan, data, context)[0]

    def log_likelihood(self, params, plan, data, context):
        """Gaussian innovations form."""
        residual, scale = self._errors(params, plan, data, context)
        count = masked_sum(jnp.ones_like(residual), data.mask)
        return -0.5 * jnp.sum(residual**2) + scale - 0.5 * count * jnp.log(2 * jnp.pi)

    def measure(self, params, output, *, key):
        """Add white sensor noise."""
        del params
        return output + fixed("sensor_sd") * jax.random.normal(key, output.shape)

    def initial(self, params, value, noise):
        """Start fasting at the first reading (spread by the sensor), or near ``Gb`` when there is none, with a random appearance.

        Weight and long insulin are not known here; both only shape what is under the skin and in the gut, which begin empty.
        """
        known = jnp.isfinite(value[0])
        G = jnp.where(known, jnp.where(known, value[0], 0.0) + fixed("sensor_sd") * noise[0], params["Gb"] * jnp.exp(0.2 * noise[0]))
        one = jnp.ones(())
        p = self.person(params, 80.0 * one, one, one)
        return eqx.tree_at(lambda s: s.appearance, self._begin(jnp.maximum(G, 40.0), jnp.zeros(()), p), self.appearance_sd * noise[1])

    def advance(self, params, state, inputs, context, noise):
        """Carry one member over one slot."""
        p = self.person(params, context.weight, context.sensitivity, context.function)
        moved = self._slot(state, inputs[-1], p, params)
        keep = jnp.exp(-self.slot / self.appearance_minutes)
        appearance = keep * state.appearance + self.appearance_sd * jnp.sqrt(1 - keep**2) * noise[0]
        return eqx.tree_at(lambda s: s.appearance, moved, appearance)

    def emit(self, params, state):
        """Return interstitial glucose."""
        del params
        return state.body.IG[None]

    def discrepancy(self, record, now):
        """Learn from the person's own past what the equations keep getting wrong, as the room's default twin does (:mod:`gemel.twins.metabolic.correct`)."""
        return correct.learn_alone(record, now)

    def correction(self, record, now, learnt):
        """Ask it at ``now``."""
        return correct.correction(record, now, learnt)

    def learns(self):
        """Let readings move glucose, remote insulin and unannounced appearance; the rest follows from what was logged and from the parameters."""
        like = jax.eval_shape(lambda: held_at(jnp.zeros(()), jnp.zeros(()), {k: jnp.asarray(v) for k, v in column().items()}))
        body = [float(name in _LEARNT) for name in vars(like)]
        return np.array([*body, 0.0, 0.0, 1.0])

    def noise_sd(self, predicted):
        """Return the sensor's white noise, 3 % of the value but at least 3 mg/dL (ASSUMED; short-term noise of a calibrated sensor)."""
        return jnp.maximum(0.03 * predicted, 3.0)


def model(**settings: Any) -> Type2Model:
    """Return the room's model."""
    return Type2Model(**settings)
