"""One result as a FHIR R4 Bundle: readings, summary, forecast, advice, and where all of it comes from.

Readings and summary follow the HL7 Continuous Glucose Monitoring guide 1.0.0 (STU 1). A forecast is never coded as a
measurement: it is a RiskAssessment for its events and Observations under our own code for its quantiles. Advice is a draft
CarePlan with intent *proposal*; an abstention is an Observation without a value, with its reason.

References
----------
HL7 FHIR R4 (4.0.1), https://hl7.org/fhir/R4; HL7 CGM implementation guide 1.0.0, https://hl7.org/fhir/uv/cgm
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gemel.core import ForecastTable, Lineage, PatientRecord, Proposal, Series, iso
from gemel.core.code import SYSTEMS
from gemel.core.errors import DataError, UnitError
from gemel.core.series import ABOVE, BELOW, PRELIMINARY
from gemel.core.time import DAY
from gemel.core.units import parse_unit
from gemel.interop.fhir.cgm_guide import MEMBERS, PROFILE, RANGES, REQUIRED_MEMBERS, SENSORS

__all__ = ["SUMMARY_KEYS", "result_bundle"]

_Resource = dict[str, Any]
_NAMESPACE = uuid.UUID("6f1f0d6e-2f3c-5d0a-9a41-0c5b6f7b1a70")  # fixed: the same result gets the same ids
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_LOINC, _UCUM, _OWN = SYSTEMS["loinc"], SYSTEMS["ucum"], SYSTEMS["gemel"]
_RESEARCH = "Research software: a model's output, not a medical device's. For a person's judgement, never for automatic dosing."
SUMMARY_KEYS: tuple[str, ...] = (*MEMBERS, *RANGES, "start", "end")
"""What a summary may hold: values as named, and ``start`` and ``end`` of its period in ns UTC (left out: first and last reading)."""


def _quantity(value: float, code: str, unit: str | None = None) -> _Resource:
    return {"value": round(float(value), 6), "unit": unit or code, "system": _UCUM, "code": code}


def _concept(code: str, system: str = _LOINC, text: str = "") -> _Resource:
    return {"coding": [{"system": system, "code": code}]} | ({"text": text} if text else {})


class Builder:
    """Collects resources with stable ids and the same tags."""

    def __init__(self, seed: str, simulated: bool) -> None:
        self.seed = seed
        self.entries: list[_Resource] = []
        self.meta: _Resource = {}
        if simulated:
            self.meta = {
                "security": [
                    {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST", "display": "test health data"}
                ],
                "tag": [{"system": _OWN, "code": "SIMULATED", "display": "Simulated: no real person"}],
            }

    def add(self, kind: str, name: str, body: _Resource, profile: str = "") -> str:
        key = str(uuid.uuid5(_NAMESPACE, f"{self.seed}/{kind}/{name}"))
        meta = self.meta | ({"profile": [PROFILE + profile]} if profile else {})
        url = f"urn:uuid:{key}"
        self.entries.append({"fullUrl": url, "resource": {"resourceType": kind, "id": key} | ({"meta": meta} if meta else {}) | body})
        return url


def patient_body(record: PatientRecord) -> _Resource:
    return {"identifier": [{"system": "urn:gemel:pseudonym", "value": record.id}], "gender": record.demographics.sex, "active": True}


def add_readings(build: Builder, series: Series, subject: _Resource, since: int) -> list[str]:
    unit, shown, profile = SENSORS[series.code]
    recent = series.current()
    recent = recent.take(recent.time > since)
    values = recent.values_in(unit, analyte="glucose")
    urls = []
    for time, recorded, value, censored, status in zip(recent.time, recent.recorded, values, recent.censored, recent.status, strict=True):
        quantity = _quantity(value, unit, shown)
        if censored:
            quantity["comparator"] = {BELOW: "<", ABOVE: ">"}[int(censored)]
        body = {
            "status": "preliminary" if status == PRELIMINARY else "final",
            "category": [_concept("laboratory", _CATEGORY)],
            "code": _concept(series.code.code),
            "subject": subject,
            "effectiveDateTime": iso(int(time)),
            "issued": iso(int(recorded)),
            "valueQuantity": quantity,
        }
        urls.append(build.add("Observation", f"reading/{series.source}/{time}", body, profile))
    return urls


def add_summary(build: Builder, summary: Mapping[str, Any], subject: _Resource, period: tuple[int, int]) -> str:
    unknown = set(summary) - set(SUMMARY_KEYS)
    if unknown:
        raise DataError(
            "a summary with unknown keys", seen=", ".join(sorted(unknown)), expected=", ".join(SUMMARY_KEYS), fix="rename or leave them out"
        )
    bad = [key for key in summary if key not in ("start", "end") and not np.isfinite(summary[key])]
    if bad:
        raise DataError("a summary value is not a number", seen=", ".join(bad), expected="numbers", fix="leave out what is not known")
    start, end = int(summary.get("start", period[0])), int(summary.get("end", period[1]))
    shared = {
        "status": "final",
        "category": [_concept("laboratory", _CATEGORY)],
        "subject": subject,
        "effectivePeriod": {"start": iso(start)[:10], "end": iso(end)[:10]},
    }
    members = []
    for key, (loinc, unit, shown, profile) in MEMBERS.items():
        if key in summary:
            members.append(
                build.add(
                    "Observation", key, shared | {"code": _concept(loinc), "valueQuantity": _quantity(summary[key], unit, shown)}, profile
                )
            )
    parts = [{"code": _concept(loinc), "valueQuantity": _quantity(summary[key], "%")} for key, loinc in RANGES.items() if key in summary]
    if parts:
        complete = "cgm-summary-times-in-ranges" if len(parts) == len(RANGES) else ""
        members.append(build.add("Observation", "times-in-ranges", shared | {"code": _concept("106793-3"), "component": parts}, complete))
    means = {"mean_mg_dl", "mean_mmol_l"} & set(summary)
    full = "cgm-summary" if means and parts and len(parts) == len(RANGES) and set(REQUIRED_MEMBERS) <= set(summary) else ""
    body = shared | {"code": _concept("107931-8"), "hasMember": [{"reference": url} for url in members]}
    return build.add("Observation", "summary", body, full)


def _ucum(unit: str) -> str:
    try:
        parse_unit(unit)
    except UnitError as error:
        raise DataError(
            "a forecast in a unit that is not UCUM", seen=unit, expected="UCUM", fix="state the unit in the twin's manifest"
        ) from error
    return unit


def _forecast(build: Builder, table: ForecastTable, subject: _Resource, number: int) -> list[str]:
    name = f"forecast/{number}/{table.plan}"
    plan = f" under plan '{table.plan}'" if table.plan else ""
    note = [{"text": f"{_RESEARCH} Lineage {table.lineage.id}."}] + ([{"text": table.sentence}] if table.sentence else [])
    method = {"text": f"{table.twin}: model {table.lineage.model} {table.lineage.model_version}, method {table.lineage.method}"}
    if table.status != "OK":
        body = {
            "status": "final",
            "code": _concept("forecast", _OWN, f"Forecast by {table.twin}{plan}"),
            "subject": subject,
            "effectiveDateTime": iso(table.issued),
            "dataAbsentReason": _concept("error", _ABSENT, table.status),
            "method": method,
            "note": note,
        }
        return [build.add("Observation", name, body)]
    urls = []
    for column, (output, unit) in enumerate(zip(table.outputs, table.units, strict=True)):
        code = _ucum(unit)
        for row, time in enumerate(table.times):
            quantiles = [
                {"code": {"text": f"quantile {level:g}"}, "valueQuantity": _quantity(table.quantiles[index, row, column], code)}
                for index, level in enumerate(table.levels)
            ]
            body = {
                "status": "preliminary",
                "code": _concept("forecast", _OWN, f"Forecast of {output}{plan}"),
                "subject": subject,
                "effectiveDateTime": iso(int(time)),
                "issued": iso(table.issued),
                "valueQuantity": _quantity(table.mean[row, column], code),
                "method": method,
                "note": [{"text": "Mean of the predictive distribution; components are its quantiles. Not a measurement."}, *note],
                "component": quantiles,
            }
            urls.append(build.add("Observation", f"{name}/{output}/{time}", body))
    predictions = [
        {
            "outcome": {"text": event},
            "probabilityDecimal": round(float(probability), 6),
            "whenPeriod": {"start": iso(int(time)), "end": iso(int(time))},
        }
        for event, probabilities in table.probabilities.items()
        for time, probability in zip(table.times, probabilities, strict=True)
    ]
    if predictions:
        body = {
            "status": "preliminary",
            "method": method,
            "code": {"text": f"Forecast by {table.twin}{plan}"},
            "subject": subject,
            "occurrenceDateTime": iso(table.issued),
            "basis": [{"reference": url} for url in urls],
            "prediction": predictions,
            "note": note,
        }
        urls.append(build.add("RiskAssessment", name, body))
    return urls


def _advice(build: Builder, proposal: Proposal, subject: _Resource) -> str:
    note = [
        {"text": f"{_RESEARCH} Lineage {proposal.lineage.id}."},
        *({"text": f"Limit: {name}: {text}"} for name, text in proposal.limits.items()),
    ]
    if proposal.choice is None:
        body = {
            "status": "final",
            "code": _concept("advice", _OWN, f"Advice by {proposal.twin}"),
            "subject": subject,
            "effectiveDateTime": iso(proposal.issued),
            "dataAbsentReason": _concept("not-performed", _ABSENT, f"No advice: {proposal.reason}"),
            "note": [{"text": proposal.sentence}, *note],
        }
        return build.add("Observation", "advice", body)
    activities = [
        {
            "detail": {
                "status": "not-started",
                "doNotPerform": not score.feasible,
                "description": f"{score.plan}: best with probability {score.probability_best:.2f}; "
                f"expected utility {score.utility:.4g} (standard error {score.utility_error:.2g})"
                + ("" if score.feasible else "; outside the limits"),
            }
        }
        for score in proposal.ranking
    ]
    body = {
        "status": "draft",
        "intent": "proposal",
        "title": f"Proposed: {proposal.choice}",
        "description": proposal.sentence,
        "subject": subject,
        "created": iso(proposal.issued),
        "note": note,
    }
    return build.add("CarePlan", "advice", body | ({"activity": activities} if activities else {}))


def _provenance(targets: Sequence[str], lineage: Lineage, issued: int) -> _Resource:
    what = f"model {lineage.model} {lineage.model_version}; code {lineage.code_version}; method {lineage.method}; seed {lineage.seed}"
    sources = [("urn:gemel:lineage", lineage.id, what), ("urn:gemel:record", lineage.record, "patient record by content hash")]
    sources += [("urn:gemel:lineage", parent, "earlier state of this twin") for parent in lineage.parents]
    return {
        "target": [{"reference": url} for url in targets],
        "recorded": iso(issued),
        "activity": {"text": lineage.note or "forecast and advice by a model"},
        "agent": [{"who": {"display": f"Gemel {lineage.code_version}"}}],
        "entity": [
            {"role": "source", "what": {"identifier": {"system": system, "value": value}, "display": display}}
            for system, value, display in sources
        ],
    }


def result_bundle(
    record: PatientRecord,
    *,
    summary: Mapping[str, Any],
    forecasts: Sequence[ForecastTable],
    proposal: Proposal | None,
    issued: int,
    lineage: Lineage,
    simulated: bool = False,
) -> dict[str, Any]:
    """Put a result into one FHIR R4 Bundle of type collection.

    Parameters
    ----------
    record : what is known; only what was known at ``issued`` goes out: the patient's pseudonym and the sensor readings of the last 24 h.
    summary : values by the keys of :data:`SUMMARY_KEYS`; empty for no summary. Percentages run from 0 to 100.
    forecasts : one per plan; one whose status is not ``OK`` becomes an Observation without a value.
    proposal : advice or an abstention, or None.
    issued : ns UTC, when the result left.
    lineage : where it comes from; written into the Provenance.
    simulated : mark bundle and resources as test data of no real person (``HTEST`` and ``SIMULATED``).

    Returns
    -------
    The Bundle as plain JSON types. Ids are derived from the lineage: the same result gives the same bundle.

    Raises
    ------
    DataError
        For a summary with unknown keys or values that are no numbers, or a forecast whose unit is not UCUM.

    References
    ----------
    HL7 CGM guide 1.0.0: 99504-3, 105272-9 (readings), 107931-8 (summary), 106793-3 (times in ranges), 97506-0 (GMI).
    """
    build = Builder(lineage.id, simulated)
    known = record.as_of(issued)
    subject = {"reference": build.add("Patient", record.id, patient_body(record))}
    sensors = known.find_series(*SENSORS)
    targets = [url for series in sensors for url in add_readings(build, series, subject, issued - DAY)]
    if summary:
        times = np.concatenate([series.time for series in sensors]) if sensors else np.array([issued])
        targets.append(add_summary(build, summary, subject, (int(times.min()), int(times.max()))))
    made = [url for number, table in enumerate(forecasts) for url in _forecast(build, table, subject, number)]
    if proposal is not None:
        made.append(_advice(build, proposal, subject))
    if made or targets:
        build.add("Provenance", "result", _provenance(made or targets, lineage, issued))
    bundle: dict[str, Any] = {"resourceType": "Bundle", "id": str(uuid.uuid5(_NAMESPACE, f"{lineage.id}/bundle/{issued}"))}
    if build.meta:
        bundle["meta"] = build.meta
    return bundle | {"type": "collection", "timestamp": iso(issued), "entry": build.entries}
