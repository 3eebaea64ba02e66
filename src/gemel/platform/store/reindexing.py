"""The tables ``idx_*`` made again from the resources they follow from, and held against them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from gemel.core.errors import GemelError
from gemel.interop.fhir.codec import decode
from gemel.interop.fhir.index import search_values
from gemel.interop.fhir.search_values import ReferenceValue, Value
from gemel.platform.store.base import Database
from gemel.platform.store.described import describe
from gemel.platform.store.index_rows import TABLES, Blinder, Rows
from gemel.platform.store.sealing import Sealing
from gemel.platform.store.versions import content_of

__all__ = ["BODY", "DERIVED", "RESOURCE", "find_index_problems", "refill"]

DERIVED: dict[str, tuple[str, ...]] = {"resource": ("ref", "codes", "labels", "time_ns", "author", "basis")}
"""Columns that follow from the sealed bytes and stand open: they are in no backup."""

RESOURCE = (
    "INSERT INTO resource (num, pid, ref, vid, kind, codes, labels, time_ns, author, basis, research, recorded_ns, deleted)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
BODY = "INSERT INTO resource_body (num, pid, content, body) VALUES (?, ?, ?, ?)"
_PAGE = 500


def _bodies(database: Database) -> Iterator[tuple[int, str, str, int, str, bytes]]:
    last = 0
    while True:
        rows = database.execute(
            "SELECT b.num, b.pid, r.kind, r.deleted, b.content, b.body FROM resource_body AS b JOIN resource AS r ON r.num = b.num WHERE b.num > ? ORDER BY b.num LIMIT ?",
            (last, _PAGE),
        ).fetchall()
        yield from rows
        if len(rows) < _PAGE:
            return
        last = rows[-1][0]


def _names(sealing: Sealing, values: Sequence[tuple[str, Value]], tokens: Collection[str]) -> bool:
    """Say whether a list of people names somebody of whom only the blind token is known."""
    return any(
        isinstance(value, ReferenceValue) and value.type == "Patient" and sealing.token("patient", value.id or "") in tokens
        for code, value in values
        if code == "member"
    )


def refill(
    database: Database, sealing: Sealing, resources: Iterable[Sequence[Any]], bodies: Iterable[Sequence[Any]], erased: Collection[str]
) -> None:
    """Write the resources of a backup, with everything that follows from their bytes: inside a transaction that writes, into empty tables.

    Parameters
    ----------
    resources, bodies : rows of the two tables in the order of their numbers, without the columns of :data:`DERIVED`.
    erased : blind tokens of the pseudonyms of those who were erased: a Group that names one of them does not come back.
    """
    blind = Blinder(sealing)
    gone = set()
    held: list[tuple[Any, ...]] = []
    for row, (num, pid, content, body) in zip(resources, bodies, strict=True):
        tree = decode(sealing.open("resource_body", pid, num, 0, body))
        ref, values = blind.ref(f"{tree['resourceType']}/{tree['id']}"), search_values(tree)
        if tree["resourceType"] == "Group" and erased and _names(sealing, values, erased):
            gone.add(ref)
        held.append((row, ref, tree, values, content, body))
        if len(held) == _PAGE:
            _put(database, blind, held)
    _put(database, blind, held)
    for ref in sorted(gone):
        for table in (*TABLES, "resource_body"):
            database.execute(f"DELETE FROM {table} WHERE num IN (SELECT num FROM resource WHERE ref = ?)", (ref,))
        database.execute("DELETE FROM resource WHERE ref = ?", (ref,))


def _put(database: Database, blind: Blinder, held: list[tuple[Any, ...]]) -> None:
    rows, resources, bodies = Rows(blind), [], []
    for (num, pid, vid, kind, research, recorded, deleted), ref, tree, values, content, body in held:
        told = describe(kind, tree["id"], tree, values)
        if deleted:  # as the version before it: what may be seen of a deletion is what might be seen of that
            known = [row[5:10] for row in resources if row[2] == ref] or database.execute(
                "SELECT codes, labels, time_ns, author, basis FROM resource WHERE ref = ? ORDER BY vid DESC LIMIT 1", (ref,)
            ).fetchall()
            columns = tuple(known[-1])
        else:
            columns = (told.codes, told.labels, told.time, told.author, told.basis)
            rows.add(kind, num, values)
        resources.append((num, pid, ref, vid, kind, *columns, research, recorded, deleted))
        bodies.append((num, pid, content, body))
    database.executemany(RESOURCE, resources)
    database.executemany(BODY, bodies)
    rows.write(database)
    held.clear()


def find_index_problems(database: Database, sealing: Sealing) -> list[str]:
    """Open every resource, and compare how much of each table follows from them with how much there is; return what is wrong."""
    found: list[str] = []
    made = dict.fromkeys(TABLES, 0)
    rows = Rows(Blinder(sealing))
    for num, pid, kind, deleted, content, body in _bodies(database):
        try:
            plain = sealing.open("resource_body", pid, num, 0, body)
            if content_of(sealing, pid, plain) != content:
                found.append(f"resource {num}: not what was stored")
            if not deleted:
                rows.add(kind, num, search_values(decode(plain)))
        except GemelError as error:
            found.append(f"resource {num}: {error.what}")
        for name, held in rows.tables.items():
            made[name] += len(held)
            held.clear()
        rows.places.clear()
    bare = database.execute("SELECT count(*) FROM resource WHERE num NOT IN (SELECT num FROM resource_body)").fetchone()[0]
    if bare:
        found.append(f"resource: {bare} without their bytes")
    for name, count in made.items():
        there = database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
        if there != count:
            found.append(f"{name}: {there} rows, and {count} follow from the resources")
    return found
