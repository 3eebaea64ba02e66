"""Draws of what was not observed, under a multivariate normal model of all visits: missing at random, and by reference to the control arm.

The model is ``Y = X B + E`` with one row per subject, one column per visit, rows of ``E`` independent N(0, Sigma) and the prior
``p(B, Sigma) ~ |Sigma|^-(m + 1)/2``. Its posterior is sampled by data augmentation, which is exact in the limit of the chain: missing responses given
``B, Sigma``; ``Sigma`` inverse Wishart and ``B`` matrix normal given complete responses.

References
----------
Schafer 1997, Analysis of Incomplete Multivariate Data, chapter 5 (data augmentation).
Carpenter, Roger and Kenward 2013, doi:10.1080/10543406.2013.834911 (jump to reference, copy increments, copy reference).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import linalg

from gemel.core.errors import DataError, InferenceError

__all__ = ["RULES", "Draw", "augmentation", "imputed", "joint_mean"]

RULES = ("missing at random", "jump to reference", "copy increments", "copy reference")
"""What a subject's responses would have been after the last one that was observed.

*missing at random*: as those of its own arm who stayed. *jump to reference*: at once as the reference arm. *copy increments*: from where it stood against
the reference arm, with the reference arm's changes. *copy reference*: as if it had been in the reference arm from the start.
Responses missing before the last one are taken as missing at random, except under *copy reference*.
"""


@dataclass(frozen=True)
class Draw:
    """One draw of the parameters: (coefficient, visit) means and (visit, visit) covariance, in the unit of the response and its square."""

    coefficients: Float[np.ndarray, "coefficient visit"]
    covariance: Float[np.ndarray, "visit visit"]


def _patterns(observed: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (visits observed, subjects) of each pattern with something missing."""
    kinds, index = np.unique(observed, axis=0, return_inverse=True)
    return [(kind, np.flatnonzero(index.reshape(-1) == k)) for k, kind in enumerate(kinds) if not kind.all()]


def _fill(
    y: np.ndarray, mean: np.ndarray, covariance: np.ndarray, patterns: list[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> np.ndarray:
    """Return the responses with the missing ones drawn from their conditional distribution."""
    out = y.copy()
    for seen, who in patterns:
        gone = ~seen
        weight = (
            np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, gone)]) if seen.any() else np.zeros((0, gone.sum()))
        )
        spread = covariance[np.ix_(gone, gone)] - covariance[np.ix_(gone, seen)] @ weight
        root = np.linalg.cholesky(spread)
        centre = mean[np.ix_(who, gone)] + (y[np.ix_(who, seen)] - mean[np.ix_(who, seen)]) @ weight
        out[np.ix_(who, gone)] = centre + rng.normal(size=centre.shape) @ root.T
    return out


def augmentation(
    response: Float[np.ndarray, "subject visit"],
    design: Float[np.ndarray, "subject coefficient"],
    draws: int,
    *,
    rng: np.random.Generator,
    burn_in: int = 200,
    thin: int = 20,
) -> Iterator[Draw]:
    """Yield draws of the posterior by data augmentation.

    Parameters
    ----------
    response : NaN where missing; every subject has one response or more.
    design : the same columns at every visit, with a coefficient at each.
    draws : how many are kept, one in every ``thin`` after ``burn_in``.

    Raises
    ------
    DataError
        When a visit has too few responses for its coefficients, or columns are linearly dependent.
    InferenceError
        When the covariance of a draw is not positive definite.
    """
    (n, m), p = response.shape, design.shape[1]
    observed = np.isfinite(response)
    least = observed.sum(axis=0)
    if least.min() < p + 2 or n - p < m + 1:
        raise DataError(
            "too few responses to impute from",
            seen=f"{least.min()} at a visit, {p} coefficients, {m} visits",
            expected=f"{max(p + 2, 2)} or more at each",
        )
    if np.linalg.matrix_rank(design) < p:
        raise DataError("the covariates are linearly dependent", seen=f"{p} columns", expected="full rank", fix="leave one out")
    patterns = _patterns(observed)
    mean = np.empty_like(response)
    for j in range(m):  # each visit's own regression, to begin with
        rows = observed[:, j]
        mean[:, j] = design @ np.linalg.lstsq(design[rows], response[rows, j], rcond=None)[0]
    residual = np.where(observed, response - mean, np.nan)
    covariance = np.diag(np.nanvar(residual, axis=0) + 1e-12)
    root = np.linalg.cholesky(np.linalg.inv(design.T @ design))
    hat = np.linalg.pinv(design)
    whole = np.where(observed, response, 0.0)
    for step in range(burn_in + draws * thin):
        complete = _fill(whole, mean, covariance, patterns, rng)
        best = hat @ complete
        error = complete - design @ best
        try:
            # Sigma ~ inverse Wishart(n - p, error' error): the inverse of a Wishart by Bartlett's decomposition
            upper = linalg.cholesky(error.T @ error)
            bartlett = np.tril(rng.normal(size=(m, m)), -1)
            bartlett[np.diag_indices(m)] = np.sqrt(rng.chisquare(n - p - np.arange(m)))
            half = linalg.solve_triangular(bartlett, upper, lower=True)
            covariance = half.T @ half
            factor = np.linalg.cholesky(covariance)
        except linalg.LinAlgError as error_:
            raise InferenceError(
                "the covariance between visits is not positive definite", seen=f"step {step}", fix="analyse fewer visits"
            ) from error_
        coefficients = best + root @ rng.normal(size=(p, m)) @ factor.T
        mean = design @ coefficients
        if step >= burn_in and (step - burn_in) % thin == thin - 1:
            yield Draw(coefficients, covariance)


def joint_mean(
    own: Float[np.ndarray, "subject visit"], reference: Float[np.ndarray, "subject visit"], last: Int[np.ndarray, " subject"], rule: str
) -> Float[np.ndarray, "subject visit"]:
    """Return the mean of all visits of each subject under a rule of :data:`RULES`.

    Parameters
    ----------
    own, reference : mean of the subject under its own arm, and under the reference arm, at the same covariates.
    last : index of the last visit that was observed.

    Raises
    ------
    DataError
        When there is no such rule.
    """
    if rule not in RULES:
        raise DataError("no such rule of imputation", seen=rule, expected=RULES)
    if rule == RULES[0]:
        return own
    if rule == RULES[3]:
        return reference
    after = np.arange(own.shape[1]) > last[:, None]
    shift = (own - reference)[np.arange(len(own)), last][:, None] if rule == RULES[2] else 0.0
    return np.where(after, reference + shift, own)


def imputed(
    response: Float[np.ndarray, "subject visit"],
    own: Float[np.ndarray, "subject visit"],
    reference: Float[np.ndarray, "subject visit"],
    covariance: Float[np.ndarray, "visit visit"],
    follows: Bool[np.ndarray, " subject"],
    rule: str,
    *,
    rng: np.random.Generator,
) -> Float[np.ndarray, "subject visit"]:
    """Return the responses with the missing ones drawn.

    Parameters
    ----------
    response : NaN where missing.
    own, reference : means under the subject's arm and under the reference arm.
    follows : whom the rule is for; all others are taken as missing at random.
    """
    observed = np.isfinite(response)
    last = response.shape[1] - 1 - np.argmax(observed[:, ::-1], axis=1)
    mean = np.where(follows[:, None], joint_mean(own, reference, last, rule), own)
    return _fill(np.where(observed, response, 0.0), mean, covariance, _patterns(observed), rng)
