"""Tempered SMC: moments, mode weights, evidence, and a status when the particles stop moving."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.engine.infer.smc import Smc, systematic
from gemel.engine.keys import make_key
from gemel.engine.problems import Banana, NormalMean, TwoModes
from gemel.engine.status import Status


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_systematic_resampling_takes_the_floor_or_the_ceiling(seed):
    w = np.random.default_rng(seed).dirichlet(np.full(16, 0.5))
    counts = np.bincount(systematic(jnp.log(jnp.asarray(w)), key=make_key(seed)), minlength=16)
    # 1e-9: a pointer may fall on the edge of a weight to rounding
    assert np.all(counts >= np.floor(16 * w - 1e-9))
    assert np.all(counts <= np.ceil(16 * w + 1e-9))


@pytest.mark.slow
def test_weights_of_two_modes():
    problem = TwoModes.of(0.3)
    result = Smc(particles=16_000).run(problem, key=make_key(0))
    z = np.asarray(result.posterior.draws)
    assert result.status == Status.OK
    # four resamplings at half the effective size: standard error about 0.005
    assert abs((z[:, 0] < 0).mean() - 0.3) < 0.02
    assert abs(result.log_evidence - problem.truth().log_evidence) < 0.1  # about four standard errors
    assert result.diagnostics["powers"][-1] == 1
    assert np.all(np.diff(result.diagnostics["powers"]) > 0)


@pytest.mark.slow
def test_banana_moments():
    problem = Banana.of()
    truth = problem.truth()
    z = np.asarray(Smc(particles=8000).run(problem, key=make_key(1)).posterior.draws)
    # four errors of 8,000 particles that have moved to about half of independence
    assert np.abs((z.mean(axis=0) - truth.mean) / truth.sd).max() < 4 * np.sqrt(2 / 8000)
    assert np.abs(z.std(axis=0) / truth.sd - 1).max() < 4 * np.sqrt(2 / 8000)


@pytest.mark.slow
def test_evidence_of_a_normal_over_fifty_seeds():
    problem = NormalMean.of([2.5], noise=0.5, spread=2.0)
    method = Smc(particles=400)
    ratio = np.exp([method.run(problem, key=make_key(seed)).log_evidence - problem.truth().log_evidence for seed in range(50)])
    # the estimate of the evidence (not of its log) is unbiased up to the adaptation of the powers, which is of order 1/particles
    assert abs(ratio.mean() - 1) < 3 * ratio.std(ddof=1) / np.sqrt(50) + 1 / 400


def test_too_few_moves_are_a_status():
    result = Smc(particles=400, moves=2).run(NormalMean.of([2.5], noise=0.5, spread=2.0), key=make_key(0))
    assert result.status == Status.TEMPERING_STALLED
    assert not result.usable


def test_a_likelihood_that_is_never_finite_is_a_status():
    assert Smc(particles=400).run(NormalMean.of([jnp.nan], noise=0.5, spread=2.0), key=make_key(0)).status == Status.NOT_FINITE
