"""Steady flow in trees: answers known in closed form, another solver of ours, the peer, derivatives, padding, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from _data import require_dataset
from _flow import MMHG, network_of, peer_case, peer_python, peer_solve, random_tree
from gemel.core.errors import DataError
from gemel.interop.geometry import read_svzerod, tree_of
from gemel.physics.flow0d import FlowStatus, bucket_size, make_network, solve_paths, solve_steady
from gemel.physics.flow0d.paths import path_incidence

steady = jax.jit(solve_steady)  # one program per padded size for the whole file
SIZE = 128


def solve(*args, **kwargs):
    return steady(make_network(*args, size=SIZE, **kwargs))


def case(name):
    return read_svzerod(require_dataset("svzerod-cases") / f"{name}.json")


@pytest.mark.data
def test_the_stenosis_of_the_peer_has_its_closed_form():
    """V2: 5 mL/s through R 100, S 100 before Rd 100, Pd 100: outlet 600, inlet 3600 dyn/cm^2."""
    found = steady(network_of(tree_of(case("steadyFlow_stenosis_R")), size=SIZE))
    assert np.allclose(np.asarray(found.pressure)[:2] * 10, [3600, 600], rtol=1e-13)


@pytest.mark.data
def test_the_bifurcations_of_the_peer_have_their_closed_form():
    """V3. R1: flows 2.5, outlets 350, junction 600, inlet 1100. R2: the formula of the file."""
    found = steady(network_of(tree_of(case("steadyFlow_bifurcationR_R1")), size=SIZE))
    assert np.allclose(np.asarray(found.flow)[1:4] * 1e6, [5, 2.5, 2.5], rtol=1e-13)
    assert np.allclose(np.asarray(found.pressure)[:4] * 10, [1100, 600, 350, 350], rtol=1e-13)

    tree = tree_of(case("steadyFlow_bifurcationR_R2"))
    found = steady(network_of(tree, size=SIZE))
    r, end = tree.resistance / 1e5, [b and (b.values["R"] / 1e5, b.values["Pd"] * 10) for b in tree.outlet]
    (ra, pa), (rb, pb) = ((r[i] + end[i][0], end[i][1]) for i in (1, 2))
    junction = (5 + pa / ra + pb / rb) / (1 / ra + 1 / rb)
    assert np.allclose(np.asarray(found.pressure)[:2] * 10, [junction + 5 * r[0], junction], rtol=1e-13)


@pytest.mark.parametrize("quadratic", [0.0, 1e-12, 0.3, 1e9])
def test_one_vessel_has_the_root_of_its_quadratic(quadratic):
    """V5, in the form that does not cancel; the limit S -> 0 is the linear answer."""
    found = solve([-1], 2.0, quadratic=quadratic, outlet_conductance=1 / 3, outlet_pressure=1.0, root_pressure=11.0)
    assert float(found.flow[0]) == pytest.approx(2 * 10 / (5 + np.sqrt(25 + 4 * quadratic * 10)), rel=1e-13)  # rounding only
    assert int(found.status) == FlowStatus.OK


def test_negative_losses_are_solved_up_to_the_turning_point_and_refused_beyond():
    """V18: R + Rd = 2, dP = 1; a solution exists while 4 >= 4 |S|."""
    for quadratic in (-0.2, -0.9, -0.999):
        found = solve([-1], 1.0, quadratic=quadratic, outlet_conductance=1.0, root_pressure=1.0)
        exact = 2 / (2 + np.sqrt(4 + 4 * quadratic))  # the branch from S = 0
        # near the fold the root moves with the square root of an error in the residual
        assert float(found.flow[0]) == pytest.approx(exact, rel=1e-10 / np.sqrt(1 + quadratic))
    for quadratic in (-1.001, -2.0, -1e6):
        found = solve([-1], 1.0, quadratic=quadratic, outlet_conductance=1.0, root_pressure=1.0)
        assert int(found.status) == FlowStatus.NO_SOLUTION
        assert np.isnan(np.asarray(found.flow)).all()


def test_a_negative_loss_in_one_branch_is_judged_by_that_branch():
    """Two vessels straight from the root do not know each other: the refusal of one is the refusal of the whole, its solution its own."""
    both = {"outlet_conductance": 1.0, "root_pressure": 1.0}
    assert int(solve([-1, -1], 1.0, quadratic=[1.0, -1.1], **both).status) == FlowStatus.NO_SOLUTION
    found = solve([-1, -1], 1.0, quadratic=[1.0, -0.75], **both)
    assert np.allclose(np.asarray(found.flow)[:2], [np.sqrt(2) - 1, 2 / 3], rtol=1e-11)  # tolerance of the solver


def test_losses_of_random_sign_are_solved_or_refused():
    """+-1e6 dyn s^2/cm^8 in every branch, and less: what is called solved satisfies the equations, computed here anew."""
    statuses = []
    for seed in range(24):
        tree = random_tree(seed, outlets=2 + seed, losses="signed")
        network = network_of(tree, size=SIZE, quadratic=tree.quadratic * (10.0 ** -(seed % 4)))
        found = steady(network)
        statuses.append(int(found.status))
        if found.status != FlowStatus.OK:
            assert np.isnan(np.asarray(found.flow)).all()
            continue
        q, p = np.asarray(found.flow), np.append(np.asarray(found.pressure), float(network.root_pressure))
        drop = np.asarray(network.resistance) * q + np.asarray(network.quadratic) * q * np.abs(q)
        real = np.asarray(network.is_real)
        assert np.abs(p[np.asarray(network.parent)] - p[:-1] - drop)[real].max() < 1e-11 * 90 * MMHG  # the tolerance of the solver
    assert set(statuses) == {FlowStatus.OK, FlowStatus.NO_SOLUTION}


@pytest.mark.parametrize("seed", range(6))
def test_the_two_solvers_agree_mass_is_kept_and_padding_changes_nothing(seed):
    """V13, V19: dense path matrix and elimination within 1e-12, a larger bucket bit for bit, another order of the branches within 1e-12."""
    tree = random_tree(seed, outlets=(2, 3, 5, 9, 17, 33)[seed])
    found = steady(network_of(tree, size=SIZE))
    count = len(tree.parent)
    ends = [i for i, b in enumerate(tree.outlet) if b]
    resistance = np.array([tree.outlet[i].values["R"] for i in ends])
    q, residual = solve_paths(
        path_incidence(tree.parent, [b is not None for b in tree.outlet]), tree.resistance, tree.quadratic, resistance, 90 * MMHG
    )
    assert float(residual) < 1e-12
    assert np.allclose(q, np.asarray(found.flow)[ends], rtol=1e-12, atol=1e-12 * float(found.flow[0]))
    assert float(found.outflow.sum()) == pytest.approx(float(found.flow[0]), rel=1e-13)
    assert float(found.imbalance) < 1e-13
    wide = steady(network_of(tree, size=256))
    assert (np.asarray(wide.pressure)[:count] == np.asarray(found.pressure)[:count]).all()
    assert (np.asarray(wide.flow)[:count] == np.asarray(found.flow)[:count]).all()

    depth = np.zeros(count, dtype=int)
    for i, above in enumerate(tree.parent):
        depth[i] = 0 if above < 0 else depth[above] + 1
    order = np.lexsort((np.random.default_rng(seed).random(count), depth))  # any order with parents first
    place = np.argsort(order)
    source = network_of(tree, size=SIZE)
    columns = {k: np.asarray(getattr(source, k))[:count][order] for k in ("quadratic", "outlet_conductance", "outlet_pressure")}
    above = np.where(tree.parent[order] < 0, -1, place[tree.parent[order]])
    moved = steady(make_network(above, tree.resistance[order], **columns, root_pressure=95 * MMHG, size=SIZE))
    assert np.allclose(np.asarray(moved.pressure)[:count][place], np.asarray(found.pressure)[:count], rtol=1e-12)


def test_an_occlusion_carries_nothing_and_cuts_off_what_lies_behind():
    tree = random_tree(3, outlets=8)
    closed = tree.resistance.copy()
    closed[1] = np.inf
    found = steady(network_of(tree, size=SIZE, resistance=closed))
    below = [i for i in range(len(closed)) if any(a == 1 for a in ancestors(tree.parent, i))]
    assert float(found.flow[1]) == 0
    assert np.abs(np.asarray(found.flow)[below]).max() < 1e-14 * float(found.flow[0])  # rounding
    assert np.allclose(np.asarray(found.pressure)[below], 5 * MMHG, rtol=1e-12)
    nearly = tree.resistance.copy()
    nearly[1] *= 1e12
    close = steady(network_of(tree, size=SIZE, resistance=nearly))
    rest = [i for i in range(len(closed)) if i not in below]
    assert np.allclose(np.asarray(found.pressure)[rest], np.asarray(close.pressure)[rest], rtol=1e-8)  # a flow of 1e-12 left


def ancestors(parent, at):
    while at >= 0:
        yield at
        at = parent[at]


def test_ratios_do_not_depend_on_the_aortic_pressure_without_losses():
    """V8."""
    tree = random_tree(4, outlets=6)
    pressures = [
        np.asarray(steady(network_of(tree, size=SIZE, quadratic=None, outlet_pressure=None, root_pressure=p)).pressure) / p
        for p in (5e3, 2e4)
    ]
    assert np.allclose(*pressures, rtol=1e-13)


def test_pressure_falls_along_the_vessel_and_never_exceeds_the_aortic():
    for seed in range(4):
        tree = random_tree(seed + 40, outlets=20)
        p = np.append(np.asarray(steady(network_of(tree, size=SIZE)).pressure)[: len(tree.parent)], 95 * MMHG)
        assert (p[:-1] <= p[tree.parent] + 1e-12 * p[-1]).all()


@pytest.mark.slow
def test_derivatives_are_those_of_the_solution():
    """V14: gradient and Hessian against central differences, and batched solves against single ones."""
    tree = random_tree(7, outlets=5)
    network, count = network_of(tree, size=16), len(tree.parent)
    end = max(i for i, b in enumerate(tree.outlet) if b)

    def ratio(x):
        r = network.resistance.at[:count].multiply(jnp.exp(x[:count]))
        s = network.quadratic.at[:count].multiply(jnp.exp(x[count:]))
        changed = network.__class__(**{**vars(network), "resistance": r, "quadratic": s})
        return solve_steady(changed).pressure[end] / network.root_pressure

    x = jnp.zeros(2 * count)
    slopes = jax.jit(jax.grad(ratio))
    gradient = np.asarray(slopes(x))
    step = 1e-4  # error of the fourth-order formula 1e-16, of rounding 1e-12
    batch = jax.jit(jax.vmap(ratio))
    shifts = jnp.eye(2 * count) * step
    d1, d2 = ((batch(x + k * shifts) - batch(x - k * shifts)) for k in (1, 2))
    differences = np.asarray((8 * d1 - d2) / (12 * step))
    assert np.abs(gradient).max() > 1e-3
    assert np.abs(gradient - differences).max() < 1e-6 * np.abs(gradient).max()
    base = float(steady(network_of(tree, size=SIZE)).pressure[end]) / float(network.root_pressure)
    assert float(batch(jnp.zeros((2 * count, 2 * count)))[3]) == pytest.approx(base, rel=1e-13)

    direction = jnp.asarray(np.random.default_rng(0).normal(size=2 * count))
    second = np.asarray(jax.jit(lambda y: jax.jvp(jax.grad(ratio), (y,), (direction,))[1])(x))
    s1, s2 = (np.asarray(slopes(k * 1e-3 * direction)) - np.asarray(slopes(-k * 1e-3 * direction)) for k in (1, 2))
    assert np.abs(second - (8 * s1 - s2) / (12 * 1e-3)).max() < 1e-6 * np.abs(second).max()


def test_what_cannot_be_solved_is_named():
    for changes in ({"quadratic": np.nan}, {"outlet_conductance": -1.0}, {"injection": np.inf}):
        found = solve([-1], 1.0, root_pressure=1.0, **{"outlet_conductance": 1.0, **changes})
        assert int(found.status) == FlowStatus.NOT_FINITE
        assert np.isnan(float(found.flow[0]))
    for resistance in (-1.0, np.nan):
        assert int(solve([-1], resistance, outlet_conductance=1.0, root_pressure=1.0).status) == FlowStatus.NOT_FINITE
    for parent in ([0], [-1, 2, 1], [-2], []):
        with pytest.raises(DataError, match="parents"):
            make_network(parent, 1.0, root_pressure=1.0)
    with pytest.raises(DataError, match="either"):
        make_network([-1], 1.0)
    with pytest.raises(DataError, match="another length"):
        make_network([-1], 1.0, quadratic=[1.0, 2.0], root_pressure=1.0)
    with pytest.raises(DataError, match="smaller"):
        make_network([-1, 0], 1.0, root_pressure=1.0, size=1)
    assert bucket_size(16) == 16


@pytest.mark.data
def test_the_real_left_tree_has_the_values_measured_once():
    """V12: shipped network with a 60 % stenosis."""
    tree = tree_of(read_svzerod(require_dataset("coronary-networks") / "lca_steady.json"))
    found = steady(network_of(tree, size=SIZE))
    ratios = {b.name: float(found.pressure[i]) / tree.inlet.values["P"][0] for i, b in enumerate(tree.outlet) if b}
    known = (0.8677053738, 0.9008631558, 0.6056078480, 0.9382398599, 0.9468490922)
    assert [ratios[f"O{k}"] for k in range(5)] == pytest.approx(known, abs=6e-11)  # ten digits were written down


@pytest.mark.peer
def test_the_peer_agrees_on_the_real_tree_and_on_random_ones(tmp_path):
    """G1, small: the left tree at six degrees of stenosis and 20 random trees, some occluded; 200 in benchmarks/coronary_flow.py."""
    python = peer_python()
    left = tree_of(read_svzerod(require_dataset("coronary-networks") / "lca_steady.json"))
    area, trees = np.pi * 1.5e-3**2, []
    for degree in (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.95):
        loss = np.where(np.array(left.names) == "branch6_seg0", 1.52 * 1060 / (2 * area**2) * (1 / (1 - degree) ** 2 - 1) ** 2, 0.0)
        trees.append(left.__class__(**{**vars(left), "quadratic": loss}))
    trees += [random_tree(seed, occluded=seed % 3 == 0) for seed in range(20)]
    for tree, answer in zip(trees, peer_solve(python, [peer_case(t) for t in trees], tmp_path), strict=True):
        found = np.asarray(steady(network_of(tree, size=SIZE)).pressure)
        theirs = np.array([answer[n][3] * 0.1 for n in tree.names])
        assert np.abs(found[: len(theirs)] - theirs).max() < 1e-9 * 95 * MMHG  # the peer stops at 1e-8 dyn/cm^2


def test_batches_of_draws_and_of_different_trees_are_the_single_solves():
    """Draws of a column (an occlusion among them) in two nested batches, and four trees of different shape in one."""
    trees = [random_tree(seed, outlets=3 + seed) for seed in range(4)]
    networks = [network_of(t, size=16) for t in trees]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *networks)
    together = jax.jit(jax.vmap(solve_steady))(stacked)
    for k, network in enumerate(networks):
        single = steady(network)
        assert np.allclose(together.pressure[k], single.pressure, rtol=1e-14)

    base = networks[3]
    factor = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2.0, (2, 3, 16))).at[1, 2, 4].set(jnp.inf)

    def moved(x):
        return base.__class__(**{**vars(base), "resistance": base.resistance * x})

    nested = jax.jit(jax.vmap(jax.vmap(lambda x: solve_steady(moved(x)))))(factor)
    for i, j in np.ndindex(2, 3):
        single = steady(moved(factor[i, j]))
        assert int(nested.status[i, j]) == FlowStatus.OK
        assert np.allclose(nested.flow[i, j], single.flow, rtol=1e-13, atol=1e-13 * float(single.flow[0]))
    assert float(nested.flow[1, 2, 4]) == 0.0
