"""What an entry point names: a room, its model and what the house may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.manifest import TwinManifest, manifest_of
from gemel.core.record import PatientRecord
from gemel.engine.carry_out import Written
from gemel.engine.infer.base import AbstractMethod
from gemel.engine.model import AbstractModel
from gemel.engine.plan import Plan
from gemel.engine.recommend import Limit, Objective
from gemel.engine.twin import Twin

__all__ = ["Room"]


@dataclass(frozen=True)
class Room:
    """One registered twin: how its model is built and what can be asked of it.

    Parameters
    ----------
    id : as in ``twin.toml``.
    build : makes the model.
    method : the default method of inference.
    simulate_record : draws a person from the model: ``(key) -> (record, now, truth)``; marked SIMULATED wherever it shows.
    plans : named plans to compare from a twin: ``(twin) -> {name: plan}``.
    objective, limits : what is good and what must not happen, for ``recommend``.
    horizons : minutes at which forecasts are made by default.
    evidence : module with the verification problems and the validation protocol, by dotted name (loaded only when asked for).
    report : module that turns results into views, by dotted name.
    written : how each channel of a plan is written as a fact once a decision carries it out.
    """

    id: str
    build: Callable[[], AbstractModel]
    method: Callable[[], AbstractMethod]
    simulate_record: Callable[[PRNGKeyArray], tuple[PatientRecord, int, Mapping[str, float]]]
    plans: Callable[[Twin], Mapping[str, Plan | None]]
    objective: Callable[[], Objective]
    limits: Callable[[], tuple[Limit, ...]]
    horizons: tuple[float, ...]
    evidence: str
    report: str
    written: Mapping[int, Written] = field(default_factory=dict)

    @property
    def manifest(self) -> TwinManifest:
        """The parsed ``twin.toml`` table."""
        return manifest_of(self.id)

    def model(self) -> AbstractModel:
        """Build the model."""
        return self.build()

    def load(self, part: str) -> Any:
        """Import the room's ``evidence`` or ``report`` module."""
        import importlib

        return importlib.import_module({"evidence": self.evidence, "report": self.report}[part])

    def times(self, twin: Twin) -> np.ndarray:
        """Return the default forecast times of a twin, ns UTC."""
        return twin.times(*self.horizons)
