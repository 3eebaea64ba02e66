"""The way back: what came as FHIR leaves as it came, what came otherwise as resources made of its facts, so that each thing is there once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gemel.core.record import PatientRecord
from gemel.interop.fhir.codec import encode, freeze
from gemel.interop.fhir.portable import resources_of
from gemel.platform.store import Store
from gemel.platform.store.resources import Resources

__all__ = ["Leaving", "exported", "made_of"]

_AT_ONCE = 256
_CAME = "fhir:"


class Leaving(NamedTuple):
    """One resource on its way out: its type, its bytes, and whether it leaves as it came."""

    kind: str
    body: bytes
    is_original: bool


def exported(store: Store, *, patient: str | None = None) -> Iterator[Leaving]:
    """Yield the newest version of every resource that came as FHIR and was kept, then what the other facts come to.

    Parameters
    ----------
    patient : pseudonym of the one person; left out, everybody, and what is nobody's.
    """
    resources = Resources(store)
    where, values = ("", ()) if patient is None else (" WHERE pid = ?", (store.subject(patient),))
    with store._transaction("read") as database:
        nums = [
            num for (num,) in database.execute(f"SELECT max(num) FROM resource{where} GROUP BY ref ORDER BY max(num)", values).fetchall()
        ]
    for at in range(0, len(nums), _AT_ONCE):
        versions = [one for one in resources.rows(nums[at : at + _AT_ONCE]) if not one.deleted]
        for one, body in zip(versions, resources.bodies(versions), strict=True):
            yield Leaving(one.kind, body, True)
    for name in store.patients() if patient is None else (patient,):
        yield from made_of(store.record(name), came=bool(nums))


def made_of(record: PatientRecord, *, came: bool = False) -> Iterator[Leaving]:
    """Yield a record as resources.

    Parameters
    ----------
    came : leave out what came as FHIR, since it leaves as it came.
    """
    if came:
        record = record.model_copy(
            update={
                name: tuple(one for one in getattr(record, name) if not one.source.startswith(_CAME))
                for name in ("series", "exposures", "findings", "documents")
            }
        )
        if not any(True for _ in record.facts()):
            return
    for number, one in enumerate(resources_of(record, patient=record.id)):
        if came and number == 0:
            continue  # the Patient has left already
        yield Leaving(str(one["resourceType"]), encode(freeze(one)), False)
