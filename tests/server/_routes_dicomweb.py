"""Rows of the route table for DICOMweb."""

from __future__ import annotations

from typing import Any

from _routes import Route
from _studies import NUMBERS, WEB, image_of, uids
from _world import NOW, World

from gemel.platform.images import keep_image


def at(template: str):
    def aim(world: World, patient: str) -> dict[str, Any]:
        for one in NUMBERS:
            world.write(lambda store, one=one: keep_image(store, "CT1", image_of(one), received=NOW))
        return {"url": WEB + template.format(patient=patient, **uids(patient))}

    return aim


S, E, I = "/studies/{study}", "/series/{series}", "/instances/{instance}"
DICOMWEB: list[Route] = [
    Route("GET", f"{WEB}/studies", "image"),  # what it finds, and what it does not: test_dicomweb.py
    Route("GET", f"{WEB}{S}/series", "image"),
    Route("GET", f"{WEB}{S}/instances", "image"),
    Route("GET", f"{WEB}{S}{E}/instances", "image"),
    *(Route("GET", f"{WEB}{path}{end}", "image", aim=at(f"{path}{end}")) for path in (S, S + E, S + E + I) for end in ("", "/metadata")),
    Route("POST", f"{WEB}/studies", "create"),  # who may add data about some people only is refused: test_dicomweb.py
]
