"""Files written whole or not at all, and what a format has no place for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core import Code, Exposure, PatientRecord, iso
from gemel.core.errors import DataError

__all__ = ["FOREVER", "Left", "current", "identifier", "length_minutes", "milliseconds", "plain", "save_json", "stamp"]

FOREVER = (1 << 63) - 1  # ns UTC: as of then everything is known


@dataclass
class Left:
    """Counts what a format has no place for."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, count: int = 1) -> None:
        """Count something that is not written; no count, no entry."""
        if count:
            self.counts[what] = self.counts.get(what, 0) + count

    def listed(self) -> tuple[str, ...]:
        """What was left out, with counts."""
        return tuple(f"{what} ({count})" for what, count in self.counts.items())


def current(record: PatientRecord, left: Left, *, placed: Code | None = None) -> PatientRecord:
    """Return the current version of every fact; what was superseded or retracted is counted as left out, and every finding that is not ``placed``."""
    known = record.as_of(FOREVER)
    before = sum(len(s) for s in record.series) + len(record.exposures) + len(record.findings)
    after = sum(len(s) for s in known.series) + len(known.exposures) + len(known.findings)
    left.add("superseded versions", before - after)
    left.add("findings", sum(finding.code != placed for finding in known.findings))
    for name in ("documents", "geometry"):
        left.add(name, len(getattr(known, name)))
    return known


def identifier(*parts: object) -> str:
    """Return 24 hexadecimal digits that stay the same for the same content."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:24]


def milliseconds(ns: int) -> int:
    """Return ms since 1970, rounded up: nothing was known before it was."""
    return -(-ns // 1_000_000)


def stamp(ns: int) -> str:
    """Return ISO 8601 in UTC, to the ms."""
    return iso(milliseconds(ns) * 1_000_000)


def length_minutes(exposure: Exposure) -> float:
    """Return how long an exposure lasted."""
    return (exposure.end - exposure.start) / 60e9


def plain(value: Any) -> float:
    """Return a number as JSON writes it, without the noise of a conversion."""
    return float(np.round(float(value), 9))


def save_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON; the file is replaced only when the whole of it is written.

    Raises
    ------
    DataError
        When the file cannot be written.
    """
    target = Path(path)
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=".gemel-", suffix=".json", delete=False
        ) as stream:
            temporary = stream.name
            json.dump(content, stream, allow_nan=False, indent=1)
            stream.write("\n")
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise DataError(
            "the file cannot be written", seen=type(error).__name__, expected="a writable folder", fix="check path, permissions and space"
        ) from error
