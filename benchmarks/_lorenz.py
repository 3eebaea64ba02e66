"""Lorenz-63 and Lorenz-96 twin experiments as DAPPER sets them up (mods/Lorenz63/sakov2012.py, mods/Lorenz96/sakov2008.py, MIT).

A truth is drawn from N(x0, P0) and integrated by RK4; each cycle it is observed with noise and the filter analyses. The score is the
time mean, after the burn-in, of the spatial root mean square of (analysis mean - truth). Seeds are a vmapped axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import gemel.engine  # noqa: F401  sets float64 before JAX is imported
from gemel.engine.infer.enkf import EnKF
from gemel.engine.infer.particle import ParticleFilter


class Setup(NamedTuple):
    """One experiment: how to move, from where, how often and how well it is observed."""

    name: str
    derivative: Callable[[Array], Array]
    dt: float
    steps: int
    start: Array
    spread: float  # variance of each component of the first state
    noise: float  # variance of each observation
    burn_in: float  # time units
    cycles: int
    distance: Array

    def move(self, x: Array) -> Array:
        """Integrate from one observation to the next."""

        def step(x, _):
            k1 = self.derivative(x)
            k2 = self.derivative(x + self.dt / 2 * k1)
            k3 = self.derivative(x + self.dt / 2 * k2)
            k4 = self.derivative(x + self.dt * k3)
            return x + self.dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return jax.lax.scan(step, x, None, length=self.steps)[0]

    @property
    def counted(self) -> Array:
        """Which cycles lie after the burn-in."""
        return (jnp.arange(self.cycles) + 1) * self.dt * self.steps > self.burn_in


def lorenz63(cycles: int = 1000) -> Setup:
    """Three states, all observed every 25 steps of 0.01."""

    def derivative(x):
        a, b, c = x[..., 0], x[..., 1], x[..., 2]
        return jnp.stack([10.0 * (b - a), 28.0 * a - b - a * c, a * b - 8.0 / 3 * c], axis=-1)

    return Setup("Lorenz-63", derivative, 0.01, 25, jnp.array([1.509, -1.531, 25.46]), 2.0, 2.0, 16.0, cycles, jnp.zeros((3, 3)))


def lorenz96(cycles: int = 1000) -> Setup:
    """Forty states on a ring, all observed each step of 0.05."""

    def derivative(x):
        return (jnp.roll(x, -1, -1) - jnp.roll(x, 2, -1)) * jnp.roll(x, 1, -1) - x + 8.0

    place = jnp.arange(40.0)
    gap = jnp.abs(place[:, None] - place[None, :])
    distance = jnp.minimum(gap, 40 - gap)
    return Setup("Lorenz-96", derivative, 0.05, 1, jnp.zeros(40).at[0].set(1.0), 0.001, 1.0, 20.0, cycles, distance)


def simulate(setup: Setup, key: Array) -> tuple[Array, Array]:
    """Return truth and observations, each (cycle, state)."""
    first, noise = jax.random.split(key)
    start = setup.start + jnp.sqrt(setup.spread) * jax.random.normal(first, setup.start.shape)

    def step(x, _):
        x = setup.move(x)
        return x, x

    _, truth = jax.lax.scan(step, start, None, length=setup.cycles)
    return truth, truth + jnp.sqrt(setup.noise) * jax.random.normal(noise, truth.shape)


def _score(setup: Setup, estimate: Array, truth: Array) -> Array:
    """Time mean after the burn-in of the spatial RMS error."""
    rms = jnp.sqrt(jnp.mean((estimate - truth) ** 2, axis=-1))
    return jnp.sum(rms * setup.counted) / jnp.sum(setup.counted)


def climatology(setup: Setup, key: Array) -> Array:
    """Estimate by the time mean of the truth."""
    truth, _ = simulate(setup, key)
    return _score(setup, jnp.mean(truth, axis=0), truth)


def optimal_interpolation(setup: Setup, key: Array) -> Array:
    """One Kalman gain from the climatology, applied to its mean."""
    truth, observed = simulate(setup, key)
    mean, covariance = jnp.mean(truth, axis=0), jnp.cov(truth.T)
    gain = jnp.linalg.solve(covariance + setup.noise * jnp.eye(len(mean)), covariance).T
    return _score(setup, mean + (observed - mean) @ gain.T, truth)


def variational(setup: Setup, scale: float, key: Array) -> Array:
    """3D-Var: a constant gain from ``scale`` times the climatological covariance, applied to the forecast."""
    truth, observed = simulate(setup, key)
    background = scale * jnp.cov(truth.T)
    gain = jnp.linalg.solve(background + setup.noise * jnp.eye(truth.shape[1]), background).T

    def step(x, y):
        x = setup.move(x)
        x = x + gain @ (y - x)
        return x, x

    return _score(setup, jax.lax.scan(step, setup.start, observed)[1], truth)


def extended(setup: Setup, inflation: float, key: Array) -> Array:
    """Extended Kalman filter, covariance inflated by ``inflation`` per unit of time."""
    truth, observed = simulate(setup, key)
    size = truth.shape[1]
    factor = inflation ** (setup.dt * setup.steps)

    def step(carry, y):
        x, covariance = carry
        tangent = jax.jacfwd(setup.move)(x)
        x, covariance = setup.move(x), factor * tangent @ covariance @ tangent.T
        gain = jnp.linalg.solve(covariance + setup.noise * jnp.eye(size), covariance).T
        x, covariance = x + gain @ (y - x), covariance - gain @ covariance
        return (x, (covariance + covariance.T) / 2), x

    return _score(setup, jax.lax.scan(step, (setup.start, setup.spread * jnp.eye(size)), observed)[1], truth)


def ensemble(setup: Setup, method: EnKF, key: Array) -> Array:
    """Ensemble Kalman filter of any kind."""
    data, first, analysis = jax.random.split(key, 3)
    truth, observed = simulate(setup, data)
    members = setup.start + jnp.sqrt(setup.spread) * jax.random.normal(first, (method.size, truth.shape[1]))
    noise, mask = jnp.full(truth.shape[1], setup.noise), jnp.ones(truth.shape[1], bool)

    def step(members, item):
        number, y = item
        members = setup.move(members)
        members = method.analyse(members, members, y, noise, mask, key=jax.random.fold_in(analysis, number), distance=setup.distance)
        return members, jnp.mean(members, axis=0)

    return _score(setup, jax.lax.scan(step, members, (jnp.arange(setup.cycles), observed))[1], truth)


def particle(setup: Setup, method: ParticleFilter, key: Array) -> Array:
    """Bootstrap particle filter; the estimate is the weighted mean before resampling."""
    data, first, analysis = jax.random.split(key, 3)
    truth, observed = simulate(setup, data)
    start = setup.start + jnp.sqrt(setup.spread) * jax.random.normal(first, (method.size, truth.shape[1]))

    def move(x, item, key):  # noqa: ARG001  no noise, no clock: the model is autonomous
        return setup.move(x)

    def log_likelihood(x, y):
        return -0.5 * jnp.sum((y - x) ** 2, axis=-1) / setup.noise

    return _score(setup, method.run(start, move, log_likelihood, observed, key=analysis).mean, truth)
