"""Promise: a plan against itself differs by exactly zero."""

from __future__ import annotations

import numpy as np

from gemel.engine.forecast import compare
from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["check_comparison"]


def check_comparison(subject: Subject) -> str:
    """Compare each of the room's plans with itself, and what is known with ``None``."""
    twin = subject.twin
    require(
        twin.domain.reason is None,
        "the simulated person lies outside the validated domain",
        seen=twin.domain.sentence,
        fix="simulate people whom the room is for",
    )
    plans = dict(subject.room.plans(twin))
    require(plans, "the room offers no plan", fix="name at least one in plans.py")
    doubled = {f"{name} {copy}": plan for name, plan in plans.items() for copy in ("once", "again")}
    found = compare(
        twin,
        {"nothing else": None, "as observed": twin.observed.plan, **doubled},
        subject.room.times(twin),
        n=32,
        key=subject.key("compare"),
    )
    pairs = [("nothing else", "as observed"), *((f"{name} once", f"{name} again") for name in plans)]
    for output in subject.model.outputs:
        for a, b in pairs:
            gap = found.difference(a, b, output=output.name)
            require(
                gap.size and (gap == 0).all(),
                f"plan {a!r} against itself does not differ by 0",
                seen=np.abs(gap).max() if gap.size else "no draws",
            )
    return f"{len(pairs)} plans against themselves: exactly 0"
