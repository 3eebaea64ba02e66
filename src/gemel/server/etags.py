"""Entity tags: what has not changed is not sent again, and what has changed since it was read is not overwritten.

References
----------
RFC 9110, sections 8.8.3 (ETag), 13.1.1 (If-Match), 13.1.2 (If-None-Match).
"""

from __future__ import annotations

import re

from gemel.core.errors import ConflictError, FormatError

__all__ = ["etag", "is_known", "require_match"]

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')


def etag(*parts: object) -> str:
    """Return a strong tag of a state."""
    return '"' + ".".join(str(part) for part in parts) + '"'


def _tags(header: str) -> list[tuple[bool, str]] | None:
    """Return (is weak, tag) of each entry; ``None`` for ``*``."""
    if header.strip() == "*":
        return None
    found = []
    for part in header.split(","):
        told = _TAG.fullmatch(part)
        if told is None:
            raise FormatError("not an entity tag", expected='"TAG", as the ETag of an answer says', fix="send it with its quotation marks")
        found.append((told[1] is not None, f'"{told[2]}"'))
    return found


def is_known(header: str | None, tag: str) -> bool:
    """Say whether ``If-None-Match`` names a tag: the weak comparison. What cannot be read names nothing."""
    if header is None:
        return False
    try:
        found = _tags(header)
    except FormatError:
        return False
    return found is None or any(told == tag for _, told in found)


def require_match(header: str | None, tag: str) -> None:
    """Refuse a change of something that is not as ``If-Match`` says: the strong comparison.

    Raises
    ------
    ConflictError
        When it has changed, or the header is missing.
    """
    if header is None:
        raise ConflictError(
            "whoever changes this must say which state they saw", seen="no If-Match", expected="If-Match with the ETag of the last answer",
            fix="read it, then send its ETag", is_stale=True,
        )  # fmt: skip
    found = _tags(header)
    if found is not None and not any(not weak and told == tag for weak, told in found):
        raise ConflictError("it has changed since it was read", expected=tag, fix="read it again, and decide anew", is_stale=True)
