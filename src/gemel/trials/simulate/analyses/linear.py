"""The linear model with one or more baseline covariates, by Frisch and Waugh: estimate and robust error are ratios of sums.

With ``x`` and ``y`` centred within arm, ``b = Sxy / Sxx``, ``d`` the difference of arm means, the estimate is ``d(y) - b d(x)`` and each patient enters it
with the weight ``c = +-1/n_a - d(x) x / Sxx``; the leverage is ``h = 1/n_a + x**2 / Sxx``, the residual ``e = y - b x``. Then ``sum c**2 e**2 / (1 - h)**k`` is
HC0, HC2, HC3 for k = 0, 1, 2. Elementwise steps may be float32: they are sums of squares of centred values, without cancellation.

References
----------
Frisch and Waugh 1933, doi:10.2307/1907330. MacKinnon and White 1985, doi:10.1016/0304-4076(85)90158-7 (HC1, HC2, HC3).
Bell and McCaffrey 2002, Survey Methodology 28:169 (degrees of freedom of HC2); Imbens and Kolesár 2016, doi:10.1162/REST_a_00552.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemel.core.errors import ModelError
from gemel.trials.simulate.batch import Batch, Readings, only, student

__all__ = ["VARIANCES", "LinearModel"]

VARIANCES = ("hc2", "hc3", "hc1", "model")
"""As :data:`gemel.trials.adjust.ancova.VARIANCES`: HC2 has the degrees of freedom of Bell and McCaffrey, the others n - p."""


@dataclass(frozen=True)
class LinearModel:
    """Compare the arms' means, with no, the first, or the first several covariates in the model.

    Parameters
    ----------
    covariates : how many of the trial's covariates: 0 is no adjustment, 1 the prognosis.
    variance : one of :data:`VARIANCES`.
    name : of the analysis in the result; left empty, ``unadjusted``, ``ancova``, or ``ancova2`` with an interaction.
    interaction : a slope per arm (ANHECOVA), with the term for the estimated centre of the covariates: the effect in the population.
    """

    covariates: int = 1
    variance: str = "hc2"
    name: str = ""
    interaction: bool = False

    def __post_init__(self) -> None:
        if self.variance not in VARIANCES:
            raise ModelError("no such variance", seen=self.variance, expected=VARIANCES)
        if self.covariates < 0:
            raise ModelError("a number of covariates is not negative", seen=self.covariates)
        if not self.name:
            object.__setattr__(self, "name", "unadjusted" if not self.covariates else "ancova2" if self.interaction else "ancova")

    def read(self, batch: Batch) -> Readings:
        """Read the trials; of a repeated outcome the last visit of those who have it. A trial with fewer than two of an arm has no result."""
        batch = batch.last_visit()
        if self.covariates > len(batch.covariates):
            raise ModelError("the world has fewer covariates than the analysis", seen=len(batch.covariates), expected=self.covariates)
        if batch.observed is not None or batch.arm.ndim == 2:
            seen = batch.seen()
            good = (seen >= 2).all(axis=0) & (seen.sum(axis=0) > self.covariates * (1 + self.interaction) + 2)
            if not good.all():
                return only(good, self._read(batch.keep(good))) if good.any() else only(good, Readings(*[np.zeros(0)] * 6))
        return self._read(batch)

    def _read(self, batch: Batch) -> Readings:
        if self.covariates > 1 or (self.covariates and self.interaction):
            return _several(batch, self.covariates, self.variance, interaction=self.interaction)
        parts = _split(batch) if batch.observed is None and batch.arm.ndim == 1 else _masked(batch)
        return _one(parts, batch.covariates[0] if self.covariates else None, batch.outcome, self.variance)


@dataclass(frozen=True)
class _Part:
    """One arm of all trials: which patients, how many, and how to sum over them."""

    where: slice | None
    weight: np.ndarray | None
    count: np.ndarray | int

    def centred(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the means of the arm and the values around them, zero outside the arm."""
        if self.weight is None:
            own = values[:, self.where]
            mean = own.sum(axis=1, dtype=np.float64) / self.count
            return mean, own - mean.astype(own.dtype)[:, None]
        mean = np.einsum("tp,tp->t", values, self.weight, dtype=np.float64) / self.count
        return mean, (values - mean.astype(values.dtype)[:, None]) * self.weight


def _split(batch: Batch) -> tuple[_Part, _Part]:
    """Parts of trials that all have the same arms: views where the arms are contiguous."""
    found = []
    for a in (0, 1):
        at = np.flatnonzero(batch.arm == a)
        contiguous = len(at) and at[-1] - at[0] == len(at) - 1
        step = at[1] - at[0] if len(at) > 1 else 1
        even = len(at) > 1 and (np.diff(at) == step).all()
        where = slice(at[0], at[-1] + 1) if contiguous else slice(at[0], at[-1] + 1, step) if even else None
        if where is None:
            return _masked(batch)
        found.append(_Part(where, None, len(at)))
    return found[0], found[1]


def _masked(batch: Batch) -> tuple[_Part, _Part]:
    kind = batch.outcome.dtype
    treated = np.broadcast_to(batch.arm, batch.outcome.shape).astype(kind)
    seen = np.ones_like(treated) if batch.observed is None else batch.observed.astype(kind)
    one = treated * seen
    zero = seen - one
    return _Part(None, zero, zero.sum(axis=1, dtype=np.float64)), _Part(None, one, one.sum(axis=1, dtype=np.float64))


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("tp,tp->t", a, b).astype(np.float64)


def _column(value: np.ndarray | float, kind: np.dtype) -> np.ndarray:
    return np.asarray(value, kind).reshape(-1, 1)


def _one(parts: tuple[_Part, _Part], x: np.ndarray | None, y: np.ndarray, variance: str) -> Readings:
    kind = y.dtype
    (m0, y0), (m1, y1) = (part.centred(y) for part in parts)
    n0, n1 = (part.count for part in parts)
    n = np.asarray(n0 + n1, float)
    p = 2 if x is None else 3
    if x is None:
        s0, s1 = _sum(y0, y0), _sum(y1, y1)
        estimate, base = m1 - m0, 1 / n0 + 1 / n1
        if variance == "model":
            return student(estimate, (s0 + s1) / (n - 2) * base, n - 2)
        if variance == "hc1":
            return student(estimate, (s0 / n0**2 + s1 / n1**2) * n / (n - 2), n - 2)
        if variance == "hc3":
            return student(estimate, s0 / (n0 - 1) ** 2 + s1 / (n1 - 1) ** 2, n - 2)
        df = base**2 / (1 / (n0**2 * (n0 - 1)) + 1 / (n1**2 * (n1 - 1)))  # Welch's under one variance
        return student(estimate, s0 / (n0 * (n0 - 1)) + s1 / (n1 * (n1 - 1)), df)
    (u0, x0), (u1, x1) = (part.centred(x) for part in parts)
    sxx = _sum(x0, x0) + _sum(x1, x1)
    slope = (_sum(x0, y0) + _sum(x1, y1)) / sxx
    apart = u1 - u0
    estimate = m1 - m0 - slope * apart
    base = 1 / n0 + 1 / n1 + apart**2 / sxx
    if variance == "model":
        rss = _sum(y0, y0) + _sum(y1, y1) - slope**2 * sxx
        return student(estimate, rss / (n - 3) * base, n - 3)
    total = np.zeros(len(y))
    needed = np.zeros((4, len(y)))
    for part, xa, ya, sign in zip(parts, (x0, x1), (y0, y1), (-1.0, 1.0), strict=True):
        squared = (xa * _column(-apart / sxx, kind) + _column(sign / part.count, kind)) ** 2
        residual = ya - xa * _column(slope, kind)
        if part.weight is not None:
            squared *= part.weight
        if variance == "hc1":
            residual *= residual
            total += _sum(squared, residual)
            continue
        square = xa * xa
        rest = 1 - _column(1 / part.count, kind) - square * _column(1 / sxx, kind)  # 1 - h
        if variance == "hc3":
            residual /= rest
            residual *= residual
            total += _sum(squared, residual)
            continue
        residual *= residual
        squared /= rest
        total += _sum(squared, residual)
        needed += _moments(squared, rest, xa, square, part.count, sxx)
    if variance == "hc1":
        return student(estimate, total * n / (n - p), n - p)
    if variance == "hc3":
        return student(estimate, total, n - p)
    diagonal, constant, mixed, pure = needed
    return student(estimate, total, base**2 / (diagonal + constant + mixed + (pure / sxx) ** 2))


def _moments(w: np.ndarray, rest: np.ndarray, x: np.ndarray, square: np.ndarray, count: np.ndarray | int, sxx: np.ndarray) -> np.ndarray:
    """Return what one arm adds to half the variance of HC2 under one variance: sum w**2 (1 - 2 h), and sums of w w' h**2 by arm."""
    twice = 2 * rest - 1
    constant = (w.sum(axis=1, dtype=np.float64) / count) ** 2
    mixed = 2 * _sum(w, x) ** 2 / (count * sxx)
    return np.stack([_sum(w * w, twice), constant, mixed, _sum(w, square)])


def _several(batch: Batch, covariates: int, variance: str, *, interaction: bool = False) -> Readings:
    """The same by normal equations, for any number of covariates and for a slope per arm."""
    y = batch.outcome.astype(np.float64)
    seen = np.ones(y.shape) if batch.observed is None else batch.observed.astype(np.float64)
    arm = np.broadcast_to(batch.arm, y.shape).astype(np.float64)
    n = seen.sum(axis=1)
    x = np.moveaxis(batch.covariates[:covariates].astype(np.float64), 0, 2)
    x = x - (np.einsum("tpc,tp->tc", x, seen) / n[:, None])[:, None]
    design = [np.ones((*y.shape, 1)), arm[..., None], x, *([arm[..., None] * x] if interaction else [])]
    whole = np.concatenate(design, axis=2) * seen[..., None]
    y = y * seen
    p = whole.shape[2]
    turned = np.swapaxes(whole, 1, 2)
    inverse = np.linalg.inv(turned @ whole)
    beta = (inverse @ (turned @ y[..., None]))[..., 0]
    residual = (y - np.einsum("tpc,tc->tp", whole, beta)) * seen
    xi = whole @ inverse
    c, df = xi[..., 1], n - p
    if variance in ("hc3", "hc2"):
        h = (xi * whole).sum(axis=2)
        squared = ((c * residual) ** 2 / (1 - h) ** (2 if variance == "hc3" else 1)).sum(axis=1)
    elif variance == "hc1":
        squared = ((c * residual) ** 2).sum(axis=1) * n / (n - p)
    else:
        squared = (residual**2).sum(axis=1) / (n - p) * inverse[:, 1, 1]
    if variance == "hc2":
        w = c**2 / (1 - h)
        middle = np.einsum("tpa,tp,tpb->tab", whole, w, whole) @ inverse
        df = (c**2).sum(axis=1) ** 2 / ((w**2 * (1 - 2 * h)).sum(axis=1) + np.einsum("tab,tba->t", middle, middle))
    if interaction:
        d, own = beta[:, -covariates:], x * seen[..., None]
        spread = np.swapaxes(own, 1, 2) @ own / (n - 1)[:, None, None]
        squared = squared + np.einsum("tc,tcd,td->t", d, spread, d) / n
    return student(beta[:, 1], squared, df)
