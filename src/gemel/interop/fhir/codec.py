"""JSON to an immutable tree and back, nothing lost: order, extensions, and every number as it was written.

What is refused, by name: another charset than UTF-8, keys that stand twice, NaN and Infinity, numbers beyond the range of a double, nesting
deeper than :data:`DEPTH`, and bodies over a limit. Numbers are decimals of the digits that were sent: ``1.00`` stays ``1.00`` and ``1E3``
stays ``1E3``.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/json.html; RFC 8259.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from json.encoder import encode_basestring  # type: ignore[attr-defined]  # the C function, for which no stub stands
from typing import Any, NoReturn

from gemel.core.errors import FormatError

__all__ = ["BODY", "DEPTH", "DIGITS", "Element", "decode", "decode_lines", "encode", "freeze", "number_text", "read_number", "thaw"]

DEPTH = 64
"""How deep objects and arrays may nest."""
DIGITS = 400
"""How many characters a number may have."""
BODY = 64 * 1024 * 1024
"""How many bytes a document may have."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")
_DROPPED = bytes(set(range(256)) - set(b'"{}[]'))
_STRING = re.compile(rb'"[^"]*"')
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_RANGE = (-324, 308)  # decimal exponents of a double, subnormal ones included


class _Spelled(Decimal):
    """A number that a decimal would write otherwise: ``1E3``, ``-0``, ``0.0000001``."""

    __slots__ = ("text",)
    text: str


class Element(dict[str, Any]):
    """One object of a resource: a mapping that cannot be changed; the arrays in it are tuples.

    Examples
    --------
    >>> decode('{"resourceType": "Basic", "id": "a"}')["id"]
    'a'
    """

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("an element cannot be changed; thaw() makes a copy that can")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __copy__(self) -> Element:
        return self

    def __deepcopy__(self, memo: Any) -> Element:
        return self


def _too(what: str, text: str, expected: str) -> FormatError:
    return FormatError(what, seen=text[:40], expected=expected, fix="correct it at its source")


def read_number(text: str) -> int | Decimal:
    """Return a JSON number with its digits kept.

    Raises
    ------
    FormatError
        When it is no number of JSON, has more than :data:`DIGITS` characters, or lies beyond the range of a double.

    Examples
    --------
    >>> number_text(read_number("1.00")), number_text(read_number("1E3"))
    ('1.00', '1E3')
    """
    found = _NUMBER.match(text) if len(text) <= DIGITS else None
    if found is None:
        raise _too("not a number that can be kept", text, f"a JSON number of at most {DIGITS} characters")
    if found[1] is None and found[2] is None and text != "-0":
        if len(text) > _RANGE[1]:
            raise _too("a number beyond the range of a double", text, "at most 1.8e308")
        return int(text)
    number = _Spelled(text) if len(found[2] or "") < 8 else Decimal("Infinity")
    if not number.is_finite() or (number and not _RANGE[0] <= number.adjusted() <= _RANGE[1]):
        raise _too("a number beyond the range of a double", text, "between 4.9e-324 and 1.8e308")
    if str(number) == text:
        return Decimal(number)
    number.text = text  # type: ignore[union-attr]
    return number


def number_text(number: int | Decimal) -> str:
    """Return a number as it was written, or as JSON writes it."""
    return number.text if isinstance(number, _Spelled) else str(number)


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < 19 and text != "-0" else read_number(text)


def _object(pairs: list[tuple[str, Any]]) -> Element:
    found = Element(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FormatError("a key stands twice in one object", seen=twice, expected="each key once", fix="remove one of the two")
    for key, value in pairs:
        if value.__class__ is list:
            dict.__setitem__(found, key, _tuple(value))
    return found


def _tuple(items: list[Any]) -> tuple[Any, ...]:
    return tuple([_tuple(item) if item.__class__ is list else item for item in items])


def _constant(text: str) -> NoReturn:
    raise FormatError("not a number of JSON", seen=text, expected="a finite number", fix="leave the element out, with a data-absent-reason")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=read_number,  # type: ignore[arg-type]
    parse_int=_integer,  # type: ignore[arg-type]
    parse_constant=_constant,
)


def _text(raw: bytes | str) -> str:
    if isinstance(raw, str):
        return raw.removeprefix("\ufeff")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or raw[:1] == b"\x00" or raw[1:2] == b"\x00":
        raise FormatError("not UTF-8", seen="UTF-16 or UTF-32", expected="UTF-8", fix="write the file in UTF-8")
    try:
        return raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            "not UTF-8", seen=f"byte {raw[error.start]:#04x} at {error.start}", expected="UTF-8", fix="write the file in UTF-8"
        ) from None


def _check_depth(text: str) -> None:
    if text.count("{") + text.count("[") <= DEPTH:
        return
    left = text.encode("utf-8", "surrogatepass").replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _DROPPED)
    left = _STRING.sub(b"", left)
    for _ in range(DEPTH):
        left = left.replace(b"{}", b"").replace(b"[]", b"") if left else left
    if left.count(b"{") + left.count(b"["):
        raise FormatError(
            "nested too deep, or a bracket is missing",
            seen=f"more than {DEPTH} levels",
            expected=f"at most {DEPTH} levels",
            fix="refuse the sender",
        )


def decode(raw: bytes | str, *, limit: int = BODY) -> Any:
    """Read one JSON document into an immutable tree: :class:`Element`, tuples, text, truth values, integers and decimals.

    Parameters
    ----------
    raw : UTF-8, with or without a byte order mark.
    limit : bytes that the document may have.

    Raises
    ------
    FormatError
        For whatever the module names, and for what is not JSON; nothing of the content is repeated beyond 40 characters.

    Examples
    --------
    >>> encode(decode('{"resourceType":"Basic","x":1.00}'))
    b'{"resourceType":"Basic","x":1.00}'
    """
    if len(raw) > limit:
        raise FormatError(
            "the document is too large", seen=f"{len(raw)} bytes", expected=f"at most {limit}", fix="split it, or raise the limit"
        )
    text = _text(raw)
    _check_depth(text)
    try:
        tree = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        seen = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise FormatError("not JSON", seen=seen, expected="one JSON document", fix="correct it at its source") from None
    except RecursionError:
        raise FormatError("nested too deep", expected=f"at most {DEPTH} levels", fix="refuse the sender") from None
    if "\\u" in text and _SURROGATE.search(text):
        try:
            encode(tree)
        except UnicodeEncodeError:
            raise FormatError("half a character", seen="a lone surrogate", expected="UTF-8 text", fix="correct it at its source") from None
    return _tuple(tree) if tree.__class__ is list else tree


def decode_lines(raw: bytes, *, limit: int = BODY) -> Iterator[Any]:
    """Read NDJSON, one document per line; empty lines and a missing last newline are of no consequence.

    Raises
    ------
    FormatError
        With the number of the line.
    """
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip():
            try:
                yield decode(line, limit=limit)
            except FormatError as error:
                raise FormatError(f"line {number}: {error.what}", seen=error.seen, expected=error.expected, fix=error.fix) from None


def _write(value: Any, out: list[str]) -> None:
    kind = value.__class__
    if kind is str:
        out.append(encode_basestring(value))
    elif isinstance(value, dict):
        mark = "{"
        for key, item in value.items():
            out += (mark, encode_basestring(key), ":")
            _write(item, out)
            mark = ","
        out.append("}" if mark == "," else "{}")
    elif kind is tuple or kind is list:
        mark = "["
        for item in value:
            out.append(mark)
            _write(item, out)
            mark = ","
        out.append("]" if mark == "," else "[]")
    elif value is None:
        out.append("null")
    elif kind is bool:
        out.append("true" if value else "false")
    elif isinstance(value, (int, Decimal)):
        out.append(number_text(value))
    elif isinstance(value, float) and value - value == 0:
        out.append(repr(value))
    elif isinstance(value, str):
        out.append(encode_basestring(str(value)))
    else:
        raise FormatError("a value that JSON does not know", seen=kind.__name__, expected="text, number, truth value, array or object")


def encode(tree: Any) -> bytes:
    """Write a tree as compact JSON in UTF-8: keys in their order, numbers with their digits."""
    out: list[str] = []
    _write(tree, out)
    return "".join(out).encode("utf-8")


def thaw(tree: Any) -> Any:
    """Return a copy that can be changed: dicts and lists."""
    if isinstance(tree, dict):
        return {key: thaw(value) for key, value in tree.items()}
    return [thaw(item) for item in tree] if isinstance(tree, (tuple, list)) else tree


def freeze(tree: Any) -> Any:
    """Return a tree of dicts and lists as :func:`decode` would have made it; floats become decimals of their shortest form."""
    if isinstance(tree, Element):
        return tree
    if isinstance(tree, dict):
        return Element((str(key), freeze(value)) for key, value in tree.items())
    if isinstance(tree, (tuple, list)):
        return tuple(freeze(item) for item in tree)
    return read_number(repr(tree)) if isinstance(tree, float) else tree
