"""A thousand live twins: from a reading to its forecast, memory over an hour, the footprint of a twin, workers that are killed, a cohort whose workers die.

    gemel bench platform-live [--quick] [--again] [--twins N] [--rounds N] [--rooms ROOM,...] [--kills N] [--output FILE]

The chain is whole: a reading is taken in (sealed, on disk, acknowledged), a worker in another process assimilates it and writes the new version and its forecast, sealed, in one
transaction. Latency is from the acknowledged reading until the forecast can be read by somebody else. Beside it, in the same run: the serial loop of one twin at a time with
the same worker, and where the machine has more than one core, two workers. Stages are kept and resumed. Twins are four calibrated people and copies of them under
their own names and keys.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from _live_world import World, await_quiet, cpu_seconds, memory_mib, settings_of, size_mib, start_worker  # noqa: E402
from _results import Results, note  # noqa: E402

from gemel.platform.crypto import new_key  # noqa: E402
from gemel.platform.intake import Intake  # noqa: E402
from gemel.platform.store import Store, lookup  # noqa: E402
from gemel.platform.store.group import GroupWriter  # noqa: E402

GOAL_S = 2.0
YEAR = 365.25 * 24 * 12
"""Readings of a year, one every five minutes."""


def burst(world: World, writer: GroupWriter, store: Store, step: int, *, seconds: float, limit_s: float) -> np.ndarray:
    """Let one reading of everybody arrive within so many seconds; return (twin,) seconds from the acknowledged reading to its forecast, NaN where none came."""
    after, acknowledged = lookup.last_event(store), np.full(world.count, np.nan)
    there = np.full(world.count, np.nan)
    adapters = [world.adapter()]
    begun = time.monotonic()

    def change(k: int) -> Callable[[Store], Any]:
        body, received = world.reading(k, step), time.time_ns()
        return lambda opened: Intake(opened, adapters).take("bench", "reading", body, name=f"{k}/{step}", received=received)

    def told(k: int) -> Callable[[Any], None]:
        return lambda _: acknowledged.__setitem__(k, time.monotonic())

    def arrive() -> None:
        for k in range(world.count):
            pause = begun + seconds * k / world.count - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            writer.submit(change(k)).add_done_callback(told(k))

    sender = threading.Thread(target=arrive)  # forecasts are looked for while readings still arrive
    sender.start()
    end = begun + seconds + limit_s
    while np.isnan(there).any() and time.monotonic() < end:
        rows = lookup.changes(store, after=after, limit=5000)
        now = time.monotonic()
        for row in rows:
            k = world.subjects.get(row.subject)
            if row.kind == "forecast" and k is not None and np.isnan(there[k]):
                there[k] = now
        after = rows[-1].seq if rows else after
        if len(rows) < 5000:
            time.sleep(0.01)
    sender.join()
    return there - acknowledged


def live(room: str, count: int, *, workers: int, rounds: int, seconds: float, core: int | None = None, gib: int | None = None, more: dict[str, Any] | None = None, learnt: bool = True) -> dict[str, Any]:  # fmt: skip
    """Measure a burst several times with so many workers; the first one warms their memory and programs and does not count."""
    with tempfile.TemporaryDirectory(prefix="gemel-live-") as temporary:
        folder = Path(temporary)
        world = World(folder, room, count, now=time.time_ns(), learnt=learnt)
        config = settings_of(folder, **(more or {}))
        running = [start_worker(world, config, core=core, data_gib=gib, is_offline=core is not None) for _ in range(workers)]
        try:
            with GroupWriter(world.place) as writer, Store(world.place) as store:
                for step, pace in ((-3, seconds), (-2, 3 * seconds), (-1, seconds)):  # programs are compiled for few and for many
                    burst(world, writer, store, step, seconds=pace, limit_s=3600)
                if not await_quiet(store, limit_s=600):
                    raise SystemExit("the workers did not come to rest")
                store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                grown, spent = size_mib(world.place), sum(cpu_seconds(one.pid) for one in running)
                waits, memory = [], []
                taken = time.process_time()
                for step in range(1, rounds + 1):
                    waits.append(burst(world, writer, store, step, seconds=seconds, limit_s=600))
                    memory.append(sum(memory_mib(one.pid) for one in running))
                taken = time.process_time() - taken
                spent = sum(cpu_seconds(one.pid) for one in running) - spent
                peak = sum(memory_mib(one.pid, "VmHWM") for one in running)
                await_quiet(store, limit_s=60)
                store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                grown = size_mib(world.place) - grown
                every = np.concatenate(waits)
                slope = float(np.polyfit(np.arange(len(memory)), memory, 1)[0]) if len(memory) > 2 else 0.0
                return {
                    "twins": count, "rounds": rounds, "workers": workers, "p50_s": float(np.nanquantile(every, 0.5)), "p95_s": float(np.nanquantile(every, 0.95)),
                    "missing": int(np.isnan(every).sum()), "worker_cpu_ms": 1e3 * spent / (rounds * count), "intake_cpu_ms": 1e3 * taken / (rounds * count),
                    "kib": 1024 * grown / (rounds * count), "rss_mib": memory, "peak_mib": peak, "own_mib": memory_mib(os.getpid()), "slope_mib": slope,
                    **as_of(store, world, 1000),
                }  # fmt: skip
        finally:
            for one in running:
                one.terminate()
            for one in running:
                one.wait()


def as_of(store: Store, world: World, count: int) -> dict[str, Any]:
    """Ask for the inputs of random versions of random twins by their moment; compare the hash that stands beside them."""
    draw, equal = np.random.default_rng(0), 0
    for _ in range(count):
        k = int(draw.integers(world.count))
        versions = lookup.version_list(store, "twin", store.subject(f"p{k}"), world.room)
        version = versions[int(draw.integers(1, len(versions)))] if len(versions) > 1 else versions[0]
        equal += (
            store.record(f"p{k}", as_of=version.meta["now"], upto=version.meta["upto"]).hash == version.meta["inputs"]
            or version.version == 1
        )
    return {"as_of": count, "as_of_equal": equal}


def serial(room: str, count: int) -> dict[str, Any]:
    """The same worker, one twin at a time: the loop that everybody writes first."""
    return live(room, count, workers=1, rounds=2, seconds=1.0, more={"batch": 1, "group": 1})


def kills(count: int) -> dict[str, Any]:
    """Kill workers (SIGKILL) while readings arrive; see ``tests/_live_kills.py``."""
    with tempfile.TemporaryDirectory() as temporary:
        told = subprocess.run(
            [sys.executable, str(HERE.parent / "tests" / "_live_kills.py"), str(Path(temporary) / "a.sqlite"), str(count), "7"], capture_output=True, text=True, check=True
        )  # fmt: skip
        return json.loads(told.stdout)


def cohort(count: int, deaths: int, workers: int) -> dict[str, Any]:
    """Calibrate a cohort serially, on Dask, and on Dask with workers that die in the middle of a task."""
    from _cohort_task import calibrate_one

    from gemel.platform.executors import executor

    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    fatal = set(np.random.default_rng(1).permutation(count)[:deaths].tolist())
    found: dict[str, Any] = {}
    for name, said, deadly in (("serial", "serial", set()), ("dask", f"dask:{workers}", set()), ("killed", f"dask:{workers}", fatal)):
        with tempfile.TemporaryDirectory() as folder:
            calibrate_one((folder, 0, False))
            begun = time.monotonic()
            rows = executor(said).run(calibrate_one, [(folder, i, i in deadly) for i in range(count)])
            found[name] = {
                "seconds": time.monotonic() - begun, "numbers": [row[0] for row in rows], "hashes": [row[1] for row in rows], "processes": len({row[2] for row in rows}),
                "begun": sum(len(path.read_text()) for path in Path(folder).glob("*.begun")) - 1,
            }  # fmt: skip
    alone = found["serial"]
    return {
        "people": count, "workers": workers, "deaths": deaths,
        "equal": sum(a == b == c for a, b, c in zip(*(found[name]["hashes"] for name in found), strict=True)),
        "lost or doubled": sum(found[name]["numbers"] != list(range(count)) for name in found),
        "begun again": found["killed"]["begun"] - count, "serial_s": alone["seconds"], "dask_s": found["dask"]["seconds"], "killed_s": found["killed"]["seconds"],
        "speed_up": alone["seconds"] / found["dask"]["seconds"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few twins, few kills")
    parser.add_argument("--again", action="store_true", help="forget what was measured")
    parser.add_argument("--twins", type=int)
    parser.add_argument("--rooms", default="toy-growth,metabolic")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "platform-live.json")
    asked = parser.parse_args()
    count = asked.twins or (50 if asked.quick else 1000)
    death = asked.kills if asked.kills is not None else (4 if asked.quick else 200)
    rounds, people = (3, 8) if asked.quick else (13, 48)
    rounds = asked.rounds or rounds
    results = Results(asked.output, asked.again)
    os.environ["GEMEL_KEY"] = new_key().reveal().hex()
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load before": round(os.getloadavg()[0], 1),
    }

    def stage(name: str, settings: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        kept = results.get(name, settings)
        if kept is None:
            note(f"{name} ...")
            kept = results.put(name, settings, work())
        return kept

    for room in asked.rooms.split(","):
        few = rounds if room.startswith("toy") else 3
        stage(
            f"{room}, one core, 2 GiB, offline",
            {"twins": count, "rounds": few},
            lambda r=room, f=few: live(r, count, workers=1, rounds=f, seconds=1.0, core=0, gib=2),
        )
        if (os.cpu_count() or 1) > 1:
            stage(f"{room}, two workers", {"twins": count, "rounds": 3}, lambda r=room: live(r, count, workers=2, rounds=3, seconds=1.0))
        stage(
            f"{room}, paced", {"twins": count}, lambda r=room: live(r, min(count, 100), workers=1, rounds=1, seconds=min(count, 100) * 0.3)
        )
        stage(f"{room}, one by one", {"twins": count}, lambda r=room: serial(r, count if r.startswith("toy") else min(count, 200)))
    stage("kills", {"kills": death}, lambda: kills(death))
    if shutil.which("dask") or __import__("importlib.util").util.find_spec("distributed"):
        stage("cohort", {"people": people}, lambda: cohort(people, people // 8, 4))
    print(json.dumps({"machine": machine, **results.stages}, indent=1))
    report(results, asked.rooms.split(","))


def report(results: Results, rooms: list[str]) -> None:
    """Print what was found, the ratio last."""
    found = results.stages
    if "cohort" in found:
        c = found["cohort"]
        print(f"\ncohort: {c['people']} calibrations on {c['workers']} Dask workers, {c['deaths']} killed in the middle of one (SIGKILL): {c['equal']} bit for bit as serially, lists lost or doubled {c['lost or doubled']}; "
              f"speed-up {c['speed_up']:.2f} on {os.cpu_count()} cores, the start of the workers included (goal 0.8 x cores)")  # fmt: skip
    k = found["kills"]
    print(
        f"kills: {k['kills']} ({k['caught']} while at work), {k['sent']} readings acknowledged, {k['versions']} versions; lost {k['lost']}, doubled {k['doubled']}, wrong {len(k['wrong'])}"
    )
    for room in rooms:
        one, alone, paced = found[f"{room}, one core, 2 GiB, offline"], found[f"{room}, one by one"], found[f"{room}, paced"]
        print(
            f"{room}: {one['twins']} twins, all readings within one second, worker on one core: reading to forecast p50 {one['p50_s']:.2f} s, p95 {one['p95_s']:.2f} s (goal {GOAL_S:g} s), missing {one['missing']}"
        )
        if f"{room}, two workers" in found:
            two = found[f"{room}, two workers"]
            print(f"{room}: the same with two workers: p50 {two['p50_s']:.2f} s, p95 {two['p95_s']:.2f} s, missing {two['missing']}")
        print(f"{room}: readings spread over their five minutes (3.3 a second for a thousand): p95 {paced['p95_s']:.2f} s")
        print(
            f"{room}: memory of the worker at most {one['peak_mib']:.0f} MiB, slope {one['slope_mib']:+.2f} MiB per five minutes over {one['rounds']} rounds ({one['rounds'] * 5} minutes' worth); with the process that takes in {one['peak_mib'] + one['own_mib']:.0f} MiB (limit 2048)"
        )
        spent, kept = (one["worker_cpu_ms"] + one["intake_cpu_ms"]) * YEAR / 1e3, one["kib"] * YEAR / 1024
        print(
            f"{room}: a twin costs {one['worker_cpu_ms']:.1f} + {one['intake_cpu_ms']:.1f} CPU-ms and {one['kib']:.1f} KiB a reading: {spent:,.0f} CPU-s and {kept:,.0f} MiB per patient-year"
        )
        print(f"{room}: inputs of {one['as_of']} random versions asked for by their moment: {one['as_of_equal']} equal")
        print(
            f"{room}: one twin at a time: p95 {alone['p95_s']:.2f} s for {alone['twins']}, {alone['worker_cpu_ms']:.1f} CPU-ms a reading; serial / together = {alone['worker_cpu_ms'] / one['worker_cpu_ms']:.2f}"
        )


if __name__ == "__main__":
    main()
