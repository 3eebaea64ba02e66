"""Solvers of ordinary differential equations: order of convergence, peers, conservation, and failures that are no numbers."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gemel.physics.ode import RK4, Adaptive, BackwardEuler, integrate, rk4_step

PARAMETERS = {"a": 1.1, "b": 0.4, "c": 0.4, "d": 0.1}
START = (10.0, 5.0)


def predators(time, state, inputs, p):
    del time
    prey, predator = state
    return (p["a"] * prey - p["b"] * prey * predator + inputs, -p["c"] * predator + p["d"] * prey * predator)


def decay(time, state, inputs, rate):
    del time
    return -rate * state + inputs


def forced(time, state, inputs, rate):
    return -rate * state + jnp.cos(time) + inputs


def run(solver, steps, span=4.0, f=predators, start=START, parameters=PARAMETERS):
    state = jax.tree.map(jnp.asarray, start)
    return integrate(f, state, jnp.zeros(steps), parameters, step=span / steps, integrator=solver)


def order(solver, counts, exact, **problem):
    errors = [float(np.abs(np.asarray(jax.tree.map(lambda x: x[-1], run(solver, n, **problem))) - exact).max()) for n in counts]
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


@pytest.fixture(scope="module")
def reference():
    found = solve_ivp(lambda t, y: predators(t, y, 0.0, PARAMETERS), (0, 4), START, method="DOP853", rtol=1e-12, atol=1e-12)
    return found.y[:, -1]


def test_rk4_has_order_four(reference):
    slopes = order(RK4(), (64, 128, 256), reference)
    assert np.abs(slopes - 4).max() < 0.25  # the next order's share at these steps


def test_substeps_are_steps(reference):
    few, many = run(RK4(4), 32), run(RK4(), 128)
    assert np.allclose(np.asarray(few)[:, -1], np.asarray(many)[:, -1], rtol=1e-12)
    assert np.allclose(np.asarray(run(RK4(8), 16))[:, -1], np.asarray(many)[:, -1], rtol=1e-12)


def test_backward_euler_has_order_one():
    """``y' = -y + cos t`` has the solution ``(cos t + sin t)/2 + exp(-t)/2`` from 1."""
    exact = 0.5 * (np.cos(4.0) + np.sin(4.0)) + 0.5 * np.exp(-4.0)
    slopes = order(BackwardEuler(), (128, 256, 512), exact, f=forced, start=1.0, parameters=1.0)
    assert np.abs(slopes - 1).max() < 0.1


def test_time_is_passed_on():
    exact = 0.5 * (np.cos(4.0) + np.sin(4.0)) + 0.5 * np.exp(-4.0)
    assert order(RK4(), (32, 64), exact, f=forced, start=1.0, parameters=1.0)[0] == pytest.approx(4, abs=0.3)
    shifted = integrate(forced, jnp.asarray(1.0), jnp.zeros(64), 1.0, start=2.0, step=1 / 16, integrator=RK4())
    peer = solve_ivp(lambda t, y: -y + np.cos(t), (2, 6), [1.0], rtol=1e-11, atol=1e-11)
    assert float(shifted[-1]) == pytest.approx(peer.y[0, -1], abs=1e-6)


def test_backward_euler_is_stable_where_rk4_is_not():
    stiff = {"f": decay, "start": 1.0, "parameters": 1e4, "span": 1.0}
    assert abs(float(run(BackwardEuler(), 10, **stiff)[-1])) < 1e-6
    assert not abs(float(run(RK4(), 10, **stiff)[-1])) < 1.0


@pytest.mark.peer
def test_peers_agree(reference):
    """Tsit5 at rtol 1e-8 and RK4 with 512 steps against DOP853 of SciPy at 1e-12."""
    assert np.allclose(np.asarray(run(RK4(), 512))[:, -1], reference, rtol=1e-8)
    assert np.allclose(np.asarray(run(Adaptive(), 4))[:, -1], reference, rtol=1e-6)


def test_inputs_are_constant_over_a_step():
    """``y' = u`` sums the inputs exactly, whatever the solver."""
    inputs = jnp.array([1.0, -2.0, 0.5, 3.0])
    for solver in (RK4(), BackwardEuler(), Adaptive()):
        path = integrate(lambda t, y, u, p: u + 0.0 * y, jnp.asarray(0.0), inputs, None, step=0.5, integrator=solver)
        assert np.allclose(path, 0.5 * np.cumsum(inputs), atol=1e-12)


def test_every_keeps_every_so_manieth():
    inputs = jnp.linspace(0.0, 1.0, 12)
    dense = integrate(decay, jnp.asarray(1.0), inputs, 0.3, step=0.25)
    sparse = integrate(decay, jnp.asarray(1.0), inputs, 0.3, step=0.25, every=4)
    assert sparse.shape == (3,)
    assert np.allclose(sparse, dense[3::4], rtol=1e-14)


def test_linear_invariants_are_kept():
    def exchange(time, state, inputs, rate):
        del time
        flow = rate * state[0]
        return (-flow + inputs, flow)

    for solver in (RK4(), BackwardEuler()):
        there, gone = integrate(exchange, (jnp.asarray(1.0), jnp.asarray(0.0)), jnp.ones(20), 2.0, step=0.1, integrator=solver)
        assert np.allclose(there + gone, 1.0 + 0.1 * np.arange(1, 21), rtol=1e-13)


def test_gradients_in_both_modes():
    def end(rate):
        return integrate(decay, jnp.asarray(1.0), jnp.zeros(40), rate, step=0.05)[-1]

    exact = -2.0 * np.exp(-2.0 * 0.7)
    assert float(jax.grad(end)(0.7)) == pytest.approx(exact, rel=1e-6)
    assert float(jax.jvp(end, (0.7,), (1.0,))[1]) == pytest.approx(exact, rel=1e-6)
    assert np.allclose(jax.vmap(end)(jnp.array([0.5, 0.7])), np.exp(-2.0 * np.array([0.5, 0.7])), rtol=1e-7)


def test_a_failed_solve_is_not_a_number():
    explosive = jax.jit(lambda y: integrate(lambda t, x, u, p: x**2, y, jnp.zeros(2), None, step=1.0, integrator=Adaptive(max_steps=64)))
    assert np.isnan(np.asarray(explosive(jnp.asarray(10.0)))).all()
    assert np.isfinite(np.asarray(explosive(jnp.asarray(0.1)))).all()


def test_one_step_by_hand():
    assert float(rk4_step(decay, jnp.asarray(0.0), jnp.asarray(1.0), 0.0, 1.0, 1.0)) == pytest.approx(1 - 1 + 1 / 2 - 1 / 6 + 1 / 24)


@pytest.mark.parametrize("floor", ["gemel.physics", "gemel.learn", "gemel.engine"])
def test_each_floor_alone_sets_the_flags(floor):
    program = (
        f"import {floor}, os, jax, equinox; assert os.environ['EQX_ON_ERROR'] == 'nan'; assert jax.numpy.zeros(1).dtype == 'float64'; "
        "assert equinox._config.EQX_ON_ERROR == 'nan'"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("EQX_", "JAX_ENABLE"))}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program], env=clean, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
