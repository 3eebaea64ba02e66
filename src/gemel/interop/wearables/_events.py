"""Dated events of one person into facts: every reading, dose and rate goes through the shared checks here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from gemel.core import Code, Exposure, Finding, Quantity, Series
from gemel.core.errors import TimeError
from gemel.core.record import Fact
from gemel.core.series import EXACT, FINAL
from gemel.core.time import SECOND, iso
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._checks import check_amounts, check_glucose, check_measurements, check_rates, check_recorded
from gemel.interop.wearables.base import Notes

__all__ = ["Events"]

_SAME_BOLUS = 60 * SECOND
_GLUCOSE = (*facts.CGM.values(), *facts.CAPILLARY.values())
Row = tuple[int, float, int, int, int, int]  # time, value, recorded, censored, row, status


@dataclass
class Events:
    """Gathers what one person's export says, in any order, and makes facts of it.

    Identical facts enter once. Two different amounts for one moment (or one identifier) are reported; the one recorded later
    supersedes, and of two recorded at the same time the later in the file is kept.

    Parameters
    ----------
    name : how the file is called in messages.
    origin : source of the facts.
    notes : where repairs go.
    """

    name: str
    origin: str
    notes: Notes
    _readings: dict[tuple[Code, str, str], list[Row]] = field(default_factory=dict)
    _exposures: list[tuple[int, Exposure]] = field(default_factory=list)
    _findings: list[Finding] = field(default_factory=list)

    def reading(
        self,
        code: Code,
        unit: str,
        time: int,
        value: float,
        *,
        row: int,
        recorded: int | None = None,
        censored: int = EXACT,
        source: str = "",
        status: int = FINAL,
    ) -> None:
        """Add one measurement."""
        rows = self._readings.setdefault((code, unit, source or self.origin), [])
        rows.append((time, value, time if recorded is None else recorded, censored, row, status))

    def dose(
        self,
        code: Code,
        unit: str,
        start: int,
        amount: float,
        *,
        row: int,
        end: int | None = None,
        recorded: int | None = None,
        id: str = "",
        note: str = "",
    ) -> None:
        """Add an amount taken at once or, with ``end``, evenly until then. Zero: not logged."""
        check_amounts(np.array([amount]), np.array([row]), code=code, unit=unit, name=self.name)
        if amount > 0:
            self._add(code, Quantity(value=amount, unit=unit), start, start if end is None else end, recorded, row, id, note)

    def rate(self, start: int, end: int, value: float, *, row: int, recorded: int | None = None, note: str = "", id: str = "") -> None:
        """Add a pump rate in U/h from ``start`` to ``end``; zero is a pump that stands still."""
        check_rates(np.array([value]), np.array([row]), self.name)
        if end != start:
            self._add(facts.INSULIN_RAPID, Quantity(value=value, unit=facts.BASAL_UNIT), start, end, recorded, row, id, note)

    def span(
        self,
        code: Code,
        start: int,
        end: int,
        *,
        row: int,
        quantity: Quantity | None = None,
        recorded: int | None = None,
        note: str = "",
        id: str = "",
    ) -> None:
        """Add something that lasted: sleep, exercise. It is known when it has ended, unless the source says otherwise."""
        self._add(code, quantity, start, end, max(start, end) if recorded is None else recorded, row, id, note)

    def finding(self, finding: Finding) -> None:
        """Add an event without an amount."""
        if finding in self._findings:
            self.notes.repair(f"{finding.code.display or finding.code}: duplicates counted once", 1)
        else:
            self._findings.append(finding)

    @property
    def bounds(self) -> tuple[int, int] | None:
        """First and last moment of anything that was added, ns UTC."""
        times = [row[0] for rows in self._readings.values() for row in rows]
        times += [moment for _, e in self._exposures for moment in (e.start, e.end)]
        return (min(times), max(times)) if times else None

    def _add(self, code: Code, quantity: Quantity | None, start: int, end: int, recorded: int | None, row: int, id: str, note: str) -> None:
        if end < start:
            raise TimeError(
                f"entry {row} of {self.name} ends before it starts",
                seen=f"{iso(start)} to {iso(end)}",
                expected="an end at or after the start",
                fix="correct the entry, or the clock that went backwards",
            )
        known = start if recorded is None else recorded
        check_recorded(np.array([start]), np.array([known]), np.array([row]), self.name)
        if not id and end > start and quantity is not None and quantity.unit != facts.BASAL_UNIT:
            id = f"{self.origin}:{code}:{start}-{end}"  # else it would supersede a dose that begins at the same moment
        self._exposures.append(
            (
                row,
                Exposure(
                    code=code,
                    quantity=quantity,
                    start=start,
                    end=end,
                    recorded=max(known, start),
                    source=self.origin,
                    id=id,
                    note=note,
                ),
            )
        )

    def _series(self, code: Code, unit: str, source: str, rows: list[Row]) -> Series | None:
        time, value, recorded, censored, row, status = (np.array(column) for column in zip(*rows, strict=True))
        value = value.astype(np.float64)
        censored = censored.astype(np.int8)
        if code in _GLUCOSE:
            check_glucose(value, censored, unit, lambda index: int(row[index]), self.name, self.notes)
        else:
            check_measurements(value, row, code=code, unit=unit, name=self.name)
        order = np.argsort(time, kind="stable")  # exports list the newest first, or by kind: not a fault of the clock
        return facts.glucose_series(
            time[order], value[order], censored[order], recorded[order], row[order], code=code, unit=unit, source=source,
            name=self.name, notes=self.notes, gaps=code in facts.CGM.values(), status=status.astype(np.uint8)[order],
        )  # fmt: skip

    def _once(self) -> list[Exposure]:
        kept: dict[tuple[str, ...], Exposure] = {}
        contents: set[tuple[object, ...]] = set()
        versions: list[Exposure] = []
        for row, exposure in self._exposures:
            what = exposure.code.display or str(exposure.code)
            content = (exposure.code, exposure.start, exposure.end, exposure.quantity, exposure.note)
            if content in contents:
                self.notes.repair(f"{what}: duplicates counted once", 1, row)
                continue
            contents.add(content)
            before = kept.get(exposure.key)
            if before is None:
                kept[exposure.key] = exposure
            elif before.recorded == exposure.recorded:
                self.notes.repair(f"{what}: two versions of one moment, the later entry kept", 1, row)
                kept[exposure.key] = exposure
            else:
                self.notes.repair(f"{what}: two versions of one moment, the one recorded later supersedes", 1, row)
                newer, older = (exposure, before) if exposure.recorded > before.recorded else (before, exposure)
                kept[exposure.key] = newer
                versions.append(older)
        return sorted([*kept.values(), *versions], key=lambda e: (e.start, e.key))

    def _flag(self, doses: list[Exposure]) -> None:
        for code in dict.fromkeys(e.code for e in doses):
            same = [e for e in doses if e.code == code and e.start == e.end and e.quantity is not None and e.quantity.unit == "[iU]"]
            pairs = sum(
                1 for one, two in itertools.pairwise(same) if 0 < two.start - one.start <= _SAME_BOLUS and one.quantity == two.quantity
            )
            if pairs:
                self.notes.warn(
                    f"{pairs} pair(s) of identical doses of {code.display or code} within 60 s: both kept; "
                    "a double upload looks like this (merge_boluses merges them)"
                )

    def facts(self) -> list[Fact]:
        """Make the facts; says about order, duplicates, conflicts and gaps."""
        found: list[Fact] = []
        for (code, unit, source), rows in self._readings.items():
            series = self._series(code, unit, source, rows)
            found += [series] if series is not None else []
        doses = self._once()
        self._flag(doses)
        return [*found, *doses, *self._findings]
