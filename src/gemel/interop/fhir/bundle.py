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
from gemel.core.errors import DataError
from gemel.core.series import ABOVE, BELOW, PRELIMINARY
from gemel.core.time import DAY
from gemel.interop.fhir.build import (
    ABSENT,
    NAMESPACE,
    OWN,
    Builder,
    Resource,
    care_plan,
    concept,
    forecast_notes,
    method_of,
    no_advice,
    patient_body,
    provenance_body,
    quantity,
    risk_body,
    ucum,
)
from gemel.interop.fhir.cgm_guide import MEMBERS, RANGES, REQUIRED_MEMBERS, SENSORS

__all__ = ["SUMMARY_KEYS", "result_bundle"]

_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
SUMMARY_KEYS: tuple[str, ...] = (*MEMBERS, *RANGES, "start", "end")
"""What a summary may hold: values as named, and ``start`` and ``end`` of its period in ns UTC (left out: first and last reading)."""


def add_readings(build: Builder, series: Series, subject: Resource, since: int) -> list[str]:
    unit, shown, profile = SENSORS[series.code]
    recent = series.current()
    recent = recent.take(recent.time > since)
    values = recent.values_in(unit, analyte="glucose")
    urls = []
    for time, recorded, value, censored, status in zip(recent.time, recent.recorded, values, recent.censored, recent.status, strict=True):
        amount = quantity(value, unit, shown)
        if censored:
            amount["comparator"] = {BELOW: "<", ABOVE: ">"}[int(censored)]
        body = {
            "status": "preliminary" if status == PRELIMINARY else "final",
            "category": [concept("laboratory", _CATEGORY)],
            "code": concept(series.code.code),
            "subject": subject,
            "effectiveDateTime": iso(int(time)),
            "issued": iso(int(recorded)),
            "valueQuantity": amount,
        }
        urls.append(build.add("Observation", f"reading/{series.source}/{time}", body, profile))
    return urls


def add_summary(build: Builder, summary: Mapping[str, Any], subject: Resource, period: tuple[int, int]) -> str:
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
        "category": [concept("laboratory", _CATEGORY)],
        "subject": subject,
        "effectivePeriod": {"start": iso(start)[:10], "end": iso(end)[:10]},
    }
    members = []
    for key, (loinc, unit, shown, profile) in MEMBERS.items():
        if key in summary:
            members.append(
                build.add(
                    "Observation", key, shared | {"code": concept(loinc), "valueQuantity": quantity(summary[key], unit, shown)}, profile
                )
            )
    parts = [{"code": concept(loinc), "valueQuantity": quantity(summary[key], "%")} for key, loinc in RANGES.items() if key in summary]
    if parts:
        complete = "cgm-summary-times-in-ranges" if len(parts) == len(RANGES) else ""
        members.append(build.add("Observation", "times-in-ranges", shared | {"code": concept("106793-3"), "component": parts}, complete))
    means = {"mean_mg_dl", "mean_mmol_l"} & set(summary)
    full = "cgm-summary" if means and parts and len(parts) == len(RANGES) and set(REQUIRED_MEMBERS) <= set(summary) else ""
    body = shared | {"code": concept("107931-8"), "hasMember": [{"reference": url} for url in members]}
    return build.add("Observation", "summary", body, full)


def _forecast(build: Builder, table: ForecastTable, subject: Resource, number: int) -> list[str]:
    name = f"forecast/{number}/{table.plan}"
    plan = f" under plan '{table.plan}'" if table.plan else ""
    note = forecast_notes(table)
    method = method_of(table.lineage)
    if table.status != "OK":
        body = {
            "status": "final",
            "code": concept("forecast", OWN, f"Forecast by {table.lineage.model}{plan}"),
            "subject": subject,
            "effectiveDateTime": iso(table.issued),
            "dataAbsentReason": concept("error", ABSENT, table.status),
            "method": method,
            "note": note,
        }
        return [build.add("Observation", name, body)]
    urls = []
    for column, (output, unit) in enumerate(zip(table.outputs, table.units, strict=True)):
        code = ucum(unit)
        for row, time in enumerate(table.times):
            quantiles = [
                {"code": {"text": f"quantile {level:g}"}, "valueQuantity": quantity(table.quantiles[index, row, column], code)}
                for index, level in enumerate(table.levels)
            ]
            body = {
                "status": "preliminary",
                "code": concept("forecast", OWN, f"Forecast of {output}{plan}"),
                "subject": subject,
                "effectiveDateTime": iso(int(time)),
                "issued": iso(table.issued),
                "valueQuantity": quantity(table.mean[row, column], code),
                "method": method,
                "note": [{"text": "Mean of the predictive distribution; components are its quantiles. Not a measurement."}, *note],
                "component": quantiles,
            }
            urls.append(build.add("Observation", f"{name}/{output}/{time}", body))
    if table.probabilities:
        urls.append(build.add("RiskAssessment", name, risk_body(table, subject, basis=[{"reference": url} for url in urls])))
    return urls


def _advice(build: Builder, proposal: Proposal, subject: Resource) -> str:
    if proposal.choice is None:
        return build.add("Observation", "advice", no_advice(proposal, subject))
    return build.add("CarePlan", "advice", care_plan(proposal, subject))


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
        build.add("Provenance", "result", provenance_body(made or targets, lineage, issued))
    bundle: dict[str, Any] = {"resourceType": "Bundle", "id": str(uuid.uuid5(NAMESPACE, f"{lineage.id}/bundle/{issued}"))}
    if build.meta:
        bundle["meta"] = build.meta
    return bundle | {"type": "collection", "timestamp": iso(issued), "entry": build.entries}
