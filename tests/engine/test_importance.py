"""Importance sampling: weights that sum to one, exact when proposal is target, refusal when it is too narrow."""

import jax.numpy as jnp
import numpy as np
import pytest

from gemel.core.errors import InferenceError
from gemel.engine.infer.importance import Importance
from gemel.engine.keys import make_key
from gemel.engine.posterior import Ensemble
from gemel.engine.posterior import Laplace as Gaussian
from gemel.engine.problems import Banana, LinearRegression, NormalMean
from gemel.engine.status import Status

PROBLEM = LinearRegression.simulated()
TRUTH = PROBLEM.truth()
FACTOR = jnp.linalg.cholesky(jnp.asarray(PROBLEM.covariance()))


def test_the_posterior_itself_as_proposal_gives_equal_weights_and_the_exact_evidence():
    result = Importance(Gaussian(jnp.asarray(TRUTH.mean), FACTOR)).run(PROBLEM, key=make_key(0))
    assert result.diagnostics["psis_k"] == 0
    assert result.diagnostics["ess"] == pytest.approx(2000, rel=1e-9)  # rounding of equal weights
    assert result.log_evidence == pytest.approx(TRUTH.log_evidence, abs=1e-8)  # rounding: every ratio is the evidence


@pytest.mark.parametrize("as_ensemble", [False, True])
def test_a_wider_proposal_is_corrected(as_ensemble):
    proposal = Gaussian(jnp.asarray(TRUTH.mean + 0.3 * TRUTH.sd), 1.5 * FACTOR)
    if as_ensemble:
        proposal = Ensemble.equal(proposal.draw(2000, key=make_key(5)))
    result = Importance(proposal, draws=8000).run(PROBLEM, key=make_key(1))
    mean, covariance = result.posterior.moments()
    error = 4 / np.sqrt(result.diagnostics["ess"])  # four Monte Carlo errors
    assert result.status == Status.OK
    assert np.abs((np.asarray(mean) - TRUTH.mean) / TRUTH.sd).max() < error
    assert np.abs(np.sqrt(np.diagonal(np.asarray(covariance))) / TRUTH.sd - 1).max() < error
    assert abs(result.log_evidence - TRUTH.log_evidence) < error


def test_a_narrow_proposal_is_refused():
    result = Importance(Gaussian(jnp.asarray(TRUTH.mean), 0.4 * FACTOR)).run(PROBLEM, key=make_key(0))
    assert result.status == Status.PSIS_TOO_HEAVY
    assert result.diagnostics["psis_k"] > 0.7


def test_what_does_not_fit_is_refused_before_anything_runs():
    with pytest.raises(InferenceError, match="size"):
        Importance(Gaussian(jnp.zeros(3), jnp.eye(3))).run(Banana.of(), key=make_key(0))


def test_a_density_that_is_nowhere_finite_is_a_status():
    problem = NormalMean.of([jnp.nan], noise=1.0, spread=1.0)
    result = Importance(Gaussian(jnp.zeros(1), jnp.eye(1))).run(problem, key=make_key(0))
    assert result.status == Status.NOT_FINITE
