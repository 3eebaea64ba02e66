"""Facts into rows: readings that are new into sealed blocks by day, single facts by their own token, demographics by version."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gemel.core.lineage import digest
from gemel.core.record import Demographics, Fact
from gemel.core.series import Series
from gemel.platform.store import chunks, facts
from gemel.platform.store.base import Database
from gemel.platform.store.sealing import Sealing

__all__ = ["Seen", "Sorted", "find_fresh", "last_demographics", "sort_facts", "write_facts"]


@dataclass
class Sorted:
    """Facts of one patient, by where they go; made before the transaction begins, so that it is short."""

    series: dict[tuple[str, str, str], list[Series]] = field(default_factory=dict)
    single: dict[str, tuple[Any, ...]] = field(default_factory=dict)


def sort_facts(given: Iterable[Fact]) -> Sorted:
    """Sort facts into series, and single ones by their digest."""
    found = Sorted()
    for place, fact in enumerate(given):
        if isinstance(fact, Series):
            found.series.setdefault((str(fact.code), fact.unit, fact.source), []).append(fact)
        else:
            key = digest(fact)
            found.single.setdefault(key, (fact.kind, key, place, facts.encode(fact)))
    return found


def last_demographics(database: Database, sealing: Sealing, pid: str) -> tuple[int, str] | None:
    """Return revision and text of the newest demographics."""
    row = database.execute("SELECT rev, body FROM demographics WHERE pid = ? ORDER BY rev DESC LIMIT 1", (pid,)).fetchone()
    return None if row is None else (row[0], sealing.open("demographics", pid, row[0], 0, row[1]).decode())


@dataclass
class Fresh:
    """What of some facts is not in the store yet."""

    places: list[tuple[Any, ...]]
    rows: list[tuple[Any, ...]]
    single: list[tuple[Any, ...]]
    demographics: tuple[int, str] | None

    @property
    def count(self) -> int:
        """Return how many facts are new; every reading of a series counts."""
        return sum(len(columns["time"]) for _, _, _, columns in self.rows) + len(self.single)


class Seen:
    """Readings of some days as they were last read, so that a stream does not open the whole day again for each reading.

    A block never changes, so what another process adds is found by its higher revision.
    """

    def __init__(self, most: int = 500) -> None:
        self._days: OrderedDict[tuple[str, int, int], tuple[int, set[bytes]]] = OrderedDict()
        self._most = most

    def find(self, database: Database, sealing: Sealing, pid: str, sid: int, day: int) -> tuple[int, set[bytes]]:
        """Return the newest revision of a day, and its readings."""
        last, known = self._days.pop((pid, sid, day), (0, set()))
        chosen = "SELECT rev, block FROM series_chunk WHERE sid = ? AND day = ? AND rev > ? ORDER BY rev"
        for rev, block in database.execute(chosen, (sid, day, last)).fetchall():
            known.update(chunks.rows_of(chunks.decode(sealing.open("series_chunk", pid, f"{sid}/{day}", rev, block))))
            last = rev
        self._days[pid, sid, day] = last, known
        if len(self._days) > self._most:
            self._days.popitem(last=False)
        return last, set(known)

    def clear(self) -> None:
        """Forget."""
        self._days.clear()


_FEW = 3
"""Days of a series up to which each is looked up by itself: a stream, not a bulk."""


def find_fresh(
    database: Database, sealing: Sealing, cache: Seen, pid: str, is_new: bool, given: Sorted, demographics: Demographics | None
) -> Fresh:
    """Compare with what is there."""
    rows, places = _new_rows(database, sealing, cache, pid, given.series)
    single = []
    for kind, key, place, body in given.single.values():
        token = sealing.own(pid, kind, key)
        if is_new or not database.execute(f"SELECT 1 FROM {kind} WHERE pid = ? AND token = ?", (pid, token)).fetchone():
            single.append((kind, token, place, body))
    told = None
    if demographics is not None:
        body, last = demographics.model_dump_json(), last_demographics(database, sealing, pid)
        if last is None or last[1] != body:
            told = (last[0] + 1 if last else 1, body)
    return Fresh(places, rows, single, told)


def write_facts(database: Database, sealing: Sealing, pid: str, fresh: Fresh, seq: int, recorded: int) -> None:
    """Seal and write what is new, under one event."""
    database.executemany(
        "INSERT INTO series (sid, pid, token, head, seq) VALUES (?, ?, ?, ?, ?)",
        [(sid, pid, token, sealing.seal("series", pid, sid, 0, head), seq) for sid, token, head in fresh.places],
    )
    database.executemany(
        "INSERT INTO series_chunk (sid, day, rev, seq, n, block) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (sid, day, rev, seq, len(columns["time"]), sealing.seal("series_chunk", pid, f"{sid}/{day}", rev, chunks.encode(columns)))
            for sid, day, rev, columns in fresh.rows
        ],
    )
    for table in facts.TABLES:
        rows = [
            (pid, token, seq, place, sealing.seal(table, pid, token, 0, body)) for kind, token, place, body in fresh.single if kind == table
        ]
        database.executemany(f"INSERT INTO {table} (pid, token, seq, place, body) VALUES (?, ?, ?, ?, ?)", rows)
    if fresh.demographics is not None:
        rev, body = fresh.demographics
        database.execute(
            "INSERT INTO demographics (pid, rev, seq, recorded_ns, body) VALUES (?, ?, ?, ?, ?)",
            (pid, rev, seq, recorded, sealing.seal("demographics", pid, rev, 0, body.encode())),
        )


def _new_rows(
    database: Database, sealing: Sealing, cache: Seen, pid: str, series: Mapping[tuple[str, str, str], list[Series]]
) -> tuple[list[Any], list[Any]]:
    """Return chunks of readings that are not there yet, and series that are."""
    fresh, places = [], []
    free = 0
    for (code, unit, source), parts in series.items():
        token = sealing.own(pid, "series", json.dumps([code, unit, source]))
        row = database.execute("SELECT sid FROM series WHERE pid = ? AND token = ?", (pid, token)).fetchone()
        if row is None:
            free = (free or database.execute("SELECT coalesce(max(sid), 0) FROM series").fetchone()[0]) + 1
            places.append((free, token, json.dumps([code, parts[0].code.display, unit, source]).encode()))
        sid = row[0] if row else free
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.append(part)
        days = chunks.split_days(whole)
        seen: dict[int, set[bytes]] = {}
        revs: dict[int, int] = {}
        if row is not None and len(days) <= _FEW:
            for day in days:
                revs[day], seen[day] = cache.find(database, sealing, pid, sid, day)
        elif row is not None:
            chosen = "SELECT day, rev, block FROM series_chunk WHERE sid = ? AND day BETWEEN ? AND ? ORDER BY day, rev"
            for day, rev, block in database.execute(chosen, (sid, min(days), max(days))):
                if day in days:
                    columns = chunks.decode(sealing.open("series_chunk", pid, f"{sid}/{day}", rev, block))
                    seen.setdefault(day, set()).update(chunks.rows_of(columns))
                    revs[day] = rev
        for day, columns in days.items():
            known, keep = seen.get(day, set()), []
            for i, one in enumerate(chunks.rows_of(columns)):
                if one not in known:
                    known.add(one)
                    keep.append(i)
            if keep:
                fresh.append((sid, day, revs.get(day, 0) + 1, {name: column[keep] for name, column in columns.items()}))
    return fresh, places
