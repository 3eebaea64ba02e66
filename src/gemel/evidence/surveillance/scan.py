"""An adaptive window over residuals: is there any recent stretch, short or long, in which events were more or fewer than predicted?

In the manner of ADWIN, which compares every way of cutting its window in two; here the older part is replaced by what the model promised
(residuals of mean 0 and known variance), and the limit comes from the wanted run length by simulation instead of a bound.

References
----------
Bifet and Gavalda 2007, doi:10.1137/1.9781611972771.42 (ADWIN). Lai 1995, doi:10.1111/j.2517-6161.1995.tb02052.x (window-limited scans).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gemel.core.errors import EvidenceError
from gemel.evidence.surveillance.arl import as_probabilities

__all__ = ["Scan", "residual_scan", "scan_limit"]

LAGS = (25, 40, 65, 100, 160, 250, 400, 650, 1000)


@dataclass(frozen=True)
class Scan:
    """The largest standardised sum of residuals over all recent stretches.

    ``value`` (case,); ``lag`` (case,) the stretch that it comes from: where the change is thought to have begun; ``sign`` (case,) of it;
    ``alarms`` the cases at which it passed ``limit``.
    """

    value: Float[np.ndarray, " case"]
    lag: np.ndarray
    sign: np.ndarray
    limit: float
    alarms: np.ndarray


def _scores(residual: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (..., case) largest absolute score, its lag and its sign."""
    pad = [(0, 0)] * (residual.ndim - 1) + [(1, 0)]
    s, v = (np.pad(np.cumsum(x, axis=-1), pad) for x in (residual, variance))
    n = residual.shape[-1]
    best, lags, signs = np.zeros(residual.shape), np.zeros(residual.shape, np.int64), np.zeros(residual.shape, np.int64)
    for lag in LAGS:
        if lag > n:
            break
        z = (s[..., lag:] - s[..., :-lag]) / np.sqrt(v[..., lag:] - v[..., :-lag])
        here = slice(lag - 1, n)
        better = np.abs(z) > best[..., here]
        best[..., here] = np.where(better, np.abs(z), best[..., here])
        lags[..., here] = np.where(better, lag, lags[..., here])
        signs[..., here] = np.where(better, np.sign(z), signs[..., here])
    return best, lags, signs


def _largest(residual: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return (run,) the largest score of each run (run, case): what ``_scores`` finds, without keeping where."""
    s, v = (np.pad(np.cumsum(x, axis=-1), [(0, 0), (1, 0)]) for x in (residual, variance))
    found = np.zeros(len(residual))
    for lag in LAGS:
        if lag <= residual.shape[-1]:
            part = s[:, lag:] - s[:, :-lag]
            found = np.maximum(found, (part * part / (v[:, lag:] - v[:, :-lag])).max(axis=1))
    return np.sqrt(found)


def scan_limit(mix: ArrayLike, run_length: float, *, runs: int = 1500, seed: int = 0) -> float:
    """Return the limit that is passed once in ``run_length`` cases while the predictions are right.

    Simulated: stretches of at most 4,000 cases from the mix; alarms are taken to come at a constant rate, so that the chance of none in L cases is
    ``exp(-L / run_length)``.

    Raises
    ------
    EvidenceError
        When it is shorter than what simulation can tell.
    """
    p = as_probabilities(mix)
    length = int(np.clip(run_length / 5, 300, 4000))
    if run_length < 100 or np.exp(-length / run_length) > 1 - 20 / runs:
        raise EvidenceError(
            "the scan cannot be set to this run length", seen=f"{run_length:g} cases", expected=f"100 to {length * runs / 20:.3g}", fix="ask for another"
        )  # fmt: skip
    rng, largest = np.random.default_rng(seed), []
    for _ in range(0, runs, 100):
        q = rng.choice(p, (100, length))
        y = rng.random(q.shape) < q
        largest.append(_largest(y - q, q * (1 - q)))
    return float(np.quantile(np.concatenate(largest), np.exp(-length / run_length)))


def residual_scan(probability: ArrayLike, outcome: ArrayLike, limit: float) -> Scan:
    """Scan the residuals ``y - p`` of cases in order; after an alarm it starts again, and never looks back beyond it."""
    p, y = as_probabilities(probability), np.asarray(outcome, float)
    value, lag, sign = (np.zeros(len(p)), np.zeros(len(p), np.int64), np.zeros(len(p), np.int64))
    alarms, start = [], 0
    while start < len(p):
        here = slice(start, len(p))
        value[here], lag[here], sign[here] = _scores((y - p)[here], (p * (1 - p))[here])
        out = np.flatnonzero(value[here] > limit)
        if not len(out):
            break
        alarms.append(start + int(out[0]))
        start = alarms[-1] + 1
    return Scan(value, lag, sign, limit, np.asarray(alarms, int))
