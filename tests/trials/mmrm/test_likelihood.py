"""Likelihood, derivatives and adjustments by pattern against dense matrices and finite differences."""

import numpy as np
import pytest
from scipy.optimize import minimize

from gemel.trials.mmrm.covariance import STRUCTURES
from gemel.trials.mmrm.data import arrange
from gemel.trials.mmrm.degrees import precision
from gemel.trials.mmrm.kenward_roger import adjusted
from gemel.trials.mmrm.likelihood import Likelihood
from gemel.trials.mmrm.sandwich import robust
from gemel.trials.mmrm.scoring import maximise

M = 4


def rows(seed=0, n=30, apart=False):
    rng = np.random.default_rng(seed)
    seen = rng.random((n, M)) < 0.75
    seen[0] = True
    who, when = np.nonzero(seen)
    arm = rng.integers(0, 2, n)[who]
    x = np.stack([np.ones(len(who)), arm, when == 1, when == 2, when == 3, rng.normal(size=len(who))], axis=1).astype(float)
    root = np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(range(M), range(M))) * np.outer([1, 1.2, 1.5, 2], [1, 1.2, 1.5, 2]))
    y = (rng.normal(size=(n, M)) @ root.T)[who, when] + x @ [100.0, 1, 2, 3, 4, 0.5]
    place = np.stack([when + (rng.uniform(-0.2, 0.2, len(who)) if apart else 0.0), 0.1 * when**2], axis=1)
    return who, when, x, y, place, np.where(arm == 1, "treated", "control")


def arranged(structure, seed=0, grouped=False, apart=False):
    who, when, x, y, place, arm = rows(seed, apart=apart)
    names = [f"x{k}" for k in range(x.shape[1])]
    by_subject = arm if grouped else None
    return arrange(y, x, names, who, when, range(M), group=by_subject, coordinates=place if structure.startswith("sp") else None)


def dense(structure, theta, seed=0, grouped=False, apart=False):
    """The covariance of all responses as one matrix, built row by row."""
    who, when, x, y, place, arm = rows(seed, apart=apart)
    shape = STRUCTURES[structure]
    size = len(shape.parameters(M))
    v = np.zeros((len(y), len(y)))
    for i in np.unique(who):
        at = np.flatnonzero(who == i)
        own = theta[size:] if grouped and arm[at[0]] == "treated" else theta[:size]
        places = np.zeros((M, 2))
        places[when[at]] = place[at]
        sigma = shape.build(own, M, places).value
        v[np.ix_(at, at)] = sigma[np.ix_(when[at], when[at])]
    return x, y, v


def dense_value(x, y, v, restricted):
    w = np.linalg.inv(v)
    information = x.T @ w @ x
    r = y - x @ np.linalg.solve(information, x.T @ w @ y)
    value = np.linalg.slogdet(v)[1] + r @ w @ r + (len(y) - restricted * x.shape[1]) * np.log(2 * np.pi)
    return value + (np.linalg.slogdet(information)[1] if restricted else 0.0)


CASES = [
    *((name, False, False) for name in STRUCTURES),
    ("un", True, False),
    ("ar1h", True, False),
    ("sp_gau", False, True),
    ("sp_exp", True, True),
]


@pytest.mark.parametrize("restricted", [True, False])
@pytest.mark.parametrize(("structure", "grouped", "apart"), CASES)
def test_value_and_derivatives_are_those_of_the_dense_matrix(structure, grouped, apart, restricted):
    likelihood = Likelihood(arranged(structure, 0, grouped, apart), STRUCTURES[structure], restricted=restricted)
    theta = likelihood.start() * (1 + 0.05 * np.cos(np.arange(len(likelihood.start()))))  # away from the optimum
    at = likelihood.evaluate(theta)
    assert at.value == pytest.approx(dense_value(*dense(structure, theta, 0, grouped, apart), restricted), rel=1e-10)
    found = likelihood.derivatives(at)

    def moved(i, step):
        return theta + step * np.eye(len(theta))[i]

    for i in range(len(theta)):
        step = 1e-5 * max(1.0, abs(theta[i]))
        up, down = (likelihood.evaluate(moved(i, s * step)) for s in (1, -1))
        slope = (up.value - down.value) / (2 * step)
        assert found.gradient[i] == pytest.approx(slope, rel=1e-6, abs=1e-6)  # central differences: error of order step^2
        curve = (likelihood.derivatives(up).gradient - likelihood.derivatives(down).gradient) / (2 * step)
        np.testing.assert_allclose(found.observed[i], curve, rtol=1e-6, atol=1e-6 * np.abs(found.observed).max())
        change = (np.linalg.inv(up.inverse) - np.linalg.inv(down.inverse)) / (2 * step)
        np.testing.assert_allclose(-found.cross[i], change, rtol=1e-6, atol=1e-6 * np.abs(found.cross).max())


@pytest.mark.parametrize("structure", ["un", "toeph", "ar1", "adh", "sp_gau"])
def test_expected_information_and_adjustments_are_those_of_the_dense_formulas(structure):
    data = arranged(structure, apart=True)
    likelihood = Likelihood(data, STRUCTURES[structure])
    optimum = maximise(likelihood, likelihood.start())
    assert optimum.status == "converged"
    theta = optimum.evaluation.theta
    x, _, v = dense(structure, theta, apart=True)
    w = np.linalg.inv(v)
    phi = np.linalg.inv(x.T @ w @ x)
    p = w - w @ x @ phi @ x.T @ w
    steps = np.cbrt(np.finfo(float).eps) * np.maximum(1, np.abs(theta))
    change = []
    for i, step in enumerate(steps):
        up, down = theta.copy(), theta.copy()
        up[i], down[i] = theta[i] + step, theta[i] - step
        change.append((dense(structure, up, apart=True)[2] - dense(structure, down, apart=True)[2]) / (2 * step))
    expected = [[np.trace(p @ a @ p @ b) for b in change] for a in change]
    np.testing.assert_allclose(optimum.derivatives.expected, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    exact = precision(likelihood, optimum)
    np.testing.assert_allclose(exact.model, phi, rtol=1e-8, atol=1e-10 * phi.max())
    # Kenward and Roger 1997, linear form, term by term
    first = [-x.T @ w @ a @ w @ x for a in change]
    bias = sum(
        exact.uncertainty[i, j] * (x.T @ w @ change[i] @ w @ change[j] @ w @ x - first[i] @ phi @ first[j])
        for i in range(len(theta))
        for j in range(len(theta))
    )
    np.testing.assert_allclose(
        adjusted(likelihood, optimum, exact, linear=True), phi + 2 * phi @ bias @ phi, rtol=1e-6, atol=1e-8 * phi.max()
    )


def test_full_kenward_and_roger_has_the_second_derivatives():
    structure = "ar1h"
    data = arranged(structure)
    likelihood = Likelihood(data, STRUCTURES[structure])
    optimum = maximise(likelihood, likelihood.start())
    theta = optimum.evaluation.theta
    exact = precision(likelihood, optimum)
    x, _, v = dense(structure, theta)
    w = np.linalg.inv(v)
    phi = np.linalg.inv(x.T @ w @ x)
    step, t = 1e-3, len(theta)
    total = np.zeros_like(phi)
    for i in range(t):
        for j in range(t):
            corners = [
                dense(structure, theta + step * (a * np.eye(t)[i] + b * np.eye(t)[j]))[2] for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
            ]
            second = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step**2)
            total += exact.uncertainty[i, j] * x.T @ w @ second @ w @ x
    difference = adjusted(likelihood, optimum, exact, linear=True) - adjusted(likelihood, optimum, exact, linear=False)
    np.testing.assert_allclose(
        difference, phi @ total @ phi / 2, rtol=1e-4, atol=1e-6 * np.abs(difference).max()
    )  # differences of order step^2


def test_jackknife_residuals_are_those_of_analyses_without_the_subject():
    structure = "ar1"
    data = arranged(structure)
    likelihood = Likelihood(data, STRUCTURES[structure])
    optimum = maximise(likelihood, likelihood.start())
    who, *_ = rows()
    x, y, v = dense(structure, optimum.evaluation.theta)
    phi = np.linalg.inv(x.T @ np.linalg.solve(v, x))
    beta = phi @ x.T @ np.linalg.solve(v, y)
    plain, without = np.zeros_like(phi), np.zeros_like(phi)
    for i in np.unique(who):
        at, rest = np.flatnonzero(who == i), np.flatnonzero(who != i)
        own = np.linalg.inv(v[np.ix_(at, at)])
        left = np.linalg.solve(v[np.ix_(rest, rest)], x[rest])
        beta_without = np.linalg.solve(x[rest].T @ left, left.T @ y[rest])
        for total, b in ((plain, beta), (without, beta_without)):
            score = x[at].T @ own @ (y[at] - x[at] @ b)
            total += np.outer(score, score)
    np.testing.assert_allclose(robust(likelihood, optimum, jackknife=False), phi @ plain @ phi, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(robust(likelihood, optimum, jackknife=True), phi @ without @ phi, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_a_start_is_positive_definite_and_parameters_are_named(name):
    moments = np.array([[4.0, 3.9, 0.1], [3.9, 4.0, -3.0], [0.1, -3.0, 9.0]])
    moments = moments + 3 * np.eye(3)
    structure, places = STRUCTURES[name], np.arange(3.0)[:, None]
    theta = structure.start(moments, places)
    assert len(theta) == len(structure.parameters(3)) == len(set(structure.parameters(3)))
    assert np.linalg.eigvalsh(structure.build(theta, 3, places).value)[0] > 0


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name not in ("un", "toep", "cs")])
def test_a_variance_that_is_not_positive_is_outside_the_range(name):
    structure, places = STRUCTURES[name], np.arange(3.0)[:, None]
    theta = structure.start(np.eye(3), places)
    theta[0] = -1.0
    assert structure.build(theta, 3, places) is None


@pytest.mark.parametrize("structure", ["toep", "ad", "sp_gau"])
def test_a_dense_search_from_elsewhere_ends_at_the_same_optimum(structure):
    likelihood = Likelihood(arranged(structure), STRUCTURES[structure])
    optimum = maximise(likelihood, likelihood.start())
    assert optimum.status == "converged"

    def value(theta):
        try:
            x, y, v = dense(structure, theta)
            np.linalg.cholesky(v)
            return dense_value(x, y, v, True)
        except (np.linalg.LinAlgError, AttributeError):  # not positive definite, or outside the range
            return 1e6

    best = minimize(value, optimum.evaluation.theta * 1.1, method="BFGS", options={"maxiter": 30})
    assert optimum.evaluation.value <= best.fun + 1e-9
    assert optimum.evaluation.value == pytest.approx(best.fun, abs=1e-5)  # its gradient is a one-sided difference
