"""Centrelines into a tree: one root, no cycle, no aorta, no line twice; each repair and each refusal has a reason code.

Two ways in. :func:`tree_from_lines` takes lines that all begin at a common source and overlap until they part (as VMTK writes them);
:func:`tree_from_edges` takes points and the edges between them in any order and direction. Lengths carry their unit: there is no default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from gemel.core.errors import GeometryError, UnitError
from gemel.core.geometry import Tree

__all__ = ["Repair", "TreeReport", "number_branches", "resample", "tree_from_edges", "tree_from_lines"]

METRES = {"m": 1.0, "dm": 1e-1, "cm": 1e-2, "mm": 1e-3, "um": 1e-6}
RADIUS_RANGE = (0.1e-3, 20e-3)  # m; specification of the room, table of bad inputs. An aorta has up to 20 mm
SLENDERNESS = (20.0, 900.0)  # longest path over median radius: 140 in the left coronary tree; a mixture of mm and cm is off by ten
AORTIC_RADIUS = 3e-3  # m: wider is not a coronary artery (specification 3.3)
SAME_LUMEN = 0.6  # lines closer than this share of the radius run in the same vessel (specification 3.3)
SHORTEST_BRANCH = 8e-3  # m (specification 3.3)


class Repair(BaseModel):
    """What was changed: ``reason`` is a short code, ``count`` how many points or lines it touched."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    reason: str
    what: str
    count: int = 1


class TreeReport(BaseModel):
    """What the builder did to what it was given."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    repairs: tuple[Repair, ...] = ()
    warnings: tuple[Repair, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """All reason codes, repairs first."""
        return tuple(r.reason for r in (*self.repairs, *self.warnings))


def _in_metres(points: Any, radius: Any, unit: str, frame: str, repairs: list[Repair]) -> tuple[np.ndarray, np.ndarray]:
    if unit not in METRES:
        raise UnitError(
            "lengths need a unit", seen=unit, expected=f"one of {', '.join(METRES)}", fix="say in what the centreline is written"
        )
    if frame not in ("LPS", "RAS"):
        raise GeometryError(
            "the axes of the centreline are not named", seen=frame, expected="LPS (DICOM) or RAS (NIfTI, Slicer)", reason="no-frame"
        )
    xyz, r = np.array(points, dtype=np.float64) * METRES[unit], np.array(radius, dtype=np.float64) * METRES[unit]
    if xyz.ndim != 2 or xyz.shape[1] != 3 or r.shape != (len(xyz),):
        raise GeometryError("a centreline needs (n, 3) points and (n,) radii", seen=(xyz.shape, r.shape), reason="shape")
    bad = np.flatnonzero(~(np.isfinite(xyz).all(axis=1) & np.isfinite(r) & (r > 0)))
    if len(bad):
        raise GeometryError(
            f"point {bad[0]} has no place or no positive radius", seen=float(r[bad[0]]), expected="finite, radius > 0", reason="bad-radius"
        )
    outside = np.flatnonzero((r < RADIUS_RANGE[0]) | (r > RADIUS_RANGE[1]))
    if len(outside):
        at = int(outside[0])
        likely = [u for u, f in METRES.items() if 0.2e-3 <= float(np.median(r)) / METRES[unit] * f <= 5e-3]
        raise UnitError(
            f"radius of point {at} outside 0.1 to 20 mm", seen=f"{r[at] / METRES[unit]:.4g} {unit}",
            expected=f"looks like {' or '.join(likely)}" if likely else "a vessel", fix="give the unit in which the file is written",
        )  # fmt: skip
    if frame == "RAS":
        xyz[:, :2] *= -1.0
        repairs.append(Repair(reason="ras-to-lps", what="x and y were turned round", count=len(xyz)))
    return xyz, r


def _check_slenderness(tree: Tree) -> None:
    longest, width = float(tree.distance.max()), float(np.median(tree.radius))
    if not SLENDERNESS[0] <= longest / width <= SLENDERNESS[1]:
        short = longest / width < SLENDERNESS[0]
        raise GeometryError(
            "the longest path and the radius do not belong to one vessel", seen=f"{longest * 1e3:.4g} mm long, {width * 1e3:.4g} mm radius",
            expected=f"a ratio of {SLENDERNESS[0]:g} to {SLENDERNESS[1]:g}",
            fix="points and radii in one unit" + (", and a tree longer than a stump" if short else ""), reason="mixed-units",
        )  # fmt: skip


def _check_side(tree: Tree, side: str | None) -> None:
    """The left coronary tree lies to the patient's left of its ostium (LPS: x rises), the right one to the right."""
    if side is None:
        return
    lean = float((tree.points[:, 0] - tree.points[0, 0]).mean())
    if (lean > 0) != (side == "left"):
        raise GeometryError(
            f"the {side} coronary tree lies on the other side of its ostium", seen=f"{lean * 1e3:.3g} mm to the left",
            expected="left for left, right for right", fix="RAS read as LPS? then say frame='RAS'; else the label is wrong", reason="laterality",
        )  # fmt: skip


def _distinct(points: np.ndarray, radius: np.ndarray, repairs: list[Repair]) -> tuple[np.ndarray, np.ndarray]:
    keep = np.concatenate([[True], np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-9])
    if not keep.all():
        repairs.append(Repair(reason="duplicate-points", what="points that repeat the one before were left out", count=int((~keep).sum())))
    return points[keep], radius[keep]


def _uniform(points: np.ndarray, radius: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    count = max(round(along[-1] / spacing), 1)
    at = np.linspace(0.0, along[-1], count + 1)
    return np.stack([np.interp(at, along, points[:, k]) for k in range(3)], axis=1), np.interp(at, along, radius)


def tree_from_lines(
    lines: Sequence[tuple[Any, Any]], *, unit: str, frame: Literal["LPS", "RAS"], name: str, time: int, recorded: int, source: str = "unknown",
    side: Literal["left", "right"] | None = None, aortic_radius: float = AORTIC_RADIUS,
) -> tuple[Tree, TreeReport]:  # fmt: skip
    """Build a tree from overlapping lines with a common source.

    The aorta is cut off after the last point wider than ``aortic_radius``; a further line follows the tree while it runs within 0.6 radii of it and branches
    off where it leaves; branches shorter than 8 mm are left out.

    Parameters
    ----------
    lines : of (points (n, 3), radius (n,)), all from the source outwards, or all the other way.
    unit : of points and radii: m, cm, mm, ... frame : LPS or RAS.
    name, time, recorded, source : of the fact.
    side : when known, the tree is refused if it lies on the other side of its ostium.
    aortic_radius : m.

    Returns
    -------
    The tree, in metres and LPS, with branch numbers (0 is the trunk), and what was repaired.

    Raises
    ------
    GeometryError
        With ``reason``: ``no-lines``, ``shape``, ``bad-radius``, ``no-frame``, ``no-common-source``, ``no-vessel``, ``several-ostia``, ``mixed-units``,
        ``laterality``.
    UnitError
        If the unit is missing or the radii are no vessel's.
    """
    repairs: list[Repair] = []
    warnings: list[Repair] = []
    if not lines:
        raise GeometryError("no centreline", seen=0, expected="one line or more", reason="no-lines")
    frames: list[Repair] = []
    ready = [_distinct(*_in_metres(p, r, unit, frame, frames), repairs) for p, r in lines]
    repairs += frames[:1]
    if any(len(p) < 2 for p, _ in ready):
        raise GeometryError("a line has less than two points", seen=min(len(p) for p, _ in ready), reason="no-lines")
    ready = _outwards(ready, repairs)
    cropped = [_crop(p, r, aortic_radius) for p, r in ready]
    if any(len(p) < 2 for p, _ in cropped):
        raise GeometryError(
            "nothing is left of a line without the aorta", seen=f"radius {min(r.min() for _, r in ready) * 1e3:.3g} mm at least",
            expected=f"a vessel of radius below {aortic_radius * 1e3:g} mm", reason="no-vessel",
        )  # fmt: skip
    lost = sum(len(p) - len(q) for (p, _), (q, _) in zip(ready, cropped, strict=True))
    if lost:
        repairs.append(Repair(reason="aorta-cut", what=f"points up to the last one wider than {aortic_radius * 1e3:g} mm", count=lost))
    else:
        warnings.append(
            Repair(reason="cut-at-ostium", what="no aorta in sight: the first point is taken for the ostium, which cannot be checked")
        )
    tree = _merge(cropped, repairs, {"name": name, "time": time, "recorded": recorded, "source": source})
    _check_slenderness(tree)
    _check_side(tree, side)
    return tree, TreeReport(repairs=tuple(repairs), warnings=tuple(warnings))


def _outwards(lines: list[tuple[np.ndarray, np.ndarray]], repairs: list[Repair]) -> list[tuple[np.ndarray, np.ndarray]]:
    """All lines from their common source on. One line alone starts at its wider end."""

    def spread(ends: list[np.ndarray]) -> float:
        return max(float(np.linalg.norm(e - ends[0])) for e in ends)

    if len(lines) == 1:
        (points, radius) = lines[0]
        if radius[0] >= radius[-1]:
            return lines
        repairs.append(Repair(reason="reversed", what="the line began at its narrow end"))
        return [(points[::-1], radius[::-1])]
    near = 1e-3 + 0.5 * max(float(r[0]) for _, r in lines)
    if spread([p[0] for p, _ in lines]) <= near:
        return lines
    near = 1e-3 + 0.5 * max(float(r[-1]) for _, r in lines)
    if spread([p[-1] for p, _ in lines]) <= near:
        repairs.append(Repair(reason="reversed", what="lines ran towards their source", count=len(lines)))
        return [(p[::-1], r[::-1]) for p, r in lines]
    raise GeometryError(
        "the lines have no common source", seen=f"first points up to {spread([p[0] for p, _ in lines]) * 1e3:.3g} mm apart",
        expected="lines that all begin at one point", reason="no-common-source",
    )  # fmt: skip


def _crop(points: np.ndarray, radius: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    wide = np.flatnonzero(radius > limit)
    begin = wide[-1] + 1 if len(wide) else 0
    return points[begin:], radius[begin:]


def _merge(lines: list[tuple[np.ndarray, np.ndarray]], repairs: list[Repair], fact: dict[str, Any]) -> Tree:
    """Longest line first; each further one leaves the tree where it is farther than 0.6 radii from all of it, measured from the ostium on."""
    order = sorted(range(len(lines)), key=lambda k: -float(np.linalg.norm(np.diff(lines[k][0], axis=0), axis=1).sum()))
    points, radius = lines[order[0]]
    parent = np.arange(-1, len(points) - 1)
    short = 0
    for k in order[1:]:
        p, r = lines[k]
        gaps = np.linalg.norm(p[:, None, :] - points[None, :, :], axis=2)
        nearest = gaps.argmin(axis=1)
        away = gaps[np.arange(len(p)), nearest] > SAME_LUMEN * radius[nearest]
        leaves = int(np.argmax(away)) if away.any() else len(p)
        if leaves == 0:
            raise GeometryError(
                f"line {k} does not begin at the ostium of the others", seen=f"{gaps[0].min() * 1e3:.3g} mm away",
                expected="one ostium", fix="left and right coronary are two trees", reason="several-ostia",
            )  # fmt: skip
        rest = float(np.linalg.norm(np.diff(p[leaves - 1 :], axis=0), axis=1).sum()) if leaves < len(p) else 0.0
        if rest < SHORTEST_BRANCH:
            short += 1
            continue
        start = len(points)
        parent = np.concatenate([parent, [nearest[leaves - 1]], np.arange(start, start + len(p) - leaves - 1)])
        points, radius = np.concatenate([points, p[leaves:]]), np.concatenate([radius, r[leaves:]])
    if short:
        repairs.append(
            Repair(reason="short-branch", what=f"lines that leave the tree for less than {SHORTEST_BRANCH * 1e3:g} mm", count=short)
        )
    return number_branches(Tree(points=points, radius=radius, parent=parent, **fact))


def number_branches(tree: Tree) -> Tree:
    """Number the branches: a new one begins behind each point with two or more children; 0 holds the root."""
    children = np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree.parent))
    branch, count = np.zeros(len(tree.parent), dtype=np.int64), 0
    for i, above in enumerate(tree.parent):
        if above < 0 or children[above] != 1:
            branch[i], count = count, count + 1
        else:
            branch[i] = branch[above]
    fields = {k: getattr(tree, k) for k in type(tree).model_fields} | {"branch": branch, "labels": ()}
    return Tree(**fields)


def tree_from_edges(
    points: Any, radius: Any, edges: Any, *, root: int, unit: str, frame: Literal["LPS", "RAS"], name: str, time: int, recorded: int,
    source: str = "unknown", side: Literal["left", "right"] | None = None,
) -> tuple[Tree, TreeReport]:  # fmt: skip
    """Build a tree from points and undirected edges; nothing is cut.

    Parameters
    ----------
    edges : (e, 2) pairs of indices, in any order and direction; the same edge twice is counted once. root : index of the ostium.
    Others : as in :func:`tree_from_lines`.

    Raises
    ------
    GeometryError
        With ``reason`` ``cycle``, ``unreachable``, ``bad-edge``, ``bad-root`` or those of :func:`tree_from_lines`; the message names the point.
    """
    repairs: list[Repair] = []
    xyz, r = _in_metres(points, radius, unit, frame, repairs)
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= len(xyz)):
        raise GeometryError(
            "an edge names a point that does not exist", seen=int(pairs.max()), expected=f"0..{len(xyz) - 1}", reason="bad-edge"
        )
    if not 0 <= root < len(xyz):
        raise GeometryError("the root is not one of the points", seen=root, expected=f"0..{len(xyz) - 1}", reason="bad-root")
    loops = pairs[:, 0] == pairs[:, 1]
    distinct = np.unique(np.sort(pairs[~loops], axis=1), axis=0)
    if len(distinct) < len(pairs):
        repairs.append(Repair(reason="duplicate-edges", what="edges twice, or from a point to itself", count=len(pairs) - len(distinct)))
    neighbours: list[list[int]] = [[] for _ in range(len(xyz))]
    for a, b in distinct.tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    order, place, above, waiting = [], {root: -1}, [], [root]
    while waiting:
        at = waiting.pop()
        above.append(place[at])
        here = len(order)
        order.append(at)
        came_from = order[place[at]] if place[at] >= 0 else -1
        for other in sorted(neighbours[at], reverse=True):
            if other == came_from:
                continue
            if other in place:
                raise GeometryError(
                    f"the centreline closes a cycle at point {other}", seen=f"edge {at}-{other}", expected="one way to each point",
                    fix="remove one edge of the cycle", reason="cycle",
                )  # fmt: skip
            place[other] = here
            waiting.append(other)
    if len(order) < len(xyz):
        lost = int(np.setdiff1d(np.arange(len(xyz)), order)[0])
        raise GeometryError(
            f"point {lost} is not connected to the root", seen=f"{len(xyz) - len(order)} points apart", expected="one tree",
            fix="two coronaries are two trees; a stray piece must be joined or removed", reason="unreachable",
        )  # fmt: skip
    tree = number_branches(
        Tree(points=xyz[order], radius=r[order], parent=np.asarray(above), name=name, time=time, recorded=recorded, source=source)
    )
    _check_slenderness(tree)
    _check_side(tree, side)
    return tree, TreeReport(repairs=tuple(repairs))


def resample(tree: Tree, spacing: float = 0.5e-3) -> Tree:
    """Return the tree with points at about equal distances along each branch; ends and branchings stay where they are.

    Parameters
    ----------
    spacing : m.
    """
    numbered = number_branches(tree)
    branch = np.asarray(numbered.branch)
    points, radius, parent, last = [], [], [], {}
    for b in range(int(branch.max()) + 1):
        members = np.flatnonzero(branch == b)
        above = int(tree.parent[members[0]])
        chain = members if above < 0 else np.concatenate([[above], members])
        xyz, r = _uniform(tree.points[chain], tree.radius[chain], spacing) if len(chain) > 1 else (tree.points[chain], tree.radius[chain])
        begin = len(radius)
        if above >= 0:
            xyz, r = xyz[1:], r[1:]
        parent += [last[above] if above >= 0 else -1, *range(begin, begin + len(r) - 1)]
        points += list(xyz)
        radius += list(r)
        last[int(members[-1])] = len(radius) - 1
    fact = {k: getattr(tree, k) for k in ("name", "time", "recorded", "source")}
    return number_branches(Tree(points=np.array(points), radius=np.array(radius), parent=np.array(parent), **fact))
