"""Conditions, allergies, procedures, stays, orders, reports, studies, samples and documents.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/condition.html and the pages of the other resources
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from gemel.core.code import Code
from gemel.core.record import Document, Exposure, Finding
from gemel.core.series import ENTERED_IN_ERROR, FINAL, PRELIMINARY
from gemel.interop.fhir import mcode
from gemel.interop.fhir.mapping.base import Refused
from gemel.interop.fhir.mapping.stamps import Moment, Task, interval_finding, moment_of, period_of, recorded_of, status_of, true_at
from gemel.interop.fhir.mapping.values import answer_of, code_of, concept_text, first_moment, interval_of, items, text_of
from gemel.interop.report import Refusal

__all__ = ["HOUSE", "map_allergy", "map_care_plan", "map_condition", "map_device", "map_document", "map_encounter", "map_procedure", "map_report",
           "map_service", "map_specimen", "map_study"]  # fmt: skip

HOUSE: dict[str, Code] = {
    name: Code.parse(f"gemel:{name}", display)
    for name, display in {
        "allergy": "Allergy or intolerance", "abatement": "A condition has ended", "admission": "Admission to hospital", "discharge": "Discharge from hospital",
        "encounter": "Encounter", "order": "Something is ordered", "specimen": "A sample was taken", "imaging-study": "Imaging study",
        "care-plan": "Care plan", "device": "A device is in or on the person", "report": "Report of a diagnostic service",
    }.items()
}  # fmt: skip
"""Codes of our own for what FHIR says by the type of a resource."""

_CONDITION = {"confirmed": FINAL, "": FINAL, "unconfirmed": PRELIMINARY, "provisional": PRELIMINARY, "differential": PRELIMINARY,
              "refuted": ENTERED_IN_ERROR, "entered-in-error": ENTERED_IN_ERROR}  # fmt: skip
_INPATIENT = frozenset({"IMP", "ACUTE", "NONAC", "EMER", "SS", "OBSENC"})


def _code(concept: Any) -> str:
    """Return the first code of a concept of FHIR's own, whatever its system; empty where there is none."""
    held = items(concept.get("coding")) if isinstance(concept, Mapping) else ()
    return next((text_of(one.get("code")) for one in held if isinstance(one, Mapping)), "")


def _verification(task: Task) -> int:
    said = _code(task.resource.get("verificationStatus"))
    if said not in _CONDITION:
        raise Refused("status-unknown", "a verification status that FHIR does not know", "correct it at its source")
    if said == "refuted":
        task.repair("refuted: taken back, since a diagnosis that does not hold is none")
    return _CONDITION[said]


def _finding(task: Task, code: Code, value: Any, moment: Moment, recorded: int, status: int, part: str = "") -> None:
    id = task.fact_id(part)
    found = Finding(
        code=code, value=value, time=moment.time, recorded=recorded, status=status, source=task.source, site=task.site_of_facts, id=id
    )
    task.out.findings.append(found)
    if moment.coarse and (kept := interval_finding(task, id, moment, recorded, status)) is not None:
        task.out.findings.append(kept)


def _onset(task: Task, *fallbacks: str) -> Moment:
    moment = moment_of(task, "onset")
    if moment is not None:
        return moment
    if any(key.startswith("onset") for key in task.resource):
        task.repair("an onset that is no date (age, range or words): the time of recording taken")
    for name in fallbacks:
        if (time := first_moment(task.resource.get(name), task.site)) is not None:
            task.repair(f"without an onset: {name} taken")
            return Moment(time)
    raise Refused("time-missing", "neither an onset nor a time of recording", "have the sender fill recordedDate")


def map_condition(task: Task) -> None:
    """Map a Condition: the finding at its onset, and that it ended where that is said; refuted or in error, taken back."""
    resource = task.resource
    task.patient(resource.get("subject"))
    task.out.read += 1
    status = _verification(task)
    code = code_of(resource.get("code"), task.site)
    if code is None:
        raise Refused("code-unknown", "no code in a system that is read", "add the sender's code to the site's codes")
    moment = _onset(task, "recordedDate")
    recorded = true_at(task, moment.time, recorded_of(task, "recordedDate", time=moment.time))
    task.site_of_facts = "; ".join(text for one in items(resource.get("bodySite")) if (text := concept_text(one)))[:200]
    _finding(task, code, None, moment, recorded, status)
    task.out.mapped += 1
    histology = mcode.histology_of(resource, task.site)
    if histology is not None:
        _finding(task, mcode.HISTOLOGY, histology, moment, recorded, status, "histology")
    end = moment_of(task, "abatement")
    if end is None and _code(resource.get("clinicalStatus")) in ("resolved", "inactive", "remission"):
        task.repair("ended, and nobody says when: ended by when that was recorded")
        end = Moment(max(moment.time, recorded_of(task)))
    if end is not None and status == FINAL:
        known = max(recorded, end.time) if end.time <= task.received else None
        if known is None:
            task.repair("an end that lies ahead: left out")
        else:
            _finding(task, HOUSE["abatement"], code, end, known, status, "abatement")


def map_allergy(task: Task) -> None:
    """Map an AllergyIntolerance: the finding of an allergy, with the substance as its value."""
    resource = task.resource
    task.patient(resource.get("patient"))
    task.out.read += 1
    status = _verification(task)
    what = answer_of(resource.get("code"), task.site)
    if what is None:
        raise Refused("code-unknown", "nobody says to what", "have the sender fill the code")
    moment = _onset(task, "recordedDate", "lastOccurrence")
    recorded = true_at(task, moment.time, recorded_of(task, "recordedDate", time=moment.time))
    _finding(task, HOUSE["allergy"], what, moment, recorded, status)
    task.out.mapped += 1


def map_procedure(task: Task) -> None:
    """Map a Procedure: what was done, as an exposure over its time."""
    resource = task.resource
    task.patient(resource.get("subject"))
    said = text_of(resource.get("status"))
    if said in ("preparation", "not-done"):
        task.keep(f"{said}: nothing was done")
        return
    task.out.read += 1
    known = {"completed": FINAL, "stopped": FINAL, "in-progress": PRELIMINARY, "on-hold": PRELIMINARY, "unknown": PRELIMINARY, "entered-in-error": ENTERED_IN_ERROR}  # fmt: skip
    if said not in known:
        raise Refused("status-unknown", "a status that FHIR does not know", "correct it at its source")
    code = code_of(resource.get("code"), task.site)
    if code is None:
        raise Refused("code-unknown", "no code in a system that is read", "add the sender's code to the site's codes")
    moment = moment_of(task, "performed") or moment_of(task, "occurrence")
    if moment is None:
        raise Refused("time-missing", "nobody says when it was done", "have the sender fill performed[x]")
    recorded = true_at(task, moment.time, recorded_of(task, "recorded", time=moment.time))
    id = task.fact_id()
    until = min(moment.until or moment.time, recorded)
    doses = mcode.doses_of(resource, task.site) or [mcode.Dose("", None, None)]
    for number, dose in enumerate(doses):
        note = ", ".join(part for part in (dose.volume, f"{dose.fractions} fractions" if dose.fractions else "") if part)
        task.out.exposures.append(
            Exposure(
                code=code, quantity=dose.total, start=moment.time, end=until, recorded=recorded, status=known[said], source=task.source,
                id=id if number == 0 or not id else f"{id}/volume/{number}", note=note,
            )
        )  # fmt: skip
    if moment.coarse and (kept := interval_finding(task, id, moment, recorded, known[said])) is not None:
        task.out.findings.append(kept)
    task.out.mapped += 1


def map_encounter(task: Task) -> None:
    """Map an Encounter: admission and discharge of a stay, an encounter of anything else, its kind as the value."""
    resource = task.resource
    task.patient(resource.get("subject"))
    said = text_of(resource.get("status"))
    if said in ("planned", "cancelled"):
        task.keep(f"{said}: it did not take place")
        return
    task.out.read += 1
    period = resource.get("period") or resource.get("actualPeriod")
    moment = period_of(task, period) if isinstance(period, Mapping) else None
    if moment is None:
        raise Refused("time-missing", "nobody says when it was", "have the sender fill the period")
    status = ENTERED_IN_ERROR if said == "entered-in-error" else PRELIMINARY if said == "unknown" else FINAL
    recorded = true_at(task, moment.time, recorded_of(task, time=moment.time))
    classes = resource.get("class")
    classes = list(items(classes)) or [classes]  # R5: several CodeableConcepts
    codings = [c for one in classes if isinstance(one, Mapping) for c in (items(one.get("coding")) or (one,)) if isinstance(c, Mapping)]
    kind = next((text_of(c.get("code")) for c in codings if c.get("code")), "")
    types = items(resource.get("type"))
    what = (answer_of(types[0], task.site) if types else None) or kind or None
    if kind in _INPATIENT:
        _finding(task, HOUSE["admission"], what, moment, recorded, status, "admission")
        if moment.until is not None and moment.until <= task.received and not moment.coarse:
            known = max(recorded, moment.until)
            _finding(task, HOUSE["discharge"], what, Moment(moment.until), known, status, "discharge")
    else:
        _finding(task, HOUSE["encounter"], what, moment, recorded, status)
    task.out.mapped += 1


def _noted(task: Task, code: Code, what: Any, time: int | None, recorded: int | None, status: int = FINAL) -> None:
    """Add the one finding of a resource that says that something is there or was asked for."""
    if time is None:
        raise Refused("time-missing", "nobody says when", "have the sender fill the date")
    known = true_at(task, time, recorded_of(task, time=time) if recorded is None else recorded)
    _finding(task, code, what, Moment(time), known, status)
    task.out.mapped += 1


def map_service(task: Task) -> None:
    """Map a ServiceRequest: the finding that something was ordered."""
    resource = task.resource
    task.patient(resource.get("subject"))
    intent, said = text_of(resource.get("intent")), text_of(resource.get("status"))
    if intent in ("proposal", "plan", "option") or said == "draft" or resource.get("doNotPerform") is True:
        task.keep(f"{intent if intent in ('proposal', 'plan', 'option') else said or 'not to be done'}: nothing is ordered")
        return
    task.out.read += 1
    what = answer_of(resource.get("code"), task.site)
    if what is None and isinstance(both := resource.get("code"), Mapping):
        what = answer_of(both.get("concept"), task.site)
    if what is None:
        raise Refused("code-unknown", "nobody says what is ordered", "have the sender fill the code")
    status = ENTERED_IN_ERROR if said in ("entered-in-error", "revoked") else PRELIMINARY if said in ("on-hold", "unknown") else FINAL
    time = first_moment(resource.get("authoredOn"), task.site)
    _noted(task, HOUSE["order"], what, time, recorded_of(task, "authoredOn", time=time), status)


def map_specimen(task: Task) -> None:
    """Map a Specimen: the finding that a sample was taken."""
    resource = task.resource
    task.patient(resource.get("subject"))
    task.out.read += 1
    collection = resource.get("collection")
    moment = moment_of(task, "collected", collection) if isinstance(collection, Mapping) else None
    time = moment.time if moment is not None else first_moment(resource.get("receivedTime"), task.site)
    status = ENTERED_IN_ERROR if resource.get("status") == "entered-in-error" else FINAL
    _noted(task, HOUSE["specimen"], answer_of(resource.get("type"), task.site), time, None, status)


def map_study(task: Task) -> None:
    """Map an ImagingStudy: the finding that it was made, its modality or description as the value."""
    resource = task.resource
    task.patient(resource.get("subject"))
    said = text_of(resource.get("status"))
    if said in ("registered", "cancelled"):
        task.keep(f"{said}: there are no images")
        return
    task.out.read += 1
    series = [one for one in items(resource.get("series")) if isinstance(one, Mapping)]
    kinds = [*items(resource.get("modality")), *(one.get("modality") for one in series)]
    what = next((v for one in kinds if (v := answer_of(one, task.site)) is not None), None) or text_of(resource.get("description")) or None
    time = first_moment(resource.get("started"), task.site) or next(
        (t for one in series if (t := first_moment(one.get("started"), task.site))), None
    )
    _noted(task, HOUSE["imaging-study"], what, time, None, ENTERED_IN_ERROR if said == "entered-in-error" else FINAL)


def map_care_plan(task: Task) -> None:
    """Map a CarePlan of others: the finding that there is one, its category or title as the value."""
    resource = task.resource
    task.patient(resource.get("subject"))
    intent, said = text_of(resource.get("intent")), text_of(resource.get("status"))
    if intent in ("proposal", "option") or said == "draft":
        task.keep(f"{intent if intent in ('proposal', 'option') else said}: nobody has decided on it")
        return
    task.out.read += 1
    categories = items(resource.get("category"))
    what = next((v for one in categories if (v := answer_of(one, task.site)) is not None), None) or text_of(resource.get("title")) or None
    period = resource.get("period")
    moment = period_of(task, period) if isinstance(period, Mapping) else None
    time = moment.time if moment is not None else first_moment(resource.get("created"), task.site)
    _noted(task, HOUSE["care-plan"], what, time, None, ENTERED_IN_ERROR if said in ("entered-in-error", "revoked") else FINAL)


def map_device(task: Task) -> None:
    """Map a Device that belongs to a person; one of a ward is about nobody. Nothing says since when: what is known is that it is there."""
    resource = task.resource
    if resource.get("patient") is None:
        task.keep("a device that belongs to nobody: what it measures names it")
        return
    task.patient(resource.get("patient"))
    task.out.read += 1
    kind = resource.get("type")
    first = items(kind)[0] if items(kind) else kind  # R5: several
    status = ENTERED_IN_ERROR if resource.get("status") == "entered-in-error" else FINAL
    recorded = recorded_of(task)
    task.repair("a device without a date: known when it was recorded")
    _noted(task, HOUSE["device"], answer_of(first, task.site), recorded, recorded, status)


def map_report(task: Task) -> None:
    """Map a DiagnosticReport: its coded conclusions, its conclusion in words, its documents. Its results stand by themselves."""
    resource, out = task.resource, task.out
    if resource.get("status") == "registered":
        task.keep("registered: the report is not there yet")
        return
    task.patient(resource.get("subject"))
    concluded = [one for one in items(resource.get("conclusionCode")) if isinstance(one, Mapping)]
    words = text_of(resource.get("conclusion"))
    forms = [one for one in items(resource.get("presentedForm")) if isinstance(one, Mapping)]
    if not (concluded or words or forms):
        task.keep("a report without a conclusion: its results stand by themselves")
        return
    status = status_of(task)
    code = code_of(resource.get("code"), task.site) or HOUSE["report"]
    moment = moment_of(task, "effective")
    if moment is None and (issued := first_moment(resource.get("issued"), task.site)) is not None:
        task.repair("a report without its effective time: issued taken")
        moment = Moment(issued)
    if moment is None:
        out.read += 1
        raise Refused("time-missing", "nobody says when it was true", "have the sender fill effective[x]")
    recorded = true_at(task, moment.time, recorded_of(task, "issued", time=moment.time))
    for number, concept in enumerate(concluded):
        out.read += 1
        _finding(task, code, answer_of(concept, task.site) or concept_text(concept), moment, recorded, status, f"conclusion/{number}")
        out.mapped += 1
    if words:
        out.read += 1
        _finding(task, code, words, moment, recorded, status, "conclusion")
        out.mapped += 1
    for number, form in enumerate(forms):
        _attach(task, form, f"presentedForm[{number}]", code.display or str(code), moment.time, recorded)


def _attach(task: Task, form: Mapping[str, Any], place: str, title: str, time: int, recorded: int) -> None:
    """Add a document that is embedded; one that lies elsewhere is refused, with that reason."""
    out = task.out
    out.read += 1
    try:
        body = _embedded(form)
    except Refused as error:
        out.refused.append(Refusal(reason=error.reason, place=f"{task.name or 'resource'}: {place}", what=error.what, fix=error.fix))
        return
    kind = text_of(form.get("contentType")) or "application/octet-stream"
    sha256 = hashlib.sha256(body).hexdigest()
    said = text_of(form.get("title")) or title
    document = Document(title=said[:200], media_type=kind[:100], sha256=sha256, time=time, recorded=recorded, source=task.source)
    out.documents.append((document, body))
    out.mapped += 1


def _embedded(form: Mapping[str, Any]) -> bytes:
    data = form.get("data")
    if not isinstance(data, str):
        raise Refused(
            "pointer", "a pointer to a document elsewhere, not the document", "have the sender embed it, or fetch it and import it"
        )
    try:
        body = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("document-broken", "the data of a document are not Base64", "check the sender") from error
    claimed = form.get("hash")
    if isinstance(claimed, str):
        try:
            wanted = base64.b64decode(claimed, validate=True)
        except (binascii.Error, ValueError):
            wanted = b""
        if len(wanted) == 20 and wanted != hashlib.sha1(body, usedforsecurity=False).digest():
            raise Refused("document-broken", "a document whose bytes differ from the hash it came with", "send it again")
    return body


def map_document(task: Task) -> None:
    """Map a DocumentReference: each embedded attachment becomes a document with its bytes."""
    resource = task.resource
    task.patient(resource.get("subject"))
    if resource.get("status") == "entered-in-error":
        task.keep("entered in error: a document is taken back by erasing it, not by a newer one")
        return
    time = first_moment(resource.get("date"), task.site)
    context = resource.get("context")
    if time is None and isinstance(context, Mapping) and isinstance(period := context.get("period"), Mapping):
        moment = period_of(task, period)
        time = None if moment is None else moment.time
    held = [one for one in items(resource.get("content")) if isinstance(one, Mapping)]
    if not held:
        raise Refused("document-missing", "a DocumentReference without content", "correct it at its source")
    if time is None:
        task.out.read += len(held)
        raise Refused("time-missing", "nobody says when it was written", "have the sender fill the date")
    recorded = true_at(task, time, recorded_of(task, "date", time=time))
    title = text_of(resource.get("description")) or concept_text(resource.get("type")) or "Document"
    for number, one in enumerate(held):
        form = one.get("attachment")
        _attach(task, form if isinstance(form, Mapping) else {}, f"content[{number}]", title, time, recorded)


def at_end(text: str, zone: str) -> int:
    """Return the last nanosecond that a date covers."""
    return interval_of(text, zone)[1]
