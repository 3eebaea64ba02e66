"""Who leaves, and why: completely at random, for what was seen of them (MAR), or for what was not (MNAR).

References
----------
Rubin 1976, doi:10.1093/biomet/63.3.581; Little and Rubin 2019, Statistical Analysis with Missing Data, ch. 6 and 15.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from gemel.core.errors import ModelError

__all__ = ["MECHANISMS", "SLOPE", "left", "refuse_dropout"]

MECHANISMS = ("mcar", "mar", "mnar")
"""Missing completely at random; given what was observed before; given what would have been observed."""
SLOPE = 0.5
"""Probit slope of leaving on the standardised outcome, under MAR and MNAR (ASSUMED): one SD worse raises a chance of 8 % to about 19 %."""


def refuse_dropout(share: float, mechanism: str) -> None:
    """Raise for a dropout that cannot be.

    Raises
    ------
    ModelError
        When the mechanism is not known, or the share is not in [0, 0.9].
    """
    if mechanism not in MECHANISMS or not 0 <= share <= 0.9:
        raise ModelError("no such dropout", seen=f"{share} {mechanism}", expected=f"a share of 0 to 0.9, {MECHANISMS}")


def left(
    share: float,
    mechanism: str,
    known: Float[np.ndarray, "trial patient visit"],
    here: Float[np.ndarray, "trial patient visit"],
    rng: np.random.Generator,
) -> Bool[np.ndarray, "trial patient visit"] | None:
    """Return who is still there at each visit: once gone, gone. None where nobody leaves.

    Parameters
    ----------
    share : expected share gone by the last visit, of patients whose outcomes are standard normal.
    mechanism : one of :data:`MECHANISMS`.
    known : what has been observed when a visit is due, standardised; ``here``: what the visit would show.
    """  # fmt: skip
    if not share:
        return None
    visits = here.shape[2]
    hazard = 1 - (1 - share) ** (1 / visits)
    chance: np.ndarray | float = hazard
    if mechanism != "mcar":
        by = known if mechanism == "mar" else here
        chance = special.ndtr(special.ndtri(hazard) * np.sqrt(1 + SLOPE**2) + SLOPE * by)
    return np.cumsum(rng.random(here.shape, dtype=np.float32) < chance, axis=2) == 0
