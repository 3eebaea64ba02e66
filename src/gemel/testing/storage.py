"""Promise: a stored twin gives bit-identical forecasts."""

from __future__ import annotations

import numpy as np

from gemel.engine import serialise
from gemel.engine.twin import assimilate
from gemel.testing.report import require
from gemel.testing.subject import Subject, fingerprint

__all__ = ["check_storage"]


def check_storage(subject: Subject) -> str:
    """Save, load, forecast and assimilate; compare with the twin that was never stored."""
    base, then = subject.split()
    twin = subject.calibrate(base, then, name="early")
    body = serialise.dump(twin)
    loaded = subject.stored(twin)
    require(
        serialise.dump(loaded) == body,
        "saving what was loaded gives other bytes",
        fix="context(leaves) must rebuild every array of the context",
    )
    for a, b, what in (
        (twin, loaded, "forecast"),
        (assimilate(twin, subject.record, subject.now), assimilate(loaded, subject.record, subject.now), "assimilation"),
    ):
        same = all(np.array_equal(x, y, equal_nan=True) for x, y in zip(fingerprint(a), fingerprint(b), strict=True))
        require(same, f"the {what} of a loaded twin starts from another posterior or state")
        first, second = subject.forecast(a), subject.forecast(b)
        require(
            first.status == second.status,
            f"the {what} of a loaded twin has another status",
            seen=second.status.name,
            expected=first.status.name,
        )
        gap = np.abs(first.draws - second.draws).max() if first.draws.size else 0.0
        require(
            np.array_equal(first.draws, second.draws),
            f"the {what} of a loaded twin differs",
            seen=f"largest difference {gap:.2e}",
            expected="bit-identical draws",
        )
    require(len(subject.forecast(subject.stored(subject.twin)).draws), "the stored twin gives no forecast at all")
    return f"{len(body)} bytes, bit-identical"
