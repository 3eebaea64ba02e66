"""Promises: a fact counts once, and the order of arrival does not matter."""

from __future__ import annotations

import numpy as np

from gemel.core.record import Fact, PatientRecord
from gemel.core.time import MINUTE
from gemel.engine.status import Status
from gemel.engine.twin import Twin, assimilate
from gemel.testing.report import require
from gemel.testing.subject import Subject, fingerprint

__all__ = ["check_arrivals", "check_duplicates"]


def _equal(a: Twin, b: Twin) -> bool:
    pairs = list(zip(fingerprint(a), fingerprint(b), strict=True))
    return all(x.shape == y.shape and np.array_equal(x, y, equal_nan=True) for x, y in pairs)


def check_duplicates(subject: Subject) -> str:
    """Send every fact again, as it was and with a later recorded time; assimilate twice."""
    record, now, twin = subject.record, subject.now, subject.twin
    again = record.with_facts(*record.facts())
    echoes: list[Fact] = [s.model_copy(update={"recorded": np.maximum(s.recorded, now - MINUTE)}) for s in record.series]
    echoes += [e.model_copy(update={"recorded": max(e.recorded, now - MINUTE)}) for e in record.exposures]
    for what, doubled in (("the same facts sent twice", again), ("the same facts recorded again later", record.with_facts(*echoes))):
        require(
            _equal(twin, subject.calibrate(doubled, now)),
            f"a duplicate counts twice: {what} changed the twin",
            fix="use record.as_of(now), which keeps the newest version of each fact",
        )
    base, then = subject.split()
    early = subject.calibrate(base, then, name="early")
    once = assimilate(early, record, now)
    twice = assimilate(once, again, now)
    require(_equal(once, twice), "assimilating the same record twice is not the same as once")
    return "sent twice, recorded twice, assimilated twice: counted once"


def check_arrivals(subject: Subject) -> str:
    """Let the facts after three quarters of the record arrive at once, in two orders of two batches; the twins must be equal."""
    base, then = subject.split()
    now = subject.now
    early = subject.calibrate(base, then, name="early")
    batches = _batches(subject.record, then)
    now = max(now, then + 2 * MINUTE)
    whole = assimilate(early, base.with_facts(*(_known(f, now) for b in batches for f in b)), now + 2 * MINUTE)
    for order in ((0, 1), (1, 0)):
        record, twin = base, early
        for step, index in enumerate(order):
            moment = now + step * MINUTE
            record = record.with_facts(*(_known(f, moment) for f in batches[index]))
            twin = assimilate(twin, record, moment)
            require(twin.status != Status.RECALIBRATED, "a fact after the calibration led to a recalibration", seen=twin.sentence)
        twin = assimilate(twin, record, now + 2 * MINUTE)
        require(
            _equal(whole, twin),
            "the order of arrival changes the twin",
            seen=f"batches {order} against all at once",
            fix="fold noise from the slot, and let slots() depend on the facts alone",
        )
    return f"{sum(len(f) if f.kind == 'series' else 1 for b in batches for f in b)} facts in three orders of arrival gave one twin"


def _batches(record: PatientRecord, then: int) -> tuple[list[Fact], list[Fact]]:
    batches: tuple[list[Fact], list[Fact]] = ([], [])
    for series in record.series:
        new = series.between(then + 1, 2**62)
        for parity in (0, 1):
            part = new.take(np.arange(len(new)) % 2 == parity)
            if len(part):
                batches[parity].append(part)
    for i, exposure in enumerate(e for e in record.exposures if e.start > then):
        batches[i % 2].append(exposure)
    return batches


def _known(fact: Fact, moment: int) -> Fact:
    if fact.kind == "series":
        return fact.model_copy(update={"recorded": np.full(len(fact), moment)})
    return fact.model_copy(update={"recorded": moment})
