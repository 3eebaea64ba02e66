"""An append-only trail of who did what, when and with which files: each line carries the hash of the one before, so that no line can go or change unseen.

It is made in the manner of 21 CFR 11.10(e): computer-generated, time-stamped, earlier entries never obscured. Who someone is, the system that runs it
must know; here a name is what was given.

References
----------
US FDA, 21 CFR Part 11, Electronic Records; Electronic Signatures, 11.10(e).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemel.core.errors import DataError, FormatError
from gemel.core.lineage import digest

__all__ = ["Entry", "appended", "entries", "verify_trail"]

START = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the trail.

    Parameters
    ----------
    number : from 1.
    who, when, what : name as given, ISO 8601 time in UTC, the action in words.
    inputs, outputs : name -> SHA-256.
    previous : hash of the line before; zeros for the first.
    """

    number: int
    who: str
    when: str
    what: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    previous: str

    @property
    def hash(self) -> str:
        """Hash of everything in the line."""
        return digest(self.told())

    def told(self) -> dict[str, Any]:
        """Return the entry as plain values, without its hash."""
        return {
            "number": self.number, "who": self.who, "when": self.when, "what": self.what, "inputs": dict(self.inputs), "outputs": dict(self.outputs), "previous": self.previous,
        }  # fmt: skip


def entries(text: str) -> tuple[Entry, ...]:
    """Read a trail, without judging it.

    Raises
    ------
    FormatError
        When a line is not an entry.
    """
    found = []
    for i, line in enumerate(text.splitlines(), start=1):
        try:
            told = json.loads(line)
            told.pop("hash")
            found.append(Entry(**told))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FormatError(
                "a line of the trail is no entry", seen=f"line {i}", expected="one JSON object a line, as it was written"
            ) from error
    return tuple(found)


def appended(text: str, *, who: str, when: str, what: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """Return the line to be appended to a trail that holds.

    Parameters
    ----------
    text : the trail as it is; empty for a new one.

    Raises
    ------
    DataError
        When nobody is named, or the trail is broken: nothing is appended to it.
    """
    if not who.strip():
        raise DataError("an entry of the trail needs a name", seen="none", expected="who did it", fix="--who NAME")
    wrong = verify_trail(text)
    if wrong:
        raise DataError("the trail is broken, so that nothing is appended", seen=wrong[0], expected="every line as it was written", fix="find out who changed it, and begin another trail")  # fmt: skip
    before = entries(text)
    entry = Entry(len(before) + 1, who.strip(), when, what, dict(inputs), dict(outputs), before[-1].hash if before else START)
    return json.dumps(entry.told() | {"hash": entry.hash}, ensure_ascii=False) + "\n"


def verify_trail(text: str) -> tuple[str, ...]:
    """Say what is wrong with a trail; empty when every line is as it was written and none is missing before the last.

    Lines cut off at the end leave a trail that holds: compare the number of entries with what was signed.
    """
    if text and not text.endswith("\n"):
        return (f"line {len(text.splitlines())} was not written to its end",)
    try:
        found = entries(text)
    except FormatError as error:
        return (f"{error.what}: {error.seen}",)
    wrong, previous = [], START
    for i, (entry, line) in enumerate(zip(found, text.splitlines(), strict=True), start=1):
        told = json.loads(line)["hash"]
        if entry.hash != told:
            wrong.append(f"line {i} was changed")
        if entry.previous != previous or entry.number != i:
            wrong.append(f"line {i} does not follow the one before")
        previous = told
    return tuple(wrong)
