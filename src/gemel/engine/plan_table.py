"""Plans as tables: what a person or a program writes down, for any twin.

A plan changes what is already known and scheduled, from the twin's *now* on.

::

    {
      "base": "as known",                       // or "nothing": what was given before now stays, what was to come is dropped
      "scale": [{"channel": "insulin", "factor": 0.8}],
      "shift": [{"channel": "insulin", "by_min": 15}],
      "events": [{"channel": "insulin", "after_min": 10, "amount": 4, "unit": "[iU]", "duration_min": 0}]
    }

Every part may be left out. ``after_min`` counts from *now* (of ``scale`` and ``shift``: from when on; left out, from now). ``unit`` is
UCUM and is converted to the channel's; left out, it is the channel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gemel.engine.plan import Plan
    from gemel.engine.twin import Twin

__all__ = ["build_plan"]

_PARTS = {
    "scale": {"channel", "factor", "after_min"}, "shift": {"channel", "by_min", "after_min"},
    "events": {"channel", "after_min", "amount", "unit", "duration_min"},
}  # fmt: skip


def build_plan(table: Mapping[str, Any], twin: Twin, name: str) -> Plan:
    """Return the plan of a parsed file for this twin.

    Raises
    ------
    FormatError
        When a part, a channel or a number is not understood.
    """
    import numpy as np

    from gemel.core.errors import FormatError
    from gemel.core.units import convert
    from gemel.engine.plan import Plan

    channels = [channel.name for channel in twin.model.channels]
    now = float(twin.model_time(np.array([twin.now]))[0])

    def entries(part: str) -> list[dict[str, Any]]:
        found = table.get(part, [])
        if not isinstance(found, list) or not all(isinstance(entry, dict) and set(entry) <= _PARTS[part] for entry in found):
            raise FormatError(
                f"part {part!r} of plan {name!r} is not understood",
                seen=found,
                expected=f"a list of tables with {', '.join(sorted(_PARTS[part]))}",
            )
        return found

    def value(entry: Mapping[str, Any], key: str, default: float | None = None) -> float:
        found = entry.get(key, default)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not np.isfinite(found):
            raise FormatError(f"plan {name!r} lacks a number", seen=f"{key} = {found!r}", expected="a finite number")
        return float(found)

    def channel(entry: Mapping[str, Any]) -> int:
        if entry.get("channel") not in channels:
            raise FormatError(
                f"plan {name!r} acts on a channel that the twin does not have", seen=entry.get("channel"), expected=", ".join(channels)
            )
        return channels.index(entry["channel"])

    def moment(entry: Mapping[str, Any]) -> float:
        return now + value(entry, "after_min", 0.0) / twin.model.minutes

    unknown = sorted(set(table) - {"base", *_PARTS})
    base = table.get("base", "as known")
    if unknown or base not in ("as known", "nothing"):
        raise FormatError(
            f"plan {name!r} is not understood",
            seen=", ".join(unknown) or base,
            expected="base ('as known' or 'nothing'), scale, shift, events",
        )
    plan = twin.observed.plan
    if base == "nothing":
        plan = Plan.of([event for event in plan.events if event[0] < now])
    for entry in entries("scale"):
        plan = plan.scaled(channel(entry), value(entry, "factor"), after=moment(entry))
    for entry in entries("shift"):
        plan = plan.shifted(channel(entry), value(entry, "by_min") / twin.model.minutes, after=moment(entry))
    events = []
    for entry in entries("events"):
        i = channel(entry)
        amount = float(convert(value(entry, "amount"), entry.get("unit", twin.model.channels[i].unit), twin.model.channels[i].unit))
        events.append((moment(entry), value(entry, "duration_min", 0.0) / twin.model.minutes, amount, i))
    return plan.with_events(*events) if events else plan
