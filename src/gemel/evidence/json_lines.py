"""Files that are only ever appended to: one JSON object a line, each written whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gemel.core.errors import FormatError

__all__ = ["append_lines", "read_lines"]


def append_lines(path: Path, tables: Iterable[Mapping[str, Any]]) -> None:
    """Append objects in one write, and wait until the disk has them; a line whose end is missing gets it first."""
    text = "".join(json.dumps(table, sort_keys=True) + "\n" for table in tables)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as sink:
        if sink.tell():
            sink.seek(-1, os.SEEK_END)
            text = text if sink.read() == b"\n" else "\n" + text
        sink.write(text.encode())
        sink.flush()
        os.fsync(sink.fileno())


def read_lines(path: Path, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read objects with the place of each, such as ``runs.jsonl, line 3``.

    Raises
    ------
    FormatError
        When a line is no JSON object; a last line without an end was cut off while it was written.
    """
    text = path.read_bytes().decode("utf-8", errors="replace")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        place = f"{path.name}, line {number}"
        try:
            table = json.loads(line)
        except json.JSONDecodeError:
            table = None
        if not isinstance(table, dict):
            cut = number == len(lines) and not text.endswith("\n")
            raise FormatError(
                f"the last line was cut off while it was written: {what} is lost" if cut else f"not {what}",
                seen=f"{place}: {line[:60]!r}",
                expected="one JSON object per line",
                fix="delete this line only, and run again: all lines above it stand"
                if cut
                else "restore the file; lines are only appended",
            )
        yield place, table
