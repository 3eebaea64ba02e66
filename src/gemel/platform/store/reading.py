"""Rows into a record, as it was known at a time or to a version."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from gemel.core.code import Code
from gemel.core.record import Demographics, PatientRecord
from gemel.core.series import Series
from gemel.platform.store import chunks, facts
from gemel.platform.store.base import Database
from gemel.platform.store.sealing import Sealing

__all__ = ["read_record"]


def _up_to(columns: dict[str, np.ndarray], limit: int) -> dict[str, np.ndarray]:
    """Return the rows that had come by an event; a block of one append is taken or left whole by the query."""
    events = columns.get("event")
    if events is None or not len(events) or events[-1] <= limit:  # they rise: a block is merged in the order of its appends
        return columns
    return {name: columns[name][events <= limit] for name in chunks.COLUMNS}


def read_record(database: Database, sealing: Sealing, pid: str, patient: str, as_of: int | None, upto: int | None) -> PatientRecord:
    """Return a patient's record: what was known at ``as_of``, of what the store had taken in up to the event ``upto``."""
    limit = 2**62 if upto is None else upto

    def select(text: str, key: Any) -> list[Any]:
        return database.execute(text, (key, limit)).fetchall()

    told = [
        (sealing.open("demographics", pid, rev, 0, body), recorded)
        for rev, body, recorded in select("SELECT rev, body, recorded_ns FROM demographics WHERE pid = ? AND seq <= ? ORDER BY rev", pid)
    ]
    series = []
    for sid, head in select("SELECT sid, head FROM series WHERE pid = ? AND seq <= ? ORDER BY seq, sid", pid):
        code, display, unit, source = json.loads(sealing.open("series", pid, sid, 0, head))
        parts = [
            _up_to(chunks.decode(sealing.open("series_chunk", pid, f"{sid}/{day}", rev, block)), limit)
            for day, rev, block in select("SELECT day, rev, block FROM series_chunk WHERE sid = ? AND seq <= ? ORDER BY day, rev", sid)
        ]
        if parts:
            columns = {name: np.concatenate([part[name] for part in parts]) for name in chunks.COLUMNS}
            series.append(Series(code=Code.parse(code, display), unit=unit, source=source, **columns))
    single = [
        facts.decode(table, sealing.open(table, pid, token, 0, body))
        for table in facts.TABLES
        for token, body in select(f"SELECT token, body FROM {table} WHERE pid = ? AND seq <= ? ORDER BY seq, place", pid)
    ]
    known = [body for body, recorded in told if as_of is None or recorded <= as_of] or [body for body, _ in told[:1]]
    empty = PatientRecord(id=patient, demographics=Demographics.model_validate_json(known[-1]) if known else Demographics())
    record = empty.with_facts(*series, *single)
    return record if as_of is None else record.as_of(as_of)
