"""Pages: a cursor says after what the next one begins, and which snapshot all of them are of, so that nothing is skipped or seen twice while others write."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import orjson

from gemel.core.errors import FormatError

__all__ = ["read_cursor", "write_cursor"]

_LONGEST = 512


def write_cursor(what: str, *place: int | str) -> str:
    """Return a place as opaque text.

    Parameters
    ----------
    what : the list that it belongs to: a cursor of one list is refused by another.
    """
    return base64.urlsafe_b64encode(orjson.dumps([what, *place])).decode().rstrip("=")


def read_cursor(what: str, text: str | None, kinds: Sequence[type]) -> tuple | None:
    """Return the place that a cursor says; ``None`` without one.

    Raises
    ------
    FormatError
        When it is not one that this list gave out.
    """
    if text is None:
        return None
    wrong = FormatError("not a cursor of this list", expected="the value of 'next' of the page before", fix="begin without a cursor")
    if not text or len(text) > _LONGEST:
        raise wrong
    try:
        told = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise wrong from error
    if not isinstance(told, list) or len(told) != len(kinds) + 1 or told[0] != what:
        raise wrong
    for value, kind in zip(told[1:], kinds, strict=True):
        if type(value) is not kind or (kind is int and not -(2**63) <= value < 2**63):
            raise wrong
    return tuple(told[1:])
