"""Outlets and side branches: closed forms, the rest flow that comes back, and the shipped network made again from its geometry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from _flow import MMHG
from gemel.core.geometry import Tree
from gemel.physics.flow0d import (
    distal_conductance,
    leak_weights,
    make_network,
    make_vessels,
    mean_aortic_pressure,
    outflow_by_weight,
    prescribed_pressure,
    solve_steady,
)  # fmt: skip

FACT = {"name": "t", "time": 0, "recorded": 0}
PA, PV, MU = 95 * MMHG, 5 * MMHG, 4e-3


def taper(count=101, length=0.05, first=2e-3, last=0.8e-3):
    s = np.linspace(0, length, count)
    return Tree(points=np.stack([s, 0 * s, 0 * s], 1), radius=np.linspace(first, last, count), parent=np.arange(-1, count - 1), **FACT)


def fork():
    """A trunk of 20 mm that parts into two tapers of 30 mm, steps of 1 mm."""
    trunk = np.stack([np.arange(21) * 1e-3, np.zeros(21), np.zeros(21)], 1)
    up = trunk[-1] + np.arange(1, 31)[:, None] * 1e-3 * np.array([0.6, 0.8, 0])
    down = trunk[-1] + np.arange(1, 31)[:, None] * 1e-3 * np.array([0.6, -0.8, 0])
    radius = np.concatenate([np.linspace(2e-3, 1.8e-3, 21), np.linspace(1.5e-3, 1e-3, 30), np.linspace(1.2e-3, 0.7e-3, 30)])
    parent = np.concatenate([np.arange(-1, 20), [20], np.arange(21, 50), [20], np.arange(51, 80)])
    return Tree(points=np.concatenate([trunk, up, down]), radius=radius, parent=parent, **FACT)


@jax.jit
def flows(vessels, fraction, gamma):
    """Rest outflow of outlets and leaks of a healthy tree."""
    reference = vessels.radius
    outlets = jnp.where(vessels.is_outlet, reference**gamma, 0.0)
    upstream = jnp.where(vessels.begins, reference, vessels.upstream(reference))
    return outflow_by_weight(2.25e-6, outlets + leak_weights(vessels.order, reference, upstream, gamma, fraction), vessels.is_real)


@jax.jit
def rest_and_stress(vessels, outflow, ratio):
    friction = vessels.friction(vessels.radius, MU)
    g = distal_conductance(vessels.order, vessels.is_real, friction, outflow, PA, PV, ratio)
    blank = make_network([-1], 0.0, root_pressure=PA, size=vessels.order.parent.shape[0])
    columns = {"order": vessels.order, "is_real": vessels.is_real, "resistance": friction, "outlet_conductance": g}
    return solve_steady(blank.__class__(**{**vars(blank), **columns, "outlet_pressure": jnp.full_like(friction, PV)}))


def test_flow_lost_along_a_taper_has_its_closed_form():
    """V21: prescribed flow Q (r/r0)^gamma; 1e-6 at 0.5 mm."""
    vessels, gamma = make_vessels(taper()), 2.55
    flow, pressure = prescribed_pressure(
        vessels.order, vessels.is_real, vessels.friction(vessels.radius, MU), flows(vessels, 1.0, gamma), PA
    )
    first, last, q = 2e-3, 0.8e-3, 2.25e-6
    exact = 8 * MU * q * 0.05 * (first ** (gamma - 3) - last ** (gamma - 3)) / (np.pi * (gamma - 3) * first**gamma * (first - last))
    assert PA - float(pressure[100]) == pytest.approx(exact, rel=1e-6)
    assert float(flow[0]) == pytest.approx(q, rel=1e-13)
    assert np.allclose(
        np.asarray(flow)[1:101],
        q * (0.5 * (np.asarray(vessels.radius)[:100] + np.asarray(vessels.radius)[1:101]) / first) ** gamma,
        rtol=1e-3,
    )


def test_without_leakage_the_outlets_carry_all_and_with_it_the_vessel_keeps_its_pressure():
    """V21: fraction 0 is outlets only, exactly; for the same inflow leakage raises the pressure at every point of one unbranched vessel."""
    vessels = make_vessels(taper())
    none = np.asarray(flows(vessels, 0.0, 2.55))
    assert (none[:100] == 0).all()
    assert none[100] == pytest.approx(2.25e-6, rel=1e-15)
    friction = vessels.friction(vessels.radius, MU)
    dry, leaking = (
        prescribed_pressure(vessels.order, vessels.is_real, friction, flows(vessels, f, 2.55), PA)[1][1:101] for f in (0.0, 1.0)
    )
    assert (np.asarray(leaking) > np.asarray(dry)).all()
    stressed = [np.asarray(rest_and_stress(vessels, flows(vessels, f, 2.55), 0.24).pressure)[:101] for f in (0.0, 1.0)]
    assert stressed[1][100] > stressed[0][100] + 0.1 * PA  # not so near the ostium: with leaks more flows in hyperaemia


@pytest.mark.parametrize("fraction", [0.0, 0.6, 1.0])
def test_the_healthy_tree_carries_its_rest_flow(fraction):
    """What was prescribed comes back when the resistances made from it are solved; mass is kept; nothing leaves twice."""
    vessels = make_vessels(fork())
    outflow = flows(vessels, fraction, 2.55)
    assert float(outflow.sum()) == pytest.approx(2.25e-6, rel=1e-14)
    assert (np.asarray(outflow) >= 0).all()
    found = rest_and_stress(vessels, outflow, 1.0)
    assert np.allclose(np.asarray(found.outflow), np.asarray(outflow), rtol=1e-10, atol=1e-20)  # a drop of 4 % seen through 90 mmHg
    hyperaemic = rest_and_stress(vessels, outflow, 0.24)
    assert 1.0 < float(hyperaemic.flow[0] / found.flow[0]) < 1 / 0.24


def test_padding_changes_no_flow():
    tree = fork()
    small, large = (make_vessels(tree, size=n) for n in (128, 256))
    a, b = (np.asarray(rest_and_stress(v, flows(v, 0.7, 2.55), 0.24).pressure)[:81] for v in (small, large))
    assert np.allclose(a, b, rtol=1e-14)  # sums over more zeros may be ordered otherwise


def test_without_the_path_the_outlet_is_the_whole_resistance():
    vessels = make_vessels(fork())
    outflow = flows(vessels, 0.0, 2.55)
    g = distal_conductance(
        vessels.order, vessels.is_real, vessels.friction(vessels.radius, MU), outflow, PA, PV, 0.24, is_path_subtracted=False
    )
    held = np.asarray(outflow) > 0
    assert np.allclose(np.asarray(g)[held], np.asarray(outflow)[held] / (0.24 * 90 * MMHG), rtol=1e-14)
    assert held.sum() == 2
    assert float(mean_aortic_pressure(120.0, 80.0)) == pytest.approx(80 + 40 / 3)
    assert float(mean_aortic_pressure(120.0, 80.0, 0.4)) == pytest.approx(96.0)
