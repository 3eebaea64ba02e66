"""What every resource that we write is made of: ids that are the same for the same result, quantities, concepts, the patient, and where a number comes from."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from gemel.core import ForecastTable, Lineage, PatientRecord, Proposal, iso
from gemel.core.code import SYSTEMS
from gemel.core.errors import DataError, UnitError, ValueRangeError
from gemel.core.units import parse_unit
from gemel.interop.fhir.cgm_guide import PROFILE

__all__ = [
    "ABSENT", "NAMESPACE", "OWN", "RESEARCH", "Builder", "Resource", "care_plan", "concept", "forecast_notes", "method_of", "no_advice", "patient_body",
    "percentage", "plan_activities", "provenance_body", "quantity", "research_notes", "risk_body", "ucum",
]  # fmt: skip

Resource = dict[str, Any]
NAMESPACE = uuid.UUID("6f1f0d6e-2f3c-5d0a-9a41-0c5b6f7b1a70")  # fixed: the same result gets the same ids
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
LOINC, UCUM, OWN = SYSTEMS["loinc"], SYSTEMS["ucum"], SYSTEMS["gemel"]
RESEARCH = "Research software: a model's output, not a medical device's. For a person's judgement, never for automatic dosing."


def quantity(value: float, code: str, unit: str | None = None) -> Resource:
    """Return a Quantity in UCUM."""
    return {"value": round(float(value), 6), "unit": unit or code, "system": UCUM, "code": code}


def concept(code: str, system: str = LOINC, text: str = "") -> Resource:
    """Return a CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]} | ({"text": text} if text else {})


def percentage(probability: float) -> float:
    """Return a probability as RiskAssessment wants it: in per cent, at most 100 (invariant ras-2 of R4).

    Raises
    ------
    ValueRangeError
        For what is no probability.

    Examples
    --------
    >>> percentage(0.23)
    23.0
    """
    if not 0.0 <= probability <= 1.0:  # NaN too
        raise ValueRangeError("not a probability", seen=probability, expected="0 to 1", fix="per cent are made here, once")
    return round(100.0 * float(probability), 6)


def ucum(unit: str) -> str:
    """Return a unit of a forecast, which must be UCUM."""
    try:
        parse_unit(unit)
    except UnitError as error:
        raise DataError(
            "a forecast in a unit that is not UCUM", seen=unit, expected="UCUM", fix="state the unit in the twin's manifest"
        ) from error
    return unit


class Builder:
    """Collects resources with stable ids and the same tags."""

    def __init__(self, seed: str, simulated: bool) -> None:
        self.seed = seed
        self.entries: list[Resource] = []
        self.meta: Resource = {}
        if simulated:
            self.meta = {
                "security": [
                    {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST", "display": "test health data"}
                ],
                "tag": [{"system": OWN, "code": "SIMULATED", "display": "Simulated: no real person"}],
            }

    def add(self, kind: str, name: str, body: Resource, profile: str = "") -> str:
        """Add a resource; return its address inside the Bundle."""
        key = str(uuid.uuid5(NAMESPACE, f"{self.seed}/{kind}/{name}"))
        meta = self.meta | ({"profile": [PROFILE + profile]} if profile else {})
        url = f"urn:uuid:{key}"
        self.entries.append({"fullUrl": url, "resource": {"resourceType": kind, "id": key} | ({"meta": meta} if meta else {}) | body})
        return url


def patient_body(record: PatientRecord) -> Resource:
    """Return a Patient: pseudonym and sex."""
    return {"identifier": [{"system": "urn:gemel:pseudonym", "value": record.id}], "gender": record.demographics.sex, "active": True}


def method_of(lineage: Lineage) -> Resource:
    """Return the method behind a number: model and version, and how it was inferred."""
    return {"text": f"model {lineage.model} {lineage.model_version}, method {lineage.method}"}


def forecast_notes(table: ForecastTable) -> list[Resource]:
    """Return what stands under each forecast."""
    return [{"text": f"{RESEARCH} Lineage {table.lineage.id}."}] + ([{"text": table.sentence}] if table.sentence else [])


def risk_body(
    table: ForecastTable,
    subject: Resource,
    *,
    basis: Sequence[Resource] = (),
    intervals: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Resource:
    """Return the named events of a forecast as a RiskAssessment.

    Parameters
    ----------
    table : its ``probabilities`` lie between 0 and 1; they are written in per cent.
    subject : a Reference.
    basis : References to what it was made from, with their versions.
    intervals : event -> the interval of each probability, from 0 to 1; written as a prediction of its own, since R4 allows one form in each.
    """
    plan = f" under plan '{table.plan}'" if table.plan else ""
    predictions: list[Resource] = []
    for event, probabilities in table.probabilities.items():
        for i, (time, probability) in enumerate(zip(table.times, probabilities, strict=True)):
            period = {"start": iso(int(time)), "end": iso(int(time))}
            predictions.append({"outcome": {"text": event}, "probabilityDecimal": percentage(probability), "whenPeriod": period})
            if intervals is not None and event in intervals:
                low, high = sorted(percentage(bound) for bound in intervals[event][i])
                between = {"low": quantity(low, "%"), "high": quantity(high, "%")}
                predictions.append(
                    {"outcome": {"text": f"{event}, 90 % interval of the probability"}, "probabilityRange": between, "whenPeriod": period}
                )
    body = {
        "status": "preliminary",
        "method": method_of(table.lineage),
        "code": {"text": f"Forecast by {table.lineage.model}{plan}"},
        "subject": subject,
        "occurrenceDateTime": iso(table.issued),
        "basis": list(basis),
        "prediction": predictions,
        "note": forecast_notes(table),
    }
    return {key: value for key, value in body.items() if value != []}


def research_notes(proposal: Proposal) -> list[Resource]:
    """Return what stands under each piece of advice: what it is not, where it comes from, its limits."""
    return [
        {"text": f"{RESEARCH} Lineage {proposal.lineage.id}."},
        *({"text": f"Limit: {name}: {text}"} for name, text in proposal.limits.items()),
    ]


def no_advice(proposal: Proposal, subject: Resource) -> Resource:
    """Return an abstention: an Observation without a value, with its reason."""
    return {
        "status": "final",
        "code": concept("advice", OWN, f"Advice by {proposal.lineage.model}"),
        "subject": subject,
        "effectiveDateTime": iso(proposal.issued),
        "dataAbsentReason": concept("not-performed", ABSENT, f"No advice: {proposal.reason}"),
        "note": [{"text": proposal.sentence}, *research_notes(proposal)],
    }


def plan_activities(proposal: Proposal) -> list[Resource]:
    """Return the plans that were compared, as activities of a CarePlan: what each is worth, and whether it keeps the limits."""
    return [
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


def care_plan(proposal: Proposal, subject: Resource) -> Resource:
    """Return advice: a draft CarePlan with intent *proposal*."""
    body = {
        "status": "draft",
        "intent": "proposal",
        "title": f"Proposed: {proposal.choice}",
        "description": proposal.sentence,
        "subject": subject,
        "created": iso(proposal.issued),
        "note": research_notes(proposal),
    }
    activities = plan_activities(proposal)
    return body | ({"activity": activities} if activities else {})


def provenance_body(
    targets: Sequence[str], lineage: Lineage, issued: int, *, agents: Sequence[Resource] = (), sources: Sequence[Resource] = ()
) -> Resource:
    """Return where something comes from: record, model, code, method and seed by the hash that stands beside every number."""
    what = f"model {lineage.model} {lineage.model_version}; code {lineage.code_version}; method {lineage.method}; seed {lineage.seed}"
    named = [("urn:gemel:lineage", lineage.id, what), ("urn:gemel:record", lineage.record, "patient record by content hash")]
    named += [("urn:gemel:lineage", parent, "earlier state of this twin") for parent in lineage.parents]
    return {
        "target": [{"reference": url} for url in targets],
        "recorded": iso(issued),
        "activity": {"text": lineage.note or "forecast and advice by a model"},
        "agent": list(agents) or [{"who": {"display": f"Gemel {lineage.code_version}"}}],
        "entity": [
            *(
                {"role": "source", "what": {"identifier": {"system": system, "value": value}, "display": display}}
                for system, value, display in named
            ),
            *({"role": "source", "what": source} for source in sources),
        ],
    }
