"""Virtual patients of a described population: calibration weights on what is known at baseline, and acceptance by them.

The weights ``exp(x'a)`` are those of least relative entropy whose means are the described ones (the tilt of entropy balancing). A drawn patient is accepted with
chance ``w / w_max``, so that nobody appears twice. What the tilt changes is who comes; what becomes of a patient of given baseline stays the model's.
Where the history holds few such people, that is extrapolation, and is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError, EvidenceError
from gemel.core.lineage import digest
from gemel.trials.generate.panel import Kind, Panel

__all__ = ["Tilt", "coverage_by_group", "tilted_to"]

CAP = 0.999
"""Quantile of the weights above which they are cut: one patient in a thousand may not set how many are refused."""

MISSED = 0.1
"""Standard deviations by which a mean may be missed because weights were cut."""


@dataclass(frozen=True)
class Tilt:
    """Weights that turn the model's population into the described one.

    Parameters
    ----------
    names : of the baseline variables with a described mean (the share of 1, for a binary one).
    centre, scale : of each, in the model's population.
    slope : (variable,) of the log weight against the scaled variable.
    largest : log weight that is accepted always.
    target, reached : described means, and those of the accepted.
    kept : share of drawn patients that is accepted.
    effective : effective sample size of the weights as a share of the draws.
    flags : where the described population lies outside what the history shows.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    slope: tuple[float, ...]
    largest: float
    target: tuple[float, ...]
    reached: tuple[float, ...]
    kept: float
    effective: float
    flags: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Of what decides who comes."""
        return digest([self.names, self.centre, self.scale, self.slope, self.largest])

    def chance(self, baseline: Mapping[str, Float[np.ndarray, " patient"]]) -> Float[np.ndarray, " patient"]:
        """Return the chance of each drawn patient to be accepted; a missing value counts as the centre."""
        log = np.zeros(len(next(iter(baseline.values()))))
        for name, centre, scale, slope in zip(self.names, self.centre, self.scale, self.slope, strict=True):
            value = baseline[name]
            log += slope * np.where(np.isnan(value), 0.0, (value - centre) / scale)
        return np.exp(np.minimum(log - self.largest, 0.0))

    def told(self) -> dict[str, Any]:
        """Return all as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Tilt:
        """Undo :meth:`told`."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()})


def _baseline(panel: Panel, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([panel.values[:, 0, panel.index(name)] for name in names], axis=1)


def tilted_to(described: Mapping[str, float], pool: Panel, *, seen: Mapping[str, tuple[float, float]] | None = None) -> Tilt:
    """Find the tilt that gives a pool of drawn patients the described means.

    Parameters
    ----------
    described : variable -> mean in its unit, or share of 1 for a binary one. A variable measured at visits counts at the first.
    pool : patients drawn from the model, on their instruments; tens of thousands.
    seen : variable -> 5th and 95th percentile in the history, for the flags.

    Raises
    ------
    DataError
        When a variable is unknown, or a mean lies beyond its instrument.
    EvidenceError
        When no weights give these means, or fewer than one patient in a hundred would be accepted.

    References
    ----------
    Hainmueller 2012, doi:10.1093/pan/mpr025, for the dual that is minimised.
    """
    names = tuple(described)
    if not names:
        raise DataError("the described population says nothing", expected="variable = mean or share")
    for name, value in described.items():
        variable = pool.variables[pool.index(name)]
        if not (math.isfinite(value) and variable.low <= value <= variable.high):
            raise DataError(
                "a described mean is impossible",
                seen=f"{name} = {value}",
                expected=f"{variable.low:g} to {variable.high:g} {variable.unit}",
            )
    x = _baseline(pool, names)
    centre, scale = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    if (scale <= 0).any():
        raise EvidenceError(
            "a described variable does not vary in the model", seen=[n for n, s in zip(names, scale, strict=True) if s <= 0]
        )
    z = np.where(np.isnan(x), 0.0, (x - centre) / scale)
    goal = (np.array(list(described.values())) - centre) / scale
    slope = _newton(z, goal, names)
    log = z @ slope
    largest = float(np.quantile(log, CAP))
    weight = np.exp(np.minimum(log - largest, 0.0))
    kept, effective = float(weight.mean()), float(weight.sum() ** 2 / np.square(weight).sum() / len(weight))
    reached = centre + scale * (weight @ z) / weight.sum()
    missed = np.abs(np.array(list(described.values())) - reached) / scale
    if kept < 0.01 or missed.max() > MISSED:
        raise EvidenceError(
            "the described population is too far from the history",
            seen=f"one drawn patient in {1 / kept:.0f} belongs to it; the means are missed by {missed.max():.2f} SD",
            expected=f"one in 100, and {MISSED} SD",
            fix="describe a population that the history has people of",
        )
    flags = (
        [f"effective sample size {effective:.0%} of the draws: the described population is an extrapolation"] if effective < 0.25 else []
    )
    for name, value, low_high in ((n, described[n], (seen or {}).get(n)) for n in names):
        if low_high is not None and not low_high[0] <= value <= low_high[1]:
            flags.append(f"{name}: a mean of {value:g} lies outside the middle 90 % of the history, {low_high[0]:g} to {low_high[1]:g}")
    for name, want, got, s in zip(names, described.values(), reached, scale, strict=True):
        if abs(want - got) > 0.02 * s:
            flags.append(f"{name}: {got:.4g} is reached for {want:.4g}; extreme weights were cut")
    return Tilt(
        names, tuple(map(float, centre)), tuple(map(float, scale)), tuple(map(float, slope)), largest, tuple(map(float, described.values())), tuple(map(float, reached)),
        kept, effective, tuple(flags),
    )  # fmt: skip


def _newton(z: np.ndarray, goal: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Minimise ``log mean exp((z - goal)'a)``, which is convex, by Newton's method with halving."""
    d, slope = z - goal, np.zeros(z.shape[1])

    def value(a: np.ndarray) -> tuple[float, np.ndarray]:
        log = d @ a
        top = log.max()
        w = np.exp(log - top)
        return top + math.log(w.mean()), w / w.sum()

    now, w = value(slope)
    for _ in range(100):
        gradient = w @ d
        if np.abs(gradient).max() < 1e-8:
            return slope
        hessian = (d * w[:, None]).T @ d - np.outer(gradient, gradient) + 1e-12 * np.eye(len(goal))
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while (following := value(slope - size * step))[0] > now - 1e-4 * size * float(gradient @ step) and size > 1e-8:
            size /= 2
        slope, (now, w) = slope - size * step, following
        if np.abs(slope).max() > 50:
            break
    raise EvidenceError(
        "no weights give the described means", seen=dict(zip(names, np.round(goal, 2).tolist(), strict=True)), expected="means that some drawn patients lie around, in SD from the model's",
        fix="describe a population that the history has people of",
    )  # fmt: skip


def coverage_by_group(history: Panel, drawn: Panel, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Say of how many real people each group of drawn ones is made: levels of a binary variable, thirds of another.

    Returns
    -------
    A row per group: variable, group, share among the drawn, real patients, and whether fewer than 10 of them carry it.
    """
    rows = []
    for name in names:
        variable = drawn.variables[drawn.index(name)]
        real, new = (_baseline(p, (name,))[:, 0] for p in (history, drawn))
        if variable.kind is Kind.BINARY:
            groups = [(f"{name} = {level}", real == level, new == level) for level in (0, 1)]
        else:
            edges = np.nanquantile(new, [1 / 3, 2 / 3])
            where = [(-np.inf, edges[0]), (edges[0], edges[1]), (edges[1], np.inf)]
            groups = [(f"{name} {lo:g} to {hi:g}", (real > lo) & (real <= hi), (new > lo) & (new <= hi)) for lo, hi in where]
        for group, r, d in groups:
            rows.append({"variable": name, "group": group, "share": float(d.mean()), "real": int(r.sum()), "thin": bool(r.sum() < 10)})
    return rows
