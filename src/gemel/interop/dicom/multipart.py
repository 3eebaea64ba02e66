"""Bodies of several parts, as DICOMweb sends and receives them.

References
----------
RFC 2046, 5.1 (multipart); RFC 2387 (multipart/related); DICOM PS3.18 2024e, 8.6.1 (multipart payload).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gemel.core.errors import FormatError

__all__ = ["boundary_of", "join_parts", "media_type_of", "split_parts"]

_BOUNDARY = re.compile(r"""(?:^|;)\s*boundary=(?:"([^"]{1,70})"|([0-9A-Za-z'()+_,./:=?-]{1,70}))\s*(?:;|$)""", re.IGNORECASE)
_TYPE = re.compile(r"""(?:^|;)\s*type=(?:"([^"]+)"|([^;"\s]+))\s*(?:;|$)""", re.IGNORECASE)
_MOST_PARTS = 10_000
_MOST_HEAD = 8192


def boundary_of(content_type: str) -> str:
    """Return the boundary that a content type names.

    Raises
    ------
    FormatError
        When it is no multipart, or names none.

    Examples
    --------
    >>> boundary_of('multipart/related; type="application/dicom"; boundary=a1')
    'a1'
    """
    found = _BOUNDARY.search(content_type) if content_type.lower().startswith("multipart/") else None
    if found is None:
        raise FormatError("a body without a boundary", seen="another content type", expected="multipart/related; boundary=...")
    return found[1] or found[2]


def media_type_of(content_type: str) -> str:
    """Return the media type of the parts, in lower case; empty when it is not said.

    Examples
    --------
    >>> media_type_of('multipart/related; type="application/dicom"; boundary=a1')
    'application/dicom'
    """
    found = _TYPE.search(content_type)
    return (found[1] or found[2]).lower() if found else ""


def split_parts(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    """Return the content type and the bytes of each part.

    Raises
    ------
    FormatError
        When the body has no parts, too many, or is cut off.
    """
    mark = b"\r\n--" + boundary.encode("ascii", "strict")
    body = b"\r\n" + body  # the first delimiter may stand at the very beginning
    at = body.find(mark)
    if at < 0:
        raise FormatError("a body without parts", seen="the boundary does not occur", expected="multipart/related")
    found: list[tuple[str, bytes]] = []
    while True:
        at += len(mark)
        if body[at : at + 2] == b"--":
            return found
        line = body.find(b"\r\n", at, at + 100)
        end = body.find(mark, at)
        if line < 0 or end < 0:
            raise FormatError(
                "a body that is cut off", seen=f"after {len(found)} parts", expected="a closing boundary", fix="send it again"
            )
        head = line if body[line : line + 4] == b"\r\n\r\n" else body.find(b"\r\n\r\n", line, min(end, line + _MOST_HEAD))
        if head < 0 or body[at:line].strip(b" \t"):
            raise FormatError("a part without headers", seen=f"part {len(found) + 1}", expected="Content-Type and an empty line")
        kind = ""
        for header in body[line:head].decode("latin-1").split("\r\n"):
            name, _, value = header.partition(":")
            if name.strip().lower() == "content-type":
                kind = value.strip()
        found.append((kind, body[head + 4 : end]))
        if len(found) > _MOST_PARTS:
            raise FormatError(
                "too many parts", seen=f"more than {_MOST_PARTS}", expected=f"at most {_MOST_PARTS}", fix="send fewer at once"
            )
        at = end


def join_parts(parts: Sequence[bytes], boundary: str, *, media_type: str = "application/dicom") -> bytes:
    """Put parts into one body.

    Raises
    ------
    FormatError
        When the boundary occurs in a part: choose another.
    """
    mark = b"--" + boundary.encode("ascii", "strict")
    if any(mark in part for part in parts):
        raise FormatError("the boundary occurs in a part", seen="the same bytes", expected="a random boundary", fix="choose another")
    head = b"\r\nContent-Type: " + media_type.encode("ascii", "strict") + b"\r\n\r\n"
    return b"".join(mark + head + part + b"\r\n" for part in parts) + mark + b"--\r\n"
