"""JSON that strangers send: read whole or refused, with the entry and the key named."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from gemel.core.errors import FormatError, TimeError, ValueRangeError
from gemel.core.time import SECOND, to_ns
from gemel.interop.wearables._text import decode
from gemel.interop.wearables.base import Notes

__all__ = ["Item", "entries", "load_json", "moment", "number", "quantity_pair", "text"]

Item = dict[str, Any]
_MAX_DEPTH = 64  # of nesting; no message of a device comes near
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # surrogates: only these escapes can be half a character
_OFFSET = re.compile(r"(?:[Zz]|[+-]\d{2}:?\d{2})$")
_EARLIEST, _LATEST = to_ns("1900-01-01T00:00Z"), to_ns("2200-01-01T00:00Z")  # nobody wore a sensor outside; ns fit 64 bits


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _depth(value: Any) -> int:
    level, layer = 0, [value]
    while layer and level <= _MAX_DEPTH:
        level += 1
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, (dict, list))
        ]
    return level


_EXTENDED = ("$oid", "$date", "$numberLong", "$numberInt", "$numberDouble")


def _unwrapped(item: Item) -> Any:
    """Undo the wrapping of MongoDB's extended JSON: ``{"$numberLong": "5"}`` is 5."""
    if len(item) == 1:
        key, value = next(iter(item.items()))
        if key in _EXTENDED and isinstance(value, (str, int, float)):
            if key in ("$numberLong", "$numberInt") and isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value):
                return int(value)
            return value
    return item


def load_json(raw: bytes, name: str, notes: Notes | None = None, *, extended: bool = False) -> Any:
    """Read one JSON document, or one document per line.

    Parameters
    ----------
    extended : undo the wrapping of MongoDB's extended JSON, which dumps of its collections have.

    Raises
    ------
    FormatError
        When it is not JSON, or nested deeper than any device writes.
    """
    body = decode(raw, name, notes).lstrip("\ufeff").strip()
    hook = _unwrapped if extended else None
    try:
        found = json.loads(body, parse_constant=_refuse, object_hook=hook)
    except (ValueError, RecursionError) as error:
        lines = [line for line in body.splitlines() if line.strip()]
        try:
            if len(lines) < 2:
                raise error
            found = [json.loads(line, parse_constant=_refuse, object_hook=hook) for line in lines]
        except (ValueError, RecursionError):
            where = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)[:80]
            raise FormatError(
                f"{name} is not JSON", seen=where, expected="one JSON document, or one per line", fix="export the file again"
            ) from error
    if _ESCAPED.search(body):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError) as error:
            raise FormatError(
                f"{name} holds text that is no Unicode", seen="half of a surrogate pair", expected="UTF-8", fix="export the file again"
            ) from error
    if _depth(found) > _MAX_DEPTH:
        raise FormatError(f"{name} is nested too deeply", seen=f"more than {_MAX_DEPTH} levels", expected="a device's export")
    return found


def entries(found: Any, name: str, *keys: str) -> Iterator[tuple[int, Item]]:
    """Iterate over the entries of a list (or of a list under one of ``keys``, or a single entry), numbered from 1.

    Raises
    ------
    FormatError
        When it is no list of objects.
    """
    if isinstance(found, dict):
        found = next((found[key] for key in keys if isinstance(found.get(key), list)), [found])
    if not isinstance(found, list):
        raise FormatError(f"{name} holds no list of entries", seen=type(found).__name__, expected="a list of objects")
    for row, item in enumerate(found, 1):
        if not isinstance(item, dict):
            raise FormatError(f"entry {row} of {name} is no object", seen=type(item).__name__, expected="an object {...}")
        yield row, item


def number(item: Item, key: str, name: str, row: int) -> float | None:
    """Return a number, also one written as text; None when the key is missing, null or an empty text.

    Raises
    ------
    FormatError
        When it is no number.
    ValueRangeError
        When it is not finite.
    """
    value = item.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, (bool, dict, list)):
            raise ValueError
        found = float(value)
    except (ValueError, OverflowError) as error:
        raise FormatError(
            f"entry {row} of {name} has no number in {key!r}", seen=repr(value)[:40], expected="a number", fix="correct the entry"
        ) from error
    if not math.isfinite(found):
        raise ValueRangeError(f"entry {row} of {name} has no finite number in {key!r}", seen=repr(value)[:40], expected="a finite number")
    return found


def quantity_pair(value: Any, name: str, row: int, key: str) -> tuple[float, str]:
    """Return value and unit of ``{"value": ..., "unit": ...}``.

    Raises
    ------
    FormatError
        When one of the two is missing: a quantity without a unit is refused, not guessed.
    """
    found = number(value, "value", name, row) if isinstance(value, dict) else None
    unit = value.get("unit") if isinstance(value, dict) else None
    if found is None or not isinstance(unit, str):
        raise FormatError(
            f"entry {row} of {name} has no value with a unit in {key!r}",
            seen=repr(value)[:60],
            expected='{"value": number, "unit": text}',
            fix="add the unit; it is not guessed",
        )
    return found, unit


def text(item: Item, key: str) -> str:
    """Return a text, or an empty one."""
    value = item.get(key)
    return value.strip() if isinstance(value, str) else ""


def moment(value: Any, name: str, row: int, *, tz: str | None = None) -> int:
    """Return a time in ns UTC, from milliseconds since 1970 or ISO 8601.

    Parameters
    ----------
    value : number or text.
    tz : zone of a text without offset; without it such a text is refused.

    Raises
    ------
    TimeError
        When it cannot be read, has no zone, or lies outside 1900-2200.
    """
    expected = "milliseconds since 1970, or ISO 8601 with an offset"
    try:
        if isinstance(value, bool) or value is None:
            raise ValueError
        if isinstance(value, (int, float)):
            found = round(float(value) * 1000) * (SECOND // 1_000_000)
        else:
            written = str(value).strip()
            if not _OFFSET.search(written) and tz is None:
                raise TimeError(
                    f"the time of entry {row} of {name} has no zone", seen=written[:40], expected=expected, fix="name the zone with tz="
                )
            found = to_ns(dt.datetime.fromisoformat(written), tz=tz)
    except (ValueError, OverflowError) as error:
        if isinstance(error, TimeError):
            raise
        raise TimeError(
            f"cannot read the time of entry {row} of {name}", seen=repr(value)[:40], expected=expected, fix="correct the entry"
        ) from error
    if not _EARLIEST <= found <= _LATEST:
        raise TimeError(
            f"the time of entry {row} of {name} is out of range",
            seen=repr(value)[:40],
            expected="a time from 1900 to 2200 (milliseconds, not seconds)",
            fix="correct the entry",
        )
    return found
