"""What virtual patients give away of the real ones: distance to the closest record, membership, attributes. Bounds on known attacks, never a proof.

Differential privacy is not offered: the copula and the state space are calibrated without noise, and no epsilon may be stated for them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError
from gemel.trials.generate.calibration import area_under_curve, features_of
from gemel.trials.generate.panel import NOT_ANONYMOUS, Kind, Panel
from gemel.trials.learners import LEARNERS

__all__ = ["Privacy", "assess_privacy", "attribute_gain", "closest", "membership_area"]


@dataclass(frozen=True)
class Privacy:
    """What known attacks gain.

    Parameters
    ----------
    n : drawn patients that were looked at.
    near_share : share of drawn patients that lie nearer to a calibration patient than 5 % of real patients do to another; 0.05 is what chance gives.
    near_held_out : the same against patients that were held out: what nearness owes to the population alone.
    membership : area under the curve of the attack that calls a patient a member who has a drawn one close by; 0.5 is blind.
    attribute : gain in R² (or 2 AUC - 1) of guessing a variable of calibration patients over held-out ones, from drawn patients; 0 is no leak.
    copies : drawn patients equal to a calibration patient in every value.
    """

    n: int
    near_share: float
    near_held_out: float
    membership: float
    attribute: dict[str, float]
    copies: int
    differential_privacy: str = "none: no epsilon is stated"
    note: str = NOT_ANONYMOUS

    def to_dict(self) -> dict[str, Any]:
        """Return all as JSON."""
        return asdict(self)


def closest(
    of: Float[np.ndarray, "row feature"], among: Float[np.ndarray, "other feature"], *, is_same: bool = False
) -> Float[np.ndarray, " row"]:
    """Return the Euclidean distance of each row to the closest of the others; with ``is_same``, itself left out."""
    out = np.empty(len(of))
    for first in range(0, len(of), 500):
        part = of[first : first + 500]
        squares = (part**2).sum(axis=1)[:, None] - 2 * part @ among.T + (among**2).sum(axis=1)
        if is_same:
            squares[np.arange(len(part)), np.arange(first, first + len(part))] = np.inf
        out[first : first + 500] = np.sqrt(np.maximum(squares.min(axis=1), 0.0))
    return out


def membership_area(
    members: Float[np.ndarray, "row feature"], others: Float[np.ndarray, "row feature"], drawn: Float[np.ndarray, "row feature"]
) -> float:
    """Return the area under the curve of the attack by distance to the closest drawn patient."""
    score = np.r_[-closest(members, drawn), -closest(others, drawn)]
    return area_under_curve(score, np.r_[np.ones(len(members), int), np.zeros(len(others), int)])


def attribute_gain(members: Panel, others: Panel, drawn: Panel, name: str) -> float:
    """Return how much better a rule learnt on drawn patients guesses a baseline or first-visit variable of members than of others, in R² or 2 AUC - 1."""
    j = drawn.index(name)
    rest = [i for i in range(len(drawn.variables)) if i != j]
    centre = np.nanmean(drawn.values[:, 0, :], axis=0)

    def rows(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.where(np.isnan(panel.values[:, 0, :]), centre, panel.values[:, 0, :]), panel.values[:, 0, j]
        return x[~np.isnan(y)][:, rest], y[~np.isnan(y)]

    rule = LEARNERS["spline"].calibrate(*rows(drawn))
    found = []
    for panel in (members, others):
        x, y = rows(panel)
        guess = rule(x)
        if drawn.variables[j].kind is Kind.BINARY:
            found.append(2 * area_under_curve(guess, y.astype(int)) - 1)
        else:
            found.append(1 - float(np.square(y - guess).sum() / np.square(y - y.mean()).sum()))
    return found[0] - found[1]


def assess_privacy(members: Panel, others: Panel, drawn: Panel, *, attributes: tuple[str, ...] = ()) -> Privacy:
    """Attack virtual patients.

    Parameters
    ----------
    members : real patients that the generator was calibrated on.
    others : real patients of the same population that it never saw.
    drawn : virtual ones, on their instruments.
    attributes : variables to guess; left out, all that are known at the first visit.

    Raises
    ------
    DataError
        When a panel has fewer than 20 patients.
    """
    if min(members.n, others.n, drawn.n) < 20:
        raise DataError("too few patients to attack", seen=(members.n, others.n, drawn.n), expected="20 or more of each")
    everyone = (members, others, drawn)
    raw = [features_of(p, *everyone) for p in everyone]
    scale = raw[0].std(axis=0)
    a, b, d = (x[:, scale > 0] / scale[scale > 0] for x in raw)
    limit = float(np.quantile(closest(a, a, is_same=True), 0.05))
    names = attributes or tuple(v.name for i, v in enumerate(drawn.variables) if np.nanstd(drawn.values[:, 0, i]) > 0)
    to_members = closest(d, a)
    return Privacy(
        n=drawn.n,
        near_share=float((to_members < limit).mean()),
        near_held_out=float((closest(d, b) < limit).mean()),
        membership=membership_area(a, b, d),
        attribute={name: attribute_gain(members, others, drawn, name) for name in names},
        copies=int((to_members < 1e-5).sum()),
    )
