"""Identification of simulated people: the optimiser finds one optimum from most starts. A small version of ``benchmarks/identification.py``, whose
people these are; coverage and ranks are that benchmark's and the contract's (``tests/testing/test_contract_of_metabolic.py``).
"""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemel.engine.infer import lanes
from gemel.engine.infer.levenberg import LevenbergMarquardt
from gemel.physics.ode import BackwardEuler, integrate
from gemel.twins.metabolic._minimal import WINDOWS, bounded, derivative, resting

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def folder():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield


@pytest.fixture(scope="module")
def day(folder):
    return importlib.import_module("_identification")


@pytest.fixture(scope="module")
def peer(folder):
    return importlib.import_module("_identification_peer")


def _step(target, state):
    return LevenbergMarquardt().step(lambda z: jnp.concatenate([target.residual(z), target.prior_residual(z)]), state)


@pytest.mark.slow
def test_most_starts_reach_the_same_optimum(day):
    model = day.identification_model(barrier=0.1)
    days, _ = day.simulate(model, 8, seed=11)
    targets = lanes.stack(day.targets_of(model, days))
    starts = np.asarray(model.prior.draw(128, key=jax.random.key(4))).reshape(8, 16, 15)
    found = lanes.multistart(_step, LevenbergMarquardt().init, targets, starts, iterations=200, halving=False, sizes=(128,))
    assert found.converged.mean() > 0.9
    best = np.nanmin(found.values, axis=1, keepdims=True)
    same = found.values < best + 1e-6  # converged to 1e-10 nats
    # Some days have a second optimum, so the share is over people; measured .8
    assert same.mean() > 0.6
    assert (same.sum(axis=1) >= 3).all()
    value = lanes.chunked(lambda t, z: -t.log_likelihood(z), (lanes.host(targets), np.stack([d.truth for d in days])), (8,))
    assert np.isfinite(value).all()


def test_the_compared_scheme_is_backward_euler_of_the_model(day, peer):
    model = day.identification_model()
    values = {k: np.asarray(v) for k, v in jax.jit(lambda z: model.prior.constrain(z))(model.prior.mean).items()}
    n, rest = 240, 0.2
    meal = np.zeros(n)
    meal[20:35] = 60.0
    nothing, insulin = np.zeros(n), np.full(n, 0.1 * rest)  # little insulin: glucose stays above Gb, where both gains are one

    def ours(p):
        drive = (insulin, meal, nothing, nothing, jnp.full(n, p["SI_lunch"]), np.full(n, rest))
        start = resting(jnp.asarray(220.0), jnp.asarray(rest), p)
        return integrate(derivative, start, drive, p, step=1.0, integrator=BackwardEuler(newton=6)).IG

    def theirs(p):
        ratio = peer.PEER_VI / day.fixed("VI")
        drive = (insulin, meal, nothing, nothing, jnp.full(n, p["SI_lunch"] * ratio), np.full(n, rest))
        p = p | {"kempt": bounded(p["kempt"])}  # the room bounds its rates: 4e-8 of this one, nothing of the smaller ones
        return peer.published_path(p, tuple(jnp.asarray(x) for x in drive), jnp.asarray(220.0))

    mine = np.asarray(jax.jit(ours)(values))
    assert mine.min() > values["Gb"]
    np.testing.assert_allclose(jax.jit(theirs)(values), mine, rtol=1e-6)  # the model bounds its rates: 4e-8 of the emptying rate here


def test_the_peer_objective_knows_its_own_coordinates(day, peer):
    generator = np.random.default_rng(3)
    person = day.Day(
        np.zeros(15),
        140.0,
        0.012,
        70.0,
        ((120, 50.0), (450, 60.0), (850, 70.0)),
        ((120, 2.0), (450, 3.0), (850, 3.0)),
        generator.normal(140, 20, day.SLOTS),
    )
    objective = peer.peer_objective(person)
    z = np.asarray(jax.jit(lambda: objective.start(key=jax.random.key(1)))())
    back = jax.jit(lambda z: objective.unconstrain(objective.constrain(z)))(z)
    np.testing.assert_allclose(back, z, rtol=1e-9)

    def gamma(z):  # a density of the sensitivity itself, by its formula
        return sum(
            2.3 * jnp.log(objective.constrain(z)[f"SI_{w}"]) - objective.constrain(z)[f"SI_{w}"] * day.fixed("VG") / 5e-4 for w in WINDOWS
        )

    first, second = z.copy(), z.copy()
    second[:3] += (0.5, -0.8, 0.0)
    value = jax.jit(lambda z: (objective.log_prior(z), gamma(z)))
    (a, b), (c, d) = value(first), value(second)
    assert float(a - c) == pytest.approx(float(b - d), rel=1e-9)
