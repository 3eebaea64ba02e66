"""Observed orders, grid convergence index and Richardson's value against answers that are known."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemel.core.errors import EvidenceError
from gemel.evidence.verification.convergence import fitted_order, grid_convergence, measure_order, refine
from gemel.physics.ode import RK4, BackwardEuler, integrate


def poisson(n):
    """Solve u'' = f on n cells by central differences; u(0) = u(1) = 0, u = sin(pi x) exp(x)."""
    x = np.linspace(0, 1, n + 1)
    f = np.exp(x) * ((1 - np.pi**2) * np.sin(np.pi * x) + 2 * np.pi * np.cos(np.pi * x))
    matrix = np.diag(np.full(n - 1, -2.0)) + np.diag(np.ones(n - 2), 1) + np.diag(np.ones(n - 2), -1)
    u = np.zeros(n + 1)
    u[1:-1] = np.linalg.solve(matrix * n**2, f[1:-1])
    return x, u


def middle(h):
    return {"middle": poisson(round(1 / h))[1][round(1 / h) // 2]}


def test_central_differences_are_of_second_order_on_three_grids():
    exact = np.sin(np.pi / 2) * np.exp(0.5)
    found = refine(middle, [1 / 128, 1 / 64, 1 / 32], expected=2.0)["middle"]
    assert found.state == "monotone"
    assert abs(found.order - 2) < 0.05  # the row of the specification
    assert found.asymptotic
    assert found.ratio == pytest.approx(1.0, abs=0.02)
    assert found.safety == 1.25
    assert abs(found.richardson - exact) < abs(found.values[0] - exact) / 50  # the leading term is gone
    assert found.values[0] - found.band <= exact <= found.values[0] + found.band
    r, difference = 2.0, abs(found.values[1] - found.values[0])
    assert found.gci == pytest.approx(1.25 * difference / (r ** min(found.order, 2) - 1) / abs(found.values[0]), rel=1e-9)
    assert [f.met for f in found.figures("middle", "1", limit=1e-3)] == [True, True, None, None]
    assert [f.met for f in found.figures("middle", "1", limit=1e-9)][1] is False


def test_central_differences_against_the_known_answer_over_many_steps():
    found = measure_order(
        lambda h: poisson(round(1 / h))[1],
        lambda h: np.sin(np.pi * poisson(round(1 / h))[0]) * np.exp(poisson(round(1 / h))[0]),
        [1 / n for n in (16, 32, 64, 128, 256)],
    )
    assert found.low <= 2.0 <= found.high or abs(found.order - 2) < 0.01
    assert abs(found.order - 2) < 0.05
    assert found.figures("u'' = f", 2.0)[0].met
    assert not found.figures("u'' = f", 4.0)[0].met


def decay(time, state, inputs, rate):
    del time, inputs
    return -rate * state * state


@pytest.mark.parametrize(("integrator", "order"), [(RK4(), 4.0), (BackwardEuler(), 1.0)])
def test_orders_of_our_own_solvers(integrator, order):
    """y' = -y^2, y(0) = 1: y(2) = 1/3."""

    def solve(h):
        return np.asarray(integrate(decay, jnp.asarray(1.0), jnp.zeros(round(2 / h)), 1.0, step=h, integrator=integrator)[-1])

    found = measure_order(solve, np.array(1 / 3), [2 / n for n in (8, 16, 32, 64, 128)])
    assert abs(found.order - order) < 0.1
    assert found.left_out == 0


def test_steps_at_rounding_are_left_out_and_counted():
    h = np.array([0.1, 0.05, 0.025, 0.0125, 1e-5])
    found = fitted_order(h, np.maximum(h**4, 1e-17), floor=1e-15)
    assert found.left_out == 1
    assert found.order == pytest.approx(4.0, abs=1e-9)
    assert found.local == pytest.approx((4.0,) * 3)
    with pytest.raises(EvidenceError, match="three different steps"):
        fitted_order(h, np.full(5, 1e-16), floor=1e-15)
    with pytest.raises(EvidenceError, match="finite"):
        fitted_order(h, [1, 2, 3, np.nan, 4])


# Celik et al. 2008, table 1 (backward-facing step): cells, values, order, extrapolated value, index in per cent
CELIK = [
    ((18000, 8000, 4500), (6.063, 5.972, 5.863), 1.53, 6.1685, 2.2),
    ((18000, 4500, 980), (10.7880, 10.7250, 10.6050), 0.75, 10.8801, 1.1),
]


@pytest.mark.parametrize(("cells", "values", "order", "extrapolated", "index"), CELIK)
def test_published_grids_of_unequal_ratio(cells, values, order, extrapolated, index):
    found = grid_convergence([n**-0.5 for n in cells], values)
    assert found.order == pytest.approx(order, abs=0.006)  # half a digit of the table, and of its rounded ratios
    assert found.richardson == pytest.approx(extrapolated, abs=6e-5)
    assert 100 * found.gci == pytest.approx(index, abs=0.05)
    assert found.asymptotic is None  # three grids without a theoretical order cannot tell
    assert found.ratio is None


@given(
    p=st.floats(0.3, 6.0),
    first=st.floats(1.2, 3.0),
    second=st.floats(1.2, 3.0),
    c=st.sampled_from([-3.0, 0.5, 40.0]),
    limit=st.floats(-5, 5),
)
def test_the_order_of_an_exact_power_is_found_whatever_the_ratios(p, first, second, c, limit):
    h = np.array([0.1, 0.1 * first, 0.1 * first * second])
    f = limit + c * h**p
    found = grid_convergence(h[::-1], f[::-1], expected=p)
    assert found.order == pytest.approx(p, rel=1e-5)  # differences of three values near 5 lose five digits at most here
    assert found.richardson == pytest.approx(limit, abs=1e-7)
    assert found.asymptotic
    assert found.ratio == pytest.approx(1.0, rel=1e-5)


def test_oscillation_is_said_and_carries_no_order():
    found = grid_convergence([1.0, 2.0, 4.0], [6.0042, 5.9624, 6.0909], expected=2.0)
    assert found.state == "oscillatory"
    assert found.order is None
    assert found.gci is None
    assert found.richardson is None
    assert found.band == pytest.approx((6.0909 - 5.9624) / 2)
    figures = found.figures("length", "m")
    assert [f.name for f in figures] == ["length: finest grid"]
    assert figures[0].met is False
    assert "oscillatory" in figures[0].note


def test_divergence_is_said_and_carries_no_order():
    for values in ([3.0, 2.0, 1.5], [1.0, 0.5, 0.0], [1.1, 1.0, 1.0]):
        found = grid_convergence([1.0, 2.0, 4.0], values)
        assert found.state == "divergent"
        assert found.order is None
        assert found.band == np.inf
        assert found.figures("q", "1")[0].met is False


def test_no_change_is_no_order():
    found = grid_convergence([1.0, 2.0, 4.0], [0.3, 0.3, 0.3 + 1e-17])
    assert found.state == "unchanged"
    assert found.order is None
    assert found.figures("q", "1")[0].met is None


def test_outside_the_asymptotic_range_is_told_and_made_dear():
    """A second-order error under a large fourth-order one: coarse grids show a mixed order, fine ones the right one."""
    h = np.array([0.4, 0.8, 1.6])
    coarse = grid_convergence(h, 1 + h**2 + 5 * h**4, expected=2.0)
    assert coarse.state == "monotone"
    assert coarse.order > 2.5
    assert coarse.asymptotic is False
    assert coarse.ratio > 1.5
    assert coarse.safety == 3.0
    assert coarse.figures("q", "1")[0].met is False
    assert coarse.gci * coarse.values[0] > abs(coarse.values[0] - 1) / 2  # q = 2 and the factor 3 keep the band of the size of the error
    fine = grid_convergence(h / 64, 1 + (h / 64) ** 2 + 5 * (h / 64) ** 4, expected=2.0)
    assert fine.asymptotic
    assert fine.order == pytest.approx(2.0, abs=0.01)


def test_a_fourth_grid_tells_of_the_range_without_a_theoretical_order():
    h = np.array([0.1, 0.2, 0.4, 0.8])
    assert grid_convergence(h, 1 + h**1.5).asymptotic is True
    told = grid_convergence(h, 1 + h**2 + 5 * h**4)
    assert told.asymptotic is False
    assert len(told.orders) == 2


def test_bad_grids_are_refused():
    with pytest.raises(EvidenceError, match="three grids"):
        grid_convergence([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(EvidenceError, match="same size"):
        grid_convergence([1.0, 1.0, 2.0], [1.0, 1.0, 2.0])
    with pytest.raises(EvidenceError, match="positive"):
        grid_convergence([0.0, 1.0, 2.0], [1.0, 1.0, 2.0])
    with pytest.raises(EvidenceError, match="finite"):
        grid_convergence([0.5, 1.0, 2.0], [1.0, np.nan, 2.0])
    with pytest.raises(EvidenceError, match="other quantities"):
        refine(lambda h: {"a": h} if h < 2 else {"b": h}, [1.0, 1.5, 2.0])
