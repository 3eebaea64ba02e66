"""The way round: a value in a FHIR server that we did not write, until the advice is a Task there, and until a person's acceptance is answered there; and what deaths do to it.

    gemel bench platform-loop [--quick] [--rounds N] [--kills N] [--step N] [--again] [--output FILE]

Every program is a process of its own: Medplum's router, ``gemel serve`` and its worker. Three stages, kept and resumed: *latency* (median and 95th percentile in seconds), *points* (the
way back cut short before and after each of its requests and writes) and *kills* (``kill -9`` of the server at random moments of a round). No peer is beside it: no other program that we
know closes this loop. The floor is the same requests to the same FHIR server with nothing behind them, in the same run; the last line is our median over the goal.
Printed as *not run* where node or its packages cannot be had.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests"), str(HERE.parent / "tests" / "server")]

from _crash import scenario  # noqa: E402
from _loop import opened, settings  # noqa: E402
from _results import Results, note  # noqa: E402
from _round import going, observation  # noqa: E402

import _medplum  # noqa: E402
from gemel.platform.store import Store  # noqa: E402
from gemel.platform.store.deliveries import deliveries  # noqa: E402

GOAL_S = 2.0


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"median": round(statistics.median(ordered), 3), "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 3)}


def floor(medplum: Any, rounds: int) -> dict[str, float]:
    """The same requests, with nobody behind them."""
    import httpx

    took = []
    with httpx.Client(base_url=medplum.url) as http:
        for number in range(rounds):
            task = medplum.post({"resourceType": "Task", "status": "requested", "intent": "proposal"})
            began = time.perf_counter()
            http.post("/Observation", json=observation("floor", 1.0, time.time_ns()))
            http.get("/Task", params={"patient": "Patient/floor", "_count": "1000"})
            http.put(f"/Task/{task['id']}", json=task | {"status": "accepted", "note": [{"text": str(number)}]})
            http.get(f"/Task/{task['id']}")
            took.append(time.perf_counter() - began)
    return summary(took)


def latency(rounds: int) -> dict[str, Any]:
    server = _medplum.Medplum(_packages())
    try:
        with tempfile.TemporaryDirectory() as folder, going(server, Path(folder), "loop-1") as made:
            draw = random.Random(7)
            made.once(10.2)  # the first compiles
            took = [made.once(10.2 + draw.uniform(-0.3, 0.3)) for _ in range(rounds)]
            return {
                "rounds": rounds,
                **{name: summary([one[name] for one in took]) for name in ("to_task", "to_answer", "round")},
                "floor": floor(server, rounds),
            }
    finally:
        server.kill()


def points(step: int) -> dict[str, Any]:
    server = _medplum.Medplum(_packages())
    try:
        with tempfile.TemporaryDirectory() as folder, opened(settings(Path(folder) / "s.sqlite", server.url)) as loop:
            tried, wrong = 0, []
            for choice, answered in (("2 mg", "accepted"), ("2 mg", "rejected"), (None, "accepted")):
                count, whole = scenario(loop, server, 0, choice=choice, answered=answered)
                for point in range(1, count, step):
                    tried += 1
                    if scenario(loop, server, point, choice=choice, answered=answered)[1] != whole:
                        wrong.append([choice, answered, point])
            return {"points": tried, "wrong": wrong}
    finally:
        server.kill()


def kills(count: int) -> dict[str, Any]:
    """Kill the server while values come in and Tasks are accepted; at the end nothing is lost and nothing is there twice."""
    server = _medplum.Medplum(_packages())
    draw = random.Random(11)
    try:
        with tempfile.TemporaryDirectory() as folder, going(server, Path(folder), "kill-1") as made:
            made.once(10.2)
            values, stop = 1, threading.Event()
            lock = threading.Lock()

            def send() -> None:
                nonlocal values
                while not stop.wait(0.4):
                    server.post(observation("kill-1", 10.0 + (values % 10) / 10, time.time_ns() // 1_000_000 * 1_000_000))
                    with lock:
                        values += 1

            def accept() -> None:
                while not stop.wait(0.15):
                    for task in made.tasks("requested"):
                        made.http.put(f"{server.url}/Task/{task['id']}", json=task | {"status": "accepted", "owner": {"reference": "Practitioner/3"}},
                                      headers={"If-Match": f'W/"{task["meta"]["versionId"]}"'})  # fmt: skip

            threads = [threading.Thread(target=one, daemon=True) for one in (send, accept)]
            for one in threads:
                one.start()
            for number in range(count):
                time.sleep(draw.uniform(0.0, 3.0))
                made.kill()
                made.start()
                if number % 10 == 9:
                    note(f"{number + 1} kills")
            stop.set()
            for one in threads:
                one.join()
            with Store(made.place) as store:
                made.until(lambda: sum(len(s) for s in store.record("kill-1").series) >= values + 20, 120)
                made.until(lambda: not deliveries(store, "hospital", ("sending",)), 60)
                time.sleep(3)
                accepted = {t["identifier"][0]["value"].removesuffix("/task") for t in made.tasks() if t["status"] == "accepted"}
                made.until(lambda: {one.proposal for kind, one in store.answers("kill-1") if kind == "decision"} >= accepted, 60)
                told = [one.proposal for kind, one in store.answers("kill-1") if kind == "decision"]
                names = [t["identifier"][0]["value"] for t in made.tasks()]
                readings = sum(len(s) for s in store.record("kill-1").series)
                return {
                    "kills": count, "values_sent": values, "values_in_the_record": readings - 20, "tasks": len(names), "tasks_twice": len(names) - len(set(names)),
                    "accepted": len(accepted), "decisions": len(told), "decisions_twice": len(told) - len(set(told)), "decisions_lost": len(accepted - set(told)),
                    "store_is_sound": store.check().sound,
                }  # fmt: skip
    finally:
        server.kill()


def _packages() -> Path:
    found = _medplum.packages()
    if isinstance(found, str):
        raise SystemExit(json.dumps({"not run": found}))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--step", type=int, help="every which point is tried")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("gemel-bench/platform_loop.json"))
    given = parser.parse_args()
    rounds = given.rounds or (5 if given.quick else 50)
    count = given.kills if given.kills is not None else (5 if given.quick else 200)
    step = given.step or (9 if given.quick else 1)
    if isinstance(_medplum.packages(), str):
        print(json.dumps({"platform_loop": {"not run": _medplum.packages()}}))
        return
    kept = Results(given.output, given.again)
    stages = {
        "latency": ({"rounds": rounds}, lambda: latency(rounds)),
        "points": ({"step": step}, lambda: points(step)),
        "kills": ({"kills": count}, lambda: kills(count)),
    }
    told: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}}
    for name, (asked, work) in stages.items():
        note(name)
        told[name] = kept.get(name, asked) or kept.put(name, asked, work())
    print(json.dumps({"platform_loop": told}, indent=1))
    median = told["latency"]["round"]["median"]
    print(
        f"round {median} s (FHIR server alone {told['latency']['floor']['median']} s); over the goal of {GOAL_S:g} s: {median / GOAL_S:.2f}"
    )


if __name__ == "__main__":
    main()
