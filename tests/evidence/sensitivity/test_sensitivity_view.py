"""Pictures of verification and sensitivity: what they say in words and numbers, and that they can be drawn."""

import numpy as np
import pytest

from gemel.core.errors import EvidenceError
from gemel.evidence.sensitivity.known_answers import ishigami, morris_function
from gemel.evidence.sensitivity.morris import morris
from gemel.evidence.sensitivity.polynomial_chaos import polynomial_chaos
from gemel.evidence.sensitivity.shapley import shapley
from gemel.evidence.sensitivity.sobol import sobol
from gemel.evidence.sensitivity.unit_cube import uniform_inputs
from gemel.evidence.sensitivity.view import convergence_figure, index_curves, screening_figure, share_bars
from gemel.evidence.verification.convergence import fitted_order, grid_convergence
from gemel.web import figure_svg

STANDING = {"status": "simulated", "lineage": "0123456789abcdef"}


def drawn(figure):
    svg = figure_svg(figure)
    assert "<svg" in svg
    return svg


def test_bars_of_shares_the_largest_first():
    known = ishigami()
    figure = share_bars(sobol(known.model, known.inputs, n=2**10, outputs=["peak"], replicates=50), **STANDING)
    assert figure.title == "What decides peak"
    assert figure.axis("y").categories == ("x1", "x2", "x3")
    assert "highest x1" in figure.alt
    assert "peak" in drawn(figure)
    polynomial = polynomial_chaos(known.model, known.inputs, n=64, replicates=10)
    effects = shapley(lambda x: x[:, 0] + 3 * x[:, 1], "ab", np.zeros(2), np.eye(2), output="rate", outer=200, replicates=20)
    for figure in (share_bars(polynomial, **STANDING), share_bars(effects, **STANDING)):
        drawn(figure)
    assert figure.axis("y").categories == ("b", "a")
    still = sobol(
        lambda x: np.stack([x[:, 0], 0 * x[:, 0]], axis=1), uniform_inputs("ab", 0, 1), n=64, outputs=["moves", "rests"], replicates=5
    )
    with pytest.raises(EvidenceError, match="does not vary"):
        share_bars(still, output="rests", **STANDING)


def test_curves_of_indices_over_time():
    t = np.array([0.0, 1.0, 2.0])
    found = sobol(lambda x: x[:, :1] * (2 - t) + x[:, 1:2] * t / 4, uniform_inputs("ab", 0, 1), n=256, replicates=20)
    figure = index_curves(found, t, "h", **STANDING)
    assert "a has the largest share" in figure.alt
    assert figure.table.rows == 3
    drawn(figure)
    with pytest.raises(EvidenceError, match="one time per quantity"):
        index_curves(found, t[:2], "h", **STANDING)


def test_screening_and_convergence():
    model, inputs, *_ = morris_function()
    figure = screening_figure(morris(model, inputs, trajectories=8, replicates=20), "1", **STANDING)
    assert figure.table.rows == 20
    drawn(figure)
    h = np.array([0.1, 0.2, 0.4])
    order = convergence_figure(fitted_order(h, h**2), "u", size_unit="mm", unit="MPa", **STANDING)
    assert "order 2.00" in order.alt
    drawn(order)
    grids = convergence_figure(grid_convergence(h, 3 + h**2), "stress", size_unit="mm", unit="MPa", **STANDING)
    assert "monotone convergence of order 2" in grids.alt
    drawn(grids)
    swinging = convergence_figure(grid_convergence(h, [1.0, 0.9, 1.0]), "stress", **STANDING)
    assert "oscillatory" in swinging.alt
    assert len(swinging.layers) == 1
    drawn(swinging)
