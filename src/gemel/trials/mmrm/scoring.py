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

SINGULAR = 1e-7
"""Smallest eigenvalue of a correlation matrix below which an optimum is no result."""

FLAT = 1e-6
"""Largest spatial correlation below which the range is zero, where the likelihood is flat and says nothing of it."""


@dataclass(frozen=True)
class Optimum:
    """Where the search ended.

    Parameters
    ----------
    status : ``converged``, or why not: ``iterations exhausted``, ``no descent``, ``start not positive definite``,
        ``information not positive definite``, ``covariance singular``, ``range at zero`` (a spatial structure without positive correlation).
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


def _edges(likelihood: Likelihood, at: Evaluation) -> tuple[float, float]:
    """Return the smallest eigenvalue of any correlation matrix, zero at the edge of what is a covariance, and its largest correlation."""
    least, most = 1.0, 0.0
    for shape, stratum in zip(at.shapes, likelihood.data.strata, strict=True):
        size = np.sqrt(np.diag(shape.value))
        correlation = shape.value / np.outer(size, size)
        if likelihood.structure.needs_coordinates:  # a visit that was not observed may have no place of its own
            seen = stratum.observed[:, :, None] & stratum.observed[:, None, :]
            correlation = np.where(seen, correlation, np.eye(likelihood.visits))
        least = min(least, float(np.linalg.eigvalsh(correlation).min()))
        most = max(most, float(np.abs(correlation - np.eye(likelihood.visits)).max()))
    return least, most


def _ended(likelihood: Likelihood, at: Evaluation, slopes: Derivatives) -> str:
    """Return whether what was found is an optimum inside the parameters' range."""
    least, most = _edges(likelihood, at)
    if least < SINGULAR:
        return "covariance singular"
    if likelihood.structure.needs_coordinates and most < FLAT:
        return "range at zero"
    scale = np.sqrt(np.maximum(np.diag(slopes.observed), 1e-300))
    if np.linalg.eigvalsh(slopes.observed / np.outer(scale, scale))[0] < 1e-10:
        return "information not positive definite"
    return "converged"


def _stuck(likelihood: Likelihood, at: Evaluation, status: str) -> str:
    """Return why a search ended without an optimum: on the way to a singular covariance, or as said."""
    return "covariance singular" if _edges(likelihood, at)[0] < 1e-4 else status


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
            return Optimum(_stuck(likelihood, at, "information not positive definite"), iteration, scoring[1], at, slopes)
        if iteration == iterations:
            break
        choices = [step for step in (newton, scoring) if step]
        if newton and scoring and scoring[1] > NEAR:
            choices.reverse()
        better = None
        for step, gain in choices:
            size = 1.0
            if likelihood.structure.needs_coordinates:  # a range of nearly zero is flat: no step may leap there
                size = 1 / max(1.0, float((-step / at.theta).max()) * 1.5)
            whole = size
            while size > 1e-8:
                tried = likelihood.evaluate(at.theta + size * step)
                if tried is not None and tried.value <= at.value + 1e-12 * abs(at.value):
                    better = tried
                    break
                size /= 2
            if better is not None and (at.value - better.value > 1e-4 * size * gain or size == whole):
                break
        if better is None:
            status = "no descent" if choices else "information not positive definite"
            return Optimum(_stuck(likelihood, at, status), iteration, left, at, slopes)
        at, slopes = better, likelihood.derivatives(better)
    return Optimum(_stuck(likelihood, at, "iterations exhausted"), iterations, left, at, slopes)
