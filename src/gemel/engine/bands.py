"""How wide: the size of a residual regressed on features, its quantiles by group, and a tracker that follows them. Part of :mod:`gemel.engine.discrepancy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from gemel.engine.discrepancy import Settings

__all__ = ["LEVELS", "Spread", "crps_of_quantiles", "group_quantiles", "own_spread", "stretch", "track"]

LEVELS = np.arange(1, 100) / 100.0
"""Probability levels at which predictive distributions are kept."""


@dataclass(frozen=True)
class Spread:
    """``E|r| = exp(a + x'b)``: gamma regression by Fisher scoring with a ridge."""

    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, r: np.ndarray, overlap: int, settings: Settings) -> Spread:
        """Regress the size of residuals on features of the spread."""
        spread = x.std(axis=0)
        half = cls(x.mean(axis=0), np.where(spread < 1e-6, np.inf, spread), np.zeros(x.shape[1] + 1))
        a, y = half._table(x), np.abs(r) + 0.02 * np.mean(np.abs(r))
        b = np.zeros(a.shape[1])
        b[0] = np.log(y.mean())
        d = np.diag(np.r_[0.0, np.full(a.shape[1] - 1, settings.scale_penalty * overlap)])
        h = a.T @ a + d
        for _ in range(30):
            b = b + np.clip(np.linalg.solve(h, a.T @ (y / np.exp(np.clip(a @ b, -5, 7)) - 1) - d @ b), -0.5, 0.5)
        return cls(half.centre, half.spread, b)

    def _table(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ones((len(x), 1)), np.clip((x - self.centre) / self.spread, -4, 4)], axis=1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the expected absolute residual, at least one unit of the output."""
        return np.exp(np.clip(self._table(x) @ self.weights, 0.0, 6.0))


def own_spread(origin: np.ndarray, r: np.ndarray, overlap: int, pooled: float, day: int, settings: Settings) -> np.ndarray:
    """Log of the person's mean absolute residual over outcomes known at the origin: ever, and over three days; both shrunk."""
    real = np.isfinite(r)
    total = np.concatenate([[0.0], np.cumsum(np.where(real, np.abs(r), 0.0))])
    count = np.concatenate([[0.0], np.cumsum(real)])
    i = np.searchsorted(origin, origin - overlap, side="right")
    j = np.searchsorted(origin, origin - overlap - 3 * day, side="left")
    k = settings.scale_days * day
    ever = (total[i] + k * pooled) / (count[i] + k)
    recent = (total[i] - total[j] + k * ever) / (count[i] - count[j] + k)
    return np.stack([np.log(ever), np.log(recent)], axis=1)


def group_quantiles(e: np.ndarray, group: np.ndarray, overlap: int, groups: int, settings: Settings) -> np.ndarray:
    """(group, 99) quantiles of the scaled residual, tails widened for finite samples, small groups shrunk to the pooled ones."""

    def wider(n: float) -> np.ndarray:
        return np.clip(0.5 + (LEVELS - 0.5) * (1 + 1 / max(n, 10.0)), 0.0, 1.0)

    pooled = np.quantile(e, wider(len(e) / overlap))
    table = np.empty((groups, len(LEVELS)))
    for k in range(groups):
        own = e[group == k]
        n = len(own) / overlap
        table[k] = (
            pooled if len(own) < 5 else (n * np.quantile(own, wider(n)) + settings.group_weight * pooled) / (n + settings.group_weight)
        )
    return table


def track(
    origin: np.ndarray, e: np.ndarray, group: np.ndarray, table: np.ndarray, overlap: int, first: int, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Follow the 5 % and 95 % quantiles per person and group, each outcome entering only when it is known."""
    low, high = table[:, 4].copy(), table[:, 94].copy()
    lows, highs, j = np.empty(len(origin)), np.empty(len(origin)), first
    for i in range(len(origin)):
        while j < i and origin[j] + overlap <= origin[i]:
            if np.isfinite(e[j]):
                k = group[j]
                low[k] += settings.tracker_step * (0.05 - (e[j] < low[k]))
                high[k] += settings.tracker_step * ((e[j] > high[k]) - 0.05)
            j += 1
        lows[i], highs[i] = low[group[i]], high[group[i]]
    return np.minimum(lows, -0.1), np.maximum(highs, 0.1)


def stretch(table: np.ndarray, group: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the group's quantiles with both halves stretched about the median so that their 5 % and 95 % points are the tracked ones."""
    q = table[group]
    middle = q[:, 49:50]
    down = (middle - low[:, None]) / np.maximum(middle - q[:, 4:5], 0.05)
    up = (high[:, None] - middle) / np.maximum(q[:, 94:95] - middle, 0.05)
    return middle + (q - middle) * np.where(np.arange(99)[None] < 49, np.maximum(down, 0.1), np.maximum(up, 0.1))


def crps_of_quantiles(observed: Float[np.ndarray, " w"], quantiles: Float[np.ndarray, "w level"]) -> Float[np.ndarray, " w"]:
    """Return the CRPS of a distribution given by 99 quantiles: twice the mean pinball loss."""
    d = observed[:, None] - quantiles
    return 2 * np.mean(np.where(d >= 0, LEVELS * d, (LEVELS - 1) * d), axis=1)
