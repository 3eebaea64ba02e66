"""Have the inputs changed? Batches against a reference: PSI, KS, MMD, missing values, mixes of categories, and a unit that was changed.

Drift of inputs is not drift of performance: it explains an alarm, it does not replace one. Each statistic comes with a p-value, so that what
rings follows from a wanted run length and not from a rule of thumb such as "PSI above 0.2".

References
----------
Gretton et al. 2012, JMLR 13:723 (MMD, unbiased). Yurdakul and Naranjo 2020, doi:10.21314/JRMV.2020.227 (law of the PSI).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["UNIT_FACTORS", "InputDrift", "Reference", "check_category", "check_input", "mmd", "mmd_test", "psi", "suspect_unit"]

SMALLEST = 20
"""Fewer values than this are not tested."""
UNIT_FACTORS: Mapping[str, float] = {
    "glucose: mg/dL for mmol/L": 18.016,
    "cholesterol: mg/dL for mmol/L": 38.67,
    "creatinine: umol/L for mg/dL (or triglyceride: mg/dL for mmol/L, 88.57)": 88.42,
    "urea: mg/dL for mmol/L (as nitrogen)": 2.8,
    "bilirubin: umol/L for mg/dL": 17.1,
    "insulin: pmol/L for mU/L": 6.0,
    "pressure: mm[Hg] for kPa": 7.50062,
    "mass: pounds for kg": 2.20462,
    "length: inches for cm": 1 / 2.54,
    "ten for one": 10.0,
    "per cent for a share": 100.0,
    "thousand for one": 1000.0,
}
"""Factors by which a column is multiplied when its unit was changed without a word; each is also looked for the other way round.
Factors that are near each other (17.1 and 18.016) can be mistaken: the name is a hint."""


@dataclass(frozen=True)
class Reference:
    """What an input looked like at release, as quantiles: no row of anybody.

    Parameters
    ----------
    quantiles : (k,) at equally spaced levels 0 .. 1.
    n : how many values they were taken from.
    missing, rows : how many were missing, of how many rows.
    """

    quantiles: tuple[float, ...]
    n: int
    missing: int
    rows: int

    @classmethod
    def of(cls, values: ArrayLike, points: int = 201) -> Reference:
        """Take the quantiles of (row,) values; NaN is missing."""
        x = np.asarray(values, float)
        real = x[np.isfinite(x)]
        if not len(real):
            return cls((), 0, len(x), len(x))
        return cls(tuple(np.quantile(real, np.linspace(0, 1, points)).tolist()), len(real), len(x) - len(real), len(x))

    def cdf(self, values: np.ndarray) -> np.ndarray:
        """Return the share of the reference at or below each value."""
        q = np.asarray(self.quantiles)
        level = np.linspace(0, 1, len(q))
        last = np.searchsorted(q, values, side="right") - 1  # ties: a jump of the reference is kept whole
        smooth = np.interp(values, q, level)
        return np.where(last < 0, 0.0, np.where(q[np.clip(last, 0, None)] == values, level[np.clip(last, 0, None)], smooth))


@dataclass(frozen=True)
class InputDrift:
    """One finding about one input in one batch: the statistic, its value and its p-value before correction for many."""

    input: str
    statistic: str
    value: float
    p_value: float
    note: str = ""


def psi(share: ArrayLike, reference: ArrayLike) -> float:
    """Return the population stability index of two sets of shares, ``sum (a - b) ln(a / b)``; an empty cell counts as 1e-4.

    Parameters
    ----------
    share, reference : (cell,) each summing to 1.

    Examples
    --------
    >>> round(psi([0.5, 0.5], [0.25, 0.75]), 4)
    0.2747
    """
    a, b = (np.maximum(np.asarray(x, float), 1e-4) for x in (share, reference))
    return float(np.sum((a - b) * np.log(a / b)))


def _ks(values: np.ndarray, reference: Reference) -> tuple[float, float]:
    """Kolmogorov-Smirnov against the quantiles, with both sizes in the p-value."""
    x, count = np.unique(values, return_counts=True)
    upto = np.cumsum(count) / len(values)
    q = np.asarray(reference.quantiles)
    at = reference.cdf(x)
    before = np.interp(np.nextafter(x, -np.inf), q, np.linspace(0, 1, len(q)))
    distance = float(max(np.abs(upto - at).max(), np.abs(upto - count / len(values) - before).max()))
    distance = max(0.0, distance - 0.5 / (len(q) - 1))  # what the grid of quantiles cannot tell
    size = len(values) * reference.n / (len(values) + reference.n)
    return distance, float(stats.kstwobign.sf(distance * np.sqrt(size)))


def _psi(values: np.ndarray, reference: Reference, bins: int = 10) -> tuple[float, float]:
    edges = np.unique(np.quantile(np.asarray(reference.quantiles), np.linspace(0, 1, bins + 1)[1:-1]))
    seen = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) / len(values)
    expected = np.diff(np.concatenate([[0.0], reference.cdf(edges), [1.0]]))
    kept = expected > 0
    value = psi(seen[kept], expected[kept])
    scale = 1 / len(values) + 1 / reference.n
    # the quadratic form that PSI tends to: Pearson's statistic; PSI itself has heavier tails where cells are thin
    pearson = float(np.sum((seen[kept] - expected[kept]) ** 2 / expected[kept])) / scale
    return value, float(stats.chi2.sf(pearson, max(int(kept.sum()) - 1, 1)))


def _share_test(a: int, n: int, b: int, m: int) -> float:
    """Exact p-value of two shares."""
    tested: Any = stats.fisher_exact([[a, n - a], [b, m - b]])
    return float(tested.pvalue)


def suspect_unit(values: ArrayLike, reference: Reference) -> tuple[str, float] | None:
    """Return the change of unit that would bring a column back to its reference, if there is one, with its factor.

    The median must have moved by a factor within 10 % of a known one, and dividing by it must bring the values at least five times nearer (KS).
    """
    x = np.asarray(values, float)
    x = x[np.isfinite(x)]
    centre = float(np.median(np.asarray(reference.quantiles))) if reference.n else 0.0
    if len(x) < SMALLEST or centre == 0:
        return None
    moved = float(np.median(x)) / centre
    found = []
    for name, factor in UNIT_FACTORS.items():
        for named, f in ((name, factor), (f"{name}, the other way round", 1 / factor)):
            if abs(moved / f - 1) < 0.10 and abs(f - 1) > 0.2:
                before, after = _ks(x, reference)[0], _ks(x / f, reference)[0]
                if after < before / 5:
                    found.append((after, named, f))
    if not found and _fahrenheit(x, reference):
        return "temperature: Fahrenheit for Celsius", 1.8
    return (min(found)[1], min(found)[2]) if found else None


def _fahrenheit(x: np.ndarray, reference: Reference) -> bool:
    return _ks((x - 32) / 1.8, reference)[0] < _ks(x, reference)[0] / 5 and abs(float(np.median(x)) - 32 - 1.8 * float(np.median(np.asarray(reference.quantiles)))) < 4  # fmt: skip


def check_input(name: str, values: ArrayLike, reference: Reference) -> list[InputDrift]:
    """Compare one batch of a numeric input with its reference: PSI, KS, missing values, and a change of unit."""
    x = np.asarray(values, float)
    real = x[np.isfinite(x)]
    found = [
        InputDrift(
            name, "missing", (len(x) - len(real)) / max(len(x), 1),
            _share_test(len(x) - len(real), len(x), reference.missing, reference.rows) if len(x) and reference.rows else 1.0,
            f"{reference.missing / max(reference.rows, 1):.3f} at release",
        )
    ]  # fmt: skip
    if len(real) < SMALLEST or reference.n < SMALLEST:
        return found
    unit = suspect_unit(real, reference)
    note = "" if unit is None else f"looks like a change of unit ({unit[0]}, factor {unit[1]:.4g})"
    return [*found, InputDrift(name, "KS", *_ks(real, reference), note), InputDrift(name, "PSI", *_psi(real, reference), note)]


def check_category(name: str, values: np.ndarray, reference: Mapping[str, int]) -> InputDrift:
    """Compare a mix of categories (devices, sites) with its reference by chi-square; what the release never saw is one cell."""
    words = sorted(reference)
    seen = np.array([int((values == w).sum()) for w in words] + [int((~np.isin(values, words)).sum())])
    then = np.array([*(reference[w] for w in words), 0])
    kept = (seen + then) > 0
    new = sorted({str(v) for v in values} - set(words))
    note = f"not seen at release: {len(new)} kinds" if new else ""
    if kept.sum() < 2 or not seen.sum():
        return InputDrift(name, "mix", 0.0, 1.0, note)
    value = psi(seen[kept] / seen.sum(), then[kept] / then.sum())
    tested: Any = stats.chi2_contingency(np.stack([seen[kept], then[kept]]))
    return InputDrift(name, "mix", value, float(tested.pvalue), note)


def _kernel(x: np.ndarray, width: float) -> np.ndarray:
    square = (x**2).sum(axis=1)
    return np.exp(-np.maximum(square[:, None] + square[None] - 2 * x @ x.T, 0) / (2 * width**2))


def mmd(x: ArrayLike, y: ArrayLike, width: float | None = None) -> float:
    """Return the unbiased squared maximum mean discrepancy with a Gaussian kernel.

    Parameters
    ----------
    x, y : (case, feature): inputs or embeddings, on comparable scales.
    width : of the kernel; the median distance when left out.
    """
    a, b = np.atleast_2d(np.asarray(x, float)), np.atleast_2d(np.asarray(y, float))
    both = np.concatenate([a, b])
    return _mmd(_kernel(both, width or _median_distance(both)), np.arange(len(both)) < len(a))


def _median_distance(x: np.ndarray) -> float:
    some = x[:: max(1, len(x) // 400)]
    gaps = np.sqrt(np.maximum(((some[:, None] - some[None]) ** 2).sum(axis=2), 0))
    return float(np.median(gaps[np.triu_indices(len(some), 1)])) or 1.0


def _mmd(kernel: np.ndarray, first: np.ndarray) -> float:
    n, m = int(first.sum()), int((~first).sum())
    s = first.astype(float)
    row = kernel @ s
    inside = float(s @ row) - n
    cross = float(row.sum() - s @ row)
    rest = float(kernel.sum() - 2 * row.sum() + s @ row) - m
    return inside / (n * (n - 1)) + rest / (m * (m - 1)) - 2 * cross / (n * m)


def mmd_test(x: ArrayLike, y: ArrayLike, *, permutations: int = 300, most: int = 400, seed: int = 0) -> InputDrift:
    """Test whether two samples of several inputs have one law, jointly.

    The p-value is that of a Gamma law with the first three moments of the permuted statistic: beyond what permutations can resolve it is an extrapolation.

    Parameters
    ----------
    x, y : (case, feature); scaled by the spread of ``y``. Rows with a missing value are left out.
    most : rows of each that are used.
    """
    a, b = (np.asarray(z, float) for z in (x, y))
    a, b = a[np.isfinite(a).all(axis=1)], b[np.isfinite(b).all(axis=1)]
    if min(len(a), len(b)) < SMALLEST:
        return InputDrift("all inputs", "MMD", 0.0, 1.0, "too few complete rows")
    rng = np.random.default_rng(seed)
    a, b = (z if len(z) <= most else z[rng.choice(len(z), most, replace=False)] for z in (a, b))
    scale = np.maximum(b.std(axis=0), 1e-12)
    both = np.concatenate([a, b]) / scale
    kernel = _kernel(both, _median_distance(both))
    first = np.arange(len(both)) < len(a)
    value = _mmd(kernel, first)
    null = np.array([_mmd(kernel, rng.permutation(first)) for _ in range(permutations)])
    skew = max(float(stats.skew(null)), 1e-3)
    p = float(stats.pearson3.sf(value, skew, loc=null.mean(), scale=max(float(null.std()), 1e-300)))
    return InputDrift("all inputs", "MMD", value, max(p, 1e-300))
