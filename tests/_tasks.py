"""Tasks that a spawned process can import by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def die_once(item: tuple[str, int]) -> int:
    """Kill the own process if the mark is not there yet, else return the number."""
    mark, number = Path(item[0]), item[1]
    if number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number
