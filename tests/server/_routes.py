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


ROUTES: list[Route] = [
    # ops
    Route("GET", "/", is_open=True),
    Route("GET", "/healthz", is_open=True),
    Route("GET", "/readyz", is_open=True),
    Route("GET", "/metrics", "metrics"),
    Route("GET", "/api/v1/openapi.json", is_open=True),
]
