"""A search of FHIR as a statement of SQL over the tables ``idx_*``, for SQLite and PostgreSQL alike.

What a caller may see is part of every statement: of what is found, of what a chain goes through, of what refers here, and of what is included. Values enter as parameters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemel.core.errors import FormatError
from gemel.interop.fhir import schema
from gemel.interop.fhir.search_operands import Operand
from gemel.interop.fhir.search_query import Filter, Has, Query
from gemel.interop.fhir.search_values import normalised
from gemel.platform.access_sql import Predicate
from gemel.platform.store.index_rows import Blinder, canonical_unit, has_open_text, is_birth, param_of, plain_text, table_of

__all__ = ["Access", "Part", "Writer", "join", "seen"]

_NAMED = re.compile(r":([as]\d+)")
_TOP = "\U0010ffff"

Access = Callable[[str], Predicate]
"""Action (*search*, *chained*, *has*, *include*, *revinclude*, *count*) -> what of it may be seen."""


@dataclass
class Part:
    """A piece of a statement, and its values in their order."""

    sql: str
    values: list[Any] = field(default_factory=list)


def join(parts: Sequence[Part], between: str) -> Part:
    """Put pieces together; several stand in parentheses."""
    if len(parts) == 1:
        return parts[0]
    return Part(f"({between.join(part.sql for part in parts)})", [value for part in parts for value in part.values])


def placed(predicate: Predicate) -> Part:
    """Return a condition with places for its values."""
    names = _NAMED.findall(predicate.sql)
    return Part(f"({_NAMED.sub('?', predicate.sql)})", [predicate.parameters[name] for name in names])


def seen(alias: str, upto: int, access: Predicate) -> Part:
    """Return the condition that a row of ``resource`` is the newest as of an event, is there, and may be seen."""
    allowed = placed(access)
    return Part(
        f"{alias}.deleted = 0 AND {alias}.num <= ? AND NOT EXISTS (SELECT 1 FROM resource AS newer WHERE newer.ref = {alias}.ref"
        f" AND newer.vid > {alias}.vid AND newer.num <= ?) AND {allowed.sql}",
        [upto, upto, *allowed.values],
    )  # fmt: skip


def _birth_days(low: int, high: int) -> tuple[str, str]:
    from gemel.platform.store.index_rows import birth_tokens

    return birth_tokens(low, low)[2], birth_tokens(high, high)[2]


def _years(first: str, last: str) -> list[str]:
    """Return tokens that, together, are every day from one to another: whole years, whole months, days."""
    import datetime as dt

    begin, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    found: list[str] = []
    while begin <= end:
        year_end = dt.date(begin.year, 12, 31)
        month_end = dt.date(begin.year + begin.month // 12, begin.month % 12 + 1, 1) - dt.timedelta(days=1)
        if begin.month == begin.day == 1 and year_end <= end:
            found.append(f"{begin.year:04d}")
            begin = dt.date(begin.year + 1, 1, 1)
        elif begin.day == 1 and month_end <= end:
            found.append(begin.isoformat()[:7])
            begin = month_end + dt.timedelta(days=1)
        else:
            found.append(begin.isoformat())
            begin += dt.timedelta(days=1)
    return found


_OLDEST, _LATEST = "1678-01-01", "2261-12-31"


class Writer:
    """Writes one search.

    Parameters
    ----------
    blind : makes the tokens of the store.
    access : what may be seen, by action.
    upto : the event as of which is searched.
    now : ns UTC, for what is *about* a date.
    """

    def __init__(self, blind: Blinder, access: Access, upto: int, now: int) -> None:
        self.blind, self.access, self.upto, self.now = blind, access, upto, now

    def where(self, query: Query, action: str) -> Part:
        """Return the condition on ``resource AS r`` that a search is."""
        ordered = sorted(query.filters, key=_cost)
        if not ordered:
            parts = [Part("r.kind = ?", [query.kind])]
        elif isinstance(ordered[0], Has):  # it finds few, of any type: the type is looked at afterwards, not first
            parts = [Part("r.kind || '' = ?", [query.kind])]
        else:
            parts = [] if _says_kind(ordered[0]) else [Part("r.kind = ?", [query.kind])]
        parts += [self.condition(one, "r", is_driver=place == 0) for place, one in enumerate(ordered)]
        parts.append(seen("r", self.upto, self.access(action)))
        return Part(" AND ".join(part.sql for part in parts), [value for part in parts for value in part.values])

    def condition(self, one: Filter | Has, alias: str, *, is_driver: bool = False) -> Part:
        """Return the condition that one filter is, on a row of ``resource``; a driver is written so that the search begins with it."""
        if isinstance(one, Has):
            return self._has(one, alias)
        if one.inner is not None:
            return self._chain(one, alias)
        if one.type == "id":
            marks, values = _several([self.blind.ref(operand.text) for operand in one.operands])
            return Part(f"{alias}.ref IN ({marks})", values)
        if one.type == "updated":
            return join([self._updated(operand, alias) for operand in one.operands], " OR ")
        if one.modifier == "missing":
            return self._missing(one, alias)
        if one.modifier == "not" or any(operand.prefix == "ne" for operand in one.operands):
            return self._negative(one, alias)
        if one.type == "composite":
            return join([self._composite(one, operand, alias) for operand in one.operands], " OR ")
        table, inner = self._inner(one)
        if is_driver:
            return Part(f"{alias}.num IN (SELECT i.num FROM {table} AS i WHERE {inner.sql})", inner.values)
        return Part(f"EXISTS (SELECT 1 FROM {table} AS i WHERE i.num = {alias}.num AND {inner.sql})", inner.values)

    def _kinded(self, inner: Filter | Has, kind: str) -> Part:
        found = self.condition(inner, "t", is_driver=True)
        return found if _says_kind(inner) else Part(f"t.kind = ? AND {found.sql}", [kind, *found.values])

    def _negative(self, one: Filter, alias: str) -> Part:
        positive = [Operand(**{**_fields(operand), "prefix": "eq"}) if operand.prefix == "ne" else operand for operand in one.operands]
        parts = []
        for operand, plain in zip(one.operands, positive, strict=True):
            inverted = one.modifier == "not" or operand.prefix == "ne"
            table, inner = self._inner(Filter(one.kind, one.code, one.type, None, (plain,), one.targets))
            word = "NOT IN" if inverted else "IN"
            found = Part(f"{alias}.num {word} (SELECT i.num FROM {table} AS i WHERE {inner.sql})", inner.values)
            if inverted and one.modifier != "not":  # other than: it must have a value
                there = Part(f"{alias}.num IN (SELECT i.num FROM {table} AS i WHERE i.param = ?)", [param_of(one.kind, one.code)])
                found = join([found, there], " AND ")
            parts.append(found)
        return join(parts, " AND " if one.modifier == "not" else " OR ")

    def _missing(self, one: Filter, alias: str) -> Part:
        word = "NOT IN" if one.operands[0].text == "true" else "IN"
        if one.type == "composite":
            raise FormatError("the modifier :missing is not supported", seen=one.code, expected="a parameter of another type")
        codes = [one.code, f"{one.code}:identifier"] if one.type == "reference" else [one.code]
        tables = [table_of(one.kind, one.code), "idx_token"][: len(codes)]
        union = " UNION ALL ".join(f"SELECT i.num FROM {table} AS i WHERE i.param = ?" for table in tables)
        return Part(f"{alias}.num {word} ({union})", [param_of(one.kind, code) for code in codes])

    def _inner(self, one: Filter) -> tuple[str, Part]:
        """Return the table and the condition on its row ``i`` for any of the values."""
        if one.modifier == "identifier":
            param = param_of(one.kind, f"{one.code}:identifier")
            return "idx_token", _under(param, [self._token(param, operand) for operand in one.operands])
        return table_of(one.kind, one.code), self._values(param_of(one.kind, one.code), one, one.type, one.operands)

    def _values(self, param: int, one: Filter, type_: str, operands: Sequence[Operand], targets: Sequence[str] | None = None) -> Part:
        if is_birth(one.kind, one.code):
            return _under(param, [self._birth(param, operand) for operand in operands])
        if type_ == "string":
            return self._strings(param, one, operands)
        if type_ == "reference":
            values = [value for operand in operands for value in self._references(operand, one.targets if targets is None else targets)]
            marks, filled = _several(values)
            return Part(f"i.param = ? AND i.value IN ({marks})", [param, *filled])
        if type_ == "uri":
            marks, filled = _several([self.blind.token(param, operand.text) for operand in operands])
            return Part(f"i.param = ? AND i.value IN ({marks})", [param, *filled])
        if type_ == "token" and all(operand.system is None for operand in operands):
            marks, filled = _several([self.blind.token(param, operand.code or "") for operand in operands])
            return Part(f"i.param = ? AND i.value IN ({marks})", [param, *filled])
        make = {"token": self._token, "date": self._date}.get(type_, self._quantity)
        return _under(param, [make(param, operand) for operand in operands])

    def _token(self, param: int, operand: Operand) -> Part:
        if operand.system is None:
            return Part("i.value = ?", [self.blind.token(param, operand.code or "")])
        system = self.blind.token(0, operand.system) if operand.system else b""
        if operand.code is None:
            return Part("i.system = ?", [system])
        return Part("i.value = ? AND i.system = ?", [self.blind.token(param, operand.code), system])

    def _references(self, operand: Operand, targets: Sequence[str]) -> list[str]:
        if operand.code is not None:
            kinds = [t for t in targets if t != "Resource"] or [
                k for k in schema.kinds() if (found := schema.kind(k)) and found.is_resource
            ]
            return [self.blind.ref(f"{kind}/{operand.code}") for kind in kinds]
        return [self.blind.outside(operand.text)] if operand.system is not None else [self.blind.ref(operand.text)]

    def _strings(self, param: int, one: Filter, operands: Sequence[Operand]) -> Part:
        if not has_open_text(one.kind):
            if one.modifier == "contains":
                raise FormatError(
                    "the modifier :contains is not supported here", seen=one.code, expected="the beginning of a word, or :exact",
                    fix="texts about persons are kept as blind tokens of their beginnings",
                )  # fmt: skip
            if one.modifier == "exact":
                param = param_of(one.kind, f"{one.code}:exact")
                tokens = [self.blind.token(param, operand.text) for operand in operands]
            else:
                tokens = [self.blind.token(param, plain_text(operand.text)) for operand in operands]
            marks, filled = _several(tokens)
            return Part(f"i.param = ? AND i.value IN ({marks})", [param, *filled])
        parts = []
        for operand in operands:
            text = normalised(operand.text)
            if one.modifier == "exact":
                parts.append(Part("i.value = ? AND i.exact = ?", [text, operand.text]))
            elif one.modifier == "contains":
                parts.append(Part("replace(i.value, ?, '') <> i.value", [text]))
            else:
                parts.append(Part("i.value >= ? AND i.value < ?", [text, text + _TOP]))
        return _under(param, parts)

    def _birth(self, param: int, operand: Operand) -> Part:
        first, last = _birth_days(int(operand.low), int(operand.high))
        spans = {
            "eq": [(first, last)], "ne": [(first, last)], "ap": [(first, last)], "gt": [(_next(last, 1), _LATEST)], "sa": [(_next(last, 1), _LATEST)],
            "lt": [(_OLDEST, _next(first, -1))], "eb": [(_OLDEST, _next(first, -1))], "ge": [(first, _LATEST)], "le": [(_OLDEST, last)],
        }[operand.prefix]  # fmt: skip
        texts = [text for begin, end in spans if begin <= end for text in _years(begin, end)]
        if operand.prefix in ("gt", "ge", "lt", "le"):  # of whom only the year or month is known, and it is that one
            texts += [f"{day[:n]}=" for day in {first, last} for n in (4, 7)]
        marks, filled = _several([self.blind.token(param, text) for text in texts] or [b""])
        return Part(f"i.value IN ({marks})", filled)

    def _date(self, param: int, operand: Operand) -> Part:
        del param
        low, high = int(operand.low), int(operand.high)
        inside = "(i.low >= ? AND i.low <= ? AND i.high <= ?)"
        if operand.prefix == "eq":
            return Part(inside, [low, high, high])
        if operand.prefix == "ap":
            wide = abs(self.now - (low + high) // 2) // 10
            return Part("i.low <= ? AND i.high >= ?", [high + wide, low - wide])
        plain = {"gt": ("i.high > ?", high), "lt": ("i.low < ?", low), "sa": ("i.low > ?", high), "eb": ("i.high < ?", low)}
        if operand.prefix in plain:
            sql, value = plain[operand.prefix]
            return Part(sql, [value])
        beyond, value = ("i.high > ?", high) if operand.prefix == "ge" else ("i.low < ?", low)
        return Part(f"({beyond} OR {inside})", [value, low, high, high])

    def _quantity(self, param: int, operand: Operand) -> Part:
        del param
        names, factor, offset, more = ("low", "value", "high"), 1.0, 0.0, Part("")
        if operand.code is not None:
            factor, offset, name = canonical_unit(operand.system or _ucum(operand.code), operand.code, None)
            if name.startswith(b"="):
                names, more = ("base_low", "base", "base_high"), Part(" AND i.base_unit = ?", [name])
            else:
                unit = operand.code.encode()
                more = Part(" AND i.unit = ?", [unit])
                if operand.system:
                    more = Part(" AND i.unit = ? AND i.base_unit = ?", [unit, name])
        least, middle, most = (one * factor + offset for one in (operand.low, operand.value, operand.high))
        found = _ordered(operand.prefix, names, (least, middle, most))
        return Part(found.sql + more.sql, found.values + more.values)

    def _updated(self, operand: Operand, alias: str) -> Part:
        low, high, column = int(operand.low), int(operand.high), f"{alias}.recorded_ns"
        wide = abs(self.now - (low + high) // 2) // 10
        sql, values = {
            "eq": (f"({column} >= ? AND {column} <= ?)", [low, high]), "ne": (f"NOT ({column} >= ? AND {column} <= ?)", [low, high]),
            "gt": (f"{column} > ?", [high]), "sa": (f"{column} > ?", [high]), "lt": (f"{column} < ?", [low]), "eb": (f"{column} < ?", [low]),
            "ge": (f"{column} >= ?", [low]), "le": (f"{column} <= ?", [high]), "ap": (f"({column} >= ? AND {column} <= ?)", [low - wide, high + wide]),
        }[operand.prefix]  # fmt: skip
        return Part(sql, values)

    def _composite(self, one: Filter, operand: Operand, alias: str) -> Part:
        known, components = schema.searches(one.kind), schema.searches(one.kind)[one.code].components
        tables, parts = [], []
        for place, (inner, (code, _)) in enumerate(zip(operand.parts, components, strict=True)):
            type_ = known[code].type if code in known else "token"
            targets = known[code].targets if code in known else ()
            param = param_of(one.kind, f"{one.code}${place}")
            table = {"token": "idx_token", "uri": "idx_token", "date": "idx_date", "reference": "idx_ref"}.get(type_, "idx_quantity")
            if type_ == "string":
                table = "idx_string" if has_open_text(one.kind) else "idx_token"
            found = self._values(param, one, type_, (inner,), targets)
            tables.append(f"{table} AS i{place}")
            parts.append(Part(re.sub(r"\bi\.", f"i{place}.", found.sql), found.values))
            if place:
                parts.append(Part(f"i{place}.num = i0.num AND i{place}.grp = i0.grp"))
        whole = join(parts, " AND ")
        return Part(f"{alias}.num IN (SELECT i0.num FROM {', '.join(tables)} WHERE {whole.sql})", whole.values)

    def _chain(self, one: Filter, alias: str) -> Part:
        assert one.inner is not None  # for the type checker
        inner = self._kinded(one.inner, one.targets[0])
        told = seen("t", self.upto, self.access("chained"))
        return Part(
            f"{alias}.num IN (SELECT i.num FROM idx_ref AS i WHERE i.param = ? AND i.value IN (SELECT t.ref FROM resource AS t"
            f" WHERE {inner.sql} AND {told.sql}))",
            [param_of(one.kind, one.code), *inner.values, *told.values],
        )  # fmt: skip

    def _has(self, one: Has, alias: str) -> Part:
        inner = self._kinded(one.inner, one.kind)
        told = seen("t", self.upto, self.access("has"))
        return Part(
            f"{alias}.ref IN (SELECT i.value FROM idx_ref AS i WHERE i.param = ? AND i.num IN (SELECT t.num FROM resource AS t"
            f" WHERE {inner.sql} AND {told.sql}))",
            [param_of(one.kind, one.reference), *inner.values, *told.values],
        )  # fmt: skip


def _says_kind(one: Filter | Has) -> bool:
    """Say whether a filter finds resources of its type only; asking for the type beside it would lead the search astray."""
    return isinstance(one, Filter) and one.type != "updated" and one.modifier not in ("missing", "not")


def _fields(operand: Operand) -> dict[str, Any]:
    return {name: getattr(operand, name) for name in ("prefix", "text", "system", "code", "low", "high", "value", "parts")}


def _ucum(code: str) -> str | None:
    from gemel.interop.fhir.search_values import base_unit

    return "http://unitsofmeasure.org" if base_unit(code) is not None else None


def _next(day: str, step: int) -> str:
    import datetime as dt

    return (dt.date.fromisoformat(day) + dt.timedelta(days=step)).isoformat()


def _several(values: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return places for values; their number is a power of two, the last one repeated, so that few statements are prepared."""
    width = 1 << (len(values) - 1).bit_length() if values else 1
    filled = [*values, *[values[-1]] * (width - len(values))] if values else [None]
    return ", ".join("?" * width), filled


def _under(param: int, parts: Sequence[Part]) -> Part:
    inner = join(parts, " OR ") if len(parts) > 1 else parts[0]
    return Part(f"i.param = ? AND {inner.sql}", [param, *inner.values])


def _ordered(prefix: str, names: tuple[str, str, str], asked: tuple[float, float, float]) -> Part:
    """Return the comparison of a stored number (which may be open to one side) with what is asked, and what its digits leave open."""
    (low, value, high), (least, middle, most) = names, asked
    span = max(abs(middle) * 0.1, math.ulp(middle))
    sql, values = {
        "eq": (f"(i.{value} >= ? AND i.{value} < ? AND i.{low} >= ? AND i.{high} <= ?)", [least, most, least, most]),
        "ne": (f"(i.{value} >= ? AND i.{value} < ? AND i.{low} >= ? AND i.{high} <= ?)", [least, most, least, most]),
        "gt": (f"i.{high} > ?", [middle]), "lt": (f"i.{low} < ?", [middle]), "ge": (f"i.{high} >= ?", [middle]), "le": (f"i.{low} <= ?", [middle]),
        "sa": (f"i.{low} > ?", [middle]), "eb": (f"i.{high} < ?", [middle]), "ap": (f"(i.{high} >= ? AND i.{low} <= ?)", [middle - span, middle + span]),
    }[prefix]  # fmt: skip
    return Part(sql, values)


_ORDER = {"id": 0, "reference": 2, "token": 3, "uri": 3, "string": 3, "composite": 4, "quantity": 5, "number": 5, "date": 6, "updated": 7}


def _cost(one: Filter | Has) -> int:
    """Return how much is likely to be found: the search begins with the least."""
    if isinstance(one, Has):
        return 5
    if one.modifier in ("missing", "not"):
        return 9
    if one.type == "token" and one.code in ("identifier", "_id"):
        return 1
    if one.type == "token" and all(operand.code is None for operand in one.operands):
        return 8
    return _ORDER[one.type]
