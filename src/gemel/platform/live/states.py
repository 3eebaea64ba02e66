"""Versions of twins in a store: now and then the whole state, between them a step that names the last whole one and how far it was carried.

A step is a few bytes, for a twin is a function of what was known: the whole state before it and the record as of its event give it again, bit for bit. So the
last good state is never far, and a year of readings every five minutes is not a year of states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.errors import FormatError, StoreError
from gemel.core.lineage import Lineage
from gemel.core.record import PatientRecord
from gemel.core.time import DAY
from gemel.engine import serialise
from gemel.engine.methods import classes_of
from gemel.engine.model import AbstractModel
from gemel.engine.room import Room
from gemel.engine.status import Status
from gemel.engine.twin import Twin, assimilate
from gemel.platform.store import Store, lookup
from gemel.platform.store.versions import Version

__all__ = ["STEP", "Held", "Rooms", "States", "forecast_key", "meta_of", "now_of", "read_inputs"]

STEP = "gemel-step/1"


class Rooms:
    """Rooms and their models, each built once, so that all twins of a room share its programs.

    Parameters
    ----------
    find : returns a room by its id.
    """

    def __init__(self, find: Callable[[str], Room]) -> None:
        self._find, self._known = find, {}

    def room(self, name: str) -> Room:
        """Return a room."""
        return self._of(name)[0]

    def model(self, name: str) -> AbstractModel:
        """Return the model of a room."""
        return self._of(name)[1]

    def _of(self, name: str) -> tuple[Room, AbstractModel]:
        if name not in self._known:
            room = self._find(name)
            self._known[name] = (room, room.model())
        return self._known[name]


@dataclass
class Held:
    """A twin in memory.

    Parameters
    ----------
    version : id of the version that it is. base : id of the last whole one. steps : versions since that one. day : of that one.
    upto : the last event that it has read. seen : the record that it has read.
    """

    twin: Twin
    version: str
    base: str
    steps: int
    day: int
    upto: int
    seen: PatientRecord | None = None


def read_inputs(store: Store, patient: str) -> tuple[PatientRecord, int]:
    """Return a patient's record and the last event that is in it, of one moment."""
    with store._transaction("read") as database:
        upto = database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
        return store.record(patient, upto=upto), upto


def now_of(version: Version) -> int:
    """Return the *now* of a version of a twin, ns UTC; of one that was put by another way, when it was recorded."""
    return int(version.meta.get("now", version.recorded))


def meta_of(lineage: Lineage, status: Status, *, now: int, **more: Any) -> dict[str, Any]:
    """Return what stands beside a version: where it comes from, and what it is."""
    return {
        "model": lineage.model, "model_version": lineage.model_version, "code_version": lineage.code_version, "method": lineage.method, "seed": lineage.seed,
        "inputs": lineage.record, "status": status.name, "now": now, "lineage": lineage.id, **more,
    }  # fmt: skip


def forecast_key(twin: Twin, seed: int) -> PRNGKeyArray:
    """Return the key of a twin's forecasts: the same twin at the same moment and the same seed, the same draws."""
    data = np.asarray(jax.random.key_data(twin.key))
    named = hashlib.sha256(
        data.tobytes() + f"forecast {seed} {twin.now}".encode()
    ).digest()  # on the host: a thousand folds are a thousand dispatches
    return jax.random.wrap_key_data(np.frombuffer(named[: data.nbytes], data.dtype).reshape(data.shape), impl=jax.random.key_impl(twin.key))


class States:
    """Reads and writes versions of twins.

    Parameters
    ----------
    store : where they are.
    rooms : what they are of.
    keep_every : versions between two whole ones.
    """

    def __init__(self, store: Store, rooms: Rooms, *, keep_every: int = 12) -> None:
        self._store, self.rooms, self._keep_every = store, rooms, keep_every

    def find(self, patient: str, room: str, *, as_of: int | None = None) -> Version | None:
        """Return the newest version of a twin, known at a time (ns UTC); ``None`` when there is none."""
        return lookup.newest(self._store, "twin", self._store.subject(patient), room, as_of=as_of)

    def newest(self, patient: str, room: str, *, as_of: int | None = None) -> Held:
        """Return the newest version of a twin.

        Raises
        ------
        StoreError
            When there is none.
        """
        version = self.find(patient, room, as_of=as_of)
        if version is None:
            raise StoreError("the patient has no such twin", seen=room, expected="a twin that was calibrated", fix="calibrate it first")
        return self.load(patient, version)

    def load(self, patient: str, version: Version) -> Held:
        """Return a version as it was when it was written, bit for bit."""
        room, body = version.name, lookup.version_body(self._store, "twin", version.id)
        upto = int(version.meta.get("upto", version.upto_event))
        if not body.startswith(b"{"):
            return Held(self._whole(room, body), version.id, version.id, 0, version.recorded // DAY, upto)
        step = json.loads(body)
        if step.get("format") != STEP:
            raise FormatError("a version of a twin in another format", seen=str(step.get("format"))[:40], expected=STEP)
        base = lookup.version(self._store, "twin", step["base"])
        whole = self._whole(room, lookup.version_body(self._store, "twin", base.id))
        record = self._store.record(patient, upto=upto)
        return Held(assimilate(whole, record, step["now"]), version.id, base.id, step["steps"], base.recorded // DAY, upto, record)

    def _whole(self, room: str, body: bytes) -> Twin:
        told = serialise.peek(body)
        return serialise.load(body, self.rooms.model(room), classes_of(told["method"], self.rooms.room(room)))

    def put(self, held: Held | None, twin: Twin, patient: str, room: str, *, upto: int, recorded: int) -> Held:
        """Write a new version inside the transaction of the result; return it as it is held from now on.

        Parameters
        ----------
        held : the version before, which must be the newest; ``None`` for a first one, or one that was calibrated anew: it is written whole.
        upto : the last event that was read for it.
        recorded : ns UTC.
        """
        whole = (
            held is None
            or twin.stream is None
            or held.steps + 1 >= self._keep_every
            or recorded // DAY != held.day
            or twin.status == Status.RECALIBRATED
        )
        meta = meta_of(twin.lineage, twin.status, now=twin.now, upto=upto, whole=whole)
        if whole:
            found = self._store.put("twin", patient, room, serialise.dump(twin), recorded=recorded, meta=meta, upto=upto)
            return Held(twin, found, found, 0, recorded // DAY, upto)
        assert held is not None
        body = json.dumps({"format": STEP, "base": held.base, "now": twin.now, "steps": held.steps + 1}).encode()
        found = self._store.put("twin", patient, room, body, recorded=recorded, meta=meta, upto=upto)
        return Held(twin, found, held.base, held.steps + 1, held.day, upto)
