"""XML of any length from strangers: one element at a time, document types thrown away unread, entities refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NoReturn
from xml.parsers import expat

from gemel.core.errors import DataError, FormatError
from gemel.interop.archives import UNREADABLE
from gemel.interop.wearables.base import Source

__all__ = ["read_elements"]

_CHUNK = 1 << 18
_LONGEST = 1 << 34  # bytes after unpacking: ten times the largest personal export that has been heard of (3 GB)
_PROLOGUE = 1 << 20  # what may stand before the root: Apple's document type has 10 kB
_SILENCE = 1 << 25  # bytes without an element: no attribute is as long
_MAX_DEPTH = 32
_CONTROLS = bytes(code for code in range(32) if code not in (9, 10, 13))  # no XML 1.0 may hold them; iOS 16 wrote 0x0B


def _chunks(source: Source) -> Iterator[bytes]:
    total = 0
    try:
        with source.stream() as stream:
            while chunk := stream.read(_CHUNK):
                total += len(chunk)
                if total > _LONGEST:
                    raise FormatError(
                        f"{source.base} is too large", seen=f"more than {_LONGEST >> 30} GiB unpacked", expected="one person's export"
                    )
                yield chunk
    except UNREADABLE as error:
        raise FormatError(
            f"{source.base} cannot be unpacked", seen=type(error).__name__, fix="export it again, or unpack it first"
        ) from error


def _without_type(chunks: Iterator[bytes], root: str, name: str) -> Iterator[bytes]:
    """Cut out everything from the document type to the root: Apple's own was not well formed in iOS 16."""
    opening = re.compile(rb"<" + root.encode() + rb"[\s/>]")
    head = b""
    for chunk in chunks:
        head += chunk
        found = opening.search(head)
        if found is None and len(head) > _PROLOGUE:
            break
        if found is None:
            continue
        before = head[: found.start()]
        kind = re.search(rb"<!\s*DOCTYPE", before, re.IGNORECASE)
        if kind is not None:
            if re.search(rb"<!\s*ENTITY", before, re.IGNORECASE):
                raise FormatError(f"{name} declares entities", seen="<!ENTITY", expected="an export as the telephone wrote it")
            before = before[: kind.start()]
        yield before + head[found.start() :]
        yield from chunks
        return
    raise FormatError(
        f"{name} holds no <{root}>",
        seen=f"{len(head)} bytes before it",
        expected=f"XML in UTF-8 with the root {root}",
        fix="export it again",
    )


def read_elements(source: Source, root: str, start: Callable[[str, dict[str, str]], None], end: Callable[[str], None]) -> int:
    """Call ``start`` and ``end`` for every element, in the order of the file; nothing is kept.

    Parameters
    ----------
    source : UTF-8.
    root : name of the outermost element.

    Returns
    -------
    How many control characters were taken out, which XML does not allow.

    Raises
    ------
    FormatError
        When it is not well formed, cut off, nested too deeply, too long, or declares entities.
    """
    name = source.base
    parser = expat.ParserCreate("utf-8")
    depth = silent = removed = 0

    def refuse(*_: object) -> NoReturn:
        raise FormatError(f"{name} declares a document type or entities", seen="<!DOCTYPE or <!ENTITY", expected="plain XML")

    def opened(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, silent
        depth, silent = depth + 1, 0
        if depth == 1 and tag != root:
            raise FormatError(f"{name} is not an export of this kind", seen=f"<{tag[:20]}>", expected=f"<{root}>")
        if depth > _MAX_DEPTH:
            raise FormatError(f"{name} is nested too deeply", seen=f"more than {_MAX_DEPTH} levels", expected="a device's export")
        start(tag, attributes)

    def closed(tag: str) -> None:
        nonlocal depth
        depth -= 1
        end(tag)

    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        for chunk in _without_type(_chunks(source), root, name):
            clean = chunk.translate(None, _CONTROLS)
            removed += len(chunk) - len(clean)
            silent += len(clean)
            if silent > _SILENCE + _CHUNK:
                raise FormatError(
                    f"{name} holds an element without an end", seen=f"{silent} bytes", expected="elements of a few hundred bytes"
                )
            parser.Parse(clean, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise FormatError(
            f"{name} is not XML", seen=str(error)[:80], expected="well-formed UTF-8, to its end", fix="export it again"
        ) from error
    except UnicodeError as error:
        raise DataError(f"{name} is not text", seen=type(error).__name__, expected="UTF-8") from error
    return removed
