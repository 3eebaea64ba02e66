"""Is the equation solved right? Order of convergence, grid convergence index, Richardson's value.

Plain callables and numbers: a room's solver, an outside finite-element program and a toy are judged alike.

References
----------
Roache 1994, doi:10.1115/1.2910291 (grid convergence index). Celik et al. 2008, doi:10.1115/1.2960953 (three grids, unequal ratios).
Oberkampf and Roy 2010, Verification and Validation in Scientific Computing, section 8.6 (factor 3 outside the asymptotic range; from memory).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import optimize, stats

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.run import Measured

__all__ = ["FittedOrder", "GridConvergence", "State", "fitted_order", "grid_convergence", "measure_order", "refine"]

State = Literal["monotone", "oscillatory", "divergent", "unchanged"]
SAFETY, SAFETY_OUTSIDE = 1.25, 3.0
NEAR = 0.1
"""An observed order this close to the theoretical one, or to that of the coarser grids, counts as inside the asymptotic range."""
LARGEST_ORDER = 30.0
ROUNDING = 64 * np.finfo(float).eps
"""Changes below this share of the value are rounding and carry no order."""


@dataclass(frozen=True)
class GridConvergence:
    """What three or more grids say about one quantity; the finest grid first.

    Parameters
    ----------
    sizes, values : (grid,) of all grids given.
    state : *monotone*; *oscillatory* (neighbouring changes differ in sign); *divergent* (changes grow as the grid becomes finer); *unchanged* (rounding).
    order : observed on the three finest grids; ``None`` unless monotone.
    orders : of each three neighbouring grids, finest first; ``None`` where there is none.
    expected : the theoretical order, if it is known.
    richardson : value at grid size zero; ``None`` without an order.
    band : size of the numerical uncertainty of the finest grid's value, in its unit. Monotone: the index times the value. Oscillatory: half the range of
        all grids, which is no bound. Divergent: infinite.
    gci, gci_coarse : grid convergence index of the finest and the second grid, as a share of the value; ``None`` without an order.
    safety : factor used: 1.25, and 3 where the order is known to lie outside the asymptotic range.
    ratio : ``|f3 - f2| / (r^q |f2 - f1|)`` with the theoretical order q: 1 in the asymptotic range. ``None`` when q is not known: with the observed order it is
        1 by construction and says nothing.
    asymptotic : whether the order agrees with the theoretical one, or else with that of the next coarser three, within 0.1; ``None`` where neither can be told.
    """

    sizes: tuple[float, ...]
    values: tuple[float, ...]
    state: State
    order: float | None
    orders: tuple[float | None, ...]
    expected: float | None
    richardson: float | None
    band: float
    gci: float | None
    gci_coarse: float | None
    safety: float
    ratio: float | None
    asymptotic: bool | None

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if self.state == "unchanged":
            return "the value does not change beyond rounding from grid to grid: there is no order to observe"
        if self.state == "oscillatory":
            return (
                "oscillatory convergence: the changes differ in sign, so no order can be observed; the band is half the range of the grids"
            )
        if self.state == "divergent":
            return "divergent: the changes do not shrink as the grid becomes finer; the finest value cannot be trusted"
        told = {True: "inside", False: "outside", None: "not known to be inside"}[self.asymptotic]
        return f"monotone convergence of order {self.order:.3g}, {told} the asymptotic range"

    def figures(self, name: str, unit: str, shown_on: ShownOn | None = None, *, limit: float | None = None) -> tuple[Measured, ...]:
        """Return the figures of an evidence run.

        Parameters
        ----------
        name, unit : of the quantity.
        shown_on : left out, *proof* on so many grids.
        limit : largest share of the value that the index may be; left out, none is judged.
        """
        on = shown_on or ShownOn(kind="proof", n=len(self.sizes), what="grids")
        out = []
        if self.order is not None:
            near = None if self.expected is None else (self.expected - NEAR, self.expected + NEAR)
            out.append(
                Measured(
                    name=f"{name}: observed order", value=self.order, low=near[0] if near else None, high=near[1] if near else None,
                    met=self.asymptotic, shown_on=on, note=self.sentence,
                )
            )  # fmt: skip
        if self.gci is not None:
            met = None if limit is None else self.gci <= limit
            note = f"factor {self.safety:g} on three grids"
            out.append(Measured(name=f"{name}: grid convergence index", value=self.gci, high=limit, met=met, shown_on=on, note=note))
        if self.richardson is not None:
            out.append(Measured(name=f"{name}: value at grid size zero", value=self.richardson, unit=unit, shown_on=on))
        low, high = self.values[0] - self.band, self.values[0] + self.band
        met = None if self.state in ("monotone", "unchanged") else False
        bounds = {"low": low, "high": high} if np.isfinite(self.band) else {}
        out.append(
            Measured(name=f"{name}: finest grid", value=self.values[0], unit=unit, **bounds, met=met, shown_on=on, note=self.sentence)
        )
        return tuple(out)

    def table(self) -> dict[str, list[Any]]:
        """Return the grids as columns, the finest first."""
        return {"size": list(self.sizes), "value": list(self.values)}


def _order(h: np.ndarray, f: np.ndarray) -> tuple[State, float | None]:
    """Judge three grids, finest first, by ``(f3 - f2)/(f2 - f1) = (h3^p - h2^p)/(h2^p - h1^p)``."""
    fine, coarse = f[1] - f[0], f[2] - f[1]
    if max(abs(fine), abs(coarse)) <= ROUNDING * np.abs(f).max():
        return "unchanged", None
    if abs(coarse) <= ROUNDING * np.abs(f).max():  # still on the coarse grids, moving on the fine ones
        return "divergent", None
    if fine * coarse <= 0:  # no change at all between the two finest is a crossing as well: half the range stays as its band
        return "oscillatory", None
    x = np.log(h / h[1])

    def gap(p: float) -> float:
        return np.log(np.expm1(p * x[2]) / -np.expm1(p * x[0])) - np.log(coarse / fine)

    smallest = 1e-6
    if gap(smallest) >= 0:
        return "divergent", None
    if gap(LARGEST_ORDER) <= 0:
        return "monotone", LARGEST_ORDER
    return "monotone", float(optimize.brentq(gap, smallest, LARGEST_ORDER, xtol=1e-12))


def grid_convergence(
    sizes: Sequence[float], values: Sequence[float], *, expected: float | None = None, safety: float = SAFETY
) -> GridConvergence:
    """Return observed order, grid convergence index and Richardson's value of one quantity on three or more grids.

    For a constant ratio r the order is ``p = ln((f3 - f2)/(f2 - f1)) / ln r``; for others the implicit equation of Celik et al. is solved. The index is
    ``safety |f2 - f1| / ((r^p - 1) |f1|)``; p is no larger than the theoretical order there, so that a lucky order makes no small index.

    Parameters
    ----------
    sizes : (grid,) grid or step sizes, positive, in any order, in any unit.
    values : (grid,) the quantity on each.
    expected : theoretical order.
    safety : factor of the index inside the asymptotic range.

    Raises
    ------
    EvidenceError
        With fewer than three grids, equal sizes, or values that are not finite.

    Examples
    --------
    >>> found = grid_convergence([1.0, 2.0, 4.0], [0.97050, 0.96854, 0.96178])
    >>> f"{found.order:.4f} {found.richardson:.5f} {found.gci:.6f}"
    '1.7862 0.97130 0.001031'
    """
    h, f = np.asarray(sizes, float), np.asarray(values, float)
    if h.shape != f.shape or h.ndim != 1 or len(h) < 3:
        raise EvidenceError(
            "an observed order needs at least three grids, each with a size and a value",
            seen=f"sizes {h.shape}, values {f.shape}",
            fix="add grids",
        )
    if not (np.isfinite(h).all() and (h > 0).all() and np.isfinite(f).all()):
        raise EvidenceError("grid sizes must be positive and values finite", seen=f"sizes {h.tolist()}, values {f.tolist()}")
    order = np.argsort(h)
    h, f = h[order], f[order]
    if (np.diff(np.log(h)) < 1e-6).any():
        raise EvidenceError("two grids are of the same size", seen=h.tolist(), expected="different sizes, a ratio above 1.3 is usual")
    judged = [_order(h[i : i + 3], f[i : i + 3]) for i in range(len(h) - 2)]
    (state, p), orders = judged[0], tuple(o for _, o in judged)
    ratio = asymptotic = richardson = gci = gci_coarse = None
    band = {"oscillatory": float(np.ptp(f)) / 2, "divergent": float("inf"), "unchanged": float(ROUNDING * np.abs(f).max())}.get(state, 0.0)
    if p is not None:
        if expected is not None:
            r = (h[2] ** expected - h[1] ** expected) / (h[1] ** expected - h[0] ** expected)
            ratio = float(abs((f[2] - f[1]) / (f[1] - f[0])) / r)
            asymptotic = abs(p - expected) <= NEAR
        elif len(orders) > 1:
            asymptotic = orders[1] is not None and abs(p - orders[1]) <= NEAR
        if asymptotic is False:
            safety = max(safety, SAFETY_OUTSIDE)
        richardson = float(f[0] - (f[1] - f[0]) / np.expm1(p * np.log(h[1] / h[0])))
        q = p if expected is None else min(p, expected)
        band = float(safety * abs(f[1] - f[0]) / np.expm1(q * np.log(h[1] / h[0])))
        coarse = float(safety * abs(f[2] - f[1]) / np.expm1(q * np.log(h[2] / h[1])))
        gci = band / abs(f[0]) if f[0] else None
        gci_coarse = coarse / abs(f[1]) if f[1] else None
    return GridConvergence(
        tuple(h.tolist()), tuple(f.tolist()), state, p, orders, expected, richardson, band, gci, gci_coarse, safety, ratio, asymptotic
    )


def refine(
    solve: Callable[[float], Mapping[str, float]], sizes: Sequence[float], *, expected: float | None = None, safety: float = SAFETY
) -> dict[str, GridConvergence]:
    """Solve on each grid and return the convergence of every quantity of interest.

    Parameters
    ----------
    solve : grid or step size -> quantities by name.
    sizes, expected, safety : as in :func:`grid_convergence`.
    """
    told = [solve(h) for h in sizes]
    names = list(told[0])
    if any(set(row) != set(names) for row in told):
        raise EvidenceError("the solver names other quantities on other grids", seen=[sorted(row) for row in told])
    return {q: grid_convergence(sizes, [float(row[q]) for row in told], expected=expected, safety=safety) for q in names}


@dataclass(frozen=True)
class FittedOrder:
    """Order of convergence by least squares over many steps against a known answer.

    Parameters
    ----------
    steps, errors : (step,) the steps used, largest first, and their errors.
    order, low, high : slope of log error on log step, with its interval (Student's t).
    left_out : how many steps had an error at or below the floor of rounding.
    local : order between neighbouring steps.
    """

    steps: tuple[float, ...]
    errors: tuple[float, ...]
    order: float
    low: float
    high: float
    left_out: int
    local: tuple[float, ...]

    def figures(self, name: str, expected: float, shown_on: ShownOn | None = None, *, within: float = NEAR) -> tuple[Measured, ...]:
        """Return the order as a figure of evidence, held against the theoretical one."""
        on = shown_on or ShownOn(kind="proof", n=len(self.steps), what="steps")
        note = f"95 % interval {self.low:.3f} to {self.high:.3f}; {self.left_out} step(s) at rounding left out"
        met = abs(self.order - expected) <= within
        named = f"{name}: order of convergence"
        return (Measured(name=named, value=self.order, low=expected - within, high=expected + within, met=met, shown_on=on, note=note),)

    def table(self) -> dict[str, list[Any]]:
        """Return steps and errors as columns."""
        return {"step": list(self.steps), "error": list(self.errors)}


def fitted_order(steps: Sequence[float], errors: Sequence[float], *, floor: float = 0.0, level: float = 0.95) -> FittedOrder:
    """Fit ``log error = a + p log step``.

    Parameters
    ----------
    steps, errors : (step,) positive steps and the sizes of the errors.
    floor : errors at or below it are rounding: they are left out and counted.
    level : of the interval.

    Raises
    ------
    EvidenceError
        When fewer than three steps with an error above the floor are left, or an error is not finite.
    """
    h, e = np.asarray(steps, float), np.abs(np.asarray(errors, float))
    if h.shape != e.shape or h.ndim != 1 or not (np.isfinite(e).all() and np.isfinite(h).all() and (h > 0).all()):
        raise EvidenceError("steps must be positive, with one finite error each", seen=f"steps {h.tolist()}, errors {e.tolist()}")
    use = e > max(floor, 0.0)
    if len(np.unique(h[use])) < 3:
        raise EvidenceError(
            "an order needs three different steps whose error is above rounding",
            seen=f"{len(np.unique(h[use]))} of {len(h)}",
            fix="use larger steps, or a smaller floor",
        )
    h, e = h[use], e[use]
    sort = np.argsort(-h)
    h, e = h[sort], e[sort]
    x, y = np.log(h) - np.log(h).mean(), np.log(e)
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    half = float(stats.t.ppf((1 + level) / 2, len(h) - 2) * np.sqrt(rest @ rest / (len(h) - 2) / (x @ x)))
    local = np.diff(np.log(e)) / np.diff(np.log(h))
    return FittedOrder(
        tuple(h.tolist()), tuple(e.tolist()), slope, slope - half, slope + half, int((~use).sum()),
        tuple(local.tolist()),
    )  # fmt: skip


def measure_order(
    solve: Callable[[float], Any], exact: Any, steps: Sequence[float], *, floor: float | None = None, level: float = 0.95
) -> FittedOrder:
    """Solve at each step and fit the order of the largest error against a known answer.

    Parameters
    ----------
    solve : step -> array.
    exact : the answer, an array of that shape, or a callable ``step -> array`` when the grid itself moves.
    floor : left out, 1e3 units of rounding of the largest exact value.
    """
    errors, largest = [], 0.0
    for h in steps:
        answer = np.asarray(exact(h) if callable(exact) else exact, float)
        errors.append(float(np.abs(np.asarray(solve(h), float) - answer).max()))
        largest = max(largest, float(np.abs(answer).max()))
    return fitted_order(steps, errors, floor=1e3 * np.finfo(float).eps * largest if floor is None else floor, level=level)
