"""Every route is in the table, asks who is there, and tells nobody who exists."""

from __future__ import annotations

import re

import pytest
from _routes import ROUTES
from _world import ADA, BOB, NOBODY
from fastapi.routing import iter_route_contexts

from gemel.platform.access import ACTIONS

NOTHING = (b"[]", b"{}", b'{"items":[],"next":null}', b'{"items":[]}')
"""Bodies of answers in which nothing was found."""


def known(app) -> set[tuple[str, str]]:
    """Every route that the application answers, those of included routers too."""
    found = set()
    for route in iter_route_contexts(app.routes):
        for method in route.methods or {"WS"}:
            if method != "HEAD":
                found.add((method, route.path))
    return found


def test_every_route_has_a_row_and_every_row_a_route(world):
    rows = [(row.method, row.path) for row in ROUTES]
    assert len(set(rows)) == len(rows)
    assert known(world.client._app) == set(rows)
    actions = {action for row in ROUTES for action in ([row.action] if isinstance(row.action, str) else row.action) if action}
    assert actions <= set(ACTIONS)


def test_no_route_but_the_open_ones_answers_without_a_token(world):
    answered = {}
    for row in ROUTES:
        if row.is_open or row.method == "WS":
            continue
        path = re.sub(r"\{[^}]*\}", "x", row.path)
        told = world.client.request(row.method, path)
        answered[row.method, row.path] = (told.status_code, told.headers.get("www-authenticate"))
    assert {key: told for key, told in answered.items() if told != (401, "Bearer")} == {}


@pytest.mark.parametrize("row", [row for row in ROUTES if row.aim], ids=lambda row: f"{row.method} {row.path}")
def test_a_swapped_id_is_answered_like_one_that_is_not_there(world, row):
    def ask(patient):
        told = dict(row.aim(world, patient))
        head = world.head(row.role, ADA, purpose=row.purpose) | told.pop("headers", {})
        answer = world.client.request(row.method, headers=head, **told)
        return answer.status_code, answer.content

    assert ask(ADA)[0] not in (401, 403, 404)
    other, nobody = ask(BOB), ask(NOBODY)
    assert other == nobody
    assert other[0] in (403, 404) or other[1] in NOTHING or b'"total":0' in other[1]
