"""The tree builder on the real left tree, on trees made at random, and on everything that must not become a tree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _data import require_dataset
from gemel.core.errors import GeometryError, UnitError
from gemel.core.geometry import Tree
from gemel.imaging.tree import number_branches, resample, tree_from_edges, tree_from_lines
from gemel.interop.geometry import read_vtp

FACT = {"name": "left", "time": 0, "recorded": 0}
MM = {"unit": "mm", "frame": "LPS", **FACT}


@pytest.fixture(scope="module")
def lines():
    return read_vtp(require_dataset("coronary-left-tree") / "lca_cl.vtp").lines_with("MaximumInscribedSphereRadius")


def straight(length=60.0, radius=1.5, start=(0.0, 0.0, 0.0), along=(1.0, 0.0, 0.0), step=0.5):
    s = np.arange(0.0, length + step / 2, step)
    return np.array(start) + s[:, None] * np.array(along), np.full(len(s), radius)


@pytest.mark.data
def test_the_real_left_tree_has_its_branches_lengths_and_radii(lines):
    """Specification, section 4: nine branches, five outlets, reference radii, lengths of the cropped lines."""
    tree, report = tree_from_lines(lines, side="left", **MM)
    assert report.reasons == ("aorta-cut",)
    assert tree.branch.max() + 1 == 9
    assert len(tree.ends) == 5
    ends = [min(tree.ends, key=lambda e, q=p[-1]: np.linalg.norm(tree.points[e] * 1e3 - q)) for p, _ in lines]
    assert tree.radius[ends] * 1e3 == pytest.approx([0.630, 0.465, 0.690, 0.837, 0.626], abs=6e-4)
    d = tree.distance
    assert d[ends] * 1e3 == pytest.approx(
        [52.0, 76.9, 172.3, 140.1, 128.8], abs=1.5
    )  # along the tree: a line that leaves adds its gap, <= 0.6 r
    references = []
    for end in ends:
        path = [end]
        while d[end] - d[path[-1]] <= 3e-3:
            path.append(tree.parent[path[-1]])
        references.append(np.median(tree.radius[path[:-1]]) * 1e3)
    assert references == pytest.approx([0.633, 0.623, 0.809, 1.004, 0.735], abs=6e-4)


@pytest.mark.data
def test_resampling_keeps_branches_lengths_and_friction(lines):
    tree, _ = tree_from_lines(lines, **MM)
    even = resample(tree, 0.5e-3)
    assert even.branch.max() == tree.branch.max()
    assert even.step[1:].max() < 0.75e-3
    assert np.sort(even.distance[even.ends]) == pytest.approx(np.sort(tree.distance[tree.ends]), rel=1e-3)  # corners are cut: step 0.24 mm


@pytest.mark.data
def test_a_flipped_frame_is_repaired_when_named_and_refused_when_not(lines):
    tree, _ = tree_from_lines(lines, side="left", **MM)
    ras = [(p * np.array([-1.0, -1.0, 1.0]), r) for p, r in lines]
    with pytest.raises(GeometryError, match="other side") as error:
        tree_from_lines(ras, side="left", **MM)
    assert error.value.reason == "laterality"
    back, report = tree_from_lines(ras, side="left", **{**MM, "frame": "RAS"})
    assert report.reasons == ("ras-to-lps", "aorta-cut")
    assert np.allclose(back.points, tree.points, atol=1e-15)
    with pytest.raises(GeometryError) as error:
        tree_from_lines(lines, side="right", **MM)
    assert error.value.reason == "laterality"


@pytest.mark.data
def test_lengths_in_another_unit_are_refused(lines):
    for unit in ("cm", "m", "um"):
        with pytest.raises(UnitError, match="looks like mm"):
            tree_from_lines(lines, **{**MM, "unit": unit})
    with pytest.raises(UnitError, match="need a unit"):
        tree_from_lines(lines, **{**MM, "unit": ""})
    for points, radii in ((0.1, 1.0), (10.0, 1.0)):
        with pytest.raises(GeometryError) as error:
            tree_from_lines([(p * points, r * radii) for p, r in lines], aortic_radius=3e-3 * radii, **MM)
        assert error.value.reason == "mixed-units"


@pytest.mark.data
def test_a_tree_cut_at_the_ostium_or_before_it_says_so(lines):
    cut = [(p[np.flatnonzero(r > 3)[-1] + 1 :], r[np.flatnonzero(r > 3)[-1] + 1 :]) for p, r in lines]
    tree, report = tree_from_lines(cut, **MM)
    assert report.reasons == ("cut-at-ostium",)
    assert len(tree.ends) == 5
    with pytest.raises(GeometryError) as error:
        tree_from_lines([(p[:20], r[:20]) for p, r in lines], **MM)
    assert error.value.reason == "no-vessel"


@pytest.mark.data
def test_lines_that_run_backwards_are_turned(lines):
    tree, _ = tree_from_lines(lines, **MM)
    turned, report = tree_from_lines([(p[::-1], r[::-1]) for p, r in lines], **MM)
    assert "reversed" in report.reasons
    assert np.allclose(turned.points, tree.points)


def test_lines_are_refused_or_repaired_with_a_reason():
    one, r = straight()
    far = straight(start=(0.0, 40.0, 0.0))
    cases = {
        "no-lines": [],
        "no-common-source": [(one, r), far],
        "several-ostia": [straight(), straight(start=(0.0, 1.5, 0.0), along=(0.0, 1.0, 0.0))],
        "bad-radius": [(one, np.where(np.arange(len(r)) == 7, 0.0, r))],
        "shape": [(one, r[:-1])],
        "mixed-units": [straight(length=8.0)],
    }
    for reason, given_lines in cases.items():
        with pytest.raises(GeometryError) as error:
            tree_from_lines(given_lines, **MM)
        assert error.value.reason == reason
    with pytest.raises(GeometryError) as error:
        tree_from_lines([(one, r)], **{**MM, "frame": "LAS"})
    assert error.value.reason == "no-frame"
    twice = np.repeat(one, 2, axis=0), np.repeat(r, 2)
    tree, report = tree_from_lines([twice], **MM)
    assert report.repairs[0].reason == "duplicate-points"
    assert report.repairs[0].count == len(one)
    assert len(tree.radius) == len(one)
    twig = (np.concatenate([one[:61], one[60] + straight(5.0, along=(0.0, 1.0, 0.0))[0][1:]]), r[:71])
    tree, report = tree_from_lines([(one, r), twig], **MM)
    assert "short-branch" in report.reasons
    assert len(tree.ends) == 1


def grown(seed, count):
    """A random tree of steps of 1 mm, parents first."""
    rng = np.random.default_rng(seed)
    parent = np.array([-1, *(int(i - 1 - rng.integers(0, min(i, 4))) for i in range(1, count))])
    points = np.zeros((count, 3))
    for i in range(1, count):
        step = rng.normal(size=3) + np.array([2.0, 0.0, 0.0])
        points[i] = points[parent[i]] + step / np.linalg.norm(step)
    return points, rng.uniform(0.3, 0.6, count), parent


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(40, 120))
def test_edges_in_any_order_give_the_same_tree(seed, count):
    points, radius, parent = grown(seed, count)
    rng = np.random.default_rng(seed + 1)
    name = rng.permutation(count)  # point i is called name[i]
    edges = np.stack([name[np.arange(1, count)], name[parent[1:]]], axis=1)
    edges = np.where(rng.random((count - 1, 1)) < 0.5, edges, edges[:, ::-1])[rng.permutation(count - 1)]
    place = np.argsort(name)
    tree, report = tree_from_edges(points[place], radius[place], edges, root=int(name[0]), **MM)
    assert report.reasons == ()
    known = {tuple(p): tuple(points[parent[i]]) if i else None for i, p in enumerate(points)}
    for i, above in enumerate(tree.parent):
        expected = known[min(known, key=lambda k, q=tree.points[i] * 1e3: np.abs(np.array(k) - q).sum())]
        if expected is None:
            assert above == -1
        else:
            assert np.allclose(tree.points[above] * 1e3, expected, atol=1e-9)
    assert tree.branch.max() + 1 == 1 + sum(c for c in np.bincount(parent[1:], minlength=count) if c > 1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(40, 80))
def test_a_cycle_is_never_accepted_and_a_stray_piece_neither(seed, count):
    points, radius, parent = grown(seed, count)
    edges = [(i, int(parent[i])) for i in range(1, count)]
    rng = np.random.default_rng(seed)
    while True:
        a, b = (int(x) for x in rng.integers(0, count, 2))
        if a != b and (a, b) not in edges and (b, a) not in edges:
            break
    with pytest.raises(GeometryError, match="cycle at point") as error:
        tree_from_edges(points, radius, [*edges, (a, b)], root=0, **MM)
    assert error.value.reason == "cycle"
    cut = int(rng.integers(0, count - 1))
    with pytest.raises(GeometryError, match="not connected") as error:
        tree_from_edges(points, radius, edges[:cut] + edges[cut + 1 :], root=0, **MM)
    assert error.value.reason == "unreachable"
    tree, report = tree_from_edges(points, radius, [*edges, edges[0], (3, 3)], root=0, **MM)
    assert report.reasons == ("duplicate-edges",)
    assert len(tree.radius) == count


def test_edges_and_roots_that_do_not_exist():
    points, radius, _ = grown(1, 40)
    for edges, root, reason in (([(0, 40)], 0, "bad-edge"), ([(0, 1)], 40, "bad-root"), ([(0, -1)], 0, "bad-edge")):
        with pytest.raises(GeometryError) as error:
            tree_from_edges(points, radius, edges, root=root, **MM)
        assert error.value.reason == reason


def test_a_tree_checks_what_it_is_given():
    good = {"points": np.zeros((2, 3)), "radius": [1e-3, 1e-3], "parent": [-1, 0], **FACT}
    tree = Tree(**good, radius_sd=[1e-4, 1e-4], branch=[0, 1], labels=("LM", "LAD"))
    assert tree.ends.tolist() == [1]
    assert not tree.radius_sd.flags.writeable
    assert number_branches(tree).branch.tolist() == [0, 0]
    for changes in ({"radius": [1e-3, 0.0]}, {"points": np.full((2, 3), np.nan)}):
        with pytest.raises(ValueError, match="point"):  # pydantic wraps what is raised inside
            Tree(**{**good, **changes})
    for changes in ({"radius_sd": [1e-4]}, {"labels": ("LM",)}, {"branch": [0, 1], "labels": ("LM",)}):
        with pytest.raises(ValueError, match=r"radius_sd|labels"):
            Tree(**{**good, **changes})
