"""NUTS: closed forms, gates that refuse, runs that are stopped and go on with the same draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemel.core.errors import InferenceError
from gemel.engine import diagnostics as checks
from gemel.engine.compile import counting
from gemel.engine.infer.base import AbstractTarget, Inference
from gemel.engine.infer.laplace import Laplace
from gemel.engine.infer.nuts import Nuts, NutsState
from gemel.engine.infer.warmup import schedule
from gemel.engine.keys import make_key
from gemel.engine.posterior import Ensemble
from gemel.engine.problems import Banana, Funnel, LinearRegression, NormalMean, TwoModes
from gemel.engine.status import Status


def by_chain(result):
    return np.asarray(result.posterior.draws).reshape(result.diagnostics["chains"], result.diagnostics["draws_per_chain"], -1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "problem", [NormalMean.of([1.0, 2.0, 4.0], noise=1.0, spread=2.0), LinearRegression.simulated(), Banana.of()], ids=type
)
def test_moments_are_within_four_monte_carlo_errors(problem):
    result = Nuts(draws=1000).run(problem, key=make_key(3))
    truth, x = problem.truth(), by_chain(result)
    assert result.usable, result.sentence
    assert np.all(np.abs(x.mean(axis=(0, 1)) - truth.mean) < 4 * checks.mcse_mean(x))
    assert np.all(np.abs(x.std(axis=(0, 1)) - truth.sd) < 4 * checks.mcse_sd(x))


class Watch:
    """Asks for a stop after so many chunks."""

    def __init__(self, stop):
        self.left = stop

    def start(self, label, total):
        pass

    def update(self, done, note=""):
        self.left -= 1
        return self.left > 0

    def finish(self):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("stop", [2, 7], ids=["in warm-up", "among the draws"])
def test_a_stopped_run_goes_on_with_the_same_draws(stop):
    method = Nuts(warmup=300, draws=400, chunk=50, until_ess=None)
    problem, key, kept = TwoModes.of(0.5, distance=1.0), make_key(0), []
    whole = method.run(problem, key=key)
    with counting() as counter:
        stopped = method.run(problem, key=key, progress=Watch(stop), checkpoint=kept.append)
        assert stopped.status == Status.CANCELLED
        state = NutsState.of_arrays({k: v.copy() for k, v in kept[-1].arrays().items()})
        resumed = method.run(problem, key=key, state=state)
    print(f"programs compiled to stop and go on: {counter.count}")
    assert np.array_equal(whole.posterior.draws, resumed.posterior.draws)  # bit for bit: the key of a draw is its absolute index
    assert resumed.diagnostics["leapfrogs"] == whole.diagnostics["leapfrogs"]


@pytest.mark.slow
def test_two_distant_modes_are_not_usable():
    result = Nuts(draws=300, most=300).run(TwoModes.of(0.3), key=make_key(1))
    assert not result.usable
    assert "RHAT_TOO_HIGH" in result.diagnostics["failed_gates"]
    assert result.diagnostics["rhat"].max() > checks.RHAT_LIMIT


@pytest.mark.slow
def test_a_start_in_a_place_without_mass_gets_another_and_that_is_on_record():
    result = Nuts(draws=300, until_ess=None).run(TwoModes.of(1e-12), key=make_key(1))
    assert result.diagnostics["restarted"] > 0
    assert np.all(by_chain(result).mean(axis=(1, 2)) > 2)  # all chains at the positive mode, 4/sqrt(2) per coordinate


@pytest.mark.slow
def test_divergences_are_retried_and_what_remains_is_refused():
    result = Nuts(warmup=200, draws=200, most=200, retries=(0.95,), depth=6).run(Funnel(jnp.asarray(3.0)), key=make_key(0))
    assert not result.usable
    (goal, divergent), *later = result.diagnostics["attempts"]
    assert goal == 0.8
    assert divergent > 0
    assert [g for g, _ in later] == [0.95]


class Nowhere(AbstractTarget):
    scale: jax.Array

    @property
    def names(self):
        return ("x",)

    def log_prior(self, z):
        return -0.5 * z[0] ** 2

    def log_likelihood(self, z):
        return z[0] * self.scale * jnp.nan

    def start(self, *, key):
        return jax.random.normal(key, (1,))


def test_no_finite_start_is_a_status():
    result = Nuts().run(Nowhere(jnp.asarray(1.0)), key=make_key(0))
    assert result.status == Status.NOT_FINITE


def test_wrong_metric_and_single_chain_are_refused():
    with pytest.raises(InferenceError, match="metric"):
        Nuts(inverse_mass=jnp.eye(3)).run(Nowhere(jnp.asarray(1.0)), key=make_key(0))
    with pytest.raises(InferenceError, match="fewer than two"):
        Nuts(chains=1).run(Nowhere(jnp.asarray(1.0)), key=make_key(0))


def test_warm_up_windows_are_those_of_stan():
    flags = schedule(1000)
    assert (np.flatnonzero(flags[:, 2]) + 1).tolist() == [100, 150, 250, 450, 950]
    assert flags[:75, 1].sum() == flags[950:, 1].sum() == 0
    assert flags[75:950, 1].all()
    assert schedule(10)[:, 1:].sum() == 0
    assert schedule(0).shape == (0, 3)


@pytest.mark.slow
def test_a_pilot_gives_starts_and_metric_and_is_not_needed_to_go_on():
    problem = LinearRegression.simulated()
    method = Nuts(warmup=150, draws=200, chunk=50, until_ess=None, pilot=Laplace(starts=2), forward=True)
    kept: list[NutsState] = []
    result = method.run(problem, key=make_key(3), checkpoint=lambda s: kept.append(NutsState.of_arrays(s.arrays())))
    truth, x = problem.truth(), by_chain(result)
    assert np.all(np.abs(x.mean(axis=(0, 1)) - truth.mean) < 4 * checks.mcse_mean(x))
    assert "started from laplace" in result.method_validity
    with counting() as counter:
        again = method.run(problem, key=make_key(3), state=kept[3])
    assert np.array_equal(by_chain(again), x)
    assert counter.count == 0


class Lost(Laplace):
    """A pilot that finds nothing."""

    def run(self, target, *, key, progress=None):
        found = super().run(target, key=key, progress=progress)
        nothing = Ensemble.equal(jnp.full((8, len(target.names)), jnp.nan))
        return Inference(nothing, found.diagnostics, found.status, self.name, self.validity)


@pytest.mark.slow
def test_a_pilot_that_finds_nothing_leaves_the_prior():
    problem, settings = LinearRegression.simulated(), {"warmup": 100, "draws": 50, "chunk": 50, "until_ess": None}
    lost = Nuts(pilot=Lost(starts=2), **settings).run(problem, key=make_key(4))
    assert np.array_equal(by_chain(lost), by_chain(Nuts(**settings).run(problem, key=make_key(4))))
