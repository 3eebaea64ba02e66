"""Degrees of freedom of HC2: those of the chi-square with its mean and variance if all residuals had one variance (Satterthwaite's way).

For n - p degrees of freedom every patient would have to weigh alike. Where one arm is small, or one covariate has a tail, the variance estimate rests on few
patients and has fewer.

References
----------
Bell and McCaffrey 2002, Survey Methodology 28:169-181; Imbens and Kolesár 2016, doi:10.1162/REST_a_00552, eq. 10.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["bell_mccaffrey"]


def bell_mccaffrey(q: Float[np.ndarray, "row coefficient"], weight: Float[np.ndarray, " row"]) -> float:
    """Return the degrees of freedom of one contrast.

    With ``H = q q'`` and ``w_i = weight_i**2 / (1 - h_ii)`` the estimate is ``sum w_i e_i**2``; its mean is ``sum weight_i**2`` and half its variance
    ``sum_ij w_i w_j (I - H)_ij**2``, in units of the residual variance.

    Parameters
    ----------
    q : orthonormal basis of the columns of the model.
    weight : with which each row enters the contrast.

    Examples
    --------
    >>> q = np.eye(2).repeat([4, 9], axis=0) / np.sqrt(np.repeat([4.0, 9.0], [4, 9]))[:, None]  # two arms, no covariate: Welch's
    >>> round(bell_mccaffrey(q, np.repeat([-1 / 4, 1 / 9], [4, 9])), 3)
    5.828
    """
    leverage = np.square(q).sum(axis=1)
    w = weight**2 / (1 - leverage)
    middle = (q * w[:, None]).T @ q
    spread = float(w**2 @ (1 - 2 * leverage)) + float((middle**2).sum())
    return float((weight @ weight) ** 2 / spread)
