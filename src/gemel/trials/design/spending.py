"""How much of the error may be spent by a look: spending functions of Lan and DeMets, and of Hwang, Shih and DeCani.

References
----------
Lan and DeMets 1983, doi:10.1093/biomet/70.3.659; Hwang, Shih and DeCani 1990, doi:10.1002/sim.4780091207.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import DataError

__all__ = ["KINDS", "Spending"]

KINDS = ("obrien-fleming", "pocock", "hwang-shih-decani")
"""Names of spending functions."""


@dataclass(frozen=True)
class Spending:
    """A spending function of one side.

    Parameters
    ----------
    kind : one of :data:`KINDS`. ``obrien-fleming`` is 2 (1 - Phi(z_{1-alpha/2} / sqrt(t))), ``pocock`` alpha log(1 + (e - 1) t),
        ``hwang-shih-decani`` alpha (1 - exp(-gamma t)) / (1 - exp(-gamma)).
    gamma : of the last; -4 spends late, 1 evenly, 0 in proportion to t.
    """

    kind: str
    gamma: float = -4.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not -40 <= self.gamma <= 40:
            raise DataError(
                "no such spending function", seen=f"{self.kind}, gamma {self.gamma}", expected=f"{KINDS}; gamma within 40 of nothing"
            )

    def spent(self, fraction: Float[np.ndarray, " look"], alpha: float) -> Float[np.ndarray, " look"]:
        """Return the error spent by each information fraction in (0, 1].

        Examples
        --------
        >>> Spending("hwang-shih-decani", 0.0).spent(np.array([0.5, 1.0]), 0.025).tolist()
        [0.0125, 0.025]
        """
        t = np.asarray(fraction, float)
        if self.kind == "obrien-fleming":
            return 2 * special.ndtr(-special.ndtri(1 - alpha / 2) / np.sqrt(t))
        if self.kind == "pocock":
            return alpha * np.log1p((math.e - 1) * t)
        return alpha * t if self.gamma == 0 else alpha * np.expm1(-self.gamma * t) / math.expm1(-self.gamma)
