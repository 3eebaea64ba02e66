"""Rows of the FHIR server."""

from __future__ import annotations

import json

from _fhir_trees import JSON, tree
from _routes import Route
from _world import NOW, World

from gemel.interop.fhir.codec import decode
from gemel.platform.store.resources import Change, Resources

BASE = "/fhir/R4"


def kept(world: World, patient: str) -> None:
    """Write a Patient and an Observation of somebody who is there."""
    if patient in world.ids:
        changes = [
            Change(t["resourceType"], t["id"], decode(json.dumps(t))) for t in (tree("Patient", patient), tree("Observation", patient))
        ]
        world.write(lambda store: Resources(store).write(changes, recorded=NOW))


def at(path: str, **rest):
    def aim(world: World, patient: str) -> dict:
        kept(world, patient)
        told = {key: value(patient) if callable(value) else value for key, value in rest.items()}
        return {"url": BASE + path.replace("PATIENT", patient), **told}

    return aim


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATCH = {"Content-Type": "application/json-patch+json"}

FHIR: list[Route] = [
    Route("GET", f"{BASE}/metadata", is_open=True),
    Route("POST", BASE, ("create", "update", "read", "search")),
    Route("GET", BASE + "/$export", "export"),
    Route("GET", BASE + "/Patient/$export", "export"),
    Route("GET", BASE + "/Group/{group}/$export", ("read", "export")),
    Route("GET", BASE + "/$export-poll/{job}", "export"),
    Route("DELETE", BASE + "/$export-poll/{job}"),
    Route("GET", BASE + "/$export-file/{job}/{name}", "export"),
    Route("GET", f"{BASE}/_history", "history"),
    Route("GET", BASE + "/{kind}", ("search", "include", "revinclude", "chained", "has", "count")),
    Route(
        "POST",
        BASE + "/{kind}/_search",
        ("search", "count"),
        aim=at("/Observation/_search", headers=FORM, content=lambda patient: f"patient={patient}"),
    ),
    Route("POST", BASE + "/{kind}", "create"),
    Route("PUT", BASE + "/{kind}", "update"),
    Route("DELETE", BASE + "/{kind}", "update"),
    Route("POST", BASE + "/{kind}/$validate"),
    Route("GET", BASE + "/{kind}/_history", "history"),
    Route("GET", BASE + "/{kind}/{rid}", "read", aim=at("/Patient/PATIENT")),
    Route("GET", BASE + "/{kind}/{rid}/_history", "history", aim=at("/Observation/o-PATIENT/_history")),
    Route("GET", BASE + "/{kind}/{rid}/_history/{vid}", "vread", aim=at("/Observation/o-PATIENT/_history/1")),
    Route(
        "PUT",
        BASE + "/{kind}/{rid}",
        "update",
        aim=at("/Observation/o-PATIENT", headers=JSON, json=lambda patient: tree("Observation", patient)),
    ),
    Route(
        "PATCH",
        BASE + "/{kind}/{rid}",
        "update",
        aim=at("/Observation/o-PATIENT", headers=PATCH, json=[{"op": "replace", "path": "/status", "value": "amended"}]),
    ),
    Route("DELETE", BASE + "/{kind}/{rid}", "update", aim=at("/Observation/o-PATIENT")),
]
