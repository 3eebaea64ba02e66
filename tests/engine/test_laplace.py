"""Laplace: closed forms, planted failures, batches that are the same as one by one, one compilation per bucket."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemel.core.errors import InferenceError
from gemel.engine.compile import counting
from gemel.engine.infer import lanes
from gemel.engine.infer.base import AbstractTarget
from gemel.engine.infer.ladder import Ladder
from gemel.engine.infer.laplace import Laplace
from gemel.engine.infer.levenberg import LevenbergMarquardt, triangle, value_and_jacobian
from gemel.engine.infer.smc import Smc
from gemel.engine.keys import make_key
from gemel.engine.posterior import Ensemble
from gemel.engine.problems import Banana, Decay, Funnel, LinearRegression, NormalMean, TwoModes
from gemel.engine.status import Status

KEY = make_key(1)


def moments(result):
    mean, covariance = result.posterior.moments()
    return np.asarray(mean), np.sqrt(np.diagonal(np.asarray(covariance)))


@pytest.mark.parametrize(
    "problem", [NormalMean.of([1.0, 2.0, 4.0], noise=1.0, spread=2.0), LinearRegression.simulated()], ids=["mean", "regression"]
)
def test_gaussian_posteriors_are_exact(problem):
    result = Laplace().run(problem, key=KEY)
    truth = problem.truth()
    mean, sd = moments(result)
    assert result.status == Status.OK
    assert result.diagnostics["psis_k"] == 0  # all weights equal to rounding
    # a Gauss-Newton step of a linear problem is exact: rounding times the condition number
    np.testing.assert_allclose(mean, truth.mean, atol=1e-8)
    np.testing.assert_allclose(sd, truth.sd, rtol=1e-8)
    assert abs(result.log_evidence - truth.log_evidence) < 1e-8


def test_covariance_is_that_of_the_regression_and_its_factor_is_lower_triangular():
    problem = LinearRegression.simulated(3)
    posterior = Laplace().run(problem, key=KEY).posterior
    np.testing.assert_allclose(posterior.moments()[1], problem.covariance(), rtol=1e-8)  # exact but for rounding
    assert np.array_equal(np.triu(posterior.cholesky, 1), np.zeros((5, 5)))


def test_mode_of_a_nonlinear_regression_is_stationary_and_its_weights_correct_the_gaussian():
    problem = Decay.simulated(1)
    plain, weighted = Laplace().run(problem, key=KEY), Laplace(resample=True, draws=4000).run(problem, key=KEY)
    slope = jax.grad(lambda z: problem.log_prior(z) + problem.log_likelihood(z))(plain.posterior.mode)
    # a decrement below 1e-10 leaves the mode within 2e-5 standard deviations: slope = distance / sd
    assert np.abs(np.asarray(slope) * moments(plain)[1]).max() < 1e-4
    truth = problem.truth()
    assert isinstance(weighted.posterior, Ensemble)
    # four Monte Carlo errors of 4,000 nearly equal weights, 1/sqrt(4000) = 0.016
    assert np.abs((moments(weighted)[0] - truth.mean) / truth.sd).max() < 0.064
    assert np.abs(moments(weighted)[1] / truth.sd - 1).max() < 0.064
    assert abs(weighted.log_evidence - truth.log_evidence) < 0.05


def test_gauss_newton_is_named_and_close_where_residuals_are_small():
    exact, approximate = Laplace().run(Decay.simulated(1), key=KEY), Laplace(hessian="gauss-newton").run(Decay.simulated(1), key=KEY)
    assert "Gauss-Newton" in approximate.method_validity
    assert "Gauss-Newton" not in exact.method_validity
    np.testing.assert_allclose(moments(approximate)[1], moments(exact)[1], rtol=0.1)  # curvature times residuals, a few per cent here


def test_gauss_newton_needs_least_squares():
    with pytest.raises(InferenceError, match="least-squares"):
        Laplace(hessian="gauss-newton").run(Banana.of(), key=KEY)


class Saddle(AbstractTarget):
    """A density without a maximum: the planted Hessian that is not positive definite."""

    width: jax.Array

    @property
    def names(self):
        return ("x", "y")

    def log_prior(self, z):
        return -0.5 * (z[0] / self.width) ** 2 + 0.0 * z[1]

    def log_likelihood(self, z):
        return 0.0 * z[0]

    def start(self, *, key):
        return jax.random.normal(key, (2,))


def test_curvature_that_is_not_positive_definite_is_refused_not_inverted():
    result = Laplace().run(Saddle(jnp.asarray(1.0)), key=KEY)
    assert result.status == Status.NOT_POSITIVE_DEFINITE
    assert not result.usable
    assert np.isnan(np.asarray(result.posterior.cholesky)).all()


def test_funnel_has_no_mode_and_says_so():
    result = Laplace().run(Funnel(jnp.asarray(3.0)), key=KEY)
    assert not result.usable


def test_rival_mode_is_reported_and_the_ladder_goes_on():
    problem = TwoModes.of(0.3)
    assert Laplace().run(problem, key=KEY).status == Status.SEVERAL_MODES
    result = Ladder([Laplace(), Smc(particles=2000)]).run(problem, key=KEY)
    assert result.usable
    assert result.method == "ladder: smc"
    assert [name for name, _ in result.diagnostics["rungs"]] == ["laplace", "smc"]


def test_banana_is_too_heavy_for_a_gaussian():
    assert Laplace().run(Banana.of(), key=KEY).status == Status.PSIS_TOO_HEAVY


class Broken(AbstractTarget):
    """A solver that never succeeds."""

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


def test_a_density_that_is_never_finite_is_a_status_not_a_number():
    result = Laplace().run(Broken(jnp.asarray(1.0)), key=KEY)
    assert result.status == Status.NOT_FINITE
    assert result.diagnostics["starts_failed"] == 16


def test_batch_gives_what_one_by_one_gives_and_compiles_nothing_new():
    problems = [Decay.simulated(i) for i in range(40)]
    keys = jax.random.split(make_key(2), 40)
    method = Laplace()
    batch = method.run_batch(problems, keys=keys)
    single = method.run(problems[7], key=keys[7])
    # other lane counts change the order of sums; the mode is found to 1e-5 standard deviations and polished quadratically
    np.testing.assert_allclose(batch[7].posterior.mode, single.posterior.mode, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(batch[7].diagnostics["psis_k"], single.diagnostics["psis_k"], atol=1e-4)
    with counting() as counter:
        method.run_batch(lanes.stack([Decay.simulated(i) for i in range(100, 140)]), keys=keys)
    print(f"programs of a second batch: {counter.count}")
    assert counter.count == 0
    assert sum(r.usable for r in batch) > 30


def test_batch_needs_a_key_each():
    with pytest.raises(InferenceError, match="one key per patient"):
        Laplace().run_batch([Decay.simulated(0)] * 2, keys=make_key(0)[None])


def test_stopping_on_request_is_a_status():
    class Stop:
        def start(self, label, total):
            pass

        def update(self, done, note=""):
            return False

        def finish(self):
            pass

    assert Laplace().run(Decay.simulated(1), key=KEY, progress=Stop()).status == Status.CANCELLED


def test_stacking_keeps_plain_numbers_and_stacks_arrays():
    stacked = lanes.stack([Funnel(jnp.asarray(1.0)), Funnel(jnp.asarray(2.0))])
    assert stacked.size == 9
    assert stacked.scale.tolist() == [1.0, 2.0]


def test_triangle_is_that_of_lapack():
    a = np.random.default_rng(0).normal(size=(40, 6)) * 10.0 ** np.arange(-3, 3)
    ours, theirs = np.asarray(triangle(jnp.asarray(a))), np.linalg.qr(a, mode="r")
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-10, atol=1e-12)  # equal up to signs and rounding
    assert np.isfinite(np.asarray(triangle(jnp.zeros((5, 3))))).all()


def test_value_and_jacobian_is_that_of_reverse_mode():
    problem = Decay.simulated(2)
    z = jnp.array([0.2, -0.3])
    value, jacobian = value_and_jacobian(problem.residual, z)
    np.testing.assert_allclose(value, problem.residual(z), rtol=1e-14)  # one program fuses what the other does not
    np.testing.assert_allclose(jacobian, jax.jacrev(problem.residual)(z), rtol=1e-12)  # rounding


def test_levenberg_marquardt_solves_rosenbrock_from_the_classical_start():
    method = LevenbergMarquardt()

    def residual(z):
        return jnp.stack([10 * (z[1] - z[0] ** 2), 1 - z[0], 0.0 * z[0]])

    state = method.init(jnp.array([-1.2, 1.0]))
    step = jax.jit(lambda s: method.step(residual, s))
    for _ in range(40):
        state = step(state)
    assert state.converged
    np.testing.assert_allclose(state.z, 1.0, atol=1e-5)  # a decrement of 1e-10 in a valley of curvature one
