"""Files that are whole or not there: written under a temporary name, synced, renamed, and the folder synced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["TEMPORARY", "whole"]

TEMPORARY = ".part"
"""How the name of a file ends that is being written."""


@contextmanager
def whole(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Open a file that takes its name when the block ends, and is gone when it fails.

    Raises
    ------
    OSError
        When the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
