"""Promise: outside the validated domain it abstains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gemel.core.code import Code
from gemel.core.record import PatientRecord, Quantity
from gemel.core.units import convert, is_convertible
from gemel.engine.recommend import Abstained, recommend
from gemel.engine.status import Status
from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["check_abstention", "outside"]

BEYOND = 0.25
"""How far outside its domain a value is put, as a share of the domain's width."""


def outside(subject: Subject) -> Iterator[tuple[str, PatientRecord, int]]:
    """Yield questions outside the domain: what the room declares as ``OUTSIDE``, and each input, and age, beyond its declared range."""
    record, now, manifest = subject.record, subject.now, subject.room.manifest
    for case in subject.declared("OUTSIDE"):
        yield (case.__name__.replace("_", " "), *case(record, now))
    for spec in manifest.inputs:
        if spec.domain is None:
            continue
        low, high = spec.domain
        value = high + BEYOND * (high - low)
        code = Code.parse(spec.code)
        for series in record.find_series(code):
            last = series.current().take(np.array([-1]))
            analyte = None if is_convertible(spec.unit, last.unit) else "glucose"
            changed = last.model_copy(
                update={"value": np.atleast_1d(convert(value, spec.unit, last.unit, analyte=analyte)), "recorded": np.array([now])}
            )
            yield f"{spec.name} of {value:g} {spec.unit}", record.with_facts(changed), now
            break
        for exposure in record.find_exposures(code)[-1:]:
            changed = exposure.model_copy(update={"quantity": Quantity(value=value, unit=spec.unit), "recorded": now, "id": "beyond"})
            yield f"{spec.name} of {value:g} {spec.unit}", record.with_facts(changed), now
    if "age" in manifest.domain:
        low, high = manifest.domain["age"]
        for age in {max(low - 1.0, 0.0), min(high + 1.0, 130.0)} - {low, high}:
            person = record.demographics.model_copy(update={"age": age})
            yield f"age {age:g}", record.model_copy(update={"demographics": person}), now


def check_abstention(subject: Subject) -> str:
    """Ask outside the domain: the domain must say no, the forecast must have no draws, and there must be no advice."""
    room, twin = subject.room, subject.twin
    require(
        twin.domain.reason is None,
        "it abstains inside its domain too",
        seen=twin.domain.sentence,
        fix="simulate people whom the room is for",
    )
    cases = 0
    for what, record, now in outside(subject):
        cases += 1
        domain = subject.model.domain(record.as_of(now), now)
        require(
            domain.reason is not None,
            f"it does not abstain outside its domain: {what}",
            fix="return Domain(reason, sentence) from domain()",
        )
        require(domain.sentence.strip(), f"it abstains without a sentence: {what}", seen=domain.reason)
        moved = replace(twin, domain=domain)
        forecast = subject.forecast(moved)
        require(
            forecast.status == Status.ABSTAINED and len(forecast.draws) == 0 and forecast.reason,
            f"a forecast shows numbers outside the domain: {what}",
        )
        advice = recommend(
            moved, dict(room.plans(twin)), room.objective(), room.limits(), times=room.times(twin), n=16, key=subject.key("advice")
        )
        require(isinstance(advice, Abstained), f"advice is given outside the domain: {what}")
    require(cases, "no domain is declared", fix="give inputs a domain in twin.toml, or the evidence module an OUTSIDE")
    empty = PatientRecord(id="nobody")
    nothing = subject.calibrate(empty, subject.now, name="empty")
    quiet = nothing.domain.reason is not None or nothing.status == Status.PRIOR_ONLY
    require(quiet, "an empty record gives a twin that does not say so", seen=nothing.sentence, expected="ABSTAINED or PRIOR_ONLY")
    return f"{cases} questions outside the domain, and an empty record"
