"""A prior file of the twin ``virtual-control`` from the visits of a control arm: mean and covariance of level and slope between people."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import optimize

from gemel.core.errors import DataError, EvidenceError, InferenceError
from gemel.trials.generate.panel import Panel

__all__ = ["control_prior"]

FLOOR = -4.0
"""Logarithm of the smallest standard deviation between people that is told apart from none, in units of about 5 points per year."""
_DAYS = {"d": 1.0, "wk": 7.0, "mo": 30.4375, "a": 365.25}


def control_prior(panel: Panel, variable: str) -> dict[str, Any]:
    """Return what controls say of level and slope, as the file that ``gemel calibrate virtual-control --prior`` reads.

    Maximum likelihood, given the room's reading error and fading deviation; each patient's time begins at the first reading.

    Parameters
    ----------
    panel : the history.
    variable : ADAS-Cog, in points.

    Returns
    -------
    ``names``, ``mean`` and ``covariance`` in the twin's units (points, points per year), and ``about`` whom.

    Raises
    ------
    DataError
        When the variable is unknown, or the visits' unit is none of d, wk, mo, a.
    EvidenceError
        When fewer than 10 patients have two readings.
    InferenceError
        When it does not settle.
    """
    from gemel.twins.virtual_control.priors import NOISE, RATE, SPREAD, YEAR

    if panel.unit not in _DAYS:
        raise DataError("the unit of the visits is not one of time", seen=panel.unit, expected=sorted(_DAYS), fix="say --unit")
    value = panel.values[:, :, panel.index(variable)]
    known = ~np.isnan(value)
    if (known.sum(axis=1) >= 2).sum() < 10:
        raise EvidenceError("too few patients have two readings", seen=int((known.sum(axis=1) >= 2).sum()), expected="10 or more")
    days = panel.times * _DAYS[panel.unit]
    gram, right = [], []
    for y, there in zip(value, known, strict=True):
        if there.any():
            t = days[there] - days[there][0]
            error = SPREAD**2 * np.exp(-RATE * np.abs(t[:, None] - t[None, :])) + NOISE**2 * np.eye(len(t))
            design = np.stack([np.ones_like(t), t / YEAR], axis=1)
            weighted = np.linalg.solve(error, design)
            gram.append(weighted.T @ design)
            right.append(weighted.T @ y[there])
    precision, data = np.stack(gram), np.stack(right)
    scale = np.array([float(np.nanstd(value)), 5.0])
    centre = np.array([float(np.nanmean(value)), 0.0])

    def unpacked(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factor = np.array([[np.exp(x[2]), 0.0], [x[4], np.exp(x[3])]])
        return centre + scale * x[:2], (factor @ factor.T) * np.outer(scale, scale)

    def loss(x: np.ndarray) -> float:
        m, covariance = unpacked(x)
        b = data - precision @ m
        inner = np.linalg.inv(np.linalg.inv(covariance) + precision)
        squares = m @ precision @ m - 2 * data @ m - np.einsum("ni,nij,nj->n", b, inner, b)
        return float((squares + np.linalg.slogdet(np.eye(2) + covariance @ precision)[1]).mean())

    found = optimize.minimize(
        loss, np.zeros(5), method="L-BFGS-B", bounds=[(-5, 5), (-5, 5), (FLOOR, 3), (FLOOR, 3), (-5, 5)], options={"maxiter": 500}
    )
    if not (found.success and np.isfinite(found.fun)):
        raise InferenceError(
            "the prior does not settle",
            seen=str(found.message),
            expected="a maximum of the likelihood",
            fix="more patients with two readings or more",
        )
    mean, covariance = unpacked(found.x)
    whole = np.zeros((3, 3))
    whole[:2, :2], whole[2, 2] = covariance, SPREAD**2
    source = f"{len(precision)} control patients, history {panel.hash[:16]}, {variable}"
    return {
        "names": ["level", "slope", "deviation"],
        "mean": [*mean.tolist(), 0.0],
        "covariance": whole.tolist(),
        "about": {"source": source},
    }
