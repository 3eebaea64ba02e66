"""The optimum of a likelihood: Fisher scoring far from it, Newton steps near it, halving always; a status, never a guess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.trials.mmrm.likelihood import Derivatives, Evaluation, Likelihood

__all__ = ["Optimum", "maximise"]

NEAR = 5.0
"""Predicted decrease of -2 log likelihood, times two, below which observed information leads: scoring alone has a slow tail."""
CLOSE = 1e-10
"""Predicted decrease of -2 log likelihood, times two, at which the search ends: parameters then move by 1e-5 of their standard errors."""


@dataclass(frozen=True)
class Optimum:
    """Where the search ended.

    Parameters
    ----------
    status : ``converged``, or why not: ``iterations exhausted``, ``no descent``, ``start not positive definite``,
        ``information not positive definite``, ``covariance singular``.
    iterations : steps taken. ``decrement`` : ``g' H^-1 g`` at the end, how much -2 log likelihood could still fall, times two.
    """

    status: str
    iterations: int
    decrement: float
    evaluation: Evaluation | None
    derivatives: Derivatives | None


def _direction(information: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, float] | None:
    scale = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
    try:
        root = np.linalg.cholesky(information / np.outer(scale, scale))
    except np.linalg.LinAlgError:
        return None
    half = np.linalg.solve(root, gradient / scale)
    return -np.linalg.solve(root.T, half) / scale, float(half @ half)


def _ended(likelihood: Likelihood, at: Evaluation, slopes: Derivatives) -> str:
    """Return whether what was found is an optimum inside the parameters' range."""
    for shape, stratum in zip(at.shapes, likelihood.data.strata, strict=True):
        size = np.sqrt(np.diag(shape.value))
        correlation = shape.value / np.outer(size, size)
        if likelihood.structure.needs_coordinates:  # a visit that was not observed may have no place of its own
            seen = stratum.observed[:, :, None] & stratum.observed[:, None, :]
            correlation = np.where(seen, correlation, np.eye(likelihood.visits))
        if np.linalg.eigvalsh(correlation).min() < 1e-7:
            return "covariance singular"
    scale = np.sqrt(np.maximum(np.diag(slopes.observed), 1e-300))
    if np.linalg.eigvalsh(slopes.observed / np.outer(scale, scale))[0] < 1e-10:
        return "information not positive definite"
    return "converged"


def maximise(likelihood: Likelihood, start: Float[np.ndarray, " parameter"], *, iterations: int = 100) -> Optimum:
    """Find the largest likelihood from ``start``.

    Each step is tried whole and halved until -2 log likelihood does not rise and the covariance is positive definite.
    """
    at = likelihood.evaluate(start)
    if at is None:
        return Optimum("start not positive definite", 0, np.inf, None, None)
    slopes = likelihood.derivatives(at)
    left = np.inf
    for iteration in range(iterations + 1):
        scoring = _direction(slopes.expected, slopes.gradient)
        newton = _direction(slopes.observed, slopes.gradient)
        left = newton[1] if newton else np.inf
        if left <= CLOSE:
            return Optimum(_ended(likelihood, at, slopes), iteration, left, at, slopes)
        if newton is None and scoring is not None and scoring[1] <= CLOSE:
            return Optimum("information not positive definite", iteration, scoring[1], at, slopes)
        if iteration == iterations:
            break
        choices = [step for step in (newton, scoring) if step]
        if newton and scoring and scoring[1] > NEAR:
            choices.reverse()
        better = None
        for step, gain in choices:
            size = 1.0
            while size > 1e-8:
                tried = likelihood.evaluate(at.theta + size * step)
                if tried is not None and tried.value <= at.value + 1e-12 * abs(at.value):
                    better = tried
                    break
                size /= 2
            if better is not None and (at.value - better.value > 1e-4 * size * gain or size == 1.0):
                break
        if better is None:
            return Optimum("no descent" if choices else "information not positive definite", iteration, left, at, slopes)
        at, slopes = better, likelihood.derivatives(better)
    return Optimum("iterations exhausted", iterations, left, at, slopes)
