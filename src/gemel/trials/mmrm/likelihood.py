"""The Gaussian likelihood of repeated measures, restricted (REML) or not, with exact first and second derivatives, by pattern.

With ``W_k`` the inverse covariance of pattern ``k``, ``A = sum_k <W_k, M_k>`` holds ``X'WX``, ``X'Wy`` and ``y'Wy`` at once. With
``c = (-beta, 1)``, ``C = c c'`` (plus ``(X'WX)^-1`` in the block of X for REML) and ``R_k = <M_k, C>``,

- ``d(-2l)/dt_i = sum_k tr[(n_k W_k - W_k R_k W_k) E_i]``, ``E_i = dSigma/dt_i``;
- ``d2(-2l)/dt_i dt_j`` adds ``sum_k tr[E_i W_k E_j (2 W_k R_k W_k - n_k W_k)] - tr(F P_i F P_j) - 2 h_i' F h_j`` and the gradient along ``d2Sigma``,
  with ``F = (X'WX)^-1``, ``P_i = -X'W E_i W X``, ``h_i = X'W E_i W r``; maximum likelihood leaves out the term of ``P``;
- its expectation is ``tr(P V_i P V_j)`` (Fisher), positive semi-definite everywhere.

All sums over subjects are inside ``M_k``; sums over patterns are matrix products.

References
----------
Harville 1977, doi:10.1080/01621459.1977.10480998. Gilmour, Thompson and Cullis 1995, doi:10.2307/2533274.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gemel.trials.mmrm.covariance.base import AbstractStructure, Shape
from gemel.trials.mmrm.data import RepeatedMeasures, Stratum

__all__ = ["Derivatives", "Evaluation", "Likelihood"]


@dataclass(frozen=True)
class Evaluation:
    """The likelihood at one point, in the orthogonal basis of the data.

    Parameters
    ----------
    theta : (parameter,).
    value : -2 log likelihood.
    gamma : (column,) mean coefficients of the residual response.
    inverse : (column, column) ``(X'WX)^-1``.
    shapes : covariance of each stratum; ``weights``: (pattern, visit, visit) inverses, zero where not observed.
    """

    theta: Float[np.ndarray, " parameter"]
    value: float
    gamma: Float[np.ndarray, " column"]
    inverse: Float[np.ndarray, "column column"]
    shapes: tuple[Shape, ...]
    weights: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Derivatives:
    """First and second derivatives of -2 log likelihood, and those of ``X'WX``.

    Parameters
    ----------
    gradient : (parameter,).
    observed, expected : (parameter, parameter) Hessian of -2 log likelihood, and its expectation.
    cross : (parameter, column, column) ``X'W E_i W X``, the derivative of ``X'WX`` with its sign turned.
    """

    gradient: Float[np.ndarray, " parameter"]
    observed: Float[np.ndarray, "parameter parameter"]
    expected: Float[np.ndarray, "parameter parameter"]
    cross: Float[np.ndarray, "parameter column column"]


class Likelihood:
    """-2 log likelihood of the covariance parameters, mean coefficients profiled out.

    Parameters
    ----------
    data : see :class:`~gemel.trials.mmrm.data.RepeatedMeasures`.
    structure : covariance between visits; each covariance group has parameters of its own.
    restricted : REML, or maximum likelihood.
    """

    def __init__(self, data: RepeatedMeasures, structure: AbstractStructure, *, restricted: bool = True) -> None:
        self.data, self.structure, self.restricted = data, structure, restricted
        self.visits, self.columns = len(data.visits), len(data.names)
        self.size = len(structure.parameters(self.visits))  # of one group
        self._packed = np.triu_indices(self.columns + 1)
        self._double = np.where(self._packed[0] == self._packed[1], 1.0, 2.0)
        self.pairs = np.triu_indices(self.visits)
        pairs = len(self.pairs[0])
        self.duplication = np.zeros((self.visits, self.visits, pairs))
        at = np.arange(pairs)
        self.duplication[self.pairs[0], self.pairs[1], at] = self.duplication[self.pairs[1], self.pairs[0], at] = 1.0
        scale = 2 * np.log(np.abs(np.diag(data.upper))).sum()
        n = data.observations
        self._constant = (n - self.columns) * np.log(2 * np.pi) + scale if restricted else n * np.log(2 * np.pi)

    def start(self) -> Float[np.ndarray, " parameter"]:
        """Return where to begin: from moments of ordinary least-squares residuals."""
        return np.concatenate(
            [
                self.structure.start(self.data.residual_moments(g), next((s.coordinates for s in self.data.strata if s.group == g), None))
                for g in range(len(self.data.groups))
            ]
        )

    def _own(self, stratum: Stratum) -> slice:
        return slice(stratum.group * self.size, (stratum.group + 1) * self.size)

    def unpack(self, packed: Float[np.ndarray, "... packed"]) -> Float[np.ndarray, "... extended extended"]:
        """Return symmetric matrices from their upper triangles."""
        q = self.columns + 1
        full = np.zeros((*packed.shape[:-1], q, q))
        full[..., self._packed[0], self._packed[1]] = packed
        full[..., self._packed[1], self._packed[0]] = packed
        return full

    def _pack(self, matrix: np.ndarray) -> np.ndarray:
        """Return the weights with which the packed moments give ``<M, matrix>``."""
        return matrix[self._packed] * self._double

    def evaluate(self, theta: Float[np.ndarray, " parameter"]) -> Evaluation | None:
        """Return the value at ``theta``; None where the covariance is not positive definite."""
        shapes, weights, log_determinant = [], [], 0.0
        total = np.zeros(len(self._packed[0]))
        for stratum in self.data.strata:
            shape = self.structure.build(theta[self._own(stratum)], self.visits, stratum.coordinates)
            if shape is None or not np.isfinite(shape.value).all():
                return None
            seen = stratum.observed[:, :, None] & stratum.observed[:, None, :]
            masked = np.where(seen, shape.value, np.eye(self.visits))
            try:
                if not self.structure.needs_coordinates:
                    np.linalg.cholesky(shape.value)
                root = np.linalg.cholesky(masked)
                weight = np.linalg.inv(masked) * seen
            except np.linalg.LinAlgError:
                return None
            log_determinant += float(2 * (stratum.subjects @ np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)))
            k, a, b = stratum.rows
            total += (weight[k, a, b] * np.where(a == b, 1.0, 2.0)) @ stratum.moments
            shapes.append(shape)
            weights.append(weight)
        whole = self.unpack(total)
        try:
            root = np.linalg.cholesky(whole[:-1, :-1])
        except np.linalg.LinAlgError:
            return None
        half = np.linalg.inv(root)
        inverse = half.T @ half
        gamma = inverse @ whole[:-1, -1]
        quadratic = whole[-1, -1] - whole[:-1, -1] @ gamma
        value = log_determinant + quadratic + self._constant
        if self.restricted:
            value += 2 * np.log(np.diag(root)).sum()
        return Evaluation(np.array(theta, float), float(value), gamma, inverse, tuple(shapes), tuple(weights))

    def derivatives(self, at: Evaluation) -> Derivatives:
        """Return gradient, Hessian and expected Hessian of -2 log likelihood."""
        c = np.append(-at.gamma, 1.0)
        spread = np.zeros((self.columns + 1,) * 2)
        spread[:-1, :-1] = at.inverse
        residual, uncertain = self._pack(np.outer(c, c)), self._pack(spread)
        parameters = len(at.theta)
        gradient = np.zeros(parameters)
        observed, expected = np.zeros((parameters, parameters)), np.zeros((parameters, parameters))
        cross = np.zeros((parameters, len(self._packed[0])))
        for stratum, shape, weight in zip(self.data.strata, at.shapes, at.weights, strict=True):
            own = self._own(stratum)
            first = shape.first[:, self.pairs[0], self.pairs[1]]  # (parameter, pair)
            n = stratum.subjects[:, None, None]
            noise = self.spread(stratum, residual)
            extra = self.spread(stratum, uncertain)
            total = noise + extra if self.restricted else noise
            folded = weight @ total @ weight
            slope = (n * weight - folded).sum(0)[self.pairs] * np.where(self.pairs[0] == self.pairs[1], 1.0, 2.0)
            gradient[own] += first @ slope
            if shape.second is not None:
                observed[own, own] += shape.second[:, :, self.pairs[0], self.pairs[1]] @ slope
            observed[own, own] += first @ self._product(weight, 2 * folded - n * weight) @ first.T
            expected[own, own] += first @ self._product(weight, n * weight - 2 * weight @ extra @ weight) @ first.T
            cross[own] += self.crossed(stratum, weight, shape.first)
        matrices = self.unpack(cross)
        x = matrices[:, :-1, :-1]
        turned = np.einsum("ab,ibc->iac", at.inverse, x)
        both = np.einsum("iab,jba->ij", turned, turned)
        h = (matrices @ c)[:, :-1]
        observed -= 2 * h @ at.inverse @ h.T
        if self.restricted:
            observed -= both
        expected += both
        return Derivatives(gradient, (observed + observed.T) / 2, (expected + expected.T) / 2, x)

    def spread(self, stratum: Stratum, packed: np.ndarray) -> Float[np.ndarray, "pattern visit visit"]:
        """Return ``<M_k[a, b], C>`` for a packed symmetric ``C``."""
        k, a, b = stratum.rows
        found = np.zeros((len(stratum.subjects), self.visits, self.visits))
        values = stratum.moments @ packed
        found[k, a, b] = found[k, b, a] = values
        return found

    def crossed(self, stratum: Stratum, weight: np.ndarray, first: np.ndarray) -> Float[np.ndarray, "parameter packed"]:
        """Return ``sum_k <W_k E_i W_k, M_k>`` for each parameter."""
        k, a, b = stratum.rows
        twice = np.where(a == b, 1.0, 2.0)
        c, d = self.pairs
        if len(first) < len(c):
            turned = (weight @ first[:, None] @ weight)[:, k, a, b] * twice
            return turned @ stratum.moments
        # as many parameters as pairs: W J W of an elementary J is a product of two columns of W
        left, right = weight[k, a], weight[k, b]
        products = left[:, c] * right[:, d] + left[:, d] * right[:, c]
        products *= np.where(c == d, 0.5, 1.0)
        products *= twice[:, None]
        return first[:, c, d] @ (products.T @ stratum.moments)

    def _product(self, left: np.ndarray, right: np.ndarray) -> Float[np.ndarray, "pair pair"]:
        """Return ``sum_k tr(J_p left_k J_q right_k)`` for elementary ``J``, symmetrised."""
        m = self.visits
        # F[b, c, d, a] = sum_k left[b, c] right[d, a], the trace with e_a e_b' and e_c e_d'
        product = (left.reshape(len(left), -1).T @ right.reshape(len(right), -1)).reshape(m, m, m, m)
        full = np.transpose(product, (3, 0, 1, 2)).reshape(m * m, m * m)
        fold = self.duplication.reshape(m * m, -1)
        found = fold.T @ full @ fold
        return (found + found.T) / 2

    def weigh(self, at: Evaluation, matrices: list[np.ndarray]) -> Float[np.ndarray, "column column"]:
        """Return ``sum_k X'W_k N_k W_k X`` for symmetric ``N`` (pattern, visit, visit) of each stratum."""
        total = np.zeros(len(self._packed[0]))
        for stratum, weight, middle in zip(self.data.strata, at.weights, matrices, strict=True):
            k, a, b = stratum.rows
            total += ((weight @ middle @ weight)[k, a, b] * np.where(a == b, 1.0, 2.0)) @ stratum.moments
        return self.unpack(total)[:-1, :-1]

    def own(self, stratum: Stratum, matrix: Float[np.ndarray, "parameter parameter"]) -> Float[np.ndarray, "own own"]:
        """Return the block of a matrix over parameters that belongs to a stratum's covariance group."""
        part = self._own(stratum)
        return matrix[part, part]

    def subjects(self) -> Int[np.ndarray, " group"]:
        """Return how many subjects each covariance group has."""
        return np.bincount([s.group for s in self.data.strata], weights=[s.subjects.sum() for s in self.data.strata]).astype(int)
