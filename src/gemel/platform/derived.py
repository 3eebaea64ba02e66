"""What a twin says was made from somebody's facts, and may be read only where all of them may.

Which facts those are is known by the event up to which a version had read. They are asked about only where the consents of that person tell one fact from
another; then each class, code and stretch of time is asked about once, which decides the same as asking about each fact.

Readings carry no reference of the resource that they came from. A consent that names a resource of a class that facts come from is therefore read as naming what
was derived, and all readings of that class: the narrower reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from gemel.core.code import SYSTEMS, Code
from gemel.core.errors import AccessDenied
from gemel.core.geometry import Geometry
from gemel.core.record import Document, Exposure, Finding, PatientRecord
from gemel.core.series import Series
from gemel.platform.access import Resource
from gemel.platform.consent import Consent, Datum, Rule
from gemel.platform.guard import Caller, Guard
from gemel.platform.store import Store, lookup
from gemel.platform.store.versions import Version

__all__ = ["CLASSES", "derived_resource", "model_of", "readable", "shown_record", "sources", "tells_facts_apart"]

CLASSES: dict[str, tuple[str, ...]] = {
    "series": ("Observation",),
    "exposure": ("MedicationAdministration", "MedicationStatement", "MedicationRequest", "Procedure", "Immunization"),
    "finding": ("Observation", "Condition", "Procedure", "DiagnosticReport", "AllergyIntolerance", "Encounter"),
    "document": ("DocumentReference",),
    "geometry": ("ImagingStudy",),
}
"""Kind of fact -> the classes of resources that it may have come from: a consent that denies one of them denies what may be of it."""

_ALL = frozenset(kind for kinds in CLASSES.values() for kind in kinds)


def _rules(consents: Iterable[Consent]) -> Iterator[Rule]:
    waiting = [rule for consent in consents for rule in consent.rules]
    while waiting:
        rule = waiting.pop()
        yield rule
        waiting += rule.rules


def _named(consents: Iterable[Consent]) -> tuple[str, ...]:
    """Return the resources that rules name, of classes that facts come from."""
    found = {ref for rule in _rules(consents) for meaning, ref in rule.data if meaning != "authoredby"}
    return tuple(sorted(ref for ref in found if ref.partition("/")[0] in _ALL))


def tells_facts_apart(consents: Iterable[Consent]) -> bool:
    """Say whether any rule names something of the data, so that one fact may be permitted and another not."""
    return any(
        rule.data_period is not None or rule.authors or rule.kinds or rule.codes or rule.labels or rule.data for rule in _rules(consents)
    )


def _codes(code: Code) -> frozenset[str]:
    return frozenset({f"{SYSTEMS[code.system]}|{code.code}"})


def _columns(record: PatientRecord) -> Iterator[tuple[str, frozenset[str], np.ndarray]]:
    """Yield kind, codes and times of everything in a record."""
    for fact in record.facts():
        if isinstance(fact, Series):
            yield "series", _codes(fact.code), fact.time
        elif isinstance(fact, (Exposure, Finding)):
            yield fact.kind, _codes(fact.code), np.array([fact.time])
        else:
            yield ("document" if isinstance(fact, Document) else "geometry"), frozenset(), np.array([fact.time])


def sources(record: PatientRecord, subject: str, consents: Iterable[Consent]) -> tuple[Datum, ...]:
    """Return the data that stand for a record when these consents are asked: of facts that no rule can tell apart there is one.

    Parameters
    ----------
    record : what was known.
    subject : random id of the patient.
    consents : of that patient.
    """
    consents = tuple(consents)
    edges = np.array(sorted({edge for rule in _rules(consents) if rule.data_period for edge in rule.data_period}), dtype=np.int64)
    found: dict[tuple[str, frozenset[str], int], Datum] = {}
    for kind, codes, times in _columns(record):
        places, first = np.unique(np.searchsorted(edges, times, side="right"), return_index=True)
        for place, index in zip(places.tolist(), first.tolist(), strict=True):
            for name in CLASSES[kind]:
                found.setdefault((name, codes, place), Datum(subject, kind=name, codes=codes, time=int(times[index])))
    return (*found.values(), *(Datum(subject, ref=ref, kind=ref.partition("/")[0]) for ref in _named(consents)))


def model_of(version: Version) -> str:
    """Return ``id@version`` of the model that said it; the room's id where nothing better was noted."""
    name = str(version.meta.get("model") or version.name.partition(":")[0])
    return f"{name}@{version.meta.get('model_version') or '0'}"


def derived_resource(store: Store, guard: Guard, kind: str, version: Version) -> Resource:
    """Return what must be asked about before a version is shown.

    Parameters
    ----------
    kind : class of what is shown, such as ``Forecast``: what scopes name.
    version : of the store, its ``patient`` the random id.
    """
    subject = version.patient
    datum = Datum(subject, ref=f"{kind}/{version.id}", kind=kind, time=version.recorded)
    consents = guard.consents(store, subject)
    if not tells_facts_apart(consents):
        return Resource(datum, model=model_of(version))
    record = store.record(lookup.pseudonym(store, subject), upto=version.upto_event)
    return Resource(datum, sources(record, subject, consents) or (datum,), model=model_of(version))


def readable(store: Store, guard: Guard, caller: Caller, action: str, record: PatientRecord, subject: str) -> PatientRecord:
    """Return a record without what the caller may not read; each fact must be permitted as every class that it may be of.

    Nothing is written down here: whoever shows it asks :meth:`~gemel.platform.guard.Guard.require` about the patient first.
    """
    consents = guard.consents(store, subject)
    if not tells_facts_apart(consents):
        return record
    edges = np.array(sorted({edge for rule in _rules(consents) if rule.data_period for edge in rule.data_period}), dtype=np.int64)
    named = _named(consents)
    known: dict[tuple[str, frozenset[str], int, tuple[str, ...]], bool] = {}

    def may(kind: str, codes: frozenset[str], time: int, id: str = "") -> bool:
        refs = tuple(ref for ref in named if (f"/{ref}/" in f"/{id}/" if id else ref.partition("/")[0] in CLASSES[kind]))
        place = kind, codes, int(np.searchsorted(edges, time, side="right")), refs
        found = known.get(place)
        if found is None:
            asked = [Datum(subject, kind=name, codes=codes, time=time) for name in CLASSES[kind]]
            asked += [Datum(subject, ref=ref, kind=ref.partition("/")[0], codes=codes, time=time) for ref in refs]
            found = known[place] = all(guard.decide(store, caller, action, Resource(datum)) for datum in asked)
        return found

    def rows(series: Series) -> Series:
        places, first, inverse = np.unique(np.searchsorted(edges, series.time, side="right"), return_index=True, return_inverse=True)
        allowed = np.array([may("series", _codes(series.code), int(series.time[i])) for i in first], bool)
        return series if len(places) and allowed.all() else series.take(allowed[inverse])

    def single(fact: Exposure | Finding | Document | Geometry) -> bool:
        if isinstance(fact, (Exposure, Finding)):
            return may(fact.kind, _codes(fact.code), fact.time, fact.id)
        return may("document" if isinstance(fact, Document) else "geometry", frozenset(), fact.time)

    return record.model_copy(
        update={
            "series": tuple(s for s in map(rows, record.series) if len(s)),
            **{name: tuple(filter(single, getattr(record, name))) for name in ("exposures", "findings", "documents", "geometry")},
        }
    )


def shown_record(
    store: Store, guard: Guard, caller: Caller, look: Callable[[], PatientRecord], subject: str, kind: str, *, action: str = "read"
) -> PatientRecord:
    """Return what the caller may read of a record, and write down that they did; where that is nothing they are refused.

    Parameters
    ----------
    look : reads the record, once it is known that some of it may be.
    subject : random id of the patient.
    kind : class of what is asked for, such as ``Observation``.

    Raises
    ------
    AccessDenied
    """
    datum = Datum(subject, f"{kind}?patient={subject}", kind)
    if not tells_facts_apart(guard.consents(store, subject)):
        guard.require(store, caller, action, Resource(datum))
        return look()
    guard.check(caller, action, kind)
    found = readable(store, guard, caller, action, look(), subject)
    if not any(True for _ in found.facts()):
        guard.log(caller, "deny", subject=subject, detail={"resource": datum.ref, "asked": action, "reason": "nothing of it is permitted"})
        raise AccessDenied()
    guard.log(caller, action, subject=subject, detail={"resource": datum.ref, "part": True})
    return found
