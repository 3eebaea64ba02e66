"""Drugs and vaccines: what was given or taken is an exposure; what was only ordered is a finding, since an order is no dose.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/medicationadministration.html, medicationstatement.html, medicationrequest.html, immunization.html, dosage
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemel.core.code import Code
from gemel.core.errors import UnitError
from gemel.core.record import Exposure, Finding, Quantity
from gemel.core.series import ENTERED_IN_ERROR, FINAL, PRELIMINARY
from gemel.core.units import parse_unit
from gemel.interop.fhir.mapping.base import Refused
from gemel.interop.fhir.mapping.stamps import Moment, Task, interval_finding, moment_of, recorded_of, true_at
from gemel.interop.fhir.mapping.values import code_of, concept_text, first_moment, items, number_of, plain_number, quantity_of, text_of

__all__ = ["PRESCRIPTION", "map_administration", "map_immunization", "map_request", "map_statement"]

PRESCRIPTION = Code.parse("gemel:prescription", "A drug is ordered; whether it is taken is not known")

_GIVEN = {"completed": FINAL, "stopped": FINAL, "in-progress": PRELIMINARY, "on-hold": PRELIMINARY, "unknown": PRELIMINARY, "entered-in-error": ENTERED_IN_ERROR}  # fmt: skip
_TAKEN = {"active": FINAL, "completed": FINAL, "stopped": FINAL, "recorded": FINAL, "on-hold": PRELIMINARY, "unknown": PRELIMINARY, "entered-in-error": ENTERED_IN_ERROR}  # fmt: skip
_ORDERED = {"active": FINAL, "completed": FINAL, "stopped": FINAL, "ended": FINAL, "on-hold": PRELIMINARY, "unknown": PRELIMINARY, "entered-in-error": ENTERED_IN_ERROR, "cancelled": ENTERED_IN_ERROR}  # fmt: skip
_PERIODS = frozenset({"s", "min", "h", "d", "wk", "mo", "a"})


def _status(task: Task, known: Mapping[str, int], *nothing: str) -> int | None:
    """Return the status of its facts; None, and why it is kept, where nothing was done."""
    said = text_of(task.resource.get("status"))
    if said in nothing:
        task.keep(f"{said}: nothing was given")
        return None
    if said not in known:
        raise Refused("status-unknown", "a status that FHIR does not know", "correct it at its source")
    if said == "unknown":
        task.repair("status unknown: taken as preliminary")
    return known[said]


def _drug(task: Task) -> Code:
    """Return the code of a drug: in words of the resource, contained in it, or in the Medication that it refers to."""
    resource = task.resource
    concept = resource.get("medicationCodeableConcept") or resource.get("vaccineCode")
    reference = resource.get("medicationReference")
    both = resource.get("medication")  # R5: CodeableReference
    if isinstance(both, Mapping):
        concept, reference = concept or both.get("concept"), reference or both.get("reference")
    if concept is None and isinstance(reference, Mapping):
        target = text_of(reference.get("reference"))
        if target.startswith("#"):
            inner = (one for one in items(resource.get("contained")) if isinstance(one, Mapping) and f"#{one.get('id')}" == target)
            found = next(inner, None)
        else:
            found = task.resolve(target) if task.resolve is not None and target else None
        if found is None:
            raise Refused(
                "medication-elsewhere", "the drug stands in a Medication that is not here", "send the Medication first, or with it"
            )
        concept = found.get("code")
    code = code_of(concept, task.site)
    if code is None:
        raise Refused("code-unknown", "the drug has no code in a system that is read", "add the sender's code to the site's codes")
    return code if code.display else Code(system=code.system, code=code.code, display=concept_text(concept))


def _expose(task: Task, code: Code, quantity: Quantity | None, moment: Moment, recorded: int, status: int, note: str = "") -> None:
    until = moment.until or moment.time
    if until > recorded:
        task.repair("an end after it was recorded: known only up to then")
        until = recorded
    id = task.fact_id()
    task.out.exposures.append(
        Exposure(
            code=code,
            quantity=quantity,
            start=moment.time,
            end=until,
            recorded=recorded,
            status=status,
            source=task.source,
            id=id,
            note=note,
        )
    )
    if moment.coarse and (kept := interval_finding(task, id, moment, recorded, status)) is not None:
        task.out.findings.append(kept)
    task.out.mapped += 1


def map_administration(task: Task) -> None:
    """Map a MedicationAdministration: the whole dose over its period, or its rate."""
    task.out.read += 1
    resource = task.resource
    task.patient(resource.get("subject"))
    if (status := _status(task, _GIVEN, "not-done")) is None:
        task.out.read -= 1
        return
    code = _drug(task)
    moment = moment_of(task, "effective") or moment_of(task, "occurence") or moment_of(task, "occurrence")  # R5 spells it with one r
    if moment is None:
        raise Refused("time-missing", "nobody says when it was given", "have the sender fill effective[x]")
    recorded = true_at(task, moment.time, recorded_of(task, "recorded", time=moment.time))
    quantity = None
    if isinstance(dosage := resource.get("dosage"), Mapping):
        quantity = _given(task, dosage, lasts=moment.until is not None)
    if quantity is None and status != ENTERED_IN_ERROR:
        task.repair("given without an amount that can be read: amount left open")
    _expose(task, code, quantity, moment, recorded, status)


def _given(task: Task, dosage: Mapping[str, Any], *, lasts: bool) -> Quantity | None:
    if isinstance(dose := dosage.get("dose"), Mapping) and (found := quantity_of(dose, task.site)) is not None:
        return Quantity(value=found[0], unit=found[1])
    if not lasts:
        return None  # a rate of a moment is no amount
    if isinstance(rate := dosage.get("rateQuantity"), Mapping) and (found := quantity_of(rate, task.site)) is not None and "/" in found[1]:
        return Quantity(value=found[0], unit=found[1])
    return _ratio(task, dosage.get("rateRatio"))


def _ratio(task: Task, ratio: Any) -> Quantity | None:
    """Return ``1 L : 8 h`` as an amount over a time."""
    if not isinstance(ratio, Mapping):
        return None
    over, under = quantity_of(ratio.get("numerator"), task.site), quantity_of(ratio.get("denominator"), task.site)
    if over is None or under is None or not under[0] or "/" in under[1] or "." in under[1]:
        return None
    unit = f"{over[1]}/{under[1]}"
    try:
        parse_unit(unit)
    except UnitError:
        return None
    return Quantity(value=over[0] / under[0], unit=unit)


def map_statement(task: Task) -> None:
    """Map a MedicationStatement (R5: also the adherence that it states): what is taken, as a rate over its period where the dosage says one."""
    task.out.read += 1
    resource = task.resource
    task.patient(resource.get("subject"))
    if (status := _status(task, _TAKEN, "not-taken", "intended", "draft")) is None:
        task.out.read -= 1
        return
    adherence = resource.get("adherence")
    if isinstance(adherence, Mapping) and concept_text(adherence.get("code")).lower().startswith("not-taking"):
        task.keep("the person does not take it")
        task.out.read -= 1
        return
    code = _drug(task)
    moment = moment_of(task, "effective")
    if moment is None:
        raise Refused("time-missing", "nobody says when it was taken", "have the sender fill effective[x]")
    recorded = true_at(task, moment.time, recorded_of(task, "dateAsserted", time=moment.time))
    lines = [one for one in items(resource.get("dosage")) if isinstance(one, Mapping)]
    quantity = rate_of(task, lines[0]) if len(lines) == 1 else None
    if quantity is None and status != ENTERED_IN_ERROR:
        task.repair("taken without a dosage that can be read as a rate: amount left open")
    until = moment.until
    if until is None and resource.get("status") in ("active", "on-hold") and "effectivePeriod" in resource:
        task.repair("a period still open: known up to when it was recorded")
        until = recorded
    _expose(task, code, quantity, Moment(moment.time, until, moment.coarse), recorded, status, _words(lines))


def _words(lines: list[Mapping[str, Any]]) -> str:
    return "; ".join(text for one in lines if (text := text_of(one.get("text"))))[:200]


def rate_of(task: Task, dosage: Mapping[str, Any]) -> Quantity | None:
    """Return what a dosage amounts to, as an amount over a time: dose times frequency over period; None where it is as needed or not so plain."""
    if dosage.get("asNeededBoolean") is True or "asNeededCodeableConcept" in dosage or "asNeeded" in dosage:
        return None
    doses = [one for one in items(dosage.get("doseAndRate")) if isinstance(one, Mapping)]
    if len(doses) != 1:
        return None
    if (found := quantity_of(doses[0].get("rateQuantity"), task.site)) is not None and "/" in found[1]:
        return Quantity(value=found[0], unit=found[1])
    if (ratio := _ratio(task, doses[0].get("rateRatio"))) is not None:
        return ratio
    dose = quantity_of(doses[0].get("doseQuantity"), task.site)
    timing = dosage.get("timing")
    repeat = timing.get("repeat") if isinstance(timing, Mapping) else None
    if dose is None or not isinstance(repeat, Mapping):
        return None
    period, unit = plain_number(repeat.get("period")), text_of(repeat.get("periodUnit"))
    times = plain_number(repeat.get("frequency", 1))
    if (
        not period
        or times is None
        or unit not in _PERIODS
        or "/" in dose[1]
        or any(k in repeat for k in ("frequencyMax", "periodMax", "dayOfWeek"))
    ):
        return None
    return Quantity(value=dose[0] * times / period, unit=f"{dose[1]}/{unit}")


def map_request(task: Task) -> None:
    """Map a MedicationRequest: the finding that a drug is ordered."""
    task.out.read += 1
    resource = task.resource
    task.patient(resource.get("subject"))
    if text_of(resource.get("intent")) in ("proposal", "plan", "option"):
        task.keep(f"{resource['intent']}: not ordered")
        task.out.read -= 1
        return
    if resource.get("doNotPerform") is True:
        task.keep("an order not to give it")
        task.out.read -= 1
        return
    if (status := _status(task, _ORDERED, "draft")) is None:
        task.out.read -= 1
        return
    code = _drug(task)
    time = first_moment(resource.get("authoredOn"), task.site)
    if time is None:
        raise Refused("time-missing", "nobody says when it was ordered", "have the sender fill authoredOn")
    recorded = true_at(task, time, recorded_of(task, "authoredOn", time=time))
    task.out.findings.append(
        Finding(code=PRESCRIPTION, value=code, time=time, recorded=recorded, status=status, source=task.source, id=task.fact_id())
    )
    task.out.mapped += 1


def map_immunization(task: Task) -> None:
    """Map an Immunization: the vaccine as an exposure, its dose where it is an amount."""
    task.out.read += 1
    resource = task.resource
    task.patient(resource.get("patient"))
    if (status := _status(task, {"completed": FINAL, "entered-in-error": ENTERED_IN_ERROR}, "not-done")) is None:
        task.out.read -= 1
        return
    code = _drug(task)
    moment = moment_of(task, "occurrence")
    if moment is None:
        raise Refused("time-missing", "nobody says when it was given", "have the sender fill occurrenceDateTime")
    recorded = true_at(task, moment.time, recorded_of(task, "recorded", time=moment.time))
    quantity = None
    if isinstance(dose := resource.get("doseQuantity"), Mapping) and "value" in dose:
        try:
            value, unit, _, repaired = number_of(dose, task.site)
            task.repair(repaired)
            quantity = Quantity(value=value, unit=unit)
        except Refused:
            task.repair("the dose of a vaccine without a unit that can be read: amount left open")
    _expose(task, code, quantity, moment, recorded, status)
