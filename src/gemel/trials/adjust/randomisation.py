"""How patients were randomised, and what that takes from the variance of adjusted arm means."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError
from gemel.trials.data import TrialData

__all__ = ["SIMPLE", "Randomisation", "block_correction", "randomisation_of"]

KINDS = ("simple", "blocks", "minimisation")


@dataclass(frozen=True)
class Randomisation:
    """The kind (``simple``, ``blocks`` within strata, ``minimisation`` over factors) and its factors."""

    kind: str
    factors: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}({','.join(self.factors)})" if self.kind != "simple" else self.kind


SIMPLE = Randomisation("simple")


def randomisation_of(text: str | Randomisation) -> Randomisation:
    """Read ``simple``, ``blocks(site,sex)``, ``blocks()`` or ``minimisation(site,sex)``.

    Raises
    ------
    DataError
        When it is none of these.

    Examples
    --------
    >>> randomisation_of("blocks(site, sex)")
    Randomisation(kind='blocks', factors=('site', 'sex'))
    """
    if isinstance(text, Randomisation):
        return text
    found = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text)
    factors = tuple(part.strip() for part in (found.group(2) or "").split(",") if part.strip()) if found else ()
    if found is None or found.group(1) not in KINDS or (found.group(1) == "simple" and factors):
        raise DataError("no such randomisation", seen=text, expected="simple, blocks(FACTOR,...) or minimisation(FACTOR,...)")
    return Randomisation(found.group(1), factors)


def block_correction(
    residuals: Float[np.ndarray, " subject"], data: TrialData, randomisation: Randomisation
) -> Float[np.ndarray, "arm arm"]:
    """Return what permuted blocks take from n times the covariance of the arm means: sum_z n_z/n R_z (diag(pi) - pi pi') R_z.

    R_z is the diagonal of the mean residual by arm in stratum z over pi. Nothing is taken for simple randomisation, nor for
    minimisation, whose joint balance over the factors is not that of blocks.

    Parameters
    ----------
    residuals : (subject,) outcome minus what the model says for the subject's own arm.

    References
    ----------
    Bannick et al. 2025, doi:10.1093/biomet/asaf029; Ye et al. 2023, doi:10.1080/01621459.2022.2049278.
    """
    arms, shares = len(data.arms), data.shares
    out = np.zeros((arms, arms))
    if randomisation.kind != "blocks":
        return out
    spread = np.diag(shares) - np.outer(shares, shares)
    cells = data.joint_strata(randomisation.factors)
    for z in range(cells.max() + 1):
        inside = cells == z
        means = [residuals[inside & (data.arm == a)].mean() if (inside & (data.arm == a)).any() else 0.0 for a in range(arms)]
        r = np.diag(np.array(means) / shares)
        out += inside.mean() * r @ spread @ r
    return out
