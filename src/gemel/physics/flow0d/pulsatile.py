"""Pulsatile flow through a tree of resistances, inertances and capacitances: one linear tree per time step, periodic state by extrapolation of cycles.

Each time step replaces an inertance by a resistance and a capacitance by a conductance (their companions in the generalised-alpha method), so that the
step is a steady tree and costs what a steady tree costs. Reference: Jansen, Whiting & Hulbert 2000, doi:10.1016/S0045-7825(00)00203-6, eqs. 9 to 17.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from gemel.physics.flow0d.base import FlowStatus
from gemel.physics.flow0d.elimination import solve_linear_tree
from gemel.physics.flow0d.network import Network

__all__ = [
    "CycleState",
    "Drive",
    "PulsatileFlow",
    "PulsatileNetwork",
    "Scheme",
    "contraction",
    "interpolate_cycle",
    "simulate_cycles",
    "solve_periodic",
    "stage_times",
]

Columns = Float[Array, " branch"]
NEWTON_LIMIT = 12  # quadratic losses within one small step; two or three are usual


class Scheme(NamedTuple):
    """Generalised-alpha by its spectral radius at infinite frequency: 0.5 as the peer has it; 0 is L-stable. Order 2 for all."""

    radius: float = 0.5

    @property
    def stage(self) -> float:
        """Where in the step the equations hold, as a share of it."""
        return 1.0 / (1.0 + self.radius)

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Stage, rate per step of a change at the stage, share of the old rate at the stage, and gamma."""
        rate_stage = 0.5 * (3.0 - self.radius) / (1.0 + self.radius)
        gamma = 0.5 + rate_stage - self.stage
        return self.stage, rate_stage / (self.stage * gamma), 1.0 - rate_stage / gamma, gamma


class PulsatileNetwork(eqx.Module):
    """A network with memory. ``network`` holds resistances, losses, outlets (its root pressure and injection are not read).

    inertance Pa s^2/m^3 of each element; capacitance m^3/Pa at its downstream end, against ``external_share`` times the external pressure;
    inflow_share: which share of the driving inflow enters at each downstream end; swing: by how much the square root of the resistance rises
    when the drive's tone goes from 0 to 1 (Pa s/m^3)^0.5.
    """

    network: Network
    inertance: Columns
    capacitance: Columns
    external_share: Columns
    inflow_share: Columns
    swing: Columns


class Drive(eqx.Module):
    """What drives a cycle, at the stage of each of its equal steps (:func:`stage_times`). Pa and m^3/s; zero where something is not used.

    ``tone`` is the contraction of the muscle around vessels whose resistance varies, 0 to 1.
    """

    root_pressure: Float[Array, " step"]
    inflow: Float[Array, " step"]
    external: Float[Array, " step"]
    tone: Float[Array, " step"]
    period: Float[Array, ""]


class CycleState(eqx.Module):
    """What a step hands to the next: pressure above the external one and flow, with their rates of change."""

    pressure: Columns
    pressure_rate: Columns
    flow: Columns
    flow_rate: Columns


class PulsatileFlow(eqx.Module):
    """One cycle: ``flow`` m^3/s and ``pressure`` Pa (step, branch) at the END of each step, and how the periodic state was found.

    ``change`` is the largest difference between the states at the beginning and the end of the cycle, as a share of the largest of each kind;
    ``cycles`` how many were computed. NaN unless ``status`` is ``FlowStatus.OK``.
    """

    flow: Float[Array, "step branch"]
    pressure: Float[Array, "step branch"]
    state: CycleState
    change: Float[Array, ""]
    cycles: Int[Array, ""]
    status: Int[Array, ""]


def stage_times(period: float, steps: int, scheme: Scheme = Scheme()) -> Float[Array, " step"]:  # noqa: B008 (a frozen tuple)
    """Return the times of a cycle at which a drive is read, s."""
    return (jnp.arange(steps) + scheme.stage) * (period / steps)


def interpolate_cycle(times: Float[Array, " time"], values: Float[Array, " time"], at: Float[Array, " step"]) -> Float[Array, " step"]:
    """Interpolate a table linearly, periodically; its last time is the period."""
    return jnp.interp(jnp.mod(at - times[0], times[-1] - times[0]) + times[0], times, values)


def contraction(times: Float[Array, " step"], rise: float, fall: float, period: float) -> Float[Array, " step"]:
    """Return the tone of a muscle that contracts over ``rise`` seconds and relaxes over ``fall``, by half cosines, and then rests: 0 to 1.

    This is the form of svZeroDSolver's coronary outlet with varying resistance.
    """
    t = jnp.mod(times, period)
    up, down = 0.5 * (1.0 - jnp.cos(jnp.pi * t / rise)), 0.5 * (1.0 + jnp.cos(jnp.pi * (t - rise) / fall))
    return jnp.where(t <= rise, up, jnp.where(t <= rise + fall, down, 0.0))


def _cycle(pulsatile: PulsatileNetwork, drive: Drive, start: CycleState, scheme: Scheme) -> tuple[CycleState, tuple[Array, Array, Array]]:
    network = pulsatile.network
    stage, rate, kept, gamma = scheme.weights
    steps = drive.external.shape[-1]
    dt = drive.period / steps
    is_open = network.is_real & jnp.isfinite(network.resistance)
    resistance = jnp.where(is_open, network.resistance, 0.0)
    quadratic = jnp.where(is_open, network.quadratic, 0.0)
    at_root = (network.parent == network.size) & is_open
    companion_r, companion_g = pulsatile.inertance * rate / dt, pulsatile.capacitance * rate / dt
    conductance = network.outlet_conductance + companion_g
    drained = network.outlet_conductance * network.outlet_pressure
    varies = is_open & (pulsatile.swing != 0.0)

    def advance(state: CycleState, inputs):
        root, inflow, external, tone = inputs
        lift = pulsatile.external_share * external
        now = jnp.where(varies, (jnp.sqrt(jnp.where(varies, resistance, 1.0)) + pulsatile.swing * tone) ** 2, resistance)
        source = (
            drained
            + pulsatile.inflow_share * inflow
            + companion_g * (lift + state.pressure)
            - pulsatile.capacitance * kept * state.pressure_rate
        )
        offset = pulsatile.inertance * kept * state.flow_rate - companion_r * state.flow - jnp.where(at_root, root, 0.0)

        def newton(carry):
            q, _, _, count = carry
            loss = quadratic * jnp.abs(q)
            flow, pressure = solve_linear_tree(
                network.order, is_open, now + companion_r + 2.0 * loss, conductance, offset - loss * q, source
            )
            unbalanced = jnp.max(jnp.abs(quadratic * (flow * jnp.abs(flow) - 2.0 * jnp.abs(q) * flow + q * jnp.abs(q))))
            return flow, pressure, unbalanced, count + 1

        def unfinished(carry):
            return ~(carry[2] <= 1e-12 * jnp.maximum(jnp.max(jnp.abs(carry[1])), 1e-300)) & (carry[3] < NEWTON_LIMIT)

        begin = (state.flow, jnp.zeros_like(state.pressure), jnp.asarray(jnp.inf), jnp.asarray(0))
        flow, pressure, unbalanced, _ = jax.lax.while_loop(unfinished, newton, begin)

        def end(old, old_rate, at_stage):
            new = old + (at_stage - old) / stage
            return new, ((new - old) / dt - (1.0 - gamma) * old_rate) / gamma

        u, u_rate = end(state.pressure, state.pressure_rate, pressure - lift)
        q, q_rate = end(state.flow, state.flow_rate, flow)
        is_good = unbalanced <= 1e-10 * jnp.maximum(jnp.max(jnp.abs(pressure)), 1e-300)
        return CycleState(u, u_rate, q, q_rate), (q, u, is_good)

    after, (flow, above, good) = jax.lax.scan(advance, start, (drive.root_pressure, drive.inflow, drive.external, drive.tone))
    return after, (flow, above, good)


def _external_at_ends(drive: Drive, scheme: Scheme) -> Float[Array, " step"]:
    """The external pressure at the end of each step, from its values at the stages, by the same rule as the unknowns: x' = x + (stage value - x)/stage.

    The fixed point of that rule over a period is computed first, so that the result is periodic.
    """
    shrink = 1.0 - 1.0 / scheme.stage
    steps = drive.external.shape[-1]

    def follow(x, value):
        y = x * shrink + value / scheme.stage
        return y, y

    last, _ = jax.lax.scan(follow, jnp.asarray(0.0), drive.external)
    return jax.lax.scan(follow, last / (1.0 - shrink**steps), drive.external)[1]


def _rest(pulsatile: PulsatileNetwork) -> CycleState:
    zero = jnp.zeros_like(pulsatile.inertance)
    return CycleState(zero, zero, zero, zero)


def _steady_start(pulsatile: PulsatileNetwork, drive: Drive) -> CycleState:
    """The state under the mean drive: linear resistances only."""
    network = pulsatile.network
    is_open = network.is_real & jnp.isfinite(network.resistance)
    at_root = (network.parent == network.size) & is_open
    source = network.outlet_conductance * network.outlet_pressure + pulsatile.inflow_share * drive.inflow.mean()
    slope, offset = jnp.where(is_open, network.resistance, 0.0), jnp.where(at_root, -drive.root_pressure.mean(), 0.0)
    flow, pressure = solve_linear_tree(network.order, is_open, slope, network.outlet_conductance, offset, source)
    zero = jnp.zeros_like(flow)
    return CycleState(pressure - pulsatile.external_share * drive.external.mean(), zero, flow, zero)


def simulate_cycles(pulsatile: PulsatileNetwork, drive: Drive, cycles: int, *, scheme: Scheme = Scheme()) -> PulsatileFlow:  # noqa: B008
    """Simulate a fixed number of cycles from the state under the mean drive and return the last: what a solver without a periodic condition does."""
    state = _steady_start(pulsatile, drive)
    state = jax.lax.fori_loop(0, cycles - 1, lambda _, s: _cycle(pulsatile, drive, s, scheme)[0], state)
    after, series = _cycle(pulsatile, drive, state, scheme)
    return _finish(pulsatile, drive, scheme, state, after, series, jnp.asarray(cycles), jnp.inf)


def _scales(state: CycleState, period: Array) -> CycleState:
    p, q = (jnp.maximum(jnp.max(jnp.abs(x)), 1e-300) for x in (state.pressure, state.flow))
    ones = jnp.ones_like(state.pressure)
    return CycleState(p * ones, p / period * ones, q * ones, q / period * ones)


def _memory(pulsatile: PulsatileNetwork, state: CycleState) -> CycleState:
    """Only what the next cycle can feel: pressures at capacitances and flows through inertances."""
    c, i = pulsatile.capacitance > 0, pulsatile.inertance > 0
    return CycleState(*(jnp.where(m, x, 0.0) for m, x in zip((c, c, i, i), jax.tree.leaves(state), strict=True)))


def _difference(pulsatile: PulsatileNetwork, before: CycleState, after: CycleState, period: Array) -> Array:
    """Largest change over a cycle of a pressure or flow that has memory, as a share of the largest of its kind."""
    a, b = _memory(pulsatile, before), _memory(pulsatile, after)
    scale = _scales(after, period)
    return jnp.maximum(jnp.max(jnp.abs(b.pressure - a.pressure) / scale.pressure), jnp.max(jnp.abs(b.flow - a.flow) / scale.flow))


def _finish(pulsatile, drive, scheme, before, after, series, cycles, tolerance) -> PulsatileFlow:
    flow, above, good = series
    change = _difference(pulsatile, before, after, drive.period)
    pressure = above + pulsatile.external_share * _external_at_ends(drive, scheme)[:, None]
    finite = jnp.isfinite(pressure).all() & jnp.isfinite(flow).all()
    status = jnp.where(
        ~finite,
        int(FlowStatus.NOT_FINITE),
        jnp.where(good.all() & (change <= tolerance), int(FlowStatus.OK), int(FlowStatus.NOT_CONVERGED)),
    )
    masked = [jnp.where(status == int(FlowStatus.OK), x, jnp.nan) for x in (flow, pressure)]
    return PulsatileFlow(*masked, state=after, change=change, cycles=cycles, status=status)


def solve_periodic(
    pulsatile: PulsatileNetwork, drive: Drive, *, scheme: Scheme = Scheme(), tolerance: float = 1e-9, window: int = 8, limit: int = 40,  # noqa: B008
) -> PulsatileFlow:  # fmt: skip
    """Find the periodic state and return its cycle.

    The state after a cycle is an affine function of the state before it (nearly so with quadratic losses), whose slow part has one number per
    outlet. Anderson's method finds the fixed point from as many cycles as there are slow modes, instead of waiting until all have died away.

    Parameters
    ----------
    drive : periodic: what it holds is repeated as it is. A jump at the end of the period is a jump of the patient's.
    tolerance : of ``change``. window : cycles that are remembered. limit : largest number of cycles.

    References
    ----------
    Walker & Ni 2011, doi:10.1137/10078356X, algorithm AA.
    """
    begin = _steady_start(pulsatile, drive)
    scale = _scales(begin, drive.period)
    flat = ravel_pytree(scale)[0]
    unravel = ravel_pytree(scale)[1]

    def vector(state: CycleState) -> Array:
        return ravel_pytree(_memory(pulsatile, state))[0] / flat

    def unfinished(carry):
        return ~(carry[4] <= tolerance) & (carry[3] < limit) & jnp.isfinite(carry[0]).all()

    def iterate(carry):
        x, states, images, count, _ = carry
        before = unravel(x * flat)
        after = _cycle(pulsatile, drive, before, scheme)[0]
        image = vector(after)
        states = jnp.roll(states, 1, axis=0).at[0].set(x)
        images = jnp.roll(images, 1, axis=0).at[0].set(image)
        gaps = images - states
        known = (jnp.arange(window) <= count)[1:, None]
        d_gap = jnp.where(known, gaps[1:] - gaps[0], 0.0)
        d_image = jnp.where(known, images[1:] - images[0], 0.0)
        gram = d_gap @ d_gap.T
        ridge = 1e-14 * jnp.trace(gram) + jnp.finfo(x.dtype).tiny
        share = jnp.linalg.solve(gram + ridge * jnp.eye(window - 1), d_gap @ gaps[0])
        return image - share @ d_image, states, images, count + 1, _difference(pulsatile, before, after, drive.period)

    x = vector(begin)
    empty = jnp.zeros((window, x.shape[0]))
    x, states, _, count, _ = jax.lax.while_loop(unfinished, iterate, (x, empty, empty, jnp.asarray(0), jnp.asarray(jnp.inf)))
    before = unravel(jnp.where(count > 0, states[0], x) * flat)
    # what has no memory forgets where it began by the factor 1 - 1/stage in each step: 60 steps bring it to rounding
    shrink = abs(1.0 - 1.0 / scheme.stage)
    again = 1 if shrink == 0 else max(1, -(-int(-36.0 / math.log(shrink)) // drive.external.shape[-1]))
    settled = jax.lax.fori_loop(0, again, lambda _, s: _cycle(pulsatile, drive, s, scheme)[0], before)
    after, series = _cycle(pulsatile, drive, settled, scheme)
    return _finish(pulsatile, drive, scheme, settled, after, series, count + again + 1, 2.0 * tolerance)
