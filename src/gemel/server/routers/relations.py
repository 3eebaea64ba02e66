"""``/patients/{patient}/relations``: who treats a person, acts for them, or is attached to them. Nobody sees anything of a person without one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from gemel.core.errors import DataError
from gemel.core.time import iso
from gemel.platform.access import Resource
from gemel.platform.consent import Datum
from gemel.platform.guard import Caller
from gemel.platform.store import Store
from gemel.platform.store.relations import Relation, put_relation, relations_with
from gemel.server.asking import PREFIX, PatientId, Problems, moment
from gemel.server.auth import caller
from gemel.server.services import Services

__all__ = ["router"]

_KIND = "CareTeam"


class RelationAsked(BaseModel):
    """A relation that begins, or that ends when ``end`` says so. A newer one of the same person replaces it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    who: str = Field(pattern=r"^[A-Z][A-Za-z]{1,30}/[A-Za-z0-9._|@-]{1,160}$", description="a reference, such as Practitioner/7")
    kind: Literal["proxy", "care", "device"] = "care"
    start: str | None = Field(default=None, max_length=40)
    end: str | None = Field(default=None, max_length=40)


def _told(relation: Relation) -> dict[str, Any]:
    return {
        "who": relation.who,
        "kind": relation.kind,
        "start": iso(relation.start),
        "end": None if relation.end is None else iso(relation.end),
    }


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["relations"])
    guard = services.guard

    @routes.get("/patients/{patient}/relations", responses=Problems())
    async def list_relations(patient: PatientId, who: Annotated[Caller, Depends(caller)]) -> Response:
        """List who stands in a relation to a patient."""

        def look(store: Store) -> list[dict[str, Any]]:
            guard.require(store, who, "read", Resource(Datum(patient, f"Patient/{patient}", _KIND)))
            return [_told(relation) for relation in relations_with(store, patient)]

        return JSONResponse({"items": await services.readers.run(look)})

    @routes.post("/patients/{patient}/relations", status_code=204, responses=Problems())
    async def relate(patient: PatientId, asked: RelationAsked, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Let somebody stand in a relation to a patient: for those who treat them, and for the programs of the hospital that know who does."""
        now = services.clock()
        start, end = moment(asked.start), moment(asked.end)
        if end is not None and end <= (start or 0):
            raise DataError("a relation ends before it begins", expected="end after start")
        await services.readers.run(lambda store: guard.require(store, who, "update", Resource(Datum(patient, f"Patient/{patient}", _KIND))))
        relation = Relation(asked.who, asked.kind, now if start is None else start, end)
        await services.write(lambda store: put_relation(store, patient, relation, recorded=now))
        await services.log(who, "relate", subject=patient, detail={"to": asked.who, "kind": asked.kind})
        return Response(status_code=204)

    return routes
