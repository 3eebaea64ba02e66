"""What leaves: JSON, tables for people, and files that are replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import click

__all__ = ["atomic_write", "echo", "note", "number", "plain", "print_json", "print_table"]


def plain(value: Any) -> Any:
    """Return a value as JSON knows it; a number that is not finite becomes null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def print_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    click.echo(json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False))


def echo(text: str) -> None:
    """Print a line to standard output."""
    click.echo(text)


def note(text: str) -> None:
    """Print a line to standard error."""
    click.echo(text, err=True)


def number(value: Any, digits: int = 4) -> str:
    """Write a number for a table; what is missing is a dash."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return str(value)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
    """Print a table to standard output; columns in ``right`` are aligned there."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 160)
    if title:
        echo(title)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(number(cell)) for cell in row))
    console.print(table)


def atomic_write(path: Path, body: bytes) -> None:
    """Write a file under a temporary name in the same folder, then rename it: it is there whole, or as it was.

    Raises
    ------
    DataError
        When the folder is not there or may not be written to.
    """
    from gemel.core.errors import DataError

    temporary = ""
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "is a folder")
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".gemel-", suffix=path.suffix, delete=False) as stream:
            temporary = stream.name
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            "the file cannot be written",
            seen=f"{path}: {error.strerror}",
            expected="a writable folder",
            fix="check path, permissions and space",
        ) from error
    finally:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
