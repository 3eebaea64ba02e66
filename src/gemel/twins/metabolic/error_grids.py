"""Error grids: what a wrong glucose value would lead to. mg/dL in, zone letters out.

A point exactly on a border belongs to the better zone of Parkes and of the DTS grid; in Clarke's the order A, E, C, D, B decides. The grids were made for
meters: applied to forecasts they weigh errors by what acting on them would do, they say nothing of a device.

References
----------
Clarke: Clarke et al. 1987, doi:10.2337/diacare.10.5.622. The paper gives a figure and prose, no coordinates. Its upper C zone ends at a reference of 290
only because the figure ends at 400 mg/dL; here it goes on.
Parkes: Parkes et al. 2000, doi:10.2337/diacare.23.8.1143; coordinates first published by Pfuetzner et al. 2013, doi:10.1177/193229681300700517, table 1
(read in three independent transcriptions that agree).
DTS: Klonoff et al. 2024, doi:10.1177/19322968241275701, appendix 2: risk function and table A1 (second-hand: read in four transcriptions that agree).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float

from gemel.core.errors import ValueRangeError

__all__ = ["DTS_EDGES", "clarke", "dts", "dts_risk", "parkes", "parkes_type2"]


def _pairs(reference: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r, p = np.asarray(reference, float), np.asarray(prediction, float)
    if r.shape != p.shape:
        raise ValueRangeError("reference and prediction differ in shape", seen=(r.shape, p.shape), expected="pairs")
    if not (np.isfinite(r).all() and np.isfinite(p).all()):
        raise ValueRangeError("a pair of an error grid is not finite", expected="mg/dL", fix="leave out pairs without a reading")
    return r, p


def clarke(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> np.ndarray:
    """Return Clarke zones A to E of pairs in mg/dL.

    Examples
    --------
    >>> "".join(clarke(np.array([100.0, 50.0, 300.0]), np.array([110.0, 200.0, 60.0])))
    'AEE'
    """
    r, p = _pairs(reference, prediction)
    zone = np.full(r.shape, "B")
    # Inequalities in whole multiples, so that integers on a border fall where arithmetic on paper puts them.
    zone[((r >= 240) | (r <= 70)) & (p >= 70) & (p <= 180)] = "D"
    zone[((r >= 70) & (p >= r + 110)) | ((r >= 130) & (r <= 180) & (5 * p <= 7 * r - 910))] = "C"
    zone[((r >= 180) & (p <= 70)) | ((r <= 70) & (p >= 180))] = "E"
    zone[((r <= 70) & (p <= 70)) | (5 * np.abs(p - r) <= r)] = "A"
    return zone


_Line = tuple[tuple[float, float], ...]

# Borders as polylines (reference, prediction): beyond the upper ones a prediction is too high, right of the lower ones too low.
_UPPER: dict[int, dict[str, _Line]] = {
    1: {
        "B": ((0, 50), (30, 50), (140, 170), (280, 380), (430, 550)),
        "C": ((0, 60), (30, 60), (50, 80), (70, 110), (260, 550)),
        "D": ((0, 100), (25, 100), (50, 125), (80, 215), (125, 550)),
        "E": ((0, 150), (35, 155), (50, 550)),
    },
    2: {
        "B": ((0, 50), (30, 50), (230, 330), (440, 550)),
        "C": ((0, 60), (30, 60), (280, 550)),
        "D": ((0, 80), (25, 80), (35, 90), (125, 550)),
        "E": ((0, 200), (35, 200), (50, 550)),
    },
}
_LOWER: dict[int, dict[str, _Line]] = {
    1: {
        "B": ((50, 0), (50, 30), (170, 145), (385, 300), (550, 450)),
        "C": ((120, 0), (120, 30), (260, 130), (550, 250)),
        "D": ((250, 0), (250, 40), (550, 150)),
    },
    2: {
        "B": ((50, 0), (50, 30), (90, 80), (330, 230), (550, 450)),
        "C": ((90, 0), (260, 130), (550, 250)),
        "D": ((250, 0), (250, 40), (410, 110), (550, 160)),
    },
}


def _side(line: _Line, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie strictly above a polyline y(x) that goes on along its last piece, for pieces that run to the right and up.

    By cross products: exact for whole numbers, so that a corner point lies on its border.
    """
    above = np.zeros(x.shape, bool)
    for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(line)):
        here = (x >= x0) & ((x < x1) | (i == len(line) - 2))
        above |= here & ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0)
    return above


def parkes(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], *, diabetes: Literal[1, 2] = 1) -> np.ndarray:
    """Return Parkes (consensus) zones A to E of pairs in mg/dL.

    Parameters
    ----------
    reference, prediction : (n,) mg/dL, not negative.
    diabetes : grid for type 1 (the one of ISO 15197:2013) or type 2. Neither has a lower zone E.

    Examples
    --------
    >>> "".join(parkes(np.array([100.0, 30.0, 300.0]), np.array([105.0, 200.0, 30.0])))
    'AED'
    """
    if diabetes not in _UPPER:
        raise ValueRangeError("no Parkes grid for this type of diabetes", seen=diabetes, expected="1 or 2")
    r, p = _pairs(reference, prediction)
    zone = np.full(r.shape, "A")
    for name in "BCDE":
        worse = _side(_UPPER[diabetes][name], r, p)
        if name in _LOWER[diabetes]:
            worse |= _side(tuple((b, a) for a, b in _LOWER[diabetes][name]), p, r)
        zone[worse] = name
    return zone


def parkes_type2(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> np.ndarray:
    """Return Parkes zones A to E for type 2 diabetes."""
    return parkes(reference, prediction, diabetes=2)


DTS_EDGES = (0.5, 1.5, 2.5, 3.5)
"""Largest absolute risk of zones A to D of the DTS grid."""
_DTS_FLOOR, _DTS_OVER, _DTS_UNDER = 50.0, 2.75, 2.25


def dts_risk(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> np.ndarray:
    """Return the signed risk of the DTS grid: positive where the prediction is too high.

    ``2.75 ln(p / r)`` above the reference, ``2.25 ln(p / r)`` below it. Values below 50 mg/dL count as 50 (the paper's panel "did not differentiate" there;
    the level pieces of table A1 follow from it).
    """
    r, p = (np.maximum(v, _DTS_FLOOR) for v in _pairs(reference, prediction))
    return np.where(p > r, _DTS_OVER, _DTS_UNDER) * np.log(p / r)


def dts(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> np.ndarray:
    """Return DTS zones A (no risk) to E (extreme risk) of pairs in mg/dL.

    By the risk function; the published corner points of table A1 lie within 1.2 mg/dL of its borders. The authors ask that zone A be reported alone,
    not A and B together.

    Examples
    --------
    >>> "".join(dts(np.array([100.0, 100.0, 200.0]), np.array([119.0, 121.0, 10.0])))
    'ABD'
    """
    return np.array(list("ABCDE"))[np.searchsorted(DTS_EDGES, np.abs(dts_risk(reference, prediction)), side="left")]
