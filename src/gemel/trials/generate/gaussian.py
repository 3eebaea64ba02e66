"""The multivariate normal distribution and its exact conditionals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import linalg

from gemel.core.errors import InferenceError

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian:
    """A multivariate normal distribution.

    Parameters
    ----------
    mean : (dimension,).
    covariance : (dimension, dimension), positive definite.
    """

    mean: Float[np.ndarray, " dimension"]
    covariance: Float[np.ndarray, "dimension dimension"]

    def given(self, values: Float[np.ndarray, "row dimension"], known: Bool[np.ndarray, " dimension"]) -> tuple[np.ndarray, np.ndarray]:
        """Condition on some dimensions: ``m_u + S_uk S_kk^-1 (x_k - m_k)`` and ``S_uu - S_uk S_kk^-1 S_ku``.

        Parameters
        ----------
        values : rows, of which the known dimensions count.
        known : which are.

        Returns
        -------
        (row, unknown) means and (unknown, unknown) covariance, the same for all rows.

        Raises
        ------
        InferenceError
            When the covariance of the known dimensions is not positive definite.
        """
        known = np.asarray(known, bool)
        if not known.any():
            return np.broadcast_to(self.mean, (len(values), len(self.mean))).copy(), self.covariance.copy()
        try:
            factor = linalg.cho_factor(self.covariance[np.ix_(known, known)], lower=True)
        except linalg.LinAlgError as error:
            raise InferenceError(
                "a covariance is not positive definite", seen=f"{int(known.sum())} dimensions", fix="leave out collinear columns"
            ) from error
        gain = linalg.cho_solve(factor, self.covariance[np.ix_(known, ~known)]).T
        mean = self.mean[~known] + (values[:, known] - self.mean[known]) @ gain.T
        rest = self.covariance[np.ix_(~known, ~known)] - gain @ self.covariance[np.ix_(known, ~known)]
        return mean, (rest + rest.T) / 2

    def log_density(self, values: Float[np.ndarray, "row dimension"]) -> Float[np.ndarray, " row"]:
        """Return the log density of complete rows."""
        factor = linalg.cholesky(self.covariance, lower=True)
        white = linalg.solve_triangular(factor, (values - self.mean).T, lower=True)
        return -0.5 * (white**2).sum(axis=0) - np.log(np.diag(factor)).sum() - 0.5 * len(self.mean) * np.log(2 * np.pi)
