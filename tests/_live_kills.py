"""Kill workers at random instants while readings arrive: ``python _live_kills.py PLACE KILLS SEED`` prints JSON.

The parent takes readings in and never computes; it starts a worker, waits until it has begun to write, kills it after a random while (SIGKILL), and starts the next. In the
end one worker finishes. Then: every reading that was acknowledged is in the record once, every followed twin has read everything, no version or forecast is there twice for
the same moment, and the twin is, bit for bit, what the library makes of the same record.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def start(place: str, *, lease_s: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(HERE / "_live_kills.py"), "work", place, str(lease_s)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )


def work(place: str, lease_s: float) -> None:
    import threading

    from gemel.cli.options import use_engine
    from gemel.platform.live.settings import LiveSettings
    from gemel.platform.store import Store
    from gemel.server.worker import Worker

    use_engine()
    where = place if "://" in place else Path(place)
    settings = LiveSettings.model_validate(
        {"debounce_ms": 0, "poll_ms": 5, "lease_s": lease_s, "keep_every": 4, "standing": {"*": {"draws": 16, "minutes": [30, 60]}}}
    )
    worker = Worker(lambda: Store(where, busy_ms=30_000), settings, name=f"w-{time.time_ns()}")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print("ready", flush=True)
    worker.run(stop)
    worker.close()


def run(place: str, kills: int, seed: int, *, people: int = 3) -> dict[str, object]:
    from _live import MINUTE, ROOM, Ward, fill, person
    from gemel.platform.store import lookup
    from gemel.platform.stream import twins as queue

    draw = random.Random(seed)
    where = place if "://" in place else Path(place)
    begun = time.time_ns()
    ward = Ward(where, begun)
    acknowledged: dict[str, dict[int, float]] = {}
    with ward.open() as store:
        for k in range(people):
            record, now = person(3 + k)
            shift = begun - now  # readings of the past end now
            moved = record.series[0].model_copy(
                update={"time": record.series[0].time + shift, "recorded": record.series[0].recorded + shift}
            )
            fill(store, f"p{k}", record.model_copy(update={"series": (moved,), "exposures": ()}), begun)
            acknowledged[f"p{k}"] = {}
            store.enqueue(
                "calibrate", f"c{k}", json.dumps({"patient": f"p{k}", "twin": ROOM, "now": begun, "seed": 1}), now=begun, patient=f"p{k}"
            )
        sent = caught = 0
        child = start(place, lease_s=1.0)

        def send() -> None:
            nonlocal sent
            patient, time_ = f"p{draw.randrange(people)}", begun + sent * MINUTE // 50
            ward.clock.now = time.time_ns()
            value = 20.0 + draw.gauss(0, 1)
            ward.send(store, min(time_, ward.clock.now), value, patient=patient)
            acknowledged[patient][min(time_, ward.clock.now)] = value
            sent += 1

        end = time.monotonic() + 300
        while len(queue.followed(store)) < people and time.monotonic() < end:
            time.sleep(0.05)
        for _ in range(kills):
            before, end = store.counts()["twin_version"], time.monotonic() + 120
            send()
            while store.counts()["twin_version"] == before and time.monotonic() < end:  # it has come so far that it writes
                time.sleep(0.02)
            end = time.monotonic() + draw.uniform(0.0, 0.3)
            while time.monotonic() < end:
                send()
                time.sleep(draw.uniform(0.0, 0.03))
            child.kill()
            caught += child.wait() == -signal.SIGKILL
            child.stdout.close()
            child = start(place, lease_s=1.0)
        end = time.monotonic() + 120
        while time.monotonic() < end:
            states = queue.followed(store)
            if len(states) == people and not any(one.is_due for one in states) and queue.wanted_since(store) >= _last_facts(store, lookup):
                break
            time.sleep(0.1)
        child.terminate()
        child.wait()
        child.stdout.close()
        return {"kills": kills, "caught": caught, "sent": sent, **_look(store, acknowledged, people)}


def _last_facts(store, lookup) -> int:
    return max(change.seq for change in lookup.changes(store, limit=10**9) if change.kind == "facts")


def _look(store, acknowledged, people) -> dict[str, object]:
    import jax

    import gemel
    from _live import ROOM
    from gemel.engine.twin import assimilate
    from gemel.platform.live.states import Rooms, States
    from gemel.platform.store import lookup
    from gemel.platform.stream import twins as queue
    from gemel.testing.subject import fingerprint

    wrong, lost, versions, doubled = [], 0, 0, 0
    states = States(store, Rooms(gemel.room))
    for k in range(people):
        patient = f"p{k}"
        record = store.record(patient)
        there = dict(zip(record.series[0].time.tolist(), record.series[0].value.tolist(), strict=True))
        lost += sum(there.get(time) != value for time, value in acknowledged[patient].items())
        doubled += len(record.series[0].time) - len(there)
        found = lookup.version_list(store, "twin", store.subject(patient), ROOM)
        versions += len(found)
        doubled += len(found) - len({(v.meta["now"], v.meta["inputs"]) for v in found})
        forecasts = lookup.version_list(store, "forecast", store.subject(patient), ROOM)
        if [v.meta["now"] for v in forecasts] != [v.meta["now"] for v in found]:
            wrong.append(f"{patient}: {len(found)} versions, {len(forecasts)} forecasts")
        for version in found:
            if store.record(patient, as_of=version.meta["now"], upto=version.meta["upto"]).hash != version.meta["inputs"]:
                wrong.append(f"{patient}: the inputs of version {version.version} do not come back")
        last = found[-1]
        first = gemel.calibrate(ROOM, store.record(patient, upto=found[0].meta["upto"]), found[0].meta["now"], key=jax.random.key(1))
        alone = assimilate(first, store.record(patient, upto=last.meta["upto"]), last.meta["now"])
        import numpy as np

        if not all(
            np.array_equal(a, b, equal_nan=True)
            for a, b in zip(fingerprint(states.load(patient, last).twin), fingerprint(alone), strict=True)
        ):
            wrong.append(f"{patient}: the twin is another than the library's")
    followed = queue.followed(store)
    wrong += [f"{one.patient}: {one.state}, wants {one.wanted}, has {one.done}" for one in followed if one.state != "live" or one.is_due]
    wrong += list(store.check().problems)
    return {"versions": versions, "lost": lost, "doubled": doubled, "wrong": wrong}


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(sys.argv[2], float(sys.argv[3]))
    else:
        sys.path.insert(0, str(HERE))
        print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
