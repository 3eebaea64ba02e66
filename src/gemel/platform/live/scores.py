"""Forecasts that wait for what really happens, and their scores when it has: evidence for surveillance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from gemel.core.advice import Score
from gemel.core.errors import FormatError
from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE
from gemel.engine.forecast import Forecast, forecast
from gemel.engine.plan import Plan
from gemel.engine.plan_table import build_plan
from gemel.engine.room import Room
from gemel.engine.scoring import score
from gemel.engine.twin import Twin, assimilate
from gemel.platform.advice import read_forecast
from gemel.platform.live.settings import Standing
from gemel.platform.live.states import States, forecast_key
from gemel.platform.store import Store, lookup
from gemel.platform.store.versions import Version

__all__ = ["Pending", "plan_named", "reproduce", "score_body"]


def plan_named(spec: Any, twin: Twin, room: Room, name: str) -> Plan | None:
    """Return a plan that was asked for: a table, the name of one of the room's, or nothing (what is known and scheduled).

    Raises
    ------
    FormatError
        When it is neither.
    """
    if spec is None or spec == "as known":
        return None
    if isinstance(spec, dict):
        return build_plan(spec, twin, name)
    own = room.plans(twin)
    if spec not in own:
        raise FormatError("no such plan", seen=str(spec)[:60], expected=f"a table, or one of: {', '.join(['as known', *own])}")
    return own[spec]


def reproduce(states: States, store: Store, patient: str, version: Version, room: Room) -> Forecast:
    """Make a stored forecast again, from the version of the twin and the facts that it was made from: the same draws, bit for bit."""
    meta, table = version.meta, read_forecast(lookup.version_body(store, "forecast", version.id))
    held = states.load(patient, lookup.version(store, "twin", meta["twin"]))
    twin = held.twin
    if meta["now"] != twin.now:
        twin = assimilate(twin, store.record(patient, upto=int(meta["upto"])), meta["now"])
    plan = plan_named(meta.get("spec"), twin, room, meta["plan"])
    return forecast(
        twin, plan, np.asarray(table.times, np.int64), n=meta["n"], key=forecast_key(twin, meta["forecast_seed"]), name=meta["plan"]
    )


def score_body(found: Score) -> bytes:
    """Return a score as it is kept: JSON."""
    return json.dumps(found.model_dump(mode="json"), allow_nan=False).encode()


class Pending:
    """Standing forecasts of one twin whose outcomes have not all arrived.

    Parameters
    ----------
    waiting : ids and forecasts, oldest first.
    """

    def __init__(self, waiting: Sequence[tuple[str, Forecast]] = ()) -> None:
        self._waiting = list(waiting)
        self._last = max((made.issued for _, made in self._waiting), default=-(2**62))

    @classmethod
    def found(cls, states: States, store: Store, patient: str, room: str, standing: Standing, *, now: int) -> Pending:
        """Find again what a worker that ended was waiting for; it is made again from what it was made from."""
        subject, here = store.subject(patient), states.rooms.room(room)
        furthest = max(standing.minutes or here.horizons) + 2 * standing.score_min
        scored = {version.meta.get("forecast") for version in lookup.version_list(store, "score", subject)}
        waiting = [
            (version.id, reproduce(states, store, patient, version, here))
            for version in lookup.version_list(store, "forecast", subject, room)
            if version.meta.get("score") and version.id not in scored and now - version.meta["now"] <= furthest * MINUTE
        ]
        return cls(waiting)

    def wants(self, made: Forecast, standing: Standing) -> bool:
        """Return whether a new standing forecast should wait for its outcome."""
        return len(made.draws) > 0 and standing.score_min > 0 and made.issued - self._last >= standing.score_min * MINUTE

    def take(self, found: str, made: Forecast) -> None:
        """Let a forecast wait, by its id in the store."""
        self._waiting.append((found, made))
        self._last = made.issued

    def due(self, record: PatientRecord, now: int, *, tolerance: float) -> list[tuple[str, bytes, dict[str, Any]]]:
        """Return name, body and meta of a score for each forecast that is over; what was not observed is listed in it as missing.

        Parameters
        ----------
        tolerance : minutes a reading may lie from a forecast time.
        """
        found = []
        for key, made in self._waiting:
            if int(made.times.max()) + round(tolerance * MINUTE) <= now:
                told = score(made, record, now, tolerance=tolerance)
                meta = {
                    "forecast": key,
                    "model": made.lineage.model,
                    "model_version": made.lineage.model_version,
                    "now": now,
                    "issued": made.issued,
                    "rows": len(told.rows),
                }
                found.append((key, score_body(told), meta))
        return found

    def settle(self, keys: Sequence[str]) -> None:
        """Let go of forecasts whose score is in the store."""
        self._waiting = [(key, made) for key, made in self._waiting if key not in keys]
