"""The security matrix asked through the application: what an answer shows is what the Cedar policies of the decision say, cell by cell.

Every cell of two surfaces (a patient read, patients searched) and 300 others drawn with a fixed seed. The world is the matrix' own as far as the routes can hold it: Ada is its p1, with
the cell's consent and everybody's relation; Bob is its p2, with neither.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace

import _routes  # noqa: F401  the table first: its parts import it
import pytest
from _routes_fhir import kept
from _seeds import META, seeded
from _world import ADA, BOB, NOW, make_world, people

from _security_matrix import CONSENTS, POLICIES, PURPOSES, Cell, cells, entities, request
from gemel.core.time import HOUR
from gemel.platform import access
from gemel.platform.access import ROLES
from gemel.platform.store import Store
from gemel.platform.store.consents import put_consent
from gemel.platform.store.relations import Relation, break_glass, put_care

SOME = 300
ROWS = {ADA: "a", BOB: "j"}
"""Rows of the matrix' world with nothing about them but whose they are."""
KINDS = {"patient": "self", "proxy": "proxy", "nurse": "care", "physician": "care", "device": "device"}
MODEL = f"metabolic@{META['model_version'].partition('.')[0]}"


def consent_of(name: str):
    """The cell's consent, its times moved from the matrix' clock to this world's."""
    made = CONSENTS[name][0]
    valid = {"expired": (0, NOW), "not yet valid": (NOW + 1000 * HOUR, NOW + 2000 * HOUR)}.get(name)
    return replace(made, models=frozenset({MODEL}), valid=valid)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    from gemel.server.config import ServerConfig

    folder = tmp_path_factory.mktemp("matrix")
    limits = {"per_token": 1e6, "per_address": 1e6, "burst": 10**6}
    told = {"store": {"place": str(folder / "s.sqlite"), "readers": 1}, "audit": {"sign": False}, "worker": {"count": 0}, "limits": limits}
    with Store(folder / "s.sqlite") as store:
        people(store, has_consents=False)
    with make_world(ServerConfig.model_validate(told)) as world:
        for patient in (ADA, BOB):
            kept(world, patient)
            seeded(world, patient)

        def relate(store: Store) -> None:
            for role, kind in KINDS.items():
                put_care(store, ADA, Relation(f"Person/{role}", kind), recorded=NOW)
            for role in ROLES:
                break_glass(store, store.subject(ADA), f"Person/{role}", "found unconscious", opened=world.clock())

        world.write(relate)
        yield world


SHOWN = {
    "read": [lambda s: f"/api/v1/patients/{s['patient']}", lambda s: f"/fhir/R4/Observation/o-{s['name']}"],
    "vread": [lambda s: f"/fhir/R4/Observation/o-{s['name']}/_history/1"],
    "history": [lambda s: f"/fhir/R4/Observation/o-{s['name']}/_history"],
    "forecast": [lambda s: f"/api/v1/forecasts/{s['forecast']}", lambda s: f"/api/v1/twins/{s['twin']}"],
    "posterior": [lambda s: f"/api/v1/twins/{s['twin']}/versions/{s['version']}/state"],
}
"""Surfaces of one thing: it is shown when the answer is 200."""

FOUND = {
    "search": [("/api/v1/patients", "patient"), ("/fhir/R4/Observation", "observation")],
    "count": [("/fhir/R4/Observation?_summary=count&patient={name}", None)],
}
"""Surfaces of many: somebody is shown when they stand in the answer."""


def head(world, cell: Cell) -> dict[str, str]:
    told = {"X-Purpose-Of-Use": cell.purpose} if cell.purpose else {}
    if cell.role != "anonymous":
        told["Authorization"] = f"Bearer {world.tokens[cell.role]}"
    return told


def shown(world, cell: Cell, way: int = 0) -> set[str]:
    """Whom the application shows in a cell."""
    if cell.surface == "metrics":
        return set(ROWS) if world.client.get("/metrics", headers=head(world, cell)).status_code == 200 else set()
    found = set()
    for patient in ROWS:
        known = seeded(world, patient) | {"name": patient}
        if cell.surface in SHOWN:
            answer = world.client.get(SHOWN[cell.surface][way % len(SHOWN[cell.surface])](known), headers=head(world, cell))
            is_there = answer.status_code == 200
        else:
            path, what = FOUND[cell.surface][way % len(FOUND[cell.surface])]
            answer = world.client.get(path.format(**known), headers=head(world, cell))
            text = answer.text if answer.status_code == 200 else ""
            is_there = {"patient": known["patient"], "observation": f"o-{patient}"}.get(what, '"total":1') in text
        assert answer.status_code in (200, 401, 403, 404), (cell, answer.text)
        assert (answer.status_code == 401) == (cell.role == "anonymous")
        if is_there:
            found.add(patient)
    return found


def differing(world, chosen: list[tuple[Cell, int]]) -> list[tuple[Cell, int, set[str], set[str]]]:
    """Cells in which application and oracle differ."""
    import cedarpy

    policies, known = cedarpy.PolicySet.from_str(POLICIES), cedarpy.Entities.from_json_str(json.dumps(entities()))
    world.tokens = {role: world.token(role, who=f"Person/{role}", seconds=3000) for role in ROLES if role != "anonymous"}
    wrong = []
    for name in CONSENTS:
        part = [(cell, way) for cell, way in chosen if cell.consent == name]
        if name != "none" and part:
            world.write(lambda store, name=name: put_consent(store, ADA, consent_of(name), recorded=NOW))
        told = iter(cedarpy.is_authorized_batch([request(cell, row) for cell, _ in part for row in ROWS.values()], policies, known))
        for cell, way in part:
            expected = {patient for patient in ROWS if next(told).allowed}
            found = shown(world, cell, way)
            if found != expected:
                wrong.append((cell, way, found, expected))
    return wrong


@pytest.mark.slow
@pytest.mark.peer
def test_the_application_shows_what_cedar_says(asked):
    """One world, its consent moved from cell to cell: every cell of two surfaces, and some of the others, in one pass."""
    whole = [(cell, 0) for cell in cells() if cell.surface in ("read", "search")]
    assert len(whole) == 2 * len(ROLES) * len(PURPOSES) * len(CONSENTS)
    draw = random.Random(20)
    ways = [
        (cell, way) for cell in cells() for way in (0, 1) if cell.surface in {*SHOWN, *FOUND, "metrics"} and (cell, way) not in set(whole)
    ]
    assert differing(asked, whole + draw.sample(ways, SOME)) == []


@pytest.mark.peer
def test_a_grant_that_is_too_wide_would_be_seen(asked, monkeypatch):
    """The comparison can fail: a nurse whom no consent is asked of is noticed, on every kind of route."""
    (at,) = [i for i, grant in enumerate(access.GRANTS) if grant.role == "nurse" and "TREAT" in grant.purposes]
    wider = replace(access.GRANTS[at], consent="not asked")
    chosen = [
        (Cell("nurse", "TREAT", "deny", surface), way)
        for surface in ("read", "search", "history", "vread", "count", "forecast")
        for way in (0, 1)
    ]
    assert differing(asked, chosen) == []
    assert differing(asked, [(Cell("nurse", "TREAT", "permit", cell.surface), way) for cell, way in chosen]) == []
    monkeypatch.setattr(access, "GRANTS", (*access.GRANTS[:at], wider, *access.GRANTS[at + 1 :]))
    assert {cell.surface for cell, *_ in differing(asked, chosen)} == {"read", "search", "history", "vread", "count", "forecast"}
