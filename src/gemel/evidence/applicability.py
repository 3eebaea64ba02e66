"""How far the context of use lies from the people on whom a twin was validated: factor 13 as a number.

References
----------
De Maesschalck et al. 2000, doi:10.1016/S0169-7439(99)00047-7 (Mahalanobis distance). The 95 % ellipsoid assumes a roughly elliptic cohort; the distance to
the nearest validated person does not, and stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.spatial import KDTree
from scipy.stats import qmc

from gemel.core.errors import EvidenceError

__all__ = ["Applicability", "applicability"]

LEAST_PEOPLE = 20
"""Fewer people, and a covariance of several traits means nothing."""
POINTS = 4096


@dataclass(frozen=True)
class Applicability:
    """What share of a box of traits lies within the people of a validation.

    Parameters
    ----------
    names : of the traits.
    people : with all traits known.
    inside : share of the box inside the cohort's 95 % ellipsoid.
    near : share of the box not farther from a validated person than 95 % of those are from each other (nearest neighbours, traits in standard deviations).
    uncovered : per trait, the share of its range in the context that nobody of the cohort has.
    """

    names: tuple[str, ...]
    people: int
    inside: float
    near: float
    uncovered: dict[str, float]


def applicability(context: Mapping[str, tuple[float, float]], cohort: Mapping[str, Sequence[float]], *, seed: int = 0) -> Applicability:
    """Measure how much of a context of use was validated.

    Parameters
    ----------
    context : trait -> (low, high) of the context of use, taken as a box.
    cohort : trait -> (person,) values of the validated people; NaN where not known: that person is left out.
    seed : of the points that fill the box.

    Raises
    ------
    EvidenceError
        With fewer than 20 people, or a trait of the context that the cohort does not have.
    """
    names = tuple(context)
    missing = [n for n in names if n not in cohort]
    if missing or not names:
        raise EvidenceError("the cohort lacks traits of the context of use", seen=sorted(cohort), expected=missing or "at least one trait")
    x = np.column_stack([np.asarray(cohort[n], float) for n in names])
    x = x[np.isfinite(x).all(axis=1)]
    if len(x) < LEAST_PEOPLE:
        raise EvidenceError("too few people with all traits known", seen=len(x), expected=f"{LEAST_PEOPLE} or more")
    low, high = (np.array([context[n][k] for n in names], float) for k in (0, 1))
    if not (low < high).all():
        raise EvidenceError("the context of use is not a box", seen={n: context[n] for n in names}, expected="low < high for each trait")
    box = low + (high - low) * qmc.Sobol(len(names), rng=np.random.default_rng(seed)).random(POINTS)
    mean, spread = x.mean(axis=0), x.std(axis=0, ddof=1)
    spread = np.where(spread > 0, spread, (high - low) / 100)
    covariance = np.cov((x - mean) / spread, rowvar=False).reshape(len(names), len(names)) + 1e-6 * np.eye(len(names))
    z = (box - mean) / spread
    distance = np.einsum("ij,ij->i", z, np.linalg.solve(covariance, z.T).T)
    tree = KDTree((x - mean) / spread)
    reach = float(np.quantile(tree.query((x - mean) / spread, k=2)[0][:, 1], 0.95))
    nearest = tree.query(z)[0]
    uncovered = {n: float(np.mean((box[:, j] < x[:, j].min()) | (box[:, j] > x[:, j].max()))) for j, n in enumerate(names)}
    return Applicability(
        names, len(x), float(np.mean(distance <= stats.chi2.ppf(0.95, len(names)))), float(np.mean(nearest <= reach)), uncovered
    )
