"""Trials of virtual patients: a world draws them, a design enrols and reads, the engine repeats it. Worlds out of a JAX model load JAX when named."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gemel.core.numerics import configure
from gemel.trials.simulate.adaptive import Enrichment, Reestimation, ResponseAdaptive
from gemel.trials.simulate.analyses.linear import LinearModel
from gemel.trials.simulate.analyses.logrank import LogRank
from gemel.trials.simulate.analyses.proportions import RiskDifference
from gemel.trials.simulate.analyses.repeated import RepeatedMeasures
from gemel.trials.simulate.batch import Batch, Enrolment, Readings
from gemel.trials.simulate.design import Design
from gemel.trials.simulate.engine import Analysis, Characteristics, compare, reduction, simulate
from gemel.trials.simulate.recommend import Abstained, Limits, Recommended, recommend
from gemel.trials.simulate.worlds.base import World
from gemel.trials.simulate.worlds.binary import BinaryWorld
from gemel.trials.simulate.worlds.linear import LinearWorld
from gemel.trials.simulate.worlds.longitudinal import LongitudinalWorld
from gemel.trials.simulate.worlds.nonlinear import NonlinearWorld
from gemel.trials.simulate.worlds.subgroup import SubgroupWorld
from gemel.trials.simulate.worlds.survival import SurvivalWorld

if TYPE_CHECKING:
    from gemel.trials.simulate.analyses.compiled import (
        AbstractAnalysis,
        Ancova,
        DifferenceInMeans,
        DifferenceInProportions,
        Estimates,
    )
    from gemel.trials.simulate.worlds.compiled import AbstractWorld, NormalWorld, Population, Trial

_COMPILED = {
    **dict.fromkeys(("AbstractAnalysis", "Ancova", "DifferenceInMeans", "DifferenceInProportions", "Estimates"), "analyses"),
    **dict.fromkeys(("AbstractWorld", "NormalWorld", "Population", "Trial"), "worlds"),
}

__all__ = [
    "Abstained",
    "AbstractAnalysis",
    "AbstractWorld",
    "Analysis",
    "Ancova",
    "Batch",
    "BinaryWorld",
    "Characteristics",
    "Design",
    "DifferenceInMeans",
    "DifferenceInProportions",
    "Enrichment",
    "Enrolment",
    "Estimates",
    "Limits",
    "LinearModel",
    "LinearWorld",
    "LogRank",
    "LongitudinalWorld",
    "NonlinearWorld",
    "NormalWorld",
    "Population",
    "Readings",
    "Recommended",
    "Reestimation",
    "RepeatedMeasures",
    "ResponseAdaptive",
    "RiskDifference",
    "SubgroupWorld",
    "SurvivalWorld",
    "Trial",
    "World",
    "compare",
    "recommend",
    "reduction",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name in _COMPILED:
        configure()  # the flags of JAX, before it is read
        return getattr(import_module(f"gemel.trials.simulate.{_COMPILED[name]}.compiled"), name)
    raise AttributeError(f"module 'gemel.trials.simulate' has no attribute {name!r}")
