"""A world and its analyses by name, from the words of a design file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gemel.core.errors import ModelError
from gemel.trials.simulate.analyses.linear import LinearModel
from gemel.trials.simulate.analyses.logrank import LogRank
from gemel.trials.simulate.analyses.proportions import RiskDifference
from gemel.trials.simulate.analyses.repeated import RepeatedMeasures
from gemel.trials.simulate.worlds.base import World
from gemel.trials.simulate.worlds.binary import BinaryWorld
from gemel.trials.simulate.worlds.linear import LinearWorld
from gemel.trials.simulate.worlds.longitudinal import LongitudinalWorld
from gemel.trials.simulate.worlds.nonlinear import NonlinearWorld
from gemel.trials.simulate.worlds.survival import SurvivalWorld

__all__ = ["ANALYSES", "WORLDS", "analyses_of", "world_of"]

WORLDS = ("linear", "nonlinear", "longitudinal", "binary", "survival")
"""Names of worlds."""
ANALYSES = ("unadjusted", "ancova", "ancova2", "mmrm", "mmrm-unadjusted", "logrank", "adjusted-logrank", "proportions")
"""Names of analyses."""
USUAL = {
    "linear": ("unadjusted", "ancova"),
    "nonlinear": ("unadjusted", "ancova"),
    "longitudinal": ("mmrm-unadjusted", "mmrm"),
    "binary": ("proportions", "unadjusted", "ancova"),
    "survival": ("logrank", "adjusted-logrank"),
}
"""What each world is read by when nothing is said."""
_TAKES: dict[str, dict[str, str]] = {
    "linear": {"effect": "difference", "sd": "sd", "noise": "noise", "dropout": "dropout", "mechanism": "mechanism"},
    "nonlinear": {"effect": "difference", "sd": "sd", "heterogeneity": "heterogeneity", "shift": "shift"},
    "longitudinal": {"effect": "difference", "sd": "sd", "visits": "visits", "dropout": "dropout", "mechanism": "mechanism"},
    "binary": {"control_risk": "control"},
    "survival": {"effect": "hazard_ratio", "dropout": "dropout", "median": "median", "accrual": "accrual", "follow_up": "follow_up"},
}
_CLASSES: dict[str, Any] = dict(zip(WORLDS, (LinearWorld, NonlinearWorld, LongitudinalWorld, BinaryWorld, SurvivalWorld), strict=True))


def world_of(name: str, **said: Any) -> World:
    """Return the world of a name.

    Parameters
    ----------
    name : one of :data:`WORLDS`.
    said : ``effect`` (difference of means or of risks; the **hazard ratio** in a world of survival), ``correlation``, ``twin``, and what the world
        takes besides; a value of None is not said.

    Raises
    ------
    ModelError
        For an unknown name, no effect, or a word that the world does not take.

    Examples
    --------
    >>> world_of("binary", effect=0.1, control_risk=0.3).treated
    0.4
    """
    if name not in WORLDS:
        raise ModelError("no such world", seen=name, expected=WORLDS)
    given = {k: v for k, v in said.items() if v is not None}
    if "effect" not in given:
        raise ModelError("a world needs an effect", seen="none", expected="effect, 0 for none (a hazard ratio of 1 in a world of survival)")
    takes = _TAKES[name] | {"correlation": "correlation", "twin": "twin"}
    if name == "binary":
        given["treated"] = given.get("control_risk", 0.3) + given.pop("effect")
        takes = takes | {"treated": "treated"}
    wrong = sorted(set(given) - set(takes))
    if wrong:
        raise ModelError(f"a {name} world has no such thing", seen=wrong, expected=sorted({*_TAKES[name], "effect", "correlation", "twin"}))
    return _CLASSES[name](**{takes[k]: v for k, v in given.items()})


def analyses_of(world: str, names: Sequence[str] = (), *, variance: str = "hc2", covariates: int = 1) -> tuple[Any, ...]:
    """Return analyses by name, the usual ones of a world when none is named. The first is what the others are compared with.

    Raises
    ------
    ModelError
        For an unknown name.
    """
    made = {
        "unadjusted": LinearModel(0, variance), "ancova": LinearModel(covariates, variance), "ancova2": LinearModel(covariates, variance, interaction=True), "mmrm": RepeatedMeasures(covariates),
        "mmrm-unadjusted": RepeatedMeasures(0), "logrank": LogRank(), "adjusted-logrank": LogRank(covariates), "proportions": RiskDifference(),
    }  # fmt: skip
    wrong = [name for name in names if name not in made]
    if wrong or (not names and world not in USUAL):
        raise ModelError("no such analysis", seen=wrong or world, expected=ANALYSES)
    return tuple(made[name] for name in names or USUAL[world])
