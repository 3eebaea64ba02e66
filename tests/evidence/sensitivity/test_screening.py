"""Elementary effects and Shapley effects against closed forms and the published test function."""

import numpy as np
import pytest
from scipy import special

from gemel.core.errors import EvidenceError
from gemel.evidence.sensitivity.known_answers import MORRIS_LINEAR, MORRIS_NONLINEAR, ishigami, linear, morris_function
from gemel.evidence.sensitivity.morris import morris
from gemel.evidence.sensitivity.shapley import shapley, shapley_linear
from gemel.evidence.sensitivity.unit_cube import normal_inputs, uniform_inputs


@pytest.mark.parametrize("design", ["trajectory", "radial"])
@pytest.mark.parametrize("seed", [0, 1])
def test_morris_s_function_of_twenty_inputs(design, seed):
    """Morris 1991, section 5: ten inputs matter, seven of them not additively; the rest do not stand out."""
    model, inputs, *_ = morris_function(seed)
    found = morris(model, inputs, trajectories=64, design=design, seed=seed)
    assert found.runs == 64 * 21
    star, sigma = found.mu_star[:, 0], found.sigma[:, 0]
    rest = np.arange(10, 20)
    assert set(found.ranking()[:10]) == {f"x{i + 1}" for i in range(10)}
    assert star[:10].min() > 1.7 * star[rest].max()  # over 60 seeds and both designs the smallest ratio is 2.0
    nonlinear, linear_ones = list(MORRIS_NONLINEAR), list(MORRIS_LINEAR)
    assert sigma[nonlinear].min() > 1.5 * sigma[linear_ones].max()
    assert (star[linear_ones] > 3 * sigma[linear_ones]).all()
    np.testing.assert_allclose(found.mu[linear_ones, 0], star[linear_ones])  # they only ever raise it
    low, high = found.mu_star_interval[:, :, 0]
    assert (low <= star).all()
    assert (star <= high).all()
    assert low[:10].min() > high[rest].max()


def test_mean_effects_of_morris_s_function_in_closed_form():
    """On the grid of four levels the others are independent and uniform: mu_i = 2 (b_i + sum_j b_ij E w_j) for inputs that enter at most in pairs."""
    model, inputs, b1, b2 = morris_function(5)
    x = np.arange(4) / 3
    mean_w = np.zeros(20)
    mean_w[[2, 4, 6]] = np.mean(2 * (1.1 * x / (x + 0.1) - 0.5))
    exact = 2 * (b1 + (b2 + b2.T) @ mean_w)
    found = morris(model, inputs, trajectories=4000, replicates=50, seed=2)
    plain = [7, 8, 9, *range(10, 20)]  # six and seven and the curved ones have effects that depend on where they stand
    error = found.sigma[plain, 0] / np.sqrt(4000)
    assert (np.abs(found.mu[plain, 0] - exact[plain]) < 4.5 * error).all()  # 13 comparisons at 4.5 standard errors: one miss in 10,000


def test_a_linear_model_has_exact_effects_and_no_spread():
    inputs = uniform_inputs("abc", [0.0, 1.0, 0.0], [2.0, 4.0, 1.0])
    for design in ("trajectory", "radial"):
        found = morris(lambda x: x @ np.array([1.0, -2.0, 0.0]), inputs, design=design, trajectories=8)
        np.testing.assert_allclose(found.mu[:, 0], [2.0, -6.0, 0.0], atol=1e-12)
        np.testing.assert_allclose(found.mu_star[:, 0], [2.0, 6.0, 0.0], atol=1e-12)
        np.testing.assert_allclose(found.sigma[:, 0], 0.0, atol=1e-9)
        assert found.ranking() == ("b", "a", "c")
    assert found.figures({"output": "mm"})[0].unit == "mm"
    assert found.table()["mu*"][1] == pytest.approx(6.0)


def test_an_even_function_has_no_mean_effect_but_a_large_mean_size():
    """Why mu* is reported: effects of (x - 1/2)^2 cancel."""
    found = morris(lambda x: (x[:, 0] - 0.5) ** 2 + 0.01 * x[:, 1], uniform_inputs("ab", 0.0, 1.0), trajectories=400, levels=8)
    assert abs(found.mu[0, 0]) < 0.1 * found.mu_star[0, 0]
    assert found.ranking()[0] == "a"
    assert found.mu_interval[0, 0, 0] < 0 < found.mu_interval[1, 0, 0]


def test_each_trajectory_moves_every_input_once_on_the_grid():
    seen = []

    def model(x):
        seen.append(x)
        return x[:, 0]

    morris(model, uniform_inputs("abcd", 0.0, 1.0), trajectories=10, levels=4)
    points = seen[0].reshape(10, 5, 4)
    np.testing.assert_allclose(3 * points, np.round(3 * points), atol=1e-8)  # ends of the grid stay 5e-10 off the faces of the cube
    moves = np.abs(np.diff(points, axis=1))
    np.testing.assert_allclose(np.sort(moves, axis=1)[:, -1], 2 / 3)
    assert (np.count_nonzero(moves > 1e-6, axis=2) == 1).all()


def test_bad_screening_is_refused():
    inputs = uniform_inputs("ab", 0.0, 1.0)
    with pytest.raises(EvidenceError, match="even"):
        morris(lambda x: x[:, 0], inputs, levels=5)
    with pytest.raises(EvidenceError, match="four trajectories"):
        morris(lambda x: x[:, 0], inputs, trajectories=2)
    with pytest.raises(EvidenceError, match="margin"):
        morris(lambda x: x[:, 0], inputs, margin=0.5)
    wide = morris(lambda x: x[:, 0], normal_inputs("ab"), margin=0.025)
    assert wide.mu_star[0, 0] == pytest.approx(2 * special.ndtri(0.975), rel=0.35)  # per range of the central 95 %


def closed_form_of_two(c, sd, rho):
    """Iooss and Prieur 2019: two inputs."""
    a, b = c[0] * sd[0], c[1] * sd[1]
    v = a**2 + 2 * rho * a * b + b**2
    first = a**2 * (1 - rho**2 / 2) + rho * a * b + b**2 * rho**2 / 2
    return np.array([first, v - first]) / v


@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.4, 0.95])
def test_shapley_effects_of_two_correlated_inputs(rho):
    c, sd = np.array([1.0, 2.0]), np.array([1.5, 1.0])
    covariance = np.outer(sd, sd) * np.array([[1.0, rho], [rho, 1.0]])
    exact = closed_form_of_two(c, sd, rho)
    np.testing.assert_allclose(shapley_linear(c, covariance), exact, atol=1e-12)
    found = shapley(lambda x: x @ c, "ab", [3.0, -1.0], covariance, outer=4000, seed=1)
    np.testing.assert_allclose(found.effects, exact, atol=0.03)  # 4,000 draws of a conditional variance from three: sd about 0.01
    assert found.effects.sum() == pytest.approx(1.0)
    assert found.interval[0, 0] - 0.01 <= exact[0] <= found.interval[1, 0] + 0.01


def test_a_correlated_input_that_the_model_does_not_use_still_has_a_share():
    """What makes it differ from a total index: with correlation 0.9 to the only input that acts, half of rho^2 is the other's."""
    covariance = np.array([[1.0, 0.9], [0.9, 1.0]])
    np.testing.assert_allclose(shapley_linear([1.0, 0.0], covariance), [1 - 0.81 / 2, 0.81 / 2])


def test_shapley_effects_in_four_dimensions_by_subsets_and_by_permutations():
    rng = np.random.default_rng(7)
    root = rng.normal(size=(4, 4))
    covariance, c = root @ root.T, np.array([1.0, -0.5, 2.0, 0.3])
    exact = shapley_linear(c, covariance)
    every = shapley(lambda x: x @ c, "abcd", np.zeros(4), covariance, outer=3000)
    some = shapley(lambda x: x @ c, "abcd", np.zeros(4), covariance, permutations=4000, outer=4000)
    assert every.subsets
    assert not some.subsets
    np.testing.assert_allclose(every.effects, exact, atol=0.04)  # over 20 seeds the largest error is 0.028, of permutations 0.033
    np.testing.assert_allclose(some.effects, exact, atol=0.05)
    assert every.runs == 3 * 3000 * 15
    assert every.ranking()[0] == "abcd"[int(exact.argmax())]
    for found in (every, some):
        assert found.effects.sum() == pytest.approx(1.0)
        half = np.ptp(found.interval, axis=0) / 2
        assert (np.abs(found.effects - exact) < 2 * half).all()


def test_with_independent_inputs_it_lies_between_first_order_and_total():
    known = ishigami()
    found = shapley(
        known.model,
        known.inputs.names,
        np.zeros(3),
        np.eye(3),
        transform=lambda z: known.inputs.at(special.ndtr(z)),
        outer=6000,
        output="y",
    )
    np.testing.assert_allclose(found.effects, known.shapley, atol=0.03)
    assert (known.first - 0.03 <= found.effects).all()
    assert (found.effects <= known.total + 0.03).all()
    assert "largest correlation 0.00" in found.note
    assert found.figures()[0].name == "y: Shapley effect of x1"
    straight = linear([1.0, 2.0], [1.0, 0.5])
    np.testing.assert_allclose(shapley_linear([1.0, 2.0], np.diag([1.0, 0.25])), straight.shapley)


def test_bad_questions_to_shapley_are_refused():
    with pytest.raises(EvidenceError, match="positive definite"):
        shapley(lambda x: x[:, 0], "ab", np.zeros(2), np.ones((2, 2)))
    with pytest.raises(EvidenceError, match="two inner"):
        shapley(lambda x: x[:, 0], "ab", np.zeros(2), np.eye(2), inner=1)
    with pytest.raises(EvidenceError, match="at most 8"):
        shapley(lambda x: x[:, 0], "abcdefghi", np.zeros(9), np.eye(9))
    with pytest.raises(EvidenceError, match="one quantity"):
        shapley(lambda x: x, "ab", np.zeros(2), np.eye(2), outer=10)
    with pytest.raises(EvidenceError, match="does not vary"):
        shapley(lambda x: np.ones(len(x)), "ab", np.zeros(2), np.eye(2), outer=10)
    with pytest.raises(EvidenceError, match="does not vary"):
        shapley_linear([0.0, 0.0], np.eye(2))
    with pytest.raises(EvidenceError, match="too many"):
        shapley_linear(np.ones(21), np.eye(21))
