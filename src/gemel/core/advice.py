"""What leaves a twin, as plain types: no JAX, so that server, interop and web can carry it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gemel.core.errors import DataError
from gemel.core.lineage import Lineage

__all__ = ["AbstentionReason", "Decision", "ForecastTable", "Outcome", "PlanScore", "Proposal", "Score", "ScoreRow", "ShownOn"]


class AbstentionReason(StrEnum):
    """Why no advice is given."""

    OUT_OF_DOMAIN = "out of domain"
    POSTERIOR_NOT_USABLE = "posterior not usable"
    NO_FEASIBLE_PLAN = "no feasible plan"
    INDISTINGUISHABLE = "plans indistinguishable"
    DATA_TOO_OLD = "data too old"
    MEASURE_FIRST = "measure first"
    PRIOR_DATA_CONFLICT = "prior and data conflict"


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class ShownOn(_Plain):
    """On whom a figure was shown, and how many: stands beside every figure of evidence."""

    kind: Literal["proof", "phantom", "simulated", "replayed", "real"]
    n: int = Field(ge=0)
    what: str = ""

    def __str__(self) -> str:
        return f"{self.kind}, n = {self.n}" + (f" ({self.what})" if self.what else "")


class ForecastTable(_Plain):
    """Quantiles of a forecast at each time and output.

    ``quantiles`` has shape (level, time, output); ``probabilities`` maps a named event to (time,) probabilities.
    """

    twin: str
    issued: int
    times: np.ndarray
    outputs: tuple[str, ...]
    units: tuple[str, ...]
    levels: tuple[float, ...]
    quantiles: np.ndarray
    mean: np.ndarray
    probabilities: dict[str, list[float]] = Field(default_factory=dict)
    status: str = "OK"
    sentence: str = ""
    plan: str = ""
    lineage: Lineage

    @model_validator(mode="after")
    def _valid(self) -> ForecastTable:
        shape = (len(self.levels), len(self.times), len(self.outputs))
        if self.quantiles.shape != shape or self.mean.shape != shape[1:]:
            raise DataError("a forecast table of inconsistent shapes", seen=(self.quantiles.shape, self.mean.shape), expected=shape)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, for JSON."""
        plain = self.model_dump(exclude={"times", "quantiles", "mean", "lineage"})
        return plain | {
            "times": [int(t) for t in self.times],
            "quantiles": self.quantiles.tolist(),
            "mean": self.mean.tolist(),
            "lineage": self.lineage.model_dump() | {"id": self.lineage.id},
        }


class PlanScore(_Plain):
    """What one plan is expected to do."""

    plan: str
    utility: float
    utility_error: float
    probability_best: float
    violations: dict[str, float] = Field(default_factory=dict)
    feasible: bool = True


class Proposal(_Plain):
    """Advice that goes back to people: a ranked choice, or an abstention with its reason."""

    twin: str
    issued: int
    choice: str | None
    reason: AbstentionReason | None = None
    sentence: str
    ranking: tuple[PlanScore, ...] = ()
    evpi: float | None = None
    explanation: dict[str, Any] = Field(default_factory=dict)
    limits: dict[str, str] = Field(default_factory=dict)
    lineage: Lineage

    @model_validator(mode="after")
    def _valid(self) -> Proposal:
        if (self.choice is None) != (self.reason is not None):
            raise DataError("a proposal is either a choice or an abstention with its reason", seen=(self.choice, self.reason))
        return self


class Decision(_Plain):
    """What a person answered: accepted, changed or rejected, by whom, when and why."""

    proposal: str
    time: int
    recorded: int
    who: str
    answer: Literal["accepted", "changed", "rejected"]
    plan: str = ""
    reason: str = ""


class Outcome(_Plain):
    """What happened after a decision."""

    decision: str
    time: int
    recorded: int
    values: dict[str, float] = Field(default_factory=dict)
    note: str = ""


class ScoreRow(_Plain):
    """How one forecast value did."""

    time: int
    horizon: float
    output: str
    observed: float
    median: float
    mean: float
    crps: float
    log_score: float
    pit: float
    inside: dict[str, bool]
    width: dict[str, float]
    naive_crps: float | None = None


class Score(_Plain):
    """How a forecast did against what really happened, row by row, with what was missing."""

    twin: str
    issued: int
    rows: tuple[ScoreRow, ...]
    missing: tuple[tuple[int, str], ...] = ()
    lineage: Lineage

    def mean(self, field: Literal["crps", "log_score", "naive_crps"] = "crps") -> float:
        """Mean of one field over all rows that have it."""
        values = [v for row in self.rows if (v := getattr(row, field)) is not None]
        return float(np.mean(values)) if values else float("nan")

    def coverage(self, level: str = "0.90") -> float:
        """Share of rows inside the central interval of this level."""
        return float(np.mean([row.inside[level] for row in self.rows])) if self.rows else float("nan")

    def skill(self) -> float:
        """One minus the ratio of CRPS to that of the naive forecast."""
        pairs = [(row.crps, row.naive_crps) for row in self.rows if row.naive_crps]
        return 1 - sum(a for a, _ in pairs) / sum(b for _, b in pairs) if pairs else float("nan")
