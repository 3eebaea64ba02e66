"""Trials of virtual patients: a world draws them, a design enrols and analyses, the engine repeats it."""

from gemel.trials.simulate.engine import Characteristics, Design, compare, simulate
from gemel.trials.simulate.kernels import AbstractAnalysis, Ancova, DifferenceInMeans, DifferenceInProportions, Estimates
from gemel.trials.simulate.worlds import AbstractWorld, NormalWorld, Population, Trial

__all__ = [
    "AbstractAnalysis",
    "AbstractWorld",
    "Ancova",
    "Characteristics",
    "Design",
    "DifferenceInMeans",
    "DifferenceInProportions",
    "Estimates",
    "NormalWorld",
    "Population",
    "Trial",
    "compare",
    "simulate",
]
