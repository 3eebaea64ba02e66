"""How much of an answer is the solver's own: tolerance sweeps, laws of conservation, agreement of two solvers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.run import Measured

__all__ = [
    "SETTINGS", "SHARE", "Agreement", "Conserved", "ToleranceSweep", "agree", "conserved", "sweep_tolerances",
]  # fmt: skip

SETTINGS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
SHARE = 0.1
"""Largest share of a quantity's tolerance that the solver may use up."""


def _value(told: Mapping[str, Any], names: Sequence[str], where: str) -> list[np.ndarray]:
    missing = [n for n in names if n not in told]
    if missing:
        raise EvidenceError(f"{where} lacks quantities that have a tolerance", seen=sorted(told), expected=list(names))
    values = [np.asarray(told[n], float) for n in names]
    bad = [n for n, v in zip(names, values, strict=True) if not np.isfinite(v).all()]
    if bad:
        raise EvidenceError(f"{where} is not finite", seen=bad, fix="a solver that fails there has no error to measure")
    return values


def _tolerances(tolerances: Mapping[str, float]) -> list[str]:
    bad = {q: t for q, t in tolerances.items() if not (np.isfinite(t) and t > 0)}
    if bad or not tolerances:
        raise EvidenceError("every quantity of interest needs a positive tolerance in its unit", seen=bad or "none")
    return list(tolerances)


@dataclass(frozen=True)
class ToleranceSweep:
    """How quantities of interest move with the setting of the solver.

    Parameters
    ----------
    settings : (setting,) loosest first; the last one, the tightest, is the reference.
    shipped : the setting that is shipped.
    names, tolerances : (quantity,) and how much of a difference matters, in its unit.
    changes : (setting, quantity) largest absolute difference from the tightest setting.
    settled : whether the tightest setting is a reference at all: its neighbour is nearer to it than the shipped one, or within 1 % of the tolerance.
    """

    settings: tuple[float, ...]
    shipped: float
    names: tuple[str, ...]
    tolerances: tuple[float, ...]
    changes: np.ndarray
    settled: tuple[bool, ...]
    share: float = SHARE

    @property
    def used(self) -> np.ndarray:
        """(quantity,) change at the shipped setting as a share of the tolerance."""
        return self.changes[self.settings.index(self.shipped)] / np.asarray(self.tolerances)

    @property
    def met(self) -> np.ndarray:
        """(quantity,) whether that share is small enough, and the reference settled."""
        return (self.used < self.share) & np.asarray(self.settled)

    def figures(self, shown_on: ShownOn | None = None) -> tuple[Measured, ...]:
        """Return one figure per quantity."""
        on = shown_on or ShownOn(kind="proof", n=len(self.settings), what="settings of the solver")
        out = []
        for q, used, met, settled in zip(self.names, self.used, self.met, self.settled, strict=True):
            note = f"shipped setting {self.shipped:g}, reference {self.settings[-1]:g}" + (
                "" if settled else "; the reference has not settled"
            )
            out.append(
                Measured(
                    name=f"{q}: solver error, share of tolerance",
                    value=float(used),
                    high=self.share,
                    met=bool(met),
                    shown_on=on,
                    note=note,
                )
            )
        return tuple(out)

    def table(self) -> dict[str, list[Any]]:
        """Return settings and changes as columns."""
        return {"setting": list(self.settings), **{q: self.changes[:, i].tolist() for i, q in enumerate(self.names)}}


def sweep_tolerances(
    solve: Callable[[float], Mapping[str, Any]], tolerances: Mapping[str, float], *, shipped: float, settings: Sequence[float] = SETTINGS,
    share: float = SHARE,
) -> ToleranceSweep:  # fmt: skip
    """Solve at every setting of tolerance (or step) and compare with the tightest.

    Parameters
    ----------
    solve : setting -> quantities of interest by name, numbers or arrays.
    tolerances : by name, how much of a difference matters, in the quantity's unit; only these are judged.
    shipped : the setting in use; it is added when it is not among the settings.
    settings : 1e-4 to 1e-10; smaller is tighter.

    Raises
    ------
    EvidenceError
        When a quantity is missing or not finite, or the shipped setting is the tightest of all.
    """
    names = _tolerances(tolerances)
    order = tuple(sorted({float(s) for s in settings} | {float(shipped)}, reverse=True))
    if order[-1] == shipped:
        raise EvidenceError(
            "the shipped setting is the tightest: nothing to hold it against", seen=shipped, fix="add a tighter one to settings"
        )
    told = [_value(solve(s), names, f"the solution at setting {s:g}") for s in order]
    changes = np.array([[float(np.abs(v - r).max()) for v, r in zip(row, told[-1], strict=True)] for row in told])
    width = np.array([tolerances[q] for q in names])
    near, ours = changes[-2], changes[order.index(float(shipped))]
    settled = (near < ours) | (near <= 0.01 * width)
    return ToleranceSweep(order, float(shipped), tuple(names), tuple(width.tolist()), changes, tuple(bool(s) for s in settled), share)


@dataclass(frozen=True)
class Conserved:
    """One law of conservation: its largest relative error and where it is allowed to be."""

    law: str
    worst: float
    limit: float
    cases: int

    @property
    def met(self) -> bool:
        """Whether it holds within its limit."""
        return self.worst <= self.limit

    def figure(self, shown_on: ShownOn | None = None) -> Measured:
        """Return it as a figure of evidence."""
        on = shown_on or ShownOn(kind="proof", n=self.cases, what="cases")
        return Measured(name=f"conservation: {self.law}", value=self.worst, high=self.limit, met=self.met, shown_on=on)


def conserved(errors: Mapping[str, Any], *, limits: Mapping[str, float] | float = 1e-9) -> tuple[Conserved, ...]:
    """Collect relative errors of laws of conservation.

    Parameters
    ----------
    errors : by law, an array of relative errors (or a callable that returns one); the first axis counts cases.
    limits : one for all, or one per law.

    Raises
    ------
    EvidenceError
        When an error is not finite: a law that cannot be evaluated is not kept.
    """
    out = []
    for law, given in errors.items():
        found = np.atleast_1d(np.asarray(given() if callable(given) else given, float))
        if not found.size or not np.isfinite(found).all():
            raise EvidenceError(
                f"the errors of the law {law!r} are not all finite", seen=f"{int((~np.isfinite(found)).sum())} of {found.size}"
            )
        limit = limits[law] if isinstance(limits, Mapping) else limits
        out.append(Conserved(law.replace("_", " "), float(np.abs(found).max()), float(limit), len(found)))
    return tuple(out)


@dataclass(frozen=True)
class Agreement:
    """Largest difference of two solvers in one quantity, beside what matters."""

    name: str
    difference: float
    tolerance: float
    share: float
    cases: int
    peer: str

    @property
    def met(self) -> bool:
        """Whether they differ by less than the share of the tolerance."""
        return self.difference < self.share * self.tolerance

    def figure(self, unit: str, shown_on: ShownOn | None = None) -> Measured:
        """Return it as a figure of evidence, in the quantity's unit."""
        on = shown_on or ShownOn(kind="proof", n=self.cases, what="values")
        named = f"{self.name}: largest difference from {self.peer}"
        return Measured(name=named, value=self.difference, unit=unit, high=self.share * self.tolerance, met=self.met, shown_on=on)


def agree(
    ours: Mapping[str, Any], peer: Mapping[str, Any], tolerances: Mapping[str, float], *, peer_name: str, share: float = SHARE
) -> tuple[Agreement, ...]:
    """Hold two independent solutions of one problem against each other.

    Parameters
    ----------
    ours, peer : quantities by name, arrays of the same shapes.
    tolerances : by name, how much of a difference matters, in the quantity's unit.
    peer_name : what the other solver is.
    """
    names = _tolerances(tolerances)
    first, second = _value(ours, names, "our solution"), _value(peer, names, f"the solution of {peer_name}")
    out = []
    for q, a, b in zip(names, first, second, strict=True):
        if a.shape != b.shape:
            raise EvidenceError(f"two solutions of {q!r} on other grids", seen=(a.shape, b.shape), fix="evaluate both at the same points")
        out.append(Agreement(q, float(np.abs(a - b).max()), float(tolerances[q]), share, a.size, peer_name))
    return tuple(out)
