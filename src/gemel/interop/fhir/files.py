"""Files of resources: JSON, NDJSON or XML, plain, in gzip or in a zip, none of which may become larger than was agreed.

A bomb is stopped while it is unpacked, by what has come out of it, never by what it says of itself.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator

from gemel.core.errors import FormatError
from gemel.interop.archives import UNREADABLE
from gemel.interop.fhir.codec import BODY, Element, decode, decode_lines
from gemel.interop.fhir.xml import decode_xml

__all__ = ["MEMBERS", "read_resources", "unpack"]

MEMBERS = 10_000
"""How many files an archive may hold."""
_ENDS = (".json", ".ndjson", ".xml", ".gz")


def _too_large(name: str, limit: int) -> FormatError:
    return FormatError(
        f"{name} becomes too large when it is unpacked",
        seen=f"more than {limit} bytes",
        expected=f"at most {limit}",
        fix="refuse the sender",
    )


def _gunzip(raw: bytes, name: str, limit: int) -> bytes:
    out, size = [], 0
    try:
        while raw:
            stream = zlib.decompressobj(wbits=31)
            piece = stream.decompress(raw, limit - size + 1)
            size += len(piece)
            if size > limit:
                raise _too_large(name, limit)
            if not stream.eof:
                raise FormatError(f"{name} ends too soon", seen=f"{size} bytes", expected="a whole gzip file", fix="fetch the file again")
            out.append(piece)
            raw = stream.unused_data
    except zlib.error as error:
        raise FormatError(f"{name} is not gzip", seen=str(error)[:60], expected="a gzip file", fix="fetch the file again") from None
    return b"".join(out)


def _zipped(raw: bytes, name: str, limit: int) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and one.filename.lower().endswith(_ENDS)]
            if len(members) > MEMBERS:
                raise FormatError(f"{name} holds too many files", seen=len(members), expected=f"at most {MEMBERS}", fix="split the archive")
            left = limit
            for one in members:
                with archive.open(one) as stream:
                    body = stream.read(left + 1)
                left -= len(body)
                if left < 0:
                    raise _too_large(name, limit)
                yield f"{name}:{one.filename}", body
    except UNREADABLE as error:
        raise FormatError(
            f"{name} is not a zip that can be read", seen=type(error).__name__, expected="a zip without a password", fix="pack it again"
        ) from None


def unpack(raw: bytes, name: str, *, limit: int = BODY) -> Iterator[tuple[str, bytes]]:
    """Return the files in a file: of a zip each that may hold resources, of gzip its content, else itself; names are only for messages.

    Raises
    ------
    FormatError
        When more than ``limit`` bytes come out in all, or it cannot be unpacked.
    """
    if raw[:4] == b"PK\x03\x04":
        for inner, body in _zipped(raw, name, limit):
            yield (inner, _gunzip(body, inner, limit)) if body[:2] == b"\x1f\x8b" else (inner, body)
    elif raw[:2] == b"\x1f\x8b":
        yield name.removesuffix(".gz"), _gunzip(raw, name, limit)
    else:
        yield name, raw


def read_resources(raw: bytes, name: str, *, limit: int = BODY) -> Iterator[tuple[str, Element]]:
    """Read every resource of a file, with a name for messages; lines of NDJSON are counted from 1.

    Raises
    ------
    FormatError
        When something in it is no resource in JSON or XML, or a limit is passed.
    """
    for inner, body in unpack(raw, name, limit=limit):
        start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if start == b"<":
            yield inner, decode_xml(body, limit=limit)
            continue
        if inner.lower().endswith(".ndjson"):
            trees = [(f"{inner}:{i}", tree) for i, tree in enumerate(decode_lines(body, limit=limit), 1)]
        else:
            trees = [(inner, decode(body, limit=limit))]
        for place, tree in trees:
            if not isinstance(tree, Element):
                raise FormatError(
                    f"{place} is not a resource", seen=type(tree).__name__, expected="an object with resourceType", fix="check the file"
                )
            yield place, tree
