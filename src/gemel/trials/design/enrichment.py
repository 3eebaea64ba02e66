"""Adaptive enrichment: two stages put together by the inverse-normal rule, two hypotheses by closed testing.

Stage one enrols everybody. At the interim the trial goes on with everybody, with the subgroup alone, or stops. Whatever the rule that decides, the
family-wise error holds: each intersection is tested by a combination whose weights were fixed beforehand.

References
----------
Lehmacher and Wassmer 1999, doi:10.1111/j.0006-341X.1999.01286.x (inverse normal). Marcus, Peritz and Gabriel 1976, doi:10.1093/biomet/63.3.655 (closure).
Simes 1986, doi:10.1093/biomet/73.3.751. Jenkins, Stone and Jennison 2011, doi:10.1002/pst.472 (subpopulations).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import DataError

__all__ = ["closed", "inverse_normal", "simes"]


def inverse_normal(first: Float[np.ndarray, "..."], second: Float[np.ndarray, "..."], share: float = 0.5) -> Float[np.ndarray, "..."]:
    """Return the combined one-sided p-value of two stages.

    Parameters
    ----------
    share : weight of the first stage, its planned share of the information, fixed beforehand.

    Examples
    --------
    >>> round(float(inverse_normal(0.1, 0.02)), 4)
    0.0092
    """
    if not 0 < share < 1:
        raise DataError("a weight of stages is out of range", seen=share, expected="between 0 and 1")
    one, two = (special.ndtri(np.clip(p, 1e-300, 1 - 1e-16)) for p in (first, second))
    return special.ndtr(math.sqrt(share) * one + math.sqrt(1 - share) * two)


def simes(first: Float[np.ndarray, "..."], second: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return Simes' p-value of the intersection of two hypotheses; valid for statistics that depend positively, as of a group and a part of it."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.minimum(2 * low, high)


def closed(
    whole: tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]],
    part: tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]],
    *,
    share: float = 0.5,
    enriched: Float[np.ndarray, "..."] | bool = False,
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Return multiplicity-adjusted one-sided p-values of the whole population and of the subgroup.

    Parameters
    ----------
    whole, part : stage-wise one-sided p-values of the two hypotheses, first and second stage, each from the patients of its own stage.
    share : as of :func:`inverse_normal`.
    enriched : where the second stage enrolled the subgroup alone. The whole population is then not rejected, and the second stage of the intersection
        is that of the subgroup.
    """
    narrow = np.asarray(enriched, bool)
    both = inverse_normal(simes(whole[0], part[0]), np.where(narrow, part[1], simes(whole[1], part[1])), share)
    each = [inverse_normal(*stages, share) for stages in (whole, part)]
    return np.where(narrow, 1.0, np.maximum(each[0], both)), np.maximum(each[1], both)
