"""Running a search: pages over a snapshot, counts, what is included; nothing is lost or doubled while others write.

A search is made as of an event. Its pages are asked for with a cursor that holds what was asked, that event and the row after which to go on, sealed, so that a page shows what was there when the
search began, whatever has been written since.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gemel.core.errors import FormatError, StoreError
from gemel.interop.fhir import schema
from gemel.interop.fhir.codec import decode
from gemel.interop.fhir.index import search_values
from gemel.interop.fhir.search_query import Include, Query, read_query
from gemel.interop.fhir.search_values import ReferenceValue
from gemel.platform.crypto import DataKey
from gemel.platform.store.index_rows import has_open_text, is_birth, param_of
from gemel.platform.store.resources import Resources, Stored
from gemel.platform.store.search_sql import Access, Part, Writer, placed, seen

__all__ = ["MOST_INCLUDED", "Found", "history", "search"]

MOST_INCLUDED = 1000
"""Resources that one page includes; more are not, and the answer says so."""

_SENTINEL = 2**62


@dataclass
class Found:
    """What a search found.

    Parameters
    ----------
    matches, included : versions with their bytes.
    total : how many match in all, when it was counted.
    cursor : where the next page begins; ``None`` on the last.
    is_cut : more would have been included than may be.
    """

    matches: list[tuple[Stored, bytes]]
    included: list[tuple[Stored, bytes]] = field(default_factory=list)
    total: int | None = None
    cursor: str | None = None
    is_cut: bool = False


_BOUND = b"search cursor"


def _sealer(resources: Resources) -> DataKey:
    return DataKey(resources.store._sealing.secret("search cursor"))


def _cursor(resources: Resources, query: Query, upto: int, last: int, total: int | None) -> str:
    """Return where a search goes on: what was asked, sealed, so that an address holds nothing of it."""
    asked = [(name, text) for name, text in query.asked if name != "_cursor"]
    told = json.dumps([query.kind, query.base, asked, query.count, upto, last, total], separators=(",", ":"))
    return base64.urlsafe_b64encode(_sealer(resources).seal(zlib.compress(told.encode()), _BOUND)).decode().rstrip("=")


def _read_cursor(resources: Resources, query: Query) -> tuple[Query, int, int, int | None]:
    """Return the search that a cursor belongs to, its event, the row after which it goes on, and its total."""
    asked = [(name, text) for name, text in query.asked if name not in ("_cursor", "_count")]
    try:
        raw = base64.urlsafe_b64decode((query.cursor or "") + "===")
        kind, base, before, count, upto, last, total = json.loads(zlib.decompress(_sealer(resources).open(raw, _BOUND)))
        same = [(name, text) for name, text in before if name != "_count"]
        if kind == query.kind and (not asked or asked == same):
            given = [(name, text) for name, text in before]
            return replace(read_query(kind, given, lenient=True, base=base), count=count), upto, last, total
    except (ValueError, StoreError, zlib.error):
        pass
    raise FormatError("not a page of this search", seen="_cursor", expected="the next link of an answer, as it is", fix="search again")


def _sort_column(query: Query, code: str, downward: bool) -> Part:
    if code == "_id":
        return Part("r.ref")
    if code == "_lastUpdated":
        return Part("r.recorded_ns")
    type_, pick = schema.searches(query.kind)[code].type, "max" if downward else "min"
    param = param_of(query.kind, code)
    if (
        is_birth(query.kind, code)
        or type_ not in ("date", "number", "quantity", "string")
        or (type_ == "string" and not has_open_text(query.kind))
    ):
        raise FormatError(
            "the search cannot be sorted by this", seen=code, expected="_id, _lastUpdated, a date, number or quantity, or the name of a thing",
            fix="codes, references and what names a person are kept as blind tokens, which have no order",
        )  # fmt: skip
    table, column = {"date": ("idx_date", "low"), "string": ("idx_string", "value")}.get(type_, ("idx_quantity", "base"))
    return Part(f"(SELECT {pick}(s.{column}) FROM {table} AS s WHERE s.num = r.num AND s.param = ?)", [param])


def _order(query: Query) -> list[tuple[Part, bool]]:
    return [(_sort_column(query, code, downward), downward) for code, downward in query.sort]


def _after(keys: Sequence[tuple[Part, bool]], values: Sequence[Any], last: int) -> Part:
    """Return the condition that a row comes behind another: what has no value comes last, rows of one value in the order of their numbers."""
    sql, given = "r.num > ?", [last]
    for (key, downward), value in reversed(list(zip(keys, values, strict=True))):
        if value is None:
            sql, given = f"({key.sql} IS NULL AND {sql})", [*key.values, *given]
        else:
            sign = "<" if downward else ">"
            sql = f"({key.sql} {sign} ? OR {key.sql} IS NULL OR ({key.sql} = ? AND {sql}))"
            given = [*key.values, value, *key.values, *key.values, value, *given]
    return Part(sql, given)


def search(resources: Resources, query: Query, access: Access, *, now: int, upto: int | None = None) -> Found:
    """Search.

    Parameters
    ----------
    query : what is asked, as :func:`gemel.interop.fhir.search_query.read_query` reads it.
    access : what may be seen, by action.
    now : ns UTC.
    upto : the event as of which is searched; left out, the last, or that of the cursor.

    Raises
    ------
    FormatError
        When the cursor is not of this search, or what is asked cannot be had.
    """
    last, total = 0, None
    with resources.store._transaction("read") as database:
        if query.cursor is not None:
            query, upto, last, total = _read_cursor(resources, query)
        upto = resources.last() if upto is None else upto
        writer = Writer(resources.blind, access, upto, now)
        if query.total != "none" and total is None:
            counted = writer.where(query, "count")
            total = database.execute(f"SELECT count(*) FROM resource AS r WHERE {counted.sql}", counted.values).fetchone()[0]
        if query.summary == "count" or query.count == 0:
            return Found([], total=total)
        nums, more = _page(resources, query, writer, last)
        rows = resources.rows(nums)
        found = Found(list(zip(rows, resources.bodies(rows), strict=True)), total=total)
        if more:
            found.cursor = _cursor(resources, query, upto, nums[-1], total)
        if query.includes or query.revincludes:
            _include_all(resources, query, found, writer)
    return found


def _page(resources: Resources, query: Query, writer: Writer, last: int) -> tuple[list[int], bool]:
    database, where, keys = resources.store._database, writer.where(query, "search"), _order(query)
    given = list(where.values)
    sql = f"SELECT r.num FROM resource AS r WHERE {where.sql}"
    if last:
        values: Sequence[Any] = ()
        if keys:
            columns = ", ".join(key.sql for key, _ in keys)
            values = database.execute(
                f"SELECT {columns} FROM resource AS r WHERE r.num = ?", [v for key, _ in keys for v in key.values] + [last]
            ).fetchone()
        behind = _after(keys, values, last)
        sql, given = f"{sql} AND {behind.sql}", [*given, *behind.values]
    order = [f"{key.sql} IS NULL, {key.sql} {'DESC' if downward else 'ASC'}" for key, downward in keys]
    given += [value for key, _ in keys for _ in range(2) for value in key.values]
    rows = database.execute(f"{sql} ORDER BY {', '.join([*order, 'r.num'])} LIMIT ?", [*given, query.count + 1]).fetchall()
    return [row[0] for row in rows[: query.count]], len(rows) > query.count


def _include_all(resources: Resources, query: Query, found: Found, writer: Writer) -> None:
    have = {stored.ref for stored, _ in found.matches}
    fresh = list(found.matches)
    first = True
    while fresh:
        wanted: dict[str, None] = {}
        for stored, body in fresh:
            for one in query.includes:
                if first or one.is_iterated:
                    wanted.update(dict.fromkeys(map(resources.blind.ref, _referred(stored.kind, body, one))))
        added = _targets(resources, [ref for ref in wanted if ref not in have], writer)
        for one in query.revincludes:
            if first or one.is_iterated:
                added += _referring(resources, one, [stored.ref for stored, _ in fresh], writer)
        fresh = []
        for stored in added:
            if stored.ref not in have:
                have.add(stored.ref)
                fresh.append(stored)
        room = MOST_INCLUDED - len(found.included)
        found.is_cut = found.is_cut or len(fresh) > room
        fresh = list(zip(fresh[:room], resources.bodies(fresh[:room]), strict=True))
        found.included += fresh
        first = False
        if found.is_cut or not any(one.is_iterated for one in (*query.includes, *query.revincludes)):
            return


def _referred(kind: str, body: bytes, include: Include) -> Iterable[str]:
    if include.kind not in ("*", kind):
        return
    for code, value in search_values(decode(body)):
        if not isinstance(value, ReferenceValue) or value.id is None or value.url is not None:
            continue
        if include.code in ("*", code) and include.target in (None, value.type):
            yield f"{value.type}/{value.id}"


def _chosen(resources: Resources, sql: str, values: Sequence[Any], writer: Writer, action: str) -> list[Stored]:
    told = seen("r", writer.upto, writer.access(action))
    rows = resources.store._database.execute(
        f"SELECT r.num FROM resource AS r WHERE {sql} AND {told.sql} ORDER BY r.num LIMIT ?", [*values, *told.values, MOST_INCLUDED + 1]
    ).fetchall()
    return resources.rows([row[0] for row in rows])


def _targets(resources: Resources, refs: Sequence[str], writer: Writer) -> list[Stored]:
    found: list[Stored] = []
    for at in range(0, len(refs), 256):
        part = list(refs[at : at + 256])
        width = 1 << (len(part) - 1).bit_length()
        found += _chosen(resources, f"r.ref IN ({', '.join('?' * width)})", [*part, *[part[0]] * (width - len(part))], writer, "include")
    return found


def _params(include: Include, kinds: Iterable[str]) -> list[int]:
    """Return the numbers of the parameters by which a resource may refer to one of these types; ``*``: every reference parameter of every type."""
    sources = (
        [include.kind]
        if include.kind != "*"
        else [k for k in schema.kinds() if (found := schema.kind(k)) and found.is_resource and not found.abstract]
    )
    aims = set(kinds)
    return [
        param_of(source, one.code)
        for source in sources
        for one in schema.searches(source).values()
        if one.type == "reference"
        and include.code in ("*", one.code)
        and (not one.targets or "Resource" in one.targets or aims & set(one.targets))
    ]


def _referring(resources: Resources, include: Include, refs: Sequence[str], writer: Writer) -> list[Stored]:
    refs = [ref for ref in refs if include.target in (None, ref.partition("/")[0])]
    params = _params(include, {ref.partition("/")[0] for ref in refs})
    found: list[Stored] = []
    for at in range(0, len(refs), 64):
        part = list(refs[at : at + 64])
        names, places = ", ".join("?" * len(params)), ", ".join("?" * len(part))
        if params:
            inner = f"r.num IN (SELECT i.num FROM idx_ref AS i WHERE i.param IN ({names}) AND i.value IN ({places}))"
            found += _chosen(resources, inner, [*params, *part], writer, "revinclude")
    return found


def history(
    resources: Resources, access: Access, *, kind: str | None = None, rid: str | None = None, since: int | None = None, before: int | None = None, count: int = 50
) -> tuple[list[tuple[Stored, bytes]], int, int | None]:  # fmt: skip
    """Return versions, the newest first: of one resource, of a type, or of all; with how many there are, and where the next page begins.

    Parameters
    ----------
    since : ns UTC; only what was written at or after it.
    before : only versions with a smaller number: the next page.
    """
    allowed = placed(access("history"))
    parts, values = [allowed.sql], list(allowed.values)
    if rid is not None:
        parts, values = [*parts, "r.ref = ?"], [*values, resources.blind.ref(f"{kind}/{rid}")]
    elif kind is not None:
        parts, values = [*parts, "r.kind = ?"], [*values, kind]
    if since is not None:
        parts, values = [*parts, "r.recorded_ns >= ?"], [*values, since]
    with resources.store._transaction("read") as database:
        total = database.execute(f"SELECT count(*) FROM resource AS r WHERE {' AND '.join(parts)}", values).fetchone()[0]
        if before is not None:
            parts, values = [*parts, "r.num < ?"], [*values, before]
        rows = database.execute(
            f"SELECT r.num FROM resource AS r WHERE {' AND '.join(parts)} ORDER BY r.num DESC LIMIT ?", [*values, count + 1]
        ).fetchall()
        found = resources.rows([row[0] for row in rows[:count]])
        bodies = resources.bodies(found)
    return list(zip(found, bodies, strict=True)), total, (found[-1].num if len(rows) > count and found else None)
