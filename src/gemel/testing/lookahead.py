"""Promise: a fact recorded later cannot change an earlier forecast."""

from __future__ import annotations

import numpy as np

from gemel.core.record import Exposure, PatientRecord, Quantity
from gemel.core.time import HOUR, MINUTE
from gemel.testing.report import require
from gemel.testing.subject import Subject, fingerprint

__all__ = ["check_lookahead", "with_late_facts"]


def with_late_facts(record: PatientRecord, now: int) -> PatientRecord:
    """Return the record with facts that became known an hour after ``now``: corrections, late readings, new ones, and doses."""
    recorded = now + HOUR
    facts: list = []
    for series in record.series:
        part = series.current()
        corrected = part.take(np.arange(len(part)) % 3 == 0)
        late = part.take(np.arange(len(part)) % 5 == 1)
        value = {"value": corrected.value * 1.3 + 0.1, "recorded": np.full(len(corrected), recorded)}
        facts.append(corrected.model_copy(update=value))
        shift = {"time": late.time + 7 * MINUTE, "value": late.value * 0.7, "recorded": np.full(len(late), recorded)}
        kept = late.model_copy(update=shift)
        facts.append(kept.take(kept.time <= now))
        new = {"time": np.array([now + 30 * MINUTE]), "value": part.value[-1:] * 1.2, "recorded": np.array([recorded])}
        facts.append(part.take(np.array([len(part) - 1])).model_copy(update=new))
    for exposure in record.exposures:
        if exposure.quantity is not None:
            more = Quantity(value=exposure.quantity.value * 1.5, unit=exposure.quantity.unit)
            facts.append(exposure.model_copy(update={"quantity": more, "recorded": recorded}))
            facts.append(Exposure(code=exposure.code, quantity=more, start=now - HOUR, recorded=recorded, source="late"))
    return record.with_facts(*facts)


def check_lookahead(subject: Subject) -> str:
    """Calibrate at now, then look at the record two hours later, then calibrate at now again with all that is known: nothing may have changed."""
    now, twin = subject.now, subject.twin
    full = with_late_facts(subject.record, now)
    before = subject.forecast(twin)
    for later in (now + 2 * HOUR,):
        known = full.as_of(later)
        subject.model.observe(known, later)
        subject.model.domain(known, later)
    subject.calibrate(full, now + 2 * HOUR, name="later")
    again = subject.calibrate(full, now)
    same = [np.array_equal(a, b, equal_nan=True) for a, b in zip(fingerprint(twin), fingerprint(again), strict=True)]
    require(
        all(same), "a fact recorded later changed an earlier posterior", fix="read record.as_of(now) only, and keep nothing between calls"
    )
    after = subject.forecast(again)
    require(
        np.array_equal(before.draws, after.draws),
        "a fact recorded later changed an earlier forecast",
        fix="read record.as_of(now) only, and keep nothing between calls",
    )
    require(
        before.status == after.status,
        "a fact recorded later changed the status of an earlier forecast",
        seen=after.status.name,
        expected=before.status.name,
    )
    return f"{sum(map(len, full.series)) - sum(map(len, subject.record.series))} later readings left the forecast as it was"
