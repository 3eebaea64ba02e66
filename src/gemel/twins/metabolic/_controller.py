"""A model-predictive controller of insulin, for simulation only, and the walls that have the last word over it.

The internal model is linear and knows a person by what a clinic knows: programmed basal rate, units of insulin per gram of carbohydrate, mg/dL per unit.
Insulin and carbohydrate pass through chains of compartments to a change of glucose; what is left unexplained is a drift that a Kalman filter follows.
Every five minutes the rates of the next hours are chosen by projected gradient descent on an asymmetric cost; the first is given. Doses never leave the
simulation: for people there is ``recommend``, which proposes.

References
----------
Hovorka et al. 2004, doi:10.1088/0967-3334/25/4/010 (the form of control); Del Favero et al. 2012, doi:10.1109/TBME.2012.2198643 (asymmetry of the cost).
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["Action", "ControlState", "Controller", "Patient", "Tuning", "Walls", "within_walls"]

SAMPLE = 5.0
"""Minutes between two decisions."""


class Patient(eqx.Module):
    """What a clinic knows of a person: programmed basal (U/min), grams of carbohydrate per unit, mg/dL per unit."""

    basal: Array
    grams_per_unit: Array
    drop_per_unit: Array


class Walls(eqx.Module):
    """Hard limits. ASSUMED defaults, as in ``plans.SafetyLimits``.

    Parameters
    ----------
    basal_factor : largest rate as a multiple of the programmed one.
    on_board_hours : largest insulin on board without a meal, in hours of programmed basal.
    largest_bolus : units. largest_meal : grams at once.
    lowest : mg/dL below which insulin stops; low : mg/dL that the forecast's low quantile may not reach within ``within`` minutes.
    stale : minutes after which a reading is too old: programmed basal.
    """

    basal_factor: float = 3.0
    on_board_hours: float = 4.0
    largest_bolus: float = 25.0
    largest_meal: float = 200.0
    lowest: float = 54.0
    low: float = 70.0
    within: float = eqx.field(static=True, default=30.0)
    stale: float = 15.0


class Action(eqx.Module):
    """What is given over the next five minutes: a rate (U/min) and a bolus (U) at their beginning."""

    rate: Array
    bolus: Array


def within_walls(
    wanted: Action, walls: Walls, *, programmed: Array, on_board: Array, announced: Array, reading: Array, age: Array, forecast_low: Array
) -> Action:
    """Return the action with every wall applied: pure, and the last thing that happens to it.

    Parameters
    ----------
    programmed : basal rate, U/min. on_board : U above basal still acting. announced : g of carbohydrate told now.
    reading : last CGM, mg/dL. age : of it, minutes. forecast_low : 5 % quantile of the lowest glucose within ``walls.within`` minutes, mg/dL.

    Notes
    -----
    Never more than ``basal_factor`` times the programmed rate; no bolus without announced carbohydrate, none above the largest; a stale or missing
    reading gives the programmed rate and no bolus; below ``lowest`` nothing is given; while the low forecast lies below ``low`` no more insulin is added
    than what a meal told now needs, and the rate stops; insulin on board above its limit leaves at most the programmed rate.
    """
    known = jnp.isfinite(reading) & (age <= walls.stale)
    rate = jnp.where(jnp.isfinite(wanted.rate), jnp.clip(wanted.rate, 0.0, walls.basal_factor * programmed), programmed)
    rate = jnp.where(on_board > walls.on_board_hours * 60.0 * programmed, jnp.minimum(rate, programmed), rate)
    meal = jnp.isfinite(announced) & (announced > 0.0) & (announced <= walls.largest_meal)
    bolus = jnp.where(meal & jnp.isfinite(wanted.bolus), jnp.clip(wanted.bolus, 0.0, walls.largest_bolus), 0.0)
    danger = ~(forecast_low >= walls.low)  # a forecast that is not a number is a danger
    rate = jnp.where(danger, 0.0, rate)
    bolus = jnp.where(danger & ~meal, 0.0, bolus)
    hypo = known & (reading < walls.lowest)
    rate, bolus = jnp.where(hypo, 0.0, rate), jnp.where(hypo, 0.0, bolus)
    return Action(jnp.where(known, rate, programmed), jnp.where(known, bolus, 0.0))


class Tuning(eqx.Module):
    """Settings of the internal model and the cost. ASSUMED; chosen on virtual people drawn anew, none of them those it is judged on.

    Parameters
    ----------
    insulin_minutes, carbohydrate_minutes : per compartment of the two chains.
    target : mg/dL. below : how much worse a mg/dL below the target is than one above. effort : cost of a departure from the programmed rate.
    meal_share : of the dose that a meal asks for, given at once. correction_share : of what the reading asks for, given with it.
    drift_minutes : in which an unexplained drift fades.
    sensor_sd, drift_sd : of a reading (mg/dL) and of the drift's change in five minutes (mg/dL/min).
    """

    insulin_minutes: tuple[float, ...] = eqx.field(static=True, default=(55.0, 55.0, 40.0))
    carbohydrate_minutes: tuple[float, ...] = eqx.field(static=True, default=(15.0, 35.0, 35.0))
    target: float = 108.0
    below: float = 15.0
    effort: float = 20.0
    meal_share: float = 1.0
    correction_share: float = 0.3
    drift_minutes: float = 90.0
    sensor_sd: float = 6.0
    drift_sd: float = 0.5
    horizon: int = eqx.field(static=True, default=48)
    moves: tuple[int, ...] = eqx.field(static=True, default=(1, 1, 2, 2, 6, 12, 24))
    iterations: int = eqx.field(static=True, default=40)


class ControlState(eqx.Module):
    """What the controller carries: both chains (U above basal, g), glucose and drift with their covariance, minutes since the last reading."""

    insulin: Float[Array, " stage"]
    carbohydrate: Float[Array, " stage"]
    mean: Float[Array, " two"]
    covariance: Float[Array, "two two"]
    age: Array


def _chain(minutes: Sequence[float]) -> np.ndarray:
    """Return the exact transition over one sample of a chain whose last compartment empties into the effect: contents first, then what has acted."""
    n = len(minutes)
    flows = np.zeros((n + 1, n + 1))
    for i, tau in enumerate(minutes):
        flows[i, i] -= 1 / tau
        flows[i + 1, i] += 1 / tau
    small, total = flows * SAMPLE / 64, np.eye(n + 1)
    for k in range(12, 0, -1):
        total = np.eye(n + 1) + small @ total / k
    for _ in range(6):
        total = total @ total
    return total


class Controller(eqx.Module):
    """The controller of one person; map it over people.

    Parameters
    ----------
    patient : what a clinic knows. tuning : settings. walls : hard limits.
    """

    patient: Patient
    tuning: Tuning = Tuning()
    walls: Walls = Walls()

    def begin(self, reading: Array) -> ControlState:
        """Start at rest at a first reading (mg/dL)."""
        t = self.tuning
        return ControlState(
            jnp.zeros(len(t.insulin_minutes)), jnp.zeros(len(t.carbohydrate_minutes)), jnp.stack([reading, jnp.zeros_like(reading)]),
            jnp.diag(jnp.asarray([t.sensor_sd**2, 0.25])), jnp.zeros(()),
        )  # fmt: skip

    def decide(self, state: ControlState, reading: Array, announced: Array) -> tuple[Action, ControlState]:
        """Take a reading (mg/dL, NaN when none came) and announced carbohydrate (g); return what is given until the next one.

        The walls are applied inside: what comes out has passed them.
        """
        t, p = self.tuning, self.patient
        state = self._corrected(state, reading)
        announced = jnp.where(jnp.isfinite(announced), announced, 0.0)
        fed = eqx.tree_at(lambda s: s.carbohydrate, state, state.carbohydrate.at[0].add(jnp.clip(announced, 0.0, self.walls.largest_meal)))
        on_board = state.insulin.sum()
        excess = jnp.maximum(state.mean[0] - t.target, 0.0) / p.drop_per_unit
        correction = jnp.maximum(t.correction_share * excess - jnp.maximum(on_board, 0.0), 0.0)
        lack = jnp.maximum(t.target - 15.0 - state.mean[0] - 20.0 * state.mean[1], 0.0) / p.drop_per_unit
        bolus = jnp.where(announced > 0, jnp.maximum(t.meal_share * announced / p.grams_per_unit + correction - lack, 0.0), 0.0)
        free, low = self._free(fed, bolus)
        _, low_unfed = self._free(state, jnp.zeros(()))
        rate = p.basal + self._moves(free)[0] / SAMPLE
        action = within_walls(
            Action(rate, bolus), self.walls, programmed=p.basal, on_board=on_board, announced=announced, reading=_last(reading, state), age=state.age, forecast_low=jnp.where(announced > 0, jnp.maximum(low, low_unfed), low_unfed),
        )  # fmt: skip
        return action, self._moved(fed, action)

    def _effects(self) -> tuple[np.ndarray, np.ndarray]:
        return _chain(self.tuning.insulin_minutes), _chain(self.tuning.carbohydrate_minutes)

    def _step(self, glucose: Array, drift: Array, acted: Array, absorbed: Array) -> Array:
        """Return glucose five minutes on, when so many units have acted and so many grams been absorbed."""
        p = self.patient
        return glucose - p.drop_per_unit * acted + p.drop_per_unit / p.grams_per_unit * absorbed + SAMPLE * drift

    def _corrected(self, state: ControlState, reading: Array) -> ControlState:
        """Kalman update by the reading; nothing is learnt from a missing one."""
        heard = jnp.isfinite(reading)
        total = state.covariance[0, 0] + self.tuning.sensor_sd**2
        gain = jnp.where(heard, state.covariance[:, 0] / total, 0.0)
        mean = state.mean + gain * jnp.where(heard, reading - state.mean[0], 0.0)
        covariance = state.covariance - jnp.outer(gain, state.covariance[0])
        return ControlState(state.insulin, state.carbohydrate, mean, covariance, jnp.where(heard, 0.0, state.age))

    def _moved(self, state: ControlState, action: Action) -> ControlState:
        """Carry everything over five minutes under the action."""
        t = self.tuning
        insulin, carbohydrate = self._effects()
        given = state.insulin.at[0].add(action.bolus + (action.rate - self.patient.basal) * SAMPLE)
        one = insulin @ jnp.concatenate([given, jnp.zeros(1)])
        two = carbohydrate @ jnp.concatenate([state.carbohydrate, jnp.zeros(1)])
        keep = jnp.exp(-SAMPLE / t.drift_minutes)
        glucose = self._step(state.mean[0], state.mean[1], one[-1], two[-1])
        transition = jnp.asarray([[1.0, SAMPLE], [0.0, keep]])
        noise = jnp.diag(jnp.asarray([4.0, t.drift_sd**2]))
        return ControlState(
            one[:-1],
            two[:-1],
            jnp.stack([glucose, keep * state.mean[1]]),
            transition @ state.covariance @ transition.T + noise,
            state.age + SAMPLE,
        )

    def _free(self, state: ControlState, bolus: Array) -> tuple[Float[Array, " step"], Array]:
        """Return glucose of the coming steps under the programmed rate and this bolus, and its 5 % quantile within the time that the walls look at."""
        t = self.tuning
        insulin, carbohydrate = self._effects()
        keep = jnp.exp(-SAMPLE / t.drift_minutes)
        start = (jnp.append(state.insulin.at[0].add(bolus), 0.0), jnp.append(state.carbohydrate, 0.0), state.mean[0], state.mean[1])

        def step(carry, _):
            i, c, glucose, drift = carry
            i, c = insulin @ i.at[-1].set(0.0), carbohydrate @ c.at[-1].set(0.0)
            glucose = self._step(glucose, drift, i[-1], c[-1])
            return (i, c, glucose, keep * drift), glucose

        _, path = jax.lax.scan(step, start, None, length=t.horizon)
        ahead = round(self.walls.within / SAMPLE)
        minutes = SAMPLE * jnp.arange(1, ahead + 1)
        sd = jnp.sqrt(state.covariance[0, 0] + minutes**2 * state.covariance[1, 1] + 4.0 * minutes / SAMPLE)
        return path, jnp.min(path[:ahead] - 1.645 * sd)

    def _moves(self, free: Float[Array, " step"]) -> Float[Array, " move"]:
        """Return units above basal per five minutes of each stretch of time, by projected gradient descent on the asymmetric cost."""
        t, p = self.tuning, self.patient
        response, effort = -p.drop_per_unit * jnp.asarray(_responses(t)), t.effort * jnp.asarray(np.array(t.moves, float))
        low, high = -p.basal * SAMPLE, (self.walls.basal_factor - 1.0) * p.basal * SAMPLE
        weight = jnp.linspace(0.4, 1.0, t.horizon)
        scale = 1.0 / (p.basal * SAMPLE) ** 2
        # the largest curvature bounds the step: every weight at its worst
        curvature = jnp.sum((response * jnp.sqrt(weight * t.below)[:, None]) ** 2) / t.horizon + jnp.max(effort) * scale

        def cost_gradient(u):
            gap = free + response @ u - t.target
            worse = jnp.where(gap < 0, t.below, 1.0) * weight
            return response.T @ (worse * gap) / t.horizon + effort * scale * u

        def iterate(_, carry):
            u, v, k = carry
            new = jnp.clip(v - cost_gradient(v) / curvature, low, high)
            after = (1 + jnp.sqrt(1 + 4 * k**2)) / 2
            return new, new + (k - 1) / after * (new - u), after

        nothing = jnp.zeros(len(t.moves))
        return jax.lax.fori_loop(0, t.iterations, iterate, (nothing, nothing, jnp.ones(())))[0]


def _responses(t: Tuning) -> Float[np.ndarray, "step move"]:
    """Units that have acted by the end of each step, per unit above basal given in every step of a stretch."""
    insulin = _chain(t.insulin_minutes)
    state, acted = np.zeros(len(insulin)), np.zeros(t.horizon)
    state[0] = 1.0
    for k in range(t.horizon):
        state = insulin @ state
        acted[k] = state[-1]
    out, first = np.zeros((t.horizon, len(t.moves))), 0
    for j, length in enumerate(t.moves):
        for k in range(first, min(first + length, t.horizon)):
            out[k:, j] += acted[: t.horizon - k]
        first += length
    return out


def _last(reading: Array, state: ControlState) -> Array:
    return jnp.where(jnp.isfinite(reading), reading, state.mean[0])
