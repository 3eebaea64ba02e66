"""Text: parts of it, searching, replacing, and encodings. Patterns are matched in time that grows with the text, whatever the pattern.

References
----------
FHIRPath 2.0.0, section 5.6; HL7 FHIR R4, FHIRPath supplements.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
from collections.abc import Callable
from typing import Any

from gemel.interop.fhir.fhirpath.context import TEXT, Context, Function, Items, failed, integer, text
from gemel.interop.fhir.fhirpath.regex import compiled

__all__ = ["FUNCTIONS"]


def _short(found: str) -> Items:
    if len(found) > TEXT:
        raise failed("a text grows too long", len(found), f"at most {TEXT} characters")
    return [found]


def _of(call: Callable[..., Any], name: str) -> Callable[..., Items]:
    """A function of one text and of texts that are its arguments; empty when any is missing."""

    def run(ctx: Context, focus: Items, *arguments: Items) -> Items:  # noqa: ARG001
        values = [text(items, f"{name}()") for items in (focus, *arguments)]
        return [] if None in values else [call(*values)]

    return run


def _substring(ctx: Context, focus: Items, start: Items, length: Items | None = None) -> Items:  # noqa: ARG001
    whole, first = text(focus, "substring()"), integer(start, "substring()")
    if whole is None or first is None or not 0 <= first < len(whole):
        return []
    count = None if length is None else integer(length, "substring()")
    return [whole[first:] if count is None else whole[first : first + max(count, 0)]]


def _replace(ctx: Context, focus: Items, old: Items, new: Items) -> Items:  # noqa: ARG001
    whole, a, b = text(focus, "replace()"), text(old, "replace()"), text(new, "replace()")
    if whole is None or a is None or b is None:
        return []
    count = len(whole) + 1 if not a else whole.count(a)
    if len(whole) + count * len(b) > TEXT:
        raise failed("a text grows too long", len(whole) + count * len(b), f"at most {TEXT} characters")
    return [whole.replace(a, b)]


def _matches(ctx: Context, focus: Items, pattern: Items, whole: bool = False) -> Items:
    value, expression = text(focus, "matches()"), text(pattern, "matches()")
    if value is None or expression is None:
        return []
    machine = compiled(expression)
    ctx.spend(machine.size * (len(value) + 1) // 50)
    return [(machine.full(value) if whole else machine.find(value, 0)) is not None]


def _replace_matches(ctx: Context, focus: Items, pattern: Items, new: Items) -> Items:
    value, expression, put = (text(items, "replaceMatches()") for items in (focus, pattern, new))
    if value is None or expression is None or put is None:
        return []
    if not expression:
        return [value]
    machine = compiled(expression)
    out, at, length = [], 0, 0
    while at <= len(value):
        ctx.spend(machine.size * (len(value) - at + 1) // 50)
        found = machine.find(value, at)
        if found is None:
            break
        start, end = found[0] or 0, found[1] or 0
        piece = value[at:start] + _filled(put, value, found)
        length += len(piece)
        if length > TEXT:
            raise failed("a text grows too long", length, f"at most {TEXT} characters")
        out.append(piece)
        if end == start:
            out.append(value[end : end + 1])
            end += 1
        at = end
    return _short("".join(out) + value[at:])


def _filled(put: str, value: str, found: tuple[int | None, ...]) -> str:
    """The replacement with ``$1`` and ``${name}`` of the groups put in."""
    if "$" not in put and "\\" not in put:
        return put
    out, i = [], 0
    while i < len(put):
        if put[i] == "\\" and i + 1 < len(put):
            out.append(put[i + 1])
            i += 2
        elif put[i] == "$" and put[i + 1 : i + 2].isdigit():
            group = int(put[i + 1])
            start, end = (found[2 * group], found[2 * group + 1]) if 2 * group + 1 < len(found) else (None, None)
            out.append("" if start is None or end is None else value[start:end])
            i += 2
        else:
            out.append(put[i])
            i += 1
    return "".join(out)


def _split(ctx: Context, focus: Items, mark: Items) -> Items:  # noqa: ARG001
    whole, between = text(focus, "split()"), text(mark, "split()")
    if whole is None or between is None:
        return []
    return list(whole) if not between else list(whole.split(between))


def _join(ctx: Context, focus: Items, mark: Items | None = None) -> Items:  # noqa: ARG001
    parts = [text([item], "join()") for item in focus]
    between = "" if mark is None else text(mark, "join()") or ""
    return _short(between.join(part for part in parts if part is not None))  # of nothing an empty text, as the tests of SQL on FHIR ask


_ENCODE: dict[str, Callable[[bytes], bytes]] = {"hex": binascii.hexlify, "base64": base64.b64encode, "urlbase64": base64.urlsafe_b64encode}
_DECODE: dict[str, Callable[[bytes], bytes]] = {
    "hex": binascii.unhexlify,
    "base64": base64.b64decode,
    "urlbase64": base64.urlsafe_b64decode,
}


def _coded(table: dict[str, Callable[[bytes], bytes]], name: str) -> Callable[..., Items]:
    def run(ctx: Context, focus: Items, kind: Items) -> Items:  # noqa: ARG001
        value, chosen = text(focus, f"{name}()"), text(kind, f"{name}()")
        if value is None or chosen is None:
            return []
        if chosen not in table:
            raise failed(f"{name}(): no such encoding", chosen, "hex, base64 or urlbase64")
        try:
            return _short(table[chosen](value.encode("utf-8")).decode("utf-8"))
        except (ValueError, binascii.Error):
            return []

    return run


def _escape(ctx: Context, focus: Items, kind: Items) -> Items:  # noqa: ARG001
    value, chosen = text(focus, "escape()"), text(kind, "escape()")
    if value is None:
        return []
    if chosen == "html":
        return _short(html.escape(value, quote=False).replace('"', "&quot;"))
    if chosen == "json":
        return _short(json.dumps(value, ensure_ascii=False)[1:-1])
    raise failed("escape(): no such target", chosen, "html or json")


def _unescape(ctx: Context, focus: Items, kind: Items) -> Items:  # noqa: ARG001
    value, chosen = text(focus, "unescape()"), text(kind, "unescape()")
    if value is None:
        return []
    if chosen == "html":
        return [html.unescape(value)]
    if chosen == "json":
        try:
            found = json.loads(f'"{value}"')
        except ValueError:
            return []
        return [found]
    raise failed("unescape(): no such target", chosen, "html or json")


_PLAIN: dict[str, tuple[Callable[..., Any], int]] = {
    "startsWith": (str.startswith, 1), "endsWith": (str.endswith, 1), "contains": (lambda whole, part: part in whole, 1),
    "indexOf": (str.find, 1), "lastIndexOf": (str.rfind, 1), "upper": (str.upper, 0), "lower": (str.lower, 0), "trim": (str.strip, 0),
    "length": (len, 0),
}  # fmt: skip
_MORE: dict[str, tuple[Callable[..., Items], int, int]] = {
    "substring": (_substring, 1, 2), "replace": (_replace, 2, 2), "matches": (_matches, 1, 1),
    "matchesFull": (lambda _, focus, pattern: _matches(_, focus, pattern, whole=True), 1, 1), "replaceMatches": (_replace_matches, 2, 2),
    "toChars": (lambda _, focus: list(text(focus, "toChars()") or ""), 0, 0), "split": (_split, 1, 1), "join": (_join, 0, 1),
    "encode": (_coded(_ENCODE, "encode"), 1, 1), "decode": (_coded(_DECODE, "decode"), 1, 1), "escape": (_escape, 1, 1),
    "unescape": (_unescape, 1, 1),
}  # fmt: skip
FUNCTIONS = {name: Function(_of(call, name), count, count) for name, (call, count) in _PLAIN.items()} | {
    name: Function(*row) for name, row in _MORE.items()
}
