"""``/patients/ID/series``, ``exposures``, ``findings``: facts, as they were known at a time; what may not be seen is not there."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from gemel.core.code import Code
from gemel.core.errors import TimeError
from gemel.core.record import Exposure, Finding, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import iso
from gemel.platform.derived import shown_record
from gemel.platform.guard import Caller
from gemel.platform.store import Store, lookup
from gemel.server.asking import PREFIX, PatientId, Problems, moment, read_codes, told
from gemel.server.auth import caller
from gemel.server.resources import ExposureTold, FindingTold, Page, SeriesTold
from gemel.server.services import Services

__all__ = ["router"]

_When = Annotated[str | None, Query(max_length=40, description="ISO 8601 with its zone")]
_CodeQuery = Annotated[list[str] | None, Query(max_length=50, description="SYSTEM:CODE, such as loinc:99504-3; may be given again")]


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["facts"])
    guard = services.guard

    def facts(store: Store, who: Caller, patient: str, kind: str, as_of: int | None) -> PatientRecord:
        """Return what the one who asks may read of a record as it was known."""

        def look() -> PatientRecord:
            return store.record(lookup.pseudonym(store, patient), as_of=2**62 if as_of is None else as_of)

        return shown_record(store, guard, who, look, patient, kind)

    def span(start: str | None, end: str | None) -> tuple[int, int]:
        first, last = moment(start), moment(end)
        found = (-(2**62) if first is None else first, 2**62 if last is None else last)
        if found[0] > found[1]:
            raise TimeError("a stretch of time that ends before it begins", expected="from <= to")
        return found

    @routes.get("/patients/{patient}/series", response_model=Page[SeriesTold], responses=Problems())
    async def read_series(
        patient: PatientId, who: Annotated[Caller, Depends(caller)], code: _CodeQuery = None, start: Annotated[_When, Query(alias="from")] = None,
        end: Annotated[_When, Query(alias="to")] = None, as_of: _When = None,
    ) -> Response:  # fmt: skip
        """Return readings in columns, by time: those with ``from <= time < to``, as they were known at ``as_of``."""
        codes, (first, last), known = read_codes(code), span(start, end), moment(as_of)

        def look(store: Store) -> dict[str, Any]:
            record = facts(store, who, patient, "Observation", known)
            return {"items": [_series(s.between(first, last)) for s in record.series if codes is None or s.code in codes], "next": None}

        return told(await services.readers.run(look))

    @routes.get("/patients/{patient}/exposures", response_model=Page[ExposureTold], responses=Problems())
    async def read_exposures(
        patient: PatientId, who: Annotated[Caller, Depends(caller)], code: _CodeQuery = None, start: Annotated[_When, Query(alias="from")] = None,
        end: Annotated[_When, Query(alias="to")] = None, as_of: _When = None,
    ) -> Response:  # fmt: skip
        """Return meals, drugs, exercise and procedures that began in ``from <= start < to``, as they were known at ``as_of``."""
        codes, (first, last), known = read_codes(code), span(start, end), moment(as_of)

        def look(store: Store) -> dict[str, Any]:
            record = facts(store, who, patient, "MedicationAdministration", known)
            found = [
                e for e in sorted(record.exposures, key=lambda e: e.start) if (codes is None or e.code in codes) and first <= e.start < last
            ]
            return {"items": [_exposure(e) for e in found], "next": None}

        return told(await services.readers.run(look))

    @routes.get("/patients/{patient}/findings", response_model=Page[FindingTold], responses=Problems())
    async def read_findings(
        patient: PatientId, who: Annotated[Caller, Depends(caller)], code: _CodeQuery = None, start: Annotated[_When, Query(alias="from")] = None,
        end: Annotated[_When, Query(alias="to")] = None, as_of: _When = None,
    ) -> Response:  # fmt: skip
        """Return diagnoses, events and single measurements of ``from <= time < to``, as they were known at ``as_of``."""
        codes, (first, last), known = read_codes(code), span(start, end), moment(as_of)

        def look(store: Store) -> dict[str, Any]:
            record = facts(store, who, patient, "Condition", known)
            found = [
                f for f in sorted(record.findings, key=lambda f: f.time) if (codes is None or f.code in codes) and first <= f.time < last
            ]
            return {"items": [_finding(f) for f in found], "next": None}

        return told(await services.readers.run(look))

    return routes


def _series(series: Series) -> dict[str, Any]:
    order = np.lexsort((series.recorded, series.time))
    return {
        "code": str(series.code), "display": series.code.display, "unit": series.unit, "source": series.source, "time_us": series.time[order] // 1000,
        "value": series.value[order], "recorded_us": series.recorded[order] // 1000, "status": series.status[order], "censored": series.censored[order],
    }  # fmt: skip


def _exposure(fact: Exposure) -> dict[str, Any]:
    amount = fact.quantity
    return {
        "id": fact.id, "code": str(fact.code), "display": fact.code.display, "amount": None if amount is None else amount.value,
        "unit": None if amount is None else amount.unit, "start": iso(fact.start), "end": iso(fact.end), "recorded": iso(fact.recorded), "source": fact.source,
        "status": fact.status,
    }  # fmt: skip


def _finding(fact: Finding) -> dict[str, Any]:
    value: Any = fact.value
    if isinstance(value, Quantity):
        value = {"value": value.value, "unit": value.unit}
    elif isinstance(value, Code):
        value = {"code": str(value), "display": value.display}
    return {
        "id": fact.id, "code": str(fact.code), "display": fact.code.display, "value": value, "time": iso(fact.time), "recorded": iso(fact.recorded),
        "source": fact.source, "site": fact.site, "status": fact.status,
    }  # fmt: skip
