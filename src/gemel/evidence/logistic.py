"""Weighted logistic regression by Newton steps: the same few lines behind recalibration and the remedies."""

from __future__ import annotations

import numpy as np

__all__ = ["newton_logistic"]


def newton_logistic(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, start: np.ndarray, offset: np.ndarray | None = None, *, ridge: float = 0.0, steps: int = 50
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return coefficients and information of a weighted logistic regression by damped Newton steps; None where there is no maximum.

    ``ridge`` penalises all columns but the first.
    """
    beta = np.array(start, float)
    penalty = ridge * np.r_[0.0, np.ones(x.shape[1] - 1)]
    base = 0.0 if offset is None else offset

    def loss(b: np.ndarray) -> float:
        eta = x @ b + base
        return float(w @ (np.logaddexp(0.0, eta) - y * eta) + 0.5 * penalty @ b**2)

    value = loss(beta)
    for _ in range(steps):
        mu = 1 / (1 + np.exp(-np.clip(x @ beta + base, -700, 700)))
        information = (x * (w * mu * (1 - mu))[:, None]).T @ x + np.diag(penalty)
        gradient = x.T @ (w * (y - mu)) - penalty * beta
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            return None
        size = 1.0
        while not (after := loss(beta + size * step)) <= value + 1e-12 * abs(value):
            size /= 2
            if size < 1e-6:
                return None
        beta, value = beta + size * step, after
        if np.abs(beta).max() > 1e3:
            return None
        if gradient @ step < 1e-14 * max(1.0, w.sum()):
            # a perfect split has no maximum: the loss runs to nothing and the information with it
            return None if value < 1e-8 * w.sum() or np.linalg.cond(information) > 1e12 else (beta, information)
    return None
