"""Error grids: what a wrong glucose value would lead to. mg/dL in, zone letters out.

References
----------
Clarke et al. 1987, doi:10.2337/diacare.10.5.622 (zones as in the published figure).
Parkes et al. 2000, doi:10.2337/diacare.23.8.1143; corner points of the type 1 grid from Pfuetzner et al. 2013, doi:10.1177/193229681300700559, table 1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["clarke", "parkes"]


def clarke(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> np.ndarray:
    """Return Clarke zones A to E of pairs in mg/dL.

    Examples
    --------
    >>> "".join(clarke(np.array([100.0, 50.0, 300.0]), np.array([110.0, 200.0, 60.0])))
    'AEE'
    """
    r, p = np.asarray(reference, float), np.asarray(prediction, float)
    zone = np.full(r.shape, "B")
    zone[((r >= 70) & (r <= 290) & (p >= r + 110)) | ((r >= 130) & (r <= 180) & (p <= 7 / 5 * r - 182))] = "C"
    zone[((r >= 240) & (p >= 70) & (p <= 180)) | ((r <= 175 / 3) & (p >= 70) & (p <= 180)) | ((r >= 175 / 3) & (r <= 70) & (p >= 6 / 5 * r))] = "D"
    zone[((r >= 180) & (p <= 70)) | ((r <= 70) & (p >= 180))] = "E"
    zone[((r <= 70) & (p <= 70)) | (np.abs(p - r) <= 0.2 * r)] = "A"
    return zone


# Boundaries as polylines (reference, prediction); above the line the worse zone lies towards larger predictions, below towards smaller ones.
_UPPER = {
    "B": [(0, 50), (30, 50), (140, 170), (280, 380), (430, 550)],
    "C": [(0, 60), (30, 60), (50, 80), (70, 110), (260, 550)],
    "D": [(0, 100), (25, 100), (50, 125), (80, 215), (125, 550)],
    "E": [(0, 150), (35, 155), (50, 550)],
}
_LOWER = {
    "B": [(50, 0), (50, 30), (170, 145), (385, 300), (550, 450)],
    "C": [(120, 0), (120, 30), (260, 130), (550, 250)],
    "D": [(250, 0), (250, 40), (550, 150)],
}


def _above(line: list[tuple[float, float]], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie strictly above a polyline y(x), continued along its last piece."""
    xs, ys = np.array([p[0] for p in line], float), np.array([p[1] for p in line], float)
    slope = (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
    at = np.where(x <= xs[-1], np.interp(x, xs, ys), ys[-1] + slope * (x - xs[-1]))
    return y > at


def _right(line: list[tuple[float, float]], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie strictly to the right of a polyline x(y) that begins with a vertical piece."""
    return _above([(b, a) for a, b in line], y, x)


def parkes(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> np.ndarray:
    """Return Parkes (consensus) zones A to E for type 1 diabetes of pairs in mg/dL.

    Examples
    --------
    >>> "".join(parkes(np.array([100.0, 30.0, 300.0]), np.array([105.0, 200.0, 30.0])))
    'AED'
    """
    r, p = np.asarray(reference, float), np.asarray(prediction, float)
    zone = np.full(r.shape, "A")
    for name in "BCDE":
        worse = _above(_UPPER[name], r, p)
        if name in _LOWER:
            worse |= _right(_LOWER[name], r, p)
        zone[worse] = name
    return zone
