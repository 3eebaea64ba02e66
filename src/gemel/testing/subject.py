"""The twin under examination, and what several checks need of it, made once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import ModuleType

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.record import Exposure, PatientRecord
from gemel.core.time import MINUTE
from gemel.engine import serialise
from gemel.engine.forecast import Forecast, forecast
from gemel.engine.infer.base import AbstractMethod
from gemel.engine.infer.ladder import Ladder
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel, Observed
from gemel.engine.room import Room
from gemel.engine.twin import Twin, calibrate

__all__ = ["Subject", "fingerprint"]


class Subject:
    """A room, its model, one simulated person and that person's twin.

    Parameters
    ----------
    room : the room.
    quick : fewer patients, draws and replicas.
    seed : of everything that is drawn.
    replicas : of the calibration check; left out, 100, or 30 when quick.
    """

    def __init__(self, room: Room, *, quick: bool = False, seed: int = 0, replicas: int | None = None) -> None:
        self.room, self.quick, self.seed = room, quick, seed
        self.replicas = replicas if replicas is not None else 30 if quick else 100

    def key(self, name: str) -> PRNGKeyArray:
        """Return the key of this name."""
        return stream(jax.random.key(self.seed), name)

    @cached_property
    def model(self) -> AbstractModel:
        """The room's model."""
        return self.room.model()

    @cached_property
    def method(self) -> AbstractMethod:
        """The room's default method."""
        return self.room.method()

    @cached_property
    def methods(self) -> dict[str, type[AbstractMethod]]:
        """Methods by name, for loading a stored twin; of a ladder, its rungs."""
        return _classes(self.method)

    @cached_property
    def evidence(self) -> ModuleType:
        """The room's evidence module."""
        return self.room.load("evidence")

    def declared(self, name: str) -> tuple:
        """Return what the room's evidence module declares under a name: a tuple, or a mapping from twin to tuple."""
        found = getattr(self.evidence, name, ())
        return tuple(found.get(self.room.id, ()) if isinstance(found, Mapping) else found)

    @cached_property
    def person(self) -> tuple[PatientRecord, int, Mapping[str, float]]:
        """A simulated person: record, now, truth."""
        return self.room.simulate_record(self.key("person"))

    @property
    def record(self) -> PatientRecord:
        """The person's record."""
        return self.person[0]

    @property
    def now(self) -> int:
        """The person's now, ns UTC."""
        return self.person[1]

    @cached_property
    def observed(self) -> Observed:
        """The record as the model sees it."""
        return self.model.observe(self.record.as_of(self.now), self.now)

    def calibrate(self, record: PatientRecord, now: int, *, name: str = "twin") -> Twin:
        """Calibrate with the room's method and the key of a name."""
        return calibrate(self.model, record, now, method=self.method, key=self.key(name))

    @cached_property
    def twin(self) -> Twin:
        """The person's twin."""
        return self.calibrate(self.record, self.now)

    def forecast(self, twin: Twin, *, name: str = "forecast") -> Forecast:
        """Forecast with the room's horizons and the key of a name; what is known goes on."""
        return forecast(twin, None, self.room.times(twin), n=64, key=self.key(name))

    @cached_property
    def prior_draws(self) -> np.ndarray:
        """(draw, parameter): unconstrained prior draws."""
        return np.asarray(self.model.prior.draw(64 if self.quick else 256, key=self.key("prior")))

    def stored(self, twin: Twin) -> Twin:
        """Return the twin after a round trip through bytes."""
        return serialise.load(serialise.dump(twin), self.room.model(), self.methods)

    def split(self, share: float = 0.75) -> tuple[PatientRecord, int]:
        """Return what was true up to a share of the readings, and a moment after it."""
        times = np.sort(np.concatenate([s.time for s in self.record.series]))
        then = int(times[int(share * (len(times) - 1))]) + MINUTE
        series = tuple(s.between(-(2**62), then + 1) for s in self.record.series)
        exposures: tuple[Exposure, ...] = tuple(e for e in self.record.exposures if e.start <= then)
        return self.record.model_copy(update={"series": tuple(s for s in series if len(s)), "exposures": exposures}), then


def _classes(method: AbstractMethod) -> dict[str, type[AbstractMethod]]:
    if isinstance(method, Ladder):
        return {name: made for rung in method.rungs for name, made in _classes(rung).items()}
    return {method.name: type(method)}


def fingerprint(twin: Twin) -> list[np.ndarray]:
    """Return the arrays that say what a twin believes: posterior, and the streaming ensemble with its surprises."""
    parts = [np.asarray(x) for x in jax.tree.leaves(twin.inference.posterior)]
    if twin.stream is not None:
        parts += [twin.stream.rows, twin.stream.surprise]
    return parts
