"""Group-sequential boundaries by recursive numerical integration of the score process, and what they do under an effect.

References
----------
Armitage, McPherson and Rowe 1969, doi:10.2307/2343787; Jennison and Turnbull 2000, Group Sequential Methods, ch. 2, 7, 19.
Lachin 2005, doi:10.1002/sim.2147 (conditional power).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

from gemel.core.errors import DataError
from gemel.trials.design.spending import Spending

__all__ = ["Boundary", "Crossing", "boundary", "conditional_power", "crossing", "inflation", "wang_tsiatis"]

REACH = 9.0
"""Standard deviations beyond which the normal distribution holds nothing (1e-19)."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


@dataclass(frozen=True)
class Crossing:
    """Probabilities of first crossing, per look; their sums; and the mean information used, as a share of the planned one."""

    upper: Float[np.ndarray, " look"]
    lower: Float[np.ndarray, " look"]
    expected_information: float

    @property
    def power(self) -> float:
        """Of crossing the upper boundary at any look."""
        return float(self.upper.sum())


@dataclass(frozen=True)
class Boundary:
    """Critical values of the standardised statistic.

    Parameters
    ----------
    fractions : (look,) of the planned information, rising to 1.
    upper, lower : (look,) z; ``lower`` is minus infinity for one side.
    alpha : error of both sides, or of the one.
    """

    fractions: tuple[float, ...]
    upper: tuple[float, ...]
    lower: tuple[float, ...]
    alpha: float
    sides: int
    family: str

    def nominal(self) -> tuple[float, ...]:
        """Return the nominal p-values of each look, of as many sides as the boundary has."""
        return tuple(float(self.sides * special.ndtr(-u)) for u in self.upper)


def _fractions(fractions: Sequence[float]) -> np.ndarray:
    t = np.asarray(fractions, float)
    if t.ndim != 1 or not 1 <= len(t) <= 50 or not np.isfinite(t).all() or t[0] <= 0 or (np.diff(t) < 1e-3).any() or abs(t[-1] - 1) > 1e-9:
        raise DataError(
            "information fractions are not usable",
            seen=list(map(float, t.ravel())),
            expected="rising to 1 by 0.001 or more, such as 0.5, 1",
        )
    return t


def _rule(low: float, high: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Composite Gauss-Legendre nodes and weights with panels no wider than ``width``."""
    panels = max(1, min(200, math.ceil((high - low) / width)))
    edges = np.linspace(low, high, panels + 1)
    half, middle = np.diff(edges) / 2, (edges[:-1] + edges[1:]) / 2
    return (middle[:, None] + half[:, None] * _NODES).ravel(), (half[:, None] * _WEIGHTS).ravel()


class _Process:
    """The sub-density of the score process B(t) = Z sqrt(t), with drift, among the trials that go on. One object per pass."""

    def __init__(self, drift: float) -> None:
        self.drift, self.time = drift, 0.0
        self.nodes, self.mass = np.zeros(1), np.ones(1)

    def tail(self, t: float, z: float, *, upper: bool) -> float:
        """Return the probability that the next look, at ``t``, is the first to lie beyond ``z``."""
        if math.isinf(z):
            return 0.0
        step = t - self.time
        u = (z * math.sqrt(t) - self.nodes - self.drift * step) / math.sqrt(step)
        return float(self.mass @ special.ndtr(-u if upper else u))

    def go_on(self, t: float, low: float, high: float, next_step: float) -> None:
        """Move to ``t``, keeping what lies between the two values of z."""
        step, root = t - self.time, math.sqrt(t)
        a = max(low * root, self.drift * t - REACH * root)
        b = min(high * root, self.drift * t + REACH * root)
        if b <= a:
            self.nodes, self.mass, self.time = np.zeros(1), np.zeros(1), t
            return
        nodes, weights = _rule(a, b, 2 * math.sqrt(min(step, next_step)))
        u = (nodes[:, None] - self.nodes - self.drift * step) / math.sqrt(step)
        density = np.exp(-0.5 * u**2) @ self.mass / math.sqrt(2 * math.pi * step)
        self.nodes, self.mass, self.time = nodes, weights * density, t


def crossing(fractions: Sequence[float], upper: Sequence[float], lower: Sequence[float], drift: float = 0.0) -> Crossing:
    """Return the probabilities of first crossing.

    Parameters
    ----------
    fractions : (look,) rising to 1.
    upper, lower : (look,) z; minus infinity where there is no lower boundary.
    drift : mean of z at full information: effect / standard error then.
    """
    t = _fractions(fractions)
    if len(upper) != len(t) or len(lower) != len(t) or any(a >= b for a, b in zip(lower[:-1], upper[:-1], strict=True)):
        raise DataError(
            "boundaries are not usable", seen=f"{list(lower)}, {list(upper)}", expected="lower below upper, one of each per look"
        )
    process, ups, downs = _Process(drift), [], []
    for k, now in enumerate(t):
        ups.append(process.tail(now, upper[k], upper=True))
        downs.append(process.tail(now, lower[k], upper=False))
        if k + 1 < len(t):
            process.go_on(now, lower[k], upper[k], t[k + 1] - now)
    stop = np.array(ups) + np.array(downs)
    expected = float(stop[:-1] @ t[:-1] + (1 - stop[:-1].sum()) * t[-1])
    return Crossing(np.array(ups), np.array(downs), expected)


def _sides(alpha: float, sides: int) -> float:
    if sides not in (1, 2) or not 0 < alpha / sides < 0.5:
        raise DataError("the error is not usable", seen=f"alpha {alpha}, {sides} sides", expected="1 or 2 sides, less than 0.5 each")
    return alpha / sides


def wang_tsiatis(fractions: Sequence[float], exponent: float, *, alpha: float = 0.05, sides: int = 2, family: str = "") -> Boundary:
    """Return the boundary c t^(exponent - 1/2): Pocock's with exponent 1/2, O'Brien and Fleming's with 0.

    Parameters
    ----------
    alpha : of all sides together.

    References
    ----------
    Wang and Tsiatis 1987, doi:10.2307/2531959.

    Examples
    --------
    >>> [round(wang_tsiatis([0.5, 1.0], delta).upper[-1], 4) for delta in (0.5, 0.0)]
    [2.1783, 1.9774]
    """
    t = _fractions(fractions)
    _sides(alpha, sides)
    shape = t ** (exponent - 0.5)

    def spent(c: float) -> float:
        upper = c * shape
        found = crossing(t, upper, -upper if sides == 2 else np.full(len(t), -math.inf))
        return float(found.upper.sum() + (found.lower.sum() if sides == 2 else 0.0)) - alpha

    c = float(optimize.brentq(spent, 0.05, 12.0, xtol=1e-10))
    upper = tuple(map(float, c * shape))
    lower = tuple(-u for u in upper) if sides == 2 else (-math.inf,) * len(t)
    return Boundary(tuple(map(float, t)), upper, lower, alpha, sides, family or f"wang-tsiatis({exponent:g})")


def _spend(t: np.ndarray, spending: Spending, alpha: float, sides: int) -> Boundary:
    each = _sides(alpha, sides)
    steps = np.diff(spending.spent(t, each), prepend=0.0)
    process, upper = _Process(0.0), []
    for k, now in enumerate(t):
        if steps[k] < 1e-15:
            upper.append(math.inf)
        else:
            upper.append(
                float(optimize.brentq(lambda z, k=k, now=now: process.tail(now, z, upper=True) - steps[k], -5.0, 10.0, xtol=1e-11))
            )
        if k + 1 < len(t):
            process.go_on(now, -upper[-1] if sides == 2 else -math.inf, upper[-1], t[k + 1] - now)
    lower = tuple(-u for u in upper) if sides == 2 else (-math.inf,) * len(t)
    name = spending.kind + (f"({spending.gamma:g})" if spending.kind == "hwang-shih-decani" else "")
    return Boundary(tuple(map(float, t)), tuple(upper), lower, alpha, sides, f"spending {name}")


def boundary(fractions: Sequence[float], family: str | Spending = "obrien-fleming", *, alpha: float = 0.05, sides: int = 2) -> Boundary:
    """Return the boundary of a family.

    Parameters
    ----------
    fractions : (look,) of the planned information, rising to 1; they need not be equal.
    family : ``obrien-fleming`` or ``pocock`` (constants), or a :class:`Spending`.
    alpha : of all sides together.
    sides : 2 is symmetric.

    Raises
    ------
    DataError
        For fractions that do not rise to 1, an unknown family, or an error that is not between 0 and 1/2 per side.
    """
    t = _fractions(fractions)
    if isinstance(family, Spending):
        return _spend(t, family, alpha, sides)
    if family not in ("obrien-fleming", "pocock"):
        raise DataError("no such family", seen=family, expected="obrien-fleming, pocock, or a spending function")
    return wang_tsiatis(t, 0.0 if family == "obrien-fleming" else 0.5, alpha=alpha, sides=sides, family=family)


def _solve(curve: Callable[[float], float], target: float, high: float = 20.0) -> float:
    return float(optimize.brentq(lambda x: curve(x) - target, 0.0, high, xtol=1e-10))


def inflation(plan: Boundary, power: float) -> tuple[float, float, Crossing]:
    """Return the drift that has this power, how much more information the looks cost, and what then happens.

    Parameters
    ----------
    power : of crossing the upper boundary.

    Returns
    -------
    drift : mean of z at full information.
    factor : maximum information over that of a trial with one look.
    crossing : under that drift.
    """
    each = _sides(plan.alpha, plan.sides)
    if not each < power < 1:
        raise DataError("power is out of range", seen=power, expected=f"more than {each:g}, less than 1")
    drift = _solve(lambda d: crossing(plan.fractions, plan.upper, plan.lower, d).power, power)
    fixed = special.ndtri(1 - each) + special.ndtri(power)
    return drift, float((drift / fixed) ** 2), crossing(plan.fractions, plan.upper, plan.lower, drift)


def conditional_power(z: float, fraction: float, critical: float, drift: float | None = None) -> float:
    """Return the probability of crossing ``critical`` at the end, given z at an information fraction.

    Parameters
    ----------
    drift : mean of z at full information; left out, the current trend z / sqrt(fraction).

    Examples
    --------
    >>> round(conditional_power(1.0, 0.5, 1.96, drift=0.0), 4)
    0.0382
    """
    if not 0 < fraction < 1:
        raise DataError("an information fraction is out of range", seen=fraction, expected="between 0 and 1")
    trend = z / math.sqrt(fraction) if drift is None else drift
    return float(special.ndtr((z * math.sqrt(fraction) + trend * (1 - fraction) - critical) / math.sqrt(1 - fraction)))
