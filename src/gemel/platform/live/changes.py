"""From when on a twin now knows something else than it knew: which of its forecasts later facts have overtaken."""

from __future__ import annotations

import numpy as np

from gemel.core.lineage import digest_once
from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE
from gemel.engine.model import AbstractStateModel
from gemel.engine.twin import Twin

__all__ = ["changed_since"]


def changed_since(before: Twin, after: Twin, seen: PatientRecord | None, record: PatientRecord | None) -> int | None:
    """Return the earliest time (ns UTC) before the *now* of ``before`` about which ``after`` knows something else; ``None`` when there is none.

    Parameters
    ----------
    seen, record : what each had read, for models without a state, of which every fact is read again.

    Notes
    -----
    A twin with a state sees its past as slots: what changed none of them, a reading that is there already or lies outside the window, changed nothing.
    """
    model = before.model
    if isinstance(model, AbstractStateModel) and before.stream is not None and after.stream is not None:
        slot = round(model.slot * model.minutes * MINUTE)
        if before.epoch != after.epoch:
            return min(before.epoch, after.epoch)
        changed = after.stream.seen.first_difference(before.stream.seen)
        return before.epoch + changed * slot if changed < before.stream.seen.count else None
    if seen is None or record is None:
        return None
    times = _fresh(seen, record)
    late = [time for time in times if time <= before.now]
    return min(late) if late else None


def _fresh(seen: PatientRecord, record: PatientRecord) -> list[int]:
    """Return the true times of what is in one record and not in the other."""
    known = {(s.code, s.unit, s.source): s for s in seen.series}
    found: list[int] = []
    for series in record.series:
        old = known.get((series.code, series.unit, series.source))
        columns = [np.column_stack([s.time, s.recorded, s.status.astype(np.int64)]) for s in (series, old) if s is not None]
        rows = {tuple(row) for row in columns[0].tolist()} - ({tuple(row) for row in columns[1].tolist()} if len(columns) > 1 else set())
        found += [row[0] for row in rows]
    before = {digest_once(fact) for fact in (*seen.exposures, *seen.findings)}
    return found + [fact.time for fact in (*record.exposures, *record.findings) if digest_once(fact) not in before]
