"""What ``gemel serve --demo`` shows: one real person of a public data set, as if the last reading came just now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gemel.cli.demo.metabolic import DATASET
from gemel.cli.output import note

if TYPE_CHECKING:
    from gemel.core.record import PatientRecord
    from gemel.platform.store import Store

__all__ = ["admit", "moved"]

ROOM = "metabolic"


def moved(record: PatientRecord, by: int) -> PatientRecord:
    """Return a record with every time moved by so many ns: intervals stay as they were."""
    series = tuple(s.model_copy(update={"time": s.time + by, "recorded": s.recorded + by}) for s in record.series)
    exposures = tuple(
        e.model_copy(update={"start": e.start + by, "end": e.end + by, "recorded": e.recorded + by}) for e in record.exposures
    )
    findings = tuple(f.model_copy(update={"time": f.time + by, "recorded": f.recorded + by}) for f in record.findings)
    return record.model_copy(update={"series": series, "exposures": exposures, "findings": findings})


def _show(store: Store, time: int) -> None:
    """Put one person into an empty store, and ask for their twin."""
    from gemel.core.errors import DatasetError
    from gemel.core.time import MINUTE
    from gemel.interop.wearables import read_all
    from gemel.platform.datasets import resolve

    try:
        record, _ = next(iter(read_all(resolve(DATASET), format=DATASET)))
    except (DatasetError, StopIteration) as error:
        what = error.what if isinstance(error, DatasetError) else "it is empty"
        note(f"nobody is shown: the data set {DATASET} cannot be had ({what}); gemel import puts others into the store")
        return
    last = max(int(s.time[-1]) for s in record.series if len(s.time))
    record = moved(record, time - 5 * MINUTE - last)
    name = f"demo-{record.id}"
    store.append(name, record.facts(), recorded=time, demographics=record.demographics)
    body = {"patient": name, "twin": ROOM, "now": time, "seed": 1}
    store.enqueue("calibrate", f"demonstration/{name}", json.dumps(body), now=time, patient=name)


def admit(store: Store) -> None:
    """Let the physician of the demonstration treat everybody in a store of its own: one that was empty, or that was made for this.

    Raises
    ------
    ConfigurationError
        When the store has patients and was not made for a demonstration.
    """
    from gemel.cli.stores import now
    from gemel.core.errors import ConfigurationError, GemelError
    from gemel.core.manifest import installed
    from gemel.platform.consent import Consent
    from gemel.platform.store.consents import consents_of, put_consent
    from gemel.platform.store.relations import Relation, put_care, treated_by
    from gemel.server.run import DEMO

    time = now()
    if store.marked("demonstration") is None:
        if store.patients():
            raise ConfigurationError(
                "the demonstration lets anybody in, and this store has patients",
                expected="an empty store, or one that was made for a demonstration",
                fix="gemel serve --demo --new --db FILE, then gemel import into that",
            )
        store.mark("demonstration", "yes", recorded=time)
        _show(store, time)
    models = frozenset(f"{told.id}@{told.version.partition('.')[0]}" for told in installed().values() if not isinstance(told, GemelError))
    known = treated_by(store, DEMO.who, time=time)
    for patient in store.patients():
        subject = store.subject(patient)
        if subject not in known:
            put_care(store, patient, Relation(DEMO.who, "care", time), recorded=time)
        if not consents_of(store, subject)[1]:
            put_consent(store, patient, Consent("demonstration", patient, base=True, given=time, models=models), recorded=time)
