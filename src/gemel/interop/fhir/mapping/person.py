"""Patient: who it is, as far as a twin may know: sex, age, zone, death; identifiers and merges for the store.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/patient.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from gemel.core.code import Code
from gemel.core.record import Demographics, Finding
from gemel.core.time import DAY
from gemel.interop.fhir.mapping.base import Merge, Refused
from gemel.interop.fhir.mapping.stamps import Task, recorded_of
from gemel.interop.fhir.mapping.values import interval_of, items, patient_of, text_of

__all__ = ["DEATH", "map_patient"]

DEATH = Code.parse("gemel:death", "Death")
_SEX: dict[str, Literal["female", "male", "other", "unknown"]] = {
    "female": "female",
    "male": "male",
    "other": "other",
    "unknown": "unknown",
}
_YEAR = 365.25 * DAY


def map_patient(task: Task) -> None:
    """Map a Patient. Names, addresses and contacts stay in the resource."""
    resource, out, site = task.resource, task.out, task.site
    out.read += 1
    id = text_of(resource.get("id"))
    if not id:
        raise Refused("patient-unclear", "a Patient without an id", "load it through a server, which gives one")
    out.patient = f"{site.prefix}{id}"
    recorded = recorded_of(task)
    out.identifiers = tuple(
        (text_of(one.get("system")), value)
        for one in items(resource.get("identifier"))
        if isinstance(one, Mapping) and (value := text_of(one.get("value")))
    )
    at = recorded
    died = resource.get("deceasedDateTime")
    if isinstance(died, str):
        low, high = interval_of(died, site.zone)
        if low > task.received:
            task.repair("a death in the future: left out")
        else:
            at = low
            known = max(recorded_of(task, time=low), low)
            out.findings.append(Finding(code=DEATH, time=low, recorded=known, source=task.source, id=task.fact_id("death")))
            if high - low > DAY:
                task.repair("a death known to a month or a year: its begin taken")
    elif resource.get("deceasedBoolean") is True:
        task.repair("died, and nobody says when: no fact")
    out.demographics = Demographics(sex=_SEX.get(text_of(resource.get("gender")), "unknown"), age=_age(task, at), zone=site.zone)
    for link in items(resource.get("link")):
        if not isinstance(link, Mapping):
            continue
        kind = link.get("type")
        if kind not in ("replaced-by", "replaces"):
            continue  # seealso and refer: two records of one person that stay two
        try:
            other = patient_of(link.get("other"), site, task.resolve)
        except Refused:
            task.repair("a link to somebody who cannot be told: not merged")
            continue
        if other == out.patient:
            task.repair("a link to itself: not merged")
        elif kind == "replaces":
            out.merges.append(Merge(out.patient, other, recorded))
        else:
            out.merges.append(Merge(other, out.patient, recorded))
    out.mapped += 1


def _age(task: Task, at: int) -> float | None:
    born = task.resource.get("birthDate")
    if not isinstance(born, str):
        return None
    try:
        low, high = interval_of(born, task.site.zone)
    except Refused:
        task.repair("a date of birth that cannot be read: age left open")
        return None
    if len(born) < 10:
        task.repair("a date of birth known to a month or a year: its middle taken for the age")
        low = (low + high) // 2
    years = (at - low) / _YEAR
    if not 0 <= years <= 130:
        task.repair("an age below 0 or above 130: left open")
        return None
    return round(years, 1)
