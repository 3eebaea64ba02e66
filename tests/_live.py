"""Live twins in tests: a toy's person whose readings arrive through the intake, and a worker that is stepped by hand under a clock that is set by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gemel.core import Code, PatientRecord, Series
from gemel.core.time import HOUR, MINUTE
from gemel.interop.report import MessageReport
from gemel.platform.intake import Adapter, Context, Intake, Normalised
from gemel.platform.live.settings import LiveSettings
from gemel.platform.store import Store

ROOM = "toy-growth"
SIGNAL = Code.parse("gemel:toy-signal")


@lru_cache(maxsize=4)
def person(seed: int = 3, room: str = ROOM) -> tuple[PatientRecord, int]:
    """A simulated person's whole record, and *now*."""
    import gemel

    record, now, _ = gemel.room(room).simulate_record(jax.random.key(seed))
    return record, now


def _read(body: bytes, context: Context) -> Normalised:
    told = json.loads(body)
    series = Series(
        code=SIGNAL, unit="[arb'U]", source="sensor", time=np.array([told["time"]]), value=np.array([told["value"]]), recorded=np.array([context.received]),
        status=np.array([told.get("status", 0)], np.uint8),
    )  # fmt: skip
    report = MessageReport(source=context.source, format="reading", read=1, mapped=1)
    return Normalised(report, facts={told["patient"]: [series]})


READING = Adapter("reading", _read)


@dataclass
class Clock:
    """A clock that stands until it is set."""

    now: int

    def __call__(self) -> int:
        return self.now


@dataclass
class Ward:
    """A store with a person in it, a worker on it, and what arrives."""

    place: str | Path
    start: int
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = Clock(self.start)

    def open(self) -> Store:
        return Store(self.place)

    def worker(self, name: str = "w1", **more: Any):
        from gemel.server.worker import Worker

        settings = LiveSettings.model_validate({"debounce_ms": 0, **self.settings, **more})
        return Worker(self.open, settings, name=name, clock=self.clock, draw=lambda: 0.5)

    def send(self, store: Store, time: int, value: float, *, patient: str = "p1", name: str = "", received: int | None = None):
        body = json.dumps({"patient": patient, "time": int(time), "value": float(value)}).encode()
        return Intake(store, [READING]).take(
            "sensor", "reading", body, name=name, received=self.clock.now if received is None else received
        )


def fill(store: Store, patient: str, record: PatientRecord, until: int) -> PatientRecord:
    """Put what was known of a person until a time into a store; return it as it is there."""
    series = tuple(s.between(-(2**62), until).model_copy(update={"source": "sensor"}) for s in record.series)
    facts = (*series, *(e for e in record.exposures if e.start < until))
    store.append(patient, facts, recorded=until, demographics=record.demographics)
    return store.record(patient)


def ask(store: Store, kind: str, now: int, *, key: str = "", patient: str = "p1", room: str = ROOM, **more: Any) -> str:
    body = json.dumps({"patient": patient, "twin": room, "now": now, **more})
    return store.enqueue(kind, key or f"{kind}/{patient}/{now}/{json.dumps(more, sort_keys=True)}", body, now=now, patient=patient)


def result(store: Store, job: str) -> dict[str, Any]:
    status = store.job(job)
    assert status.state == "done", (status.state, status.result)
    return json.loads(status.result)


__all__ = ["HOUR", "MINUTE", "READING", "ROOM", "SIGNAL", "Clock", "Ward", "ask", "fill", "person", "result"]
