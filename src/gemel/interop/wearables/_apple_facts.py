"""What was read of an Apple Health export becomes facts: converted, each entry once, sources that count the same thing merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from gemel.core import Quantity, Series
from gemel.core.errors import ValueRangeError
from gemel.core.record import Fact
from gemel.core.time import HOUR
from gemel.core.units import convert
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._apple_read import Column, Reader
from gemel.interop.wearables._apple_types import GLUCOSE, KINDS, Kind
from gemel.interop.wearables._checks import check_glucose
from gemel.interop.wearables._priority import Amounts, merge_by_priority, union

__all__ = ["Builder"]

_CLASSES = ("watch", "phone", "app")


def _joined(parts: Iterable[Amounts]) -> Amounts:
    return Amounts(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _taken(amounts: Amounts, which: np.ndarray) -> Amounts:
    return Amounts(*(column[which] for column in amounts))


class Builder:
    """Makes the facts of one export that has been read."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.name, self.notes, self.tally, self.events = reader, reader.name, reader.notes, reader.tally, reader.events

    def _order(self) -> list[int]:
        """Return the sources in the order in which they are believed."""
        kinds = [kind for _, kind in self.reader.sources]
        return sorted(range(len(kinds)), key=lambda number: (_CLASSES.index(kinds[number]), self.reader.first[number], number))

    def _cleaned(self, name: str, kind: Kind, unit: str | float, column: Column) -> Amounts:
        """Convert, refuse what nobody has, and count identical entries once."""
        rows = column.amounts()
        if not isinstance(unit, str):
            rows = rows._replace(value=rows.value * unit)
        elif name != "BloodGlucose":
            rows = rows._replace(value=np.asarray(convert(rows.value, unit, kind.unit)))
        bad = (rows.value < kind.low) | (rows.value > kind.high)
        if bad.any():
            what = f"{name} outside {kind.low:g} to {kind.high:g} {kind.unit}"
            self.reader.refuse(what, int(bad.sum()), int(rows.row[bad][0]))
            rows = _taken(rows, ~bad)
        order = np.lexsort((rows.row, rows.value, rows.recorded, rows.end, rows.start))
        same = np.ones(max(len(order) - 1, 0), bool)
        for values in rows[:4]:
            same &= np.diff(values[order]) == 0
        again = order[1:][same]
        if len(again):
            self.tally.duplicates += len(again)
            self.notes.repair(f"{name}: the same entry again, counted once", len(again), int(rows.row[again].min()))
        return _taken(rows, order[np.append(True, ~same)] if len(order) else order)

    def _reading(self, name: str, kind: Kind, unit: str | float, rows: Amounts, source: str) -> list[Series]:
        code, written = kind.code, kind.unit
        if name == "BloodGlucose":
            written = str(unit)
            code = GLUCOSE[written]
            check_glucose(
                rows.value, np.zeros(len(rows.value), np.int8), written, lambda index: int(rows.row[index]), self.name, self.notes
            )
            self.notes.warn(
                "blood glucose without its specimen: a sensor's and a finger's reading look the same here, so no twin takes it as a sensor's"
            )
            if gone := int(np.isnan(rows.value).sum()):
                self.reader.refuse("glucose of zero or less", gone, 0)
        found = int(np.isfinite(rows.value).sum())
        order = np.argsort(rows.end, kind="stable")
        rows = _taken(rows, order)
        series = facts.glucose_series(
            rows.end, rows.value, np.zeros(len(rows.value), np.int8), rows.recorded, rows.row, code=code, unit=written, source=source,
            name=self.name, notes=self.notes, gaps=False,
        )  # fmt: skip
        placed = 0 if series is None else len(series)
        self.tally.mapped += placed
        self.tally.duplicates += found - placed
        return [] if series is None else [series]

    def _counted(self, name: str, kind: Kind, levels: Sequence[Amounts]) -> list[Series]:
        merged, dropped, trimmed = merge_by_priority(levels)
        what = kind.code.display or name
        self.notes.repair(f"{what}: counted by two sources at once, taken from the first of watch, phone, apps", dropped)
        self.notes.repair(f"{what}: overlapping in part, the part that overlaps taken from the first of watch, phone, apps", trimmed)
        self.tally.duplicates += dropped
        self.tally.mapped += sum(len(level.row) for level in levels) - dropped
        if not len(merged.row):
            return []
        return [
            Series(
                code=kind.code,
                unit=kind.unit,
                time=merged.end,
                value=merged.value,
                recorded=np.maximum(merged.recorded, merged.end),
                source="apple-health",
            )
        ]

    def _eaten(self, name: str, kind: Kind, rows: Amounts) -> None:
        moments, place, count = np.unique(rows.start, return_inverse=True, return_counts=True)
        self.notes.repair(f"{name}: items of one moment added together", int(count[count > 1].sum()))
        total = np.bincount(place, rows.value, minlength=len(moments))
        for index, start in enumerate(moments.tolist()):
            mine = place == index if count[index] > 1 else slice(index, index + 1)
            known, row = int(rows.recorded[mine].max()), int(rows.row[mine].min())
            if total[index] == 0:
                self.reader.refuse(f"{name} of nothing", int(count[index]), row)
                continue
            try:
                self.events.dose(kind.code, kind.unit, start, float(total[index]), row=row, recorded=max(known, start))
            except ValueRangeError as error:
                self.reader.refuse(f"{name} at one moment: {error.expected} was expected", int(count[index]), row)
                continue
            self.tally.mapped += int(count[index])

    def _nights(self) -> None:
        """Stages that touch, and what two sources saw at once, become one stretch of sleep."""
        stretches = union([s for s, _, _ in self.reader.asleep], [e for _, e, _ in self.reader.asleep])
        if len(stretches) < len(self.reader.asleep):
            self.notes.repair("sleep: stages that touch or overlap joined", len(self.reader.asleep) - len(stretches))
        last = {end: 0 for _, end in stretches}
        index = 0
        for start, _, recorded in sorted(self.reader.asleep):
            while start > stretches[index][1]:
                index += 1
            last[stretches[index][1]] = max(last[stretches[index][1]], recorded)
        for start, end in stretches:
            hours = Quantity(value=(end - start) / HOUR, unit="h")
            self.events.span(facts.SLEEP, start, end, row=0, quantity=hours, recorded=last[end])

    def facts(self) -> list[Fact]:
        """Make the facts; every record is mapped, refused or a duplicate, or this fails."""
        order = self._order()
        labels: dict[int, str] = {}
        seen: Counter[str] = Counter()
        kinds = [kind for _, kind in self.reader.sources]
        for number in order:
            seen[kinds[number]] += 1
            labels[number] = f"apple-health:{kinds[number]}" + (f"-{seen[kinds[number]]}" if seen[kinds[number]] > 1 else "")
        found: list[Fact] = []
        for name, kind in KINDS.items():
            parts: dict[int, list[Amounts]] = {}
            for number in order:
                for (which, unit, source), column in self.reader.columns.items():
                    if which == name and source == number:
                        rows = self._cleaned(name, kind, unit, column)
                        if kind.way == "reading":
                            found += self._reading(name, kind, unit, rows, labels[number])
                        else:
                            parts.setdefault(number, []).append(rows)
            levels = [_joined(parts[number]) for number in order if number in parts]
            if kind.way == "counted" and levels:
                found += self._counted(name, kind, levels)
            elif kind.way == "eaten" and levels:
                rows = _joined(levels)
                self._eaten(name, kind, _taken(rows, np.argsort(rows.start, kind="stable")))
        self._nights()
        for what, (items, row) in self.reader.refused.items():
            self.notes.unclear(f"{what}, first in entry {row}", items)
            self.tally.refuse(what.split(" ")[0], f"entry {row}", what, items=items)
        if self.reader.left:
            self.tally.refuse("not used", "", "types and states that are not used", items=self.reader.left)
        self.tally.report()
        return [*found, *self.events.facts()]
