"""Plans from files and by name; what stands in one says :mod:`gemel.engine.plan_table`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gemel.cli.priors import read_table
from gemel.engine.plan_table import build_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gemel.engine.plan import Plan
    from gemel.engine.room import Room
    from gemel.engine.twin import Twin

__all__ = ["build_plan", "named_plans"]


def named_plans(specs: Sequence[str], twin: Twin, room: Room) -> dict[str, Plan | None]:
    """Return the plans of ``--plan name=spec``: a JSON file, or one of the room's plans; left out, all of the room's.

    Raises
    ------
    FormatError
        When a specification is neither.
    """
    from gemel.core.errors import FormatError

    own = dict(room.plans(twin))
    if not specs:
        return own
    found: dict[str, Plan | None] = {}
    for spec in specs:
        name, _, source = spec.partition("=")
        source = source or name
        if source in own:
            found[name] = own[source]
        elif source in ("as known", ""):
            found[name] = None
        elif source.endswith((".json", ".toml")):
            found[name] = build_plan(read_table(Path(source)), twin, name)
        else:
            raise FormatError(
                "no such plan", seen=source, expected=f"a .json file, or one of: {', '.join(['as known', *own])}", fix="--plan NAME=SPEC"
            )
    return found
