"""schemathesis asks every operation of the API from its own description; nothing may end as a defect of the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from _seeds import V1, seeded  # noqa: E402  beside this file, also for the benchmark
from _world import ADA, BOB, make_world  # noqa: E402

from gemel.server.config import ServerConfig  # noqa: E402

ROLES = ("physician", "patient", "service", "administrator")


def ask_everything(folder: Path, *, examples: int, seed: int = 1) -> dict[str, Any]:
    """Ask each operation so many times, as somebody of each role; ids of people and things that are there are among what is tried.

    Returns
    -------
    ``operations``, ``requests``, ``statuses`` (how often each), ``broken`` (status 500 and above, with what was asked).
    """
    import schemathesis
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import seed as fixed

    config = ServerConfig.model_validate(
        {
            "store": {"place": str(folder / "s.sqlite"), "readers": 2}, "audit": {"sign": False}, "worker": {"count": 0},
            "limits": {"per_token": 1e9, "per_address": 1e9, "burst": 10**9},
        }
    )  # fmt: skip
    statuses: dict[int, int] = {}
    broken: list[str] = []
    with make_world(config) as world:
        ids = [seeded(world, who) for who in (ADA, BOB)]
        there = {"patient": "patient", "twin": "twin", "forecast": "forecast", "version": "version", "recommendation": "proposal", "decision": "decision",
                 "job": "job", "sha256": "array", "consent": "consent"}  # fmt: skip
        table = world.client.get(f"{V1}/openapi.json").json()
        table["paths"] = {path: told for path, told in table["paths"].items() if path.startswith(V1) and path not in (f"{V1}/events",)}
        heads = [world.head(role, seconds=36_000) for role in ROLES]
        schema = schemathesis.openapi.from_dict(table)
        count = 0
        for found in schema.get_all_operations():
            operation = found.ok()
            count += 1

            def ask(case: Any, operation: Any = operation) -> None:
                turn = sum(statuses.values())
                if turn % 3:  # else whatever schemathesis thought of
                    known = ids[turn % 2]
                    case.path_parameters = {
                        name: known[there[name]] if name in there else value for name, value in (case.path_parameters or {}).items()
                    }
                    if case.query and "patient" in case.query:
                        case.query["patient"] = known["patient"]
                plain = case.as_transport_kwargs(base_url="http://127.0.0.1:8765")
                method, url = plain.pop("method"), plain.pop("url")
                plain["headers"] = {str(k): v for k, v in dict(plain.get("headers") or {}).items()} | heads[turn % len(heads)]
                plain = {
                    name: value
                    for name, value in plain.items()
                    if name in ("headers", "params", "json", "data", "content", "files") and value is not None
                }
                if isinstance(plain.get("data"), (bytes, str)):
                    plain["content"] = plain.pop("data")
                try:
                    answer = world.client.request(method, url, **plain)
                except (UnicodeError, ValueError, TypeError):
                    return  # what no client can send
                statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
                if answer.status_code >= 500:
                    broken.append(f"{method} {operation.path}: {answer.status_code} {answer.content[:200]!r} for {str(plain)[:600]}")

            limits = settings(
                max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
            )  # fmt: skip
            fixed(seed)(limits(_given(operation, ask)))()
    return {"operations": count, "requests": sum(statuses.values()), "statuses": dict(sorted(statuses.items())), "broken": broken}


def _given(operation: Any, ask: Any) -> Any:
    from hypothesis import given
    from hypothesis import strategies as st
    from schemathesis.generation import GenerationMode

    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))))
    def test(case: Any) -> None:
        ask(case)

    return test
