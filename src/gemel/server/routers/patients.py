"""``/patients``: who there is, as far as the one who asks may know."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied
from gemel.core.time import iso
from gemel.platform.guard import Caller
from gemel.platform.store import Store, lookup
from gemel.server.asking import PREFIX, Cursor, Limit, PatientId, Problems, known, patient_there, told
from gemel.server.auth import caller
from gemel.server.etags import etag
from gemel.server.paging import read_cursor, write_cursor
from gemel.server.resources import Page, PatientTold, ProblemTold, Searched
from gemel.server.services import Services

__all__ = ["router"]


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["patients"])
    guard = services.guard

    any_other: dict[int | str, dict[str, Any]] = {
        "default": {"model": ProblemTold, "description": "any other problem"}
    }  # names the type for all routes

    @routes.get("/patients", response_model=Page[PatientTold], responses={**Problems(), **any_other})
    async def list_patients(who: Annotated[Caller, Depends(caller)], limit: Limit = 50, cursor: Cursor = None) -> Response:
        """List patients in the order of enrolment. All pages are of one snapshot: nobody is skipped, nobody comes twice."""
        place = read_cursor("patients", cursor, (int, int))

        def look(store: Store) -> dict[str, Any]:
            guard.check(who, "search", "Patient")
            after, upto = place or (0, lookup.persons(store))
            made = guard.predicate(store, who, "search")
            found = lookup.people(store, made.sql, made.parameters, after=after, upto=upto, limit=limit + 1)
            shown = found[:limit]
            guard.note(who, "search", [one.subject for one in shown], detail={"resource": "Patient"})
            rest = write_cursor("patients", shown[-1].number, upto) if len(found) > limit else None
            return {"items": [_brief(one) for one in shown], "next": rest}

        return told(await services.readers.run(look))

    @routes.post("/patients/search", response_model=PatientTold, responses=Problems())
    async def find_patient(asked: Searched, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Find a patient by pseudonym. Nobody of that name, and nobody of yours, are one answer."""

        def look(store: Store) -> dict[str, Any]:
            subject = guard.find(store, who, "search", asked.pseudonym)
            guard.log(who, "search", subject=subject, detail={"resource": f"Patient/{subject}"})
            return _brief(lookup.person(store, subject))

        return told(await services.readers.run(look))

    @routes.get("/patients/{patient}", response_model=PatientTold, responses=Problems())
    async def read_patient(patient: PatientId, request: Request, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Show a patient: pseudonym, sex and zone, and how many facts there are."""

        def look(store: Store) -> tuple[str, dict[str, Any]]:
            guard.require(store, who, "read", patient_there(store, patient))
            found = lookup.person(store, patient)
            record = lookup.demographics(store, patient)
            counted = lookup.fact_counts(store, patient)
            return etag(patient, lookup.last_facts(store, patient)), _brief(found) | {"sex": record.sex, "zone": record.zone} | counted

        tag, found = await services.readers.run(look)
        return known(request, tag) or told(found, tag=tag)

    return routes


def _brief(found: lookup.Person) -> dict[str, Any]:
    if not found.pseudonym:
        raise AccessDenied()
    return {"id": found.subject, "pseudonym": found.pseudonym, "enrolled": iso(found.recorded)}
