"""What is known: record, codes, units, time, geometry, lineage, errors. No JAX."""

from gemel.core.advice import AbstentionReason, Decision, ForecastTable, Outcome, PlanScore, Proposal, Score, ScoreRow, ShownOn
from gemel.core.code import Code
from gemel.core.geometry import Geometry, Surface, Tree, Volume
from gemel.core.lineage import Lineage, digest
from gemel.core.manifest import Port, TwinManifest, VariableSpec
from gemel.core.record import Demographics, Document, Exposure, Fact, Finding, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import Instant, iso, to_ns
from gemel.core.units import convert

__all__ = [
    "AbstentionReason",
    "Code",
    "Decision",
    "Demographics",
    "Document",
    "Exposure",
    "Fact",
    "Finding",
    "ForecastTable",
    "Geometry",
    "Instant",
    "Lineage",
    "Outcome",
    "PatientRecord",
    "PlanScore",
    "Port",
    "Proposal",
    "Quantity",
    "Score",
    "ScoreRow",
    "Series",
    "ShownOn",
    "Surface",
    "Tree",
    "TwinManifest",
    "VariableSpec",
    "Volume",
    "convert",
    "digest",
    "iso",
    "to_ns",
]
