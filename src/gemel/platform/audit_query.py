"""Entries of an audit trail about one patient: only theirs are parsed and opened."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from gemel.core.errors import FormatError, StoreError
from gemel.platform.audit import Sealer, bound

__all__ = ["entries_about", "opened"]


def entries_about(path: Path, subject: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the entries about a patient (random id) after a number, sealed as they are, without judging the trail.

    Raises
    ------
    FormatError
        When a line that names them is no entry.
    """
    mark = b'"' + subject.encode() + b'"'
    with path.open("rb") as trail:
        for line in trail:
            if mark not in line or not line.endswith(b"\n"):  # the last may be being written just now
                continue
            try:
                told = json.loads(line)
                about = told.get("subject", told.get("patient"))
                number = told["seq"]
            except (ValueError, KeyError, AttributeError) as error:
                raise FormatError("a line of the trail is no entry", fix="gemel audit verify says what is wrong") from error
            if about == subject and number > after:
                yield told


def opened(entry: dict[str, Any], sealer: Sealer) -> dict[str, Any]:
    """Return an entry with what was sealed of it; as it is where its key is gone."""
    if "sealed" not in entry:
        return entry
    told = dict(entry)
    with suppress(StoreError):
        told |= json.loads(sealer.open(entry["subject"], base64.b64decode(entry["sealed"]), bound(entry["seq"], entry["time"])))
        del told["sealed"]
    return told
