"""A calibration as a task of an executor: one person of a cohort; the process may be told to end in the middle of one (SIGKILL)."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path


def calibrate_one(item: tuple[str, int, bool]) -> tuple[int, str, int]:
    """Calibrate person ``item[1]``; return their number, the hash of the twin, and the process that made it. Where ``item[2]`` says so, the first to try ends before it is done."""
    folder, number, is_fatal = item
    import jax

    import gemel
    from gemel.engine import serialise

    record, now, _ = gemel.room("toy-growth").simulate_record(jax.random.key(number))
    mark = Path(folder) / f"{number}.begun"
    with mark.open("a") as sink:
        sink.write("x")
    if is_fatal and mark.read_text() == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    twin = gemel.calibrate("toy-growth", record, now, key=jax.random.fold_in(jax.random.key(0), number))
    return number, hashlib.sha256(serialise.dump(twin)).hexdigest(), os.getpid()
