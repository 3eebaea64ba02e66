"""Ensemble smoothing: the Kalman posterior for linear problems, a bias that is declared for others."""

import numpy as np
import pytest

from gemel.core.errors import InferenceError
from gemel.engine.infer.eki import EnsembleSmoother
from gemel.engine.keys import make_key
from gemel.engine.problems import Banana, Decay, LinearRegression
from gemel.engine.status import Status

MEMBERS = 10_000


@pytest.mark.parametrize("inflations", [(1.0,), (4.0, 4.0, 4.0, 4.0), (9.333, 7.0, 4.0, 2.0)])
def test_linear_problems_give_the_kalman_posterior(inflations):
    inflations = (*inflations[:-1], 1 / (1 - sum(1 / a for a in inflations[:-1])))
    problem = LinearRegression.simulated()
    truth = problem.truth()
    result = EnsembleSmoother(members=MEMBERS, inflations=inflations).run(problem, key=make_key(0))
    mean, covariance = result.posterior.moments()
    assert result.status == Status.OK
    # three standard errors of an ensemble of this size; the noise of several steps adds up to the same
    assert np.abs((np.asarray(mean) - truth.mean) / truth.sd).max() < 3 / np.sqrt(MEMBERS)
    assert np.abs(np.sqrt(np.diagonal(np.asarray(covariance))) / truth.sd - 1).max() < 3 / np.sqrt(MEMBERS)


def test_nonlinear_problems_are_met_by_the_data_and_declared_approximate():
    result = EnsembleSmoother().run(Decay.simulated(1), key=make_key(0))
    assert result.method_validity.startswith("approximate")
    assert "linear-Gaussian" in result.method_validity
    assert result.diagnostics["misfit"][-1] < 2 < result.diagnostics["misfit"][0]  # the data are met to about their noise


def test_what_cannot_be_handled_is_refused():
    with pytest.raises(InferenceError, match="least-squares"):
        EnsembleSmoother().run(Banana.of(), key=make_key(0))
    with pytest.raises(InferenceError, match="sum to one"):
        EnsembleSmoother(inflations=(2.0, 3.0)).run(Decay.simulated(1), key=make_key(0))
