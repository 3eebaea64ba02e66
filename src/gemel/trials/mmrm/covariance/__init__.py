"""Covariance between the visits of one subject: one structure per file, each with analytic derivatives."""

from types import MappingProxyType

from gemel.trials.mmrm.covariance.antedependence import Antedependence, HeterogeneousAntedependence
from gemel.trials.mmrm.covariance.autoregressive import Autoregressive, HeterogeneousAutoregressive
from gemel.trials.mmrm.covariance.base import AbstractStructure, Shape
from gemel.trials.mmrm.covariance.compound_symmetry import CompoundSymmetry, HeterogeneousCompoundSymmetry
from gemel.trials.mmrm.covariance.spatial import SPATIAL_EXPONENTIAL, SPATIAL_GAUSSIAN
from gemel.trials.mmrm.covariance.toeplitz import HeterogeneousToeplitz, Toeplitz
from gemel.trials.mmrm.covariance.unstructured import Unstructured

__all__ = ["STRUCTURES", "AbstractStructure", "Shape"]

STRUCTURES: MappingProxyType[str, AbstractStructure] = MappingProxyType(
    {
        structure.name: structure
        for structure in (
            Unstructured(),
            HeterogeneousToeplitz(),
            Toeplitz(),
            HeterogeneousAntedependence(),
            Antedependence(),
            HeterogeneousAutoregressive(),
            Autoregressive(),
            HeterogeneousCompoundSymmetry(),
            CompoundSymmetry(),
            SPATIAL_EXPONENTIAL,
            SPATIAL_GAUSSIAN,
        )
    }
)
"""All structures by name."""
