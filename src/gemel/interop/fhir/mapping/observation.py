"""Observation: every value and every component becomes a reading or a finding; a value that is absent is a fact with its reason.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/observation.html, and https://hl7.org/fhir/R4/datatypes.html#SampledData
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemel.core.code import SYSTEMS, Code
from gemel.core.record import Finding, Quantity
from gemel.core.series import ABOVE, BELOW, ENTERED_IN_ERROR, EXACT
from gemel.core.time import SECOND
from gemel.interop.fhir import genomics
from gemel.interop.fhir.mapping.base import Point, Refused
from gemel.interop.fhir.mapping.stamps import Moment, Task, day_long, interval_finding, moment_of, recorded_of, status_of, true_at
from gemel.interop.fhir.mapping.values import answer_of, code_of, concept_text, items, number_of, plain_number, text_of, unit_of
from gemel.interop.fhir.search_values import parsed_reference
from gemel.interop.report import Refusal

__all__ = ["map_observation"]

_SAMPLES = 1_000_000
_PLAIN = ("valueString", "valueTime", "valueDateTime")
_ABSENT = "absent"


def map_observation(task: Task) -> None:
    """Map an Observation: each value is one item, of the whole and of each component."""
    resource, out = task.resource, task.out
    if resource.get("status") == "registered":
        task.keep("registered: the result is not there yet")
        return
    task.patient(resource.get("subject"))
    status = status_of(task)
    moment = moment_of(task, "effective")
    if moment is None:
        raise Refused("time-missing", "nobody says when it was true", "have the sender fill effective[x]")
    recorded = true_at(task, moment.time, recorded_of(task, "issued", time=moment.time))
    task.source += _place(resource)
    if (other := _somebody_else(task)) is not None:
        task.keep(other)
        return
    code = code_of(resource.get("code"), task.site)
    if genomics.is_genomic(code):
        task.site_of_facts = genomics.place_of(resource) or task.name
    held: list[tuple[str, str, Mapping[str, Any]]] = []
    if _has_value(resource) or (code is not None and code.system == "genomics"):
        held.append(("", "Observation", resource))
    for number, one in enumerate(items(resource.get("component"))):
        if isinstance(one, Mapping):
            held.append((str(number), f"Observation.component[{number}]", one))
    if not held:
        task.keep("a panel: its members stand by themselves" if resource.get("hasMember") else "an observation without a value")
        return
    for part, place, element in held:
        out.read += 1
        try:
            _map_one(task, part, element, moment, recorded, status)
            out.mapped += 1
        except Refused as error:
            out.refused.append(Refusal(reason=error.reason, place=f"{task.name or 'resource'}: {place}", what=error.what, fix=error.fix))
    _part_twins(task)


def _part_twins(task: Task) -> None:
    """Two components of one code (a pressure taken twice) stand under sources of their own: neither supersedes the other."""
    seen: dict[tuple[str, str, int], int] = {}
    for number, point in enumerate(task.out.points):
        count = seen[point.key] = seen.get(point.key, 0) + 1
        if count > 1:
            task.out.points[number] = point._replace(source=f"{point.source}#{count}")
            task.repair("two components of one code: each under a source of its own")


def _place(resource: Mapping[str, Any]) -> str:
    """Device and place on the body, as far as they tell two readings of one moment apart."""
    device, site = resource.get("device"), resource.get("bodySite")
    said = ""
    if isinstance(device, Mapping):
        said += f"/{text_of(device.get('reference')) or text_of(device.get('display'))}"
    if isinstance(site, Mapping):
        codings = [one for one in items(site.get("coding")) if isinstance(one, Mapping)]
        said += f"@{next((text_of(one.get('code')) for one in codings if one.get('code')), '') or text_of(site.get('text'))}"
    for one in items(resource.get("focus")):  # a tumour among several, a device among several
        text = text_of(one.get("reference")) if isinstance(one, Mapping) else ""
        if text and parsed_reference(text).type not in ("Patient", "RelatedPerson", "Group"):
            said += f"@{text}"
    return said[:160]


def _somebody_else(task: Task) -> str | None:
    """Why an Observation in this person's record is about somebody else: a foetus, a donor."""
    for one in items(task.resource.get("focus")):
        text = text_of(one.get("reference")) if isinstance(one, Mapping) else ""
        kind = parsed_reference(text).type if text else None
        if kind in ("RelatedPerson", "Patient", "Group") and not text.endswith(
            f"Patient/{(task.out.patient or '').removeprefix(task.site.prefix)}"
        ):
            return f"its focus is a {kind}: about somebody else than the person whose record it stands in"
    return None


def _has_value(element: Mapping[str, Any]) -> bool:
    return any(key.startswith("value") or key == "dataAbsentReason" for key in element)


def _map_one(task: Task, part: str, element: Mapping[str, Any], moment: Moment, recorded: int, status: int) -> None:
    concept = element.get("code")
    code = code_of(concept, task.site)
    if code is None:
        raise Refused(
            "code-unknown", "its code is in no system that is read, or no code is given", "add the sender's code to the site's codes"
        )
    text = code.display or concept_text(concept)
    if "valueSampledData" in element:
        _sampled(task, element["valueSampledData"], code, text, moment, recorded, status)
        return
    quantity = element.get("valueQuantity")
    if isinstance(quantity, Mapping) and "value" in quantity and "comparator" in quantity and quantity["comparator"] == "ad":
        quantity, element = None, {"valueString": f">= {quantity['value']} (sufficient) {text_of(quantity.get('code'))}".strip()}
    if isinstance(quantity, Mapping) and "value" in quantity:
        value, unit, censored, repaired = number_of(_with_unit(quantity, code), task.site)
        task.repair(repaired)
        _reading(task, part, code, text, value, unit, moment, recorded, status, censored)
        return
    whole = element.get("valueInteger")
    if isinstance(whole, int) and not isinstance(whole, bool):
        _reading(task, part, code, text, float(whole), "1", moment, recorded, status, EXACT)
        return
    if not part and code.system == "genomics" and not _has_value(element):
        answer = genomics.conclusion_of(element, task.site)
    else:
        answer = _answer(task, element, status)
    if not part and task.site_of_facts:
        answer = genomics.said_of(element, answer, code)
    id = task.fact_id(part)
    found = Finding(
        code=code, value=answer, time=moment.time, recorded=recorded, status=status, source=task.source, site=task.site_of_facts, id=id,
    )  # fmt: skip
    task.out.findings.append(found)
    _interval(task, id, moment, recorded, status)


def _with_unit(quantity: Mapping[str, Any], code: Code) -> Mapping[str, Any]:
    """A quantity whose unit is fixed by the guide that its code belongs to, with that unit where the sender left it out."""
    unit = genomics.UNITS.get(str(code))
    if unit is None or quantity.get("code"):
        return quantity
    if unit and not quantity.get("unit"):
        return {**quantity, "code": unit, "system": SYSTEMS["ucum"]}
    return {**quantity, "code": "1", "system": SYSTEMS["ucum"]} if quantity.get("unit") == "decimal" else quantity


def _interval(task: Task, about: str, moment: Moment, recorded: int, status: int) -> None:
    kept = interval_finding(task, about, moment, recorded, status)
    if kept is not None:
        task.out.findings.append(kept)


def _reading(
    task: Task, part: str, code: Code, text: str, value: float, unit: str, moment: Moment, recorded: int, status: int, censored: int
) -> None:
    if day_long(moment) and not task.site_of_facts:
        if moment.until is not None:
            task.repair("a period of at most a day: its start taken")
        task.out.points.append(Point(str(code), text, unit, task.source, moment.time, value, recorded, status, censored))
        return
    # Known to a month or a year, or an average over days: no reading of one moment. It stays a finding with its interval.
    if censored != EXACT:
        sign = "<" if censored == BELOW else ">"
        held: Any = f"{sign} {value:g} {unit}"
    else:
        held = Quantity(value=value, unit=unit)
    id = task.fact_id(part) or f"{task.source}/{code}/{moment.time}"
    if not day_long(moment):
        task.repair("known to a month or a year, or over days: kept as a finding with its interval")
    task.out.findings.append(
        Finding(
            code=code, value=held, time=moment.time, recorded=recorded, status=status, source=task.source, site=task.site_of_facts, id=id
        )
    )
    _interval(task, id, moment, recorded, status)


def _answer(task: Task, element: Mapping[str, Any], status: int) -> Code | str | None:
    if "valueCodeableConcept" in element:
        found = answer_of(element["valueCodeableConcept"], task.site)
        if found is not None:
            return found
    for key in _PLAIN:
        if isinstance(said := element.get(key), str):
            return said
    if isinstance(said := element.get("valueBoolean"), bool):
        return "true" if said else "false"
    if isinstance(said := element.get("valueRange"), Mapping):
        return "{} to {}".format(_shown(said.get("low")) or "?", _shown(said.get("high")) or "?")
    if isinstance(said := element.get("valueRatio"), Mapping):
        return f"{_shown(said.get('numerator'))}:{_shown(said.get('denominator'))}"
    if isinstance(said := element.get("valuePeriod"), Mapping):
        return f"{text_of(said.get('start')) or '..'}/{text_of(said.get('end')) or '..'}"
    if isinstance(said := element.get("valueQuantity"), Mapping) and (words := text_of(said.get("unit"))):
        return words  # a quantity without a number: what is said of it stays
    reason = element.get("dataAbsentReason")
    if isinstance(reason, Mapping):
        return answer_of(reason, task.site) or Code(system=_ABSENT, code="unknown", display="Unknown")
    if status == ENTERED_IN_ERROR:
        return None
    if any(key.startswith("value") for key in element):
        raise Refused(
            "value-not-read", "a value of a type that is not read", "all types of Observation.value[x] of R4 are; check the element"
        )
    raise Refused("value-missing", "neither a value nor a reason why there is none", "have the sender add a data-absent-reason")


def _shown(quantity: Any) -> str:
    if not isinstance(quantity, Mapping) or quantity.get("value") is None:
        return ""
    unit = text_of(quantity.get("code")) or text_of(quantity.get("unit"))
    return f"{text_of(quantity.get('comparator'))}{quantity['value']}{' ' + unit if unit and unit != '1' else ''}"


def _sampled(task: Task, sampled: Any, code: Code, text: str, moment: Moment, recorded: int, status: int) -> None:
    """A run of samples of one dimension becomes readings; E is left out, L and U are limits."""
    if not isinstance(sampled, Mapping):
        raise Refused("value-missing", "no samples", "check the element")
    if sampled.get("dimensions") not in (1, None):
        raise Refused("dimensions", "samples of several dimensions at once", "send one SampledData for each")
    if not isinstance(data := sampled.get("data"), str):
        raise Refused("value-missing", "samples without their data", "have the sender embed them")
    origin, period = sampled.get("origin"), plain_number(sampled.get("period"))
    base = plain_number(origin.get("value")) if isinstance(origin, Mapping) else None
    if base is None or not isinstance(origin, Mapping) or period is None or period <= 0:
        raise Refused("samples", "samples without their zero or their interval", "correct it at its source")
    if moment.coarse:
        raise Refused("time-missing", "samples whose begin is known only to a month or a year", "have the sender state the begin")
    unit, repaired = unit_of(origin, task.site)
    task.repair(repaired)
    factor = plain_number(sampled.get("factor"))
    factor = 1.0 if factor is None else factor
    lower, upper = plain_number(sampled.get("lowerLimit")), plain_number(sampled.get("upperLimit"))
    words = data.split()
    if len(words) > _SAMPLES:
        raise Refused("samples", f"more than {_SAMPLES} samples in one resource", "split it")
    step = period * 1e6  # ms -> ns
    rows, unread = [], 0
    for place, word in enumerate(words):
        censored = EXACT
        if word == "E":
            unread += 1
            continue
        if word in ("L", "U"):
            limit = lower if word == "L" else upper
            if limit is None:
                unread += 1
                continue
            raw, censored = limit, BELOW if word == "L" else ABOVE
        else:
            number = _sample(word)
            if number is None:
                raise Refused("samples", "a sample that is no number", "correct it at its source")
            raw = number
        time = moment.time + round(place * step)
        rows.append(Point(str(code), text, unit, task.source, time, base + raw * factor, max(recorded, time), status, censored))
    if unread:
        task.repair("samples in error or beyond a limit that is not given: left out")
    if rows and rows[-1].time > task.received + 120 * SECOND:
        raise Refused("time-ahead", "true after it arrived here", "check the sender's clock and zone")
    if not rows:
        raise Refused("samples", "no sample that can be used", "check the device")
    task.out.points += rows


def _sample(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if number - number == 0 and "_" not in word else None
