"""The form of FHIR's primitive values, checked without patterns that can go back on themselves.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/datatypes.html#primitive
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from gemel.interop.fhir.fhirpath.temporal import Temporal

__all__ = ["fault"]

_MOST = 2**31 - 1
_TEXT = 1024 * 1024
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_OID = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+\Z")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_ZONED = re.compile(r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})\Z")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?\Z")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def _string(value: str) -> str | None:
    if not value or value.isspace():
        return "text that says nothing"
    if len(value) > _TEXT:
        return "text of more than 1 MiB"
    return "a control character" if any(sign < " " and sign not in "\t\r\n" for sign in value) else None


def _code(value: str) -> str | None:
    plain = value.split(" ")
    return (
        None
        if value and all(plain) and not any(c.isspace() for c in value.replace(" ", ""))
        else "a code with white space at its ends, or double"
    )


def _uri(value: str) -> str | None:
    return None if value and not any(sign.isspace() for sign in value) else "an address that is empty or has white space"


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str | None]:
    return lambda value: None if pattern.match(value) else what


def _date(value: str) -> str | None:
    return None if Temporal.parse(value, "date") else "no day of the calendar"


def _moment(value: str) -> str | None:
    if Temporal.parse(value.replace(":60", ":59"), "dateTime") is None or value.endswith("T"):
        return "no time of the calendar"
    return None if "T" not in value or _ZONED.search(value) else "a time without seconds or without its zone"


def _instant(value: str) -> str | None:
    return _moment(value) if _ZONED.search(value) else "an instant without seconds or zone"


def _base64(value: str) -> str | None:
    plain = "".join(value.split())
    if not plain or len(plain) % 4 or not _BASE64.issuperset(plain) or "=" in plain.rstrip("=") or plain.endswith("==="):
        return "not base64"
    return None


_TEXTS: dict[str, Callable[[str], str | None]] = {
    "string": _string, "markdown": _string, "code": _code, "id": _matching(_ID, "not an id: A-Z a-z 0-9 - . and at most 64"), "uri": _uri, "url": _uri,
    "canonical": _uri, "oid": _matching(_OID, "not urn:oid:..."), "uuid": _matching(_UUID, "not urn:uuid:... in lower case"), "date": _date,
    "dateTime": _moment, "instant": _instant, "time": _matching(_TIME, "not a time hh:mm:ss"), "base64Binary": _base64, "xhtml": lambda value: None,  # noqa: ARG005
}  # fmt: skip
_RANGES = {
    "integer": (-_MOST - 1, "an integer beyond 32 bits"),
    "unsignedInt": (0, "not an integer from 0 on"),
    "positiveInt": (1, "not an integer from 1 on"),
}


def fault(value: Any, type_: str) -> str | None:
    """Say what is wrong with a primitive value; None when nothing is.

    Examples
    --------
    >>> fault("2020-02-30", "date")
    'no day of the calendar'
    """
    if type_ == "boolean":
        return None if isinstance(value, bool) else "not true or false"
    if type_ == "decimal":
        return None if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else "not a number"
    if type_ in _RANGES:
        least, what = _RANGES[type_]
        return None if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST else what
    if not isinstance(value, str):
        return "not text"
    return _TEXTS[type_](value) if type_ in _TEXTS else None
