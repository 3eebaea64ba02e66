"""Subjects by ordered visits, and what the likelihood needs of them: one sum of products per pattern of missingness.

A likelihood of Gaussian repeated measures depends on the subjects of one pattern only through ``M[a, b] = sum_i z_ia z_ib'`` with ``z = [x | y]``,
so that after one pass over the subjects each evaluation costs the number of patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from gemel.core.errors import DataError, ModelError

__all__ = ["RepeatedMeasures", "Stratum", "arrange", "visit_levels"]

MOST_BYTES = 4_000_000_000
"""Memory that the sums of products of one stratum may take."""


@dataclass(frozen=True)
class Stratum:
    """Subjects that share one covariance matrix, grouped by which visits were observed.

    Parameters
    ----------
    group : which covariance group (0 where there is one).
    coordinates : (visit, dimension) places of the visits; None where the structure needs none.
    observed : (pattern, visit).
    subjects : (pattern,) how many subjects have each pattern.
    rows : pattern, first visit and second visit of each row of ``moments``; the first is never later than the second.
    moments : (row, packed) symmetric part of ``sum_i z_ia z_ib'``, its upper triangle row by row.
    """

    group: int
    coordinates: Float[np.ndarray, "visit dimension"] | None
    observed: Bool[np.ndarray, "pattern visit"]
    subjects: Int[np.ndarray, " pattern"]
    rows: tuple[np.ndarray, np.ndarray, np.ndarray]
    moments: Float[np.ndarray, "row packed"]


@dataclass(frozen=True)
class RepeatedMeasures:
    """One analysis: subjects, visits, design matrix in an orthogonal basis, patterns.

    ``z`` holds ``[q | e]``: the design matrix is ``q @ upper`` with orthonormal ``q`` over the rows used, and ``e`` is the response less its ordinary
    least-squares mean ``ordinary``, so that sums of products lose no digits to scale.

    Parameters
    ----------
    subjects, visits, names, groups : labels of subjects, visits, columns of the design matrix, covariance groups.
    z : (subject, visit, column + 1), zero where not observed.
    observed : (subject, visit).
    upper : (column, column) triangular.
    ordinary : (column,) ordinary least-squares coefficients.
    strata : see :class:`Stratum`.
    stratum_of, pattern_of : (subject,) where each subject lies.
    left_out : subjects without any response.
    """

    subjects: tuple[Any, ...]
    visits: tuple[Any, ...]
    names: tuple[str, ...]
    groups: tuple[Any, ...]
    z: Float[np.ndarray, "subject visit extended"]
    observed: Bool[np.ndarray, "subject visit"]
    upper: Float[np.ndarray, "column column"]
    ordinary: Float[np.ndarray, " column"]
    strata: tuple[Stratum, ...]
    stratum_of: Int[np.ndarray, " subject"]
    pattern_of: Int[np.ndarray, " subject"]
    left_out: int

    @property
    def observations(self) -> int:
        """How many responses are used."""
        return int(self.observed.sum())

    def pairs(self, group: int = 0) -> Int[np.ndarray, "visit visit"]:
        """Return how many subjects of a covariance group were observed at each pair of visits."""
        return sum(
            (np.einsum("k,ka,kb->ab", s.subjects, s.observed, s.observed) for s in self.strata if s.group == group),
            np.zeros((len(self.visits),) * 2, int),
        )

    def residual_moments(self, group: int = 0) -> Float[np.ndarray, "visit visit"]:
        """Return mean products of ordinary least-squares residuals over the subjects seen at both visits, made positive definite."""
        total = np.zeros((len(self.visits),) * 2)
        for stratum in self.strata:
            if stratum.group == group:
                _, a, b = stratum.rows
                np.add.at(total, (a, b), stratum.moments[:, -1])
        total = total + np.triu(total, 1).T
        moments = total / np.maximum(self.pairs(group), 1)
        variance = np.maximum(np.diag(moments), 1e-8 * max(float(np.diag(moments).max()), 1e-300))
        correlation = np.clip(moments / np.sqrt(np.outer(variance, variance)), -0.98, 0.98)
        np.fill_diagonal(correlation, 1.0)
        off = correlation - np.eye(len(variance))
        while np.linalg.eigvalsh(np.eye(len(variance)) + off)[0] < 0.02:
            off *= 0.9
        return (np.eye(len(variance)) + off) * np.sqrt(np.outer(variance, variance))


def visit_levels(values: np.ndarray, visits: Sequence[Any] | None) -> tuple[Any, ...]:
    """Return the visits in their order in time: as given, or sorted where they are numbers.

    Raises
    ------
    DataError : visits are text and no order is given, a visit is named twice, or a row has a visit that is not named.
    """
    seen = set(values.tolist())
    if visits is None:
        if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in seen):
            raise DataError(
                "visits are text, and text has no order in time",
                seen=sorted(map(str, seen))[:6],
                expected="visits=(...), from the first to the last, or a column of visit numbers",
            )
        found = tuple(sorted(seen))
    else:
        found = tuple(visits)
        if len(set(found)) < len(found):
            raise DataError("a visit is named twice", seen=list(found))
        if unknown := seen - set(found):
            raise DataError(
                "a row has a visit that is not among the visits", seen=sorted(map(str, unknown))[:3], expected=f"one of {list(found)}"
            )
    if len(found) < 2:
        raise DataError(
            "repeated measures need two visits or more",
            seen=f"visits {list(found)}",
            fix="analyse one visit by ordinary least squares (ANCOVA)",
        )
    return found


def _orthogonal(x: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return q, upper with x = q @ upper; refuse the first column that the columns before it already say."""
    n, p = x.shape
    if n <= p:
        raise DataError("fewer responses than coefficients", seen=f"{n} responses, {p} coefficients", fix="take terms out of the formula")
    size = np.sqrt((x**2).sum(0))
    if (size == 0).any():
        raise DataError(
            "a column of the design matrix is zero in every row that has a response",
            seen=names[int(np.argmin(size))],
            fix="take the level or the product out: no response speaks about it",
        )
    q, upper = np.linalg.qr(x / size)
    weak = np.abs(np.diag(upper)) < 1e-9
    if weak.any():
        at = int(np.argmax(weak))
        share = np.linalg.solve(upper[:at, :at], upper[:at, at]) * size[at] / size[:at]
        raise DataError(
            "columns of the design matrix are collinear",
            seen=f"{names[at]} = "
            + (" + ".join(f"{c:.4g} {names[i]}" for i, c in enumerate(share) if abs(c) * size[i] > 1e-6 * size[at]) or "0"),
            fix="take one of them out of the formula",
        )
    return q, upper * size


def _codes(labels: Sequence[Any], values: np.ndarray) -> np.ndarray:
    known = {label: at for at, label in enumerate(labels)}
    return np.array([known[value] for value in values.tolist()], int)


def _refuse_size(rows: int, packed: int, patterns: int) -> None:
    if rows * packed * 8 > MOST_BYTES:
        raise DataError(
            "the sums of products of all patterns do not fit",
            seen=f"{patterns} patterns of missingness need {rows * packed * 8 / 1e9:.1f} GB",
            expected=f"{MOST_BYTES / 1e9:.0f} GB or less: patterns times pairs of visits times pairs of coefficients",
            fix="take fewer coefficients (sites in groups, fewer products with the visit) or fewer visits",
        )


def _strata(
    z: np.ndarray, observed: np.ndarray, group_of: np.ndarray, coordinates: np.ndarray | None
) -> tuple[tuple[Stratum, ...], np.ndarray, np.ndarray]:
    n = len(z)
    stratum_of, pattern_of = np.zeros(n, int), np.zeros(n, int)
    key = [group_of.astype(float)[:, None]]
    if coordinates is not None:
        key.append(coordinates.reshape(n, -1))
    unique, which = np.unique(np.concatenate(key, axis=1), axis=0, return_inverse=True)
    upper = np.triu_indices(z.shape[2])
    strata = []
    for s in range(len(unique)):
        members = np.flatnonzero(which.ravel() == s)
        patterns, pattern = np.unique(observed[members], axis=0, return_inverse=True)
        pattern = pattern.ravel()
        stratum_of[members], pattern_of[members] = s, pattern
        pairs = [np.triu_indices(int(visible.sum())) for visible in patterns]
        ends = np.cumsum([0, *(len(a) for a, _ in pairs)])
        _refuse_size(int(ends[-1]), len(upper[0]), len(patterns))
        where, moments = np.zeros((3, ends[-1]), int), np.zeros((ends[-1], len(upper[0])))
        for k, (visible, (a, b)) in enumerate(zip(patterns, pairs, strict=True)):
            at, own = np.flatnonzero(visible), slice(ends[k], ends[k + 1])
            block = z[members[pattern == k]][:, at]
            wide = block.reshape(len(block), -1)
            products = (wide.T @ wide).reshape(len(at), z.shape[2], len(at), z.shape[2])
            pair = products[a, :, b, :]
            moments[own] = ((pair + np.swapaxes(pair, 1, 2)) / 2)[:, upper[0], upper[1]]
            where[:, own] = np.full(len(a), k), at[a], at[b]
        strata.append(
            Stratum(
                int(unique[s, 0]),
                None if coordinates is None else coordinates[members[0]],
                patterns,
                np.bincount(pattern, minlength=len(patterns)),
                (where[0], where[1], where[2]),
                moments,
            )
        )
    return tuple(strata), stratum_of, pattern_of


def _places(coordinates: np.ndarray, observed: np.ndarray, at: tuple[np.ndarray, np.ndarray], subjects: Sequence[Any]) -> np.ndarray:
    """Return (subject, visit, dimension) places; where each visit has one place for all, missing visits have it too and there is one stratum."""
    n, m = observed.shape
    placed = np.full((n, m, coordinates.shape[1]), np.nan)
    placed[at] = coordinates
    if not np.isfinite(coordinates).all():
        raise DataError(
            "a coordinate is missing or infinite where the response is not", seen=f"{int((~np.isfinite(coordinates)).sum())} values"
        )
    low, high = np.nanmin(placed, axis=0), np.nanmax(placed, axis=0)
    if (low == high).all():
        placed = np.broadcast_to(low, placed.shape).copy()
    for i in range(n):
        seen = placed[i, observed[i]]
        if len(np.unique(seen, axis=0)) < len(seen):
            raise DataError(
                "two visits of one subject have the same place in time",
                seen=f"subject {subjects[i]!r}",
                expected="different coordinates",
                fix="keep one of the two rows",
            )
    return np.nan_to_num(placed)


def arrange(
    response: Float[np.ndarray, " row"],
    matrix: Float[np.ndarray, "row column"],
    names: Sequence[str],
    subject: np.ndarray,
    visit: np.ndarray,
    visits: Sequence[Any],
    *,
    group: np.ndarray | None = None,
    coordinates: Float[np.ndarray, "row dimension"] | None = None,
    left_out: int = 0,
) -> RepeatedMeasures:
    """Arrange rows, each with a response, by subject and visit, and sum their products by pattern.

    Parameters
    ----------
    response : finite.
    matrix : design matrix; ``names`` of its columns.
    subject, visit : (row,) labels; ``visits`` in order.
    group : (row,) label of the covariance group, the same in all rows of a subject.
    coordinates : places of the visits, for spatial structures; in any unit.
    left_out : subjects without any response, for the report.

    Raises
    ------
    DataError : a subject twice at one visit, a visit without any response, collinear columns, a value that is not finite, a subject in two groups.
    """
    if not np.isfinite(response).all():
        raise DataError("a response is infinite", seen=f"{int((~np.isfinite(response)).sum())} rows")
    if not np.isfinite(matrix).all():
        raise DataError("the design matrix has a value that is not finite", seen=f"{int((~np.isfinite(matrix)).any(axis=1).sum())} rows")
    if matrix.shape != (len(response), len(names)):
        raise ModelError("rows, columns and names differ in number", seen=f"{matrix.shape}, {len(response)} responses, {len(names)} names")
    unique, who = np.unique(subject, return_inverse=True)
    people = unique.tolist()
    when = _codes(visits, visit)
    n, m, p = len(people), len(visits), matrix.shape[1]
    count = np.bincount(who * m + when, minlength=n * m).reshape(n, m)
    if (count > 1).any():
        i, j = np.argwhere(count > 1)[0]
        raise DataError(
            "a subject has two responses at one visit",
            seen=f"subject {people[i]!r} at {visits[j]!r}: {count[i, j]} rows; {int((count > 1).sum())} such places in all",
            expected="one row per subject and visit",
            fix="choose the analysis record (ANLzzFL) before calling",
        )
    observed = count == 1
    if not observed.any(axis=0).all():
        empty = [label for label, seen in zip(visits, observed.any(axis=0), strict=True) if not seen]
        raise DataError("a visit has no response at all", seen=empty, fix="take it out of the visits")
    q, upper = _orthogonal(matrix, names)
    mean = q.T @ response
    z = np.zeros((n, m, p + 1))
    z[who, when, :p] = q
    z[who, when, p] = response - q @ mean
    if (z[..., p] ** 2).sum() <= 1e-20 * (response**2).sum():
        raise DataError("the columns explain the response exactly; no variance is left", fix="look for the response among the columns")
    groups: tuple[Any, ...] = ("all",)
    group_of = np.zeros(n, int)
    if group is not None:
        groups = tuple(sorted(set(group.tolist())))
        codes = _codes(groups, group)
        group_of[who] = codes
        if (group_of[who] != codes).any():
            raise DataError("a subject is in two covariance groups", seen=f"subject {people[int(who[group_of[who] != codes][0])]!r}")
    placed = None if coordinates is None else _places(coordinates, observed, (who, when), people)
    strata, stratum_of, pattern_of = _strata(z, observed, group_of, placed)
    ordinary = np.linalg.solve(upper, mean)
    return RepeatedMeasures(
        tuple(people), tuple(visits), tuple(names), groups, z, observed, upper, ordinary, strata, stratum_of, pattern_of, left_out
    )
