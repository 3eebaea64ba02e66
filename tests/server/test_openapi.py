"""The description of the API against the API: every route, every refusal, and answers that are as they are described."""

from __future__ import annotations

import pytest
from _routes import ROUTES
from _routes_api import API
from _seeds import V1, seeded
from _world import ADA
from fastapi.routing import APIRoute, iter_route_contexts


@pytest.fixture
def schema(world):
    told = world.client.get(f"{V1}/openapi.json")
    assert told.status_code == 200
    return told.json()


def test_every_route_of_the_api_is_described_with_every_refusal(world, schema):
    described = {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}
    known = {(row.method, row.path) for row in API}
    assert known <= described
    for method, path in known:
        told = schema["paths"][path][method.lower()]
        assert told["summary"]
        assert told.get("description"), (method, path)
        missing = {"400", "401", "403", "404", "413", "422", "429", "500", "503"} - set(told["responses"])
        assert not missing, (method, path, missing)
        for status, answer in told["responses"].items():
            if "400" <= status < "600":
                assert answer["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/ProblemTold"}
    assert "ProblemTold" in schema["components"]["schemas"]
    for row in ROUTES:
        if row.path.startswith(V1) and not row.is_open and row.method != "WS":
            assert (row.method, row.path) in described


def _check(value, schema, defs, place="answer"):
    """Hold a value against a schema of OpenAPI, as far as ours go; return what does not fit."""
    if "$ref" in schema:
        return _check(value, defs[schema["$ref"].rpartition("/")[2]], defs, place)
    if "anyOf" in schema:
        told = [_check(value, option, defs, place) for option in schema["anyOf"]]
        return [] if any(not wrong for wrong in told) else told[0]
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None), "number": (int, float)}
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (kind in ("integer", "number") and isinstance(value, bool))):
        return [f"{place}: {type(value).__name__}, not {kind}"]
    wrong = []
    if kind == "object":
        wrong += [f"{place}.{name}: missing" for name in schema.get("required", ()) if name not in value]
        for name, inner in value.items():
            if name in schema.get("properties", {}):
                wrong += _check(inner, schema["properties"][name], defs, f"{place}.{name}")
            elif "properties" in schema and schema.get("additionalProperties") is not True:
                wrong.append(f"{place}.{name}: not described")
    elif kind == "array" and "items" in schema:
        wrong += [w for i, inner in enumerate(value) for w in _check(inner, schema["items"], defs, f"{place}[{i}]")]
    if "enum" in schema and value not in schema["enum"]:
        wrong.append(f"{place}: {value!r}")
    return wrong


def test_answers_are_as_they_are_described(world, schema):
    seeded(world, ADA)
    wrong = []
    for row in (row for row in API if row.aim and not row.path.endswith("/withdraw")):
        told = dict(row.aim(world, ADA))
        head = world.head(row.role, ADA, purpose=row.purpose) | told.pop("headers", {})
        answer = world.client.request(row.method, headers=head, **told)
        described = schema["paths"][row.path][row.method.lower()]["responses"].get(str(answer.status_code))
        kind = answer.headers["content-type"].partition(";")[0]
        if described is None or kind not in described.get("content", {}):
            wrong.append((row.method, row.path, answer.status_code, kind))
        elif answer.status_code < 300 and kind == "application/json" and "schema" in described["content"][kind]:
            wrong += [(row.path, w) for w in _check(answer.json(), described["content"][kind]["schema"], schema["components"]["schemas"])]
    assert wrong == []


def test_every_route_that_is_about_somebody_asks_who_there_is(world):
    """No route of the API can be reached around :func:`gemel.server.auth.caller`."""
    from gemel.server.auth import asker, caller

    for context in iter_route_contexts(world.client._app.routes):
        route = getattr(context, "route", context)
        if (
            isinstance(route, APIRoute)
            and context.path.startswith(V1)
            and (next(iter(route.methods)), context.path) in {(r.method, r.path) for r in API}
        ):
            assert {asker, caller} & {dependency.call for dependency in route.dependant.dependencies}, context.path
