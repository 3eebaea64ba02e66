"""The route table: every route of the application, what it is in terms of the guard, and how an id is swapped on it. A route without a row fails the build.

A row: method, path as the application knows it, the action of ``access.ACTIONS`` that it asks (or a tuple of them), and

- ``is_open``: it answers without a token (and is about nobody);
- ``aim``: a function ``(world, patient) -> dict`` of arguments of ``client.request`` (``url``, ``json``, ``headers`` ...) that asks for something of this patient
  (a pseudonym: ``ADA``, ``BOB``; ``NOBODY`` is not there), writing into the world what it needs. Left out where the route names nobody.
- ``role``: who asks, when it is aimed; ``purpose`` when it is another than that role's usual.

For a row with ``aim``: the one who treats Ada gets something else than 401, 403 or 404 about Ada; about Bob and about nobody they get one answer, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from _world import World

Aim = Callable[[World, str], dict[str, Any]]


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    action: str | tuple[str, ...] = ""
    is_open: bool = False
    aim: Aim | None = None
    role: str = "physician"
    purpose: str | None = None


def at(path: str, **rest: Any) -> Aim:
    """Aim by the path: ``{patient}`` becomes the random id of the patient; one who is not there has an id that nobody has."""

    def aim(world: World, patient: str) -> dict[str, Any]:
        return {"url": path.replace("{patient}", world.ids.get(patient, "0" * 24)), **rest}

    return aim


ROUTES: list[Route] = [
    # ops
    Route("GET", "/", is_open=True),
    Route("GET", "/healthz", is_open=True),
    Route("GET", "/readyz", is_open=True),
    Route("GET", "/metrics", "metrics"),
    Route("GET", "/api/v1/openapi.json", is_open=True),
    # login: about whoever logs in, never about a patient
    Route("GET", "/.well-known/smart-configuration", is_open=True),
    Route("GET", "/fhir/R4/.well-known/smart-configuration", is_open=True),
    Route("GET", "/auth/jwks", is_open=True),
    Route("GET", "/auth/login", is_open=True),
    Route("POST", "/auth/login", is_open=True),
    Route("GET", "/auth/once", is_open=True),
    Route("GET", "/auth/outside/{number}", is_open=True),
    Route("GET", "/auth/callback", is_open=True),
    Route("GET", "/auth/authorize", is_open=True),
    Route("POST", "/auth/authorize", is_open=True),
    Route("POST", "/auth/token", is_open=True),
    Route("GET", "/auth/session"),
    Route("POST", "/auth/logout"),
    # emergencies: breaking the glass opens anybody who is there, on purpose, and alerts
    Route("POST", "/api/v1/break-glass", "read"),
    Route("GET", "/api/v1/break-glass", "audit"),
    Route("POST", "/api/v1/break-glass/{glass}/review", "audit"),
    # knocks of the hospital's server: they carry a word of their own, and say nothing
    Route("POST", "/fhir-notifications"),
    Route("PUT", "/fhir-notifications/{rest:path}"),
    Route("POST", "/fhir-notifications/{rest:path}"),
    # decision support: a token of a listed client, for one address, used once; who may see what is asked inside (test_cds.py)
    Route("GET", "/cds-services", is_open=True),
    Route("POST", "/cds-services/gemel-advice", "forecast"),
    Route("POST", "/cds-services/gemel-advice/feedback", "create"),
    # who treats whom
    Route("GET", "/api/v1/patients/{patient}/relations", "read", aim=at("/api/v1/patients/{patient}/relations")),
    Route(
        "POST",
        "/api/v1/patients/{patient}/relations",
        "update",
        aim=at("/api/v1/patients/{patient}/relations", json={"who": "Practitioner/8"}),
    ),
]


from _routes_api import API  # noqa: E402  it needs Route

ROUTES += API

from _routes_fhir import FHIR  # noqa: E402  it needs Route

ROUTES += FHIR

from _routes_dicomweb import DICOMWEB  # noqa: E402  it needs Route

ROUTES += DICOMWEB
