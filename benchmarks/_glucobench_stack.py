"""A variant of the twin's correction for GlucoBench: the twin stacked with a linear regression on a longer history.

Everything is decided on the validation part: how far the regression looks back, its penalty, and the weights of the two (Breiman 1996,
doi:10.1007/BF00117832), which are not negative and sum to one. The regression is then learnt again on training and validation parts; the test part
decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPANS = (12, 72, 144, 192)
"""Readings that the regression may look back: an hour, six, twelve, sixteen; at most as many as the protocol's input holds."""
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)
"""Ridge penalties on standardised features, per window."""


def history(value: np.ndarray, segment: np.ndarray, origin: np.ndarray, longest: int) -> np.ndarray:
    """Return the last readings at each origin, newest first; before a segment began its first reading is held."""
    first = np.array([np.flatnonzero(segment == s)[0] for s in range(int(segment.max()) + 1)])
    start = first[segment[origin]]
    return np.stack([value[np.maximum(origin - j, start)] for j in range(longest)], axis=1)


def features(past: np.ndarray, span: int) -> np.ndarray:
    """Return the newest reading and differences to it: every reading of the last hour, means of half hours up to six hours, of hours beyond."""
    now, columns, j = past[:, :1], [past[:, 0]], 12
    columns += [past[:, k] - past[:, 0] for k in range(1, 12)]
    while j < span:
        width = 6 if j < 72 else 12
        columns.append(past[:, j : j + width].mean(axis=1) - now[:, 0])
        j += width
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Regression:
    """A ridge regression of the change over each step ahead on standardised features of the past."""

    span: int
    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    level: np.ndarray

    @classmethod
    def of(cls, past: np.ndarray, outcome: np.ndarray, span: int, penalty: float) -> Regression:
        """Solve the penalised normal equations over windows (window, reading) and outcomes (window, step)."""
        x, y = features(past, span), outcome - past[:, :1]
        centre, spread, level = x.mean(axis=0), x.std(axis=0) + 1e-9, y.mean(axis=0)
        z = (x - centre) / spread
        weights = np.linalg.solve(z.T @ z + penalty * len(z) * np.eye(z.shape[1]), z.T @ (y - level))
        return cls(span, centre, spread, weights, level)

    def __call__(self, past: np.ndarray) -> np.ndarray:
        """Return forecasts (window, step)."""
        return past[:, :1] + (features(past, self.span) - self.centre) / self.spread @ self.weights + self.level


def weight_of(first: np.ndarray, second: np.ndarray, outcome: np.ndarray) -> float:
    """Return the weight of the first forecast, in [0, 1], that makes the squared error of the mixture least."""
    apart = first - second
    return float(np.clip(np.sum(apart * (outcome - second)) / max(float(np.sum(apart**2)), 1e-12), 0.0, 1.0))


@dataclass(frozen=True)
class Stack:
    """The twin's weight, and the regression that has the rest."""

    weight: float
    regression: Regression
    penalty: float

    @classmethod
    def of(cls, past: np.ndarray, outcome: np.ndarray, twin: np.ndarray, part: np.ndarray, longest: int) -> Stack:
        """Decide on the validation part (1) from what the training part (0) taught, then learn the regression on both.

        Parameters
        ----------
        past : (window, reading) newest first. outcome, twin : (window, step). part : (window,) 0 or 1; the twin's weights saw part 0 only.
        longest : readings that the protocol's input holds.
        """
        if np.any(part > 1):
            raise ValueError("the test part decides nothing: give windows of parts 0 and 1 only")
        train, held = part == 0, part == 1
        best: tuple[float, int, float] | None = None
        for span in (s for s in SPANS if s <= longest):
            for penalty in PENALTIES:
                said = Regression.of(past[train], outcome[train], span, penalty)(past[held])
                loss = float(np.mean((said - outcome[held]) ** 2))
                if best is None or loss < best[0]:
                    best = loss, span, penalty
        assert best is not None
        _, span, penalty = best
        said = Regression.of(past[train], outcome[train], span, penalty)(past[held])
        return cls(weight_of(twin[held], said, outcome[held]), Regression.of(past, outcome, span, penalty), penalty)

    def __call__(self, past: np.ndarray, twin: np.ndarray) -> np.ndarray:
        """Return forecasts (window, step)."""
        return self.weight * twin + (1.0 - self.weight) * self.regression(past)
