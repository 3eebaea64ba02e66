"""Virtual patients by the million: time and size of one million, the same content from every executor and after kills, and what 300 million would take.

    gemel bench trials-scale -- [--records 1000000] [--large 10000000] [--kills 3] [--executors serial,processes:1,processes:2,dask:1,dask:2,ray:2] [--folder DIR] [--json FILE]

SIMULATED: a copula of 12 visits x 20 variables, calibrated on 500 simulated controls. *time* writes --records with processes:2 and prints the seconds (goal S5: 60 s on 2
cores). *same* writes 60,000 records in shards of 5,000 with each executor and compares the hashes; one that is not installed is printed as *not run*. *killed* kills such a
run at a random moment by SIGKILL and resumes it, several times. *plan* writes --large once and extrapolates to 300 million (S6: at most 120 GB). All files are deleted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _results import Results, note

from gemel.core.errors import GemelError
from gemel.platform.executors import executor
from gemel.trials.generate import (
    Copula,
    Kind,
    Order,
    Panel,
    Variable,
    calibrate_copula,
    constrained,
    from_bytes,
    generate,
    to_bytes,
    verify,
)
from gemel.trials.generate.capacity import capacity, measured_run

SMALL = Order(60_000, seed=7, shard=5_000)


def controls(n: int = 500, seed: int = 0) -> Panel:
    """Twelve visits of sixteen variables with 0.1 to 1 steps, four baseline variables, a tenth of visits' patients leaving in all."""
    rng = np.random.default_rng(seed)
    visits, later = 12, 16
    base = [
        Variable("age", Kind.CONTINUOUS, 40, 95, 1, is_baseline=True),
        Variable("height", Kind.CONTINUOUS, 120, 210, 1, "cm", is_baseline=True),
    ]
    base += [Variable(name, Kind.BINARY, 0, 1, is_baseline=True) for name in ("sex", "carrier")]
    scales = [("score", 0, 120, 1.0), ("tenth", -200, 400, 0.1), ("half", 0, 150, 0.5), ("count", 0, 60, 1.0)]
    made = [
        Variable(f"{scales[i % 4][0]}{i}", Kind.ZERO_INFLATED if i % 4 == 3 else Kind.CONTINUOUS, *scales[i % 4][1:]) for i in range(later)
    ]
    values = np.full((n, visits, 4 + later), np.nan)
    values[:, 0, :4] = np.stack([rng.normal(70, 8, n), rng.normal(168, 9, n), rng.random(n) < 0.5, rng.random(n) < 0.3], axis=1)
    shared = rng.normal(size=(n, 1, 1))
    course = 40 + 8 * (shared + rng.normal(size=(n, 1, later))) + np.cumsum(rng.normal(0.3, 1.5, (n, visits, later)), axis=1)
    course[:, :, 3::4] = np.where(rng.random((n, visits, 4)) < 0.5, 0, rng.poisson(2, (n, visits, 4)))
    values[:, :, 4:] = course
    left = rng.random((n, visits - 1)) < 0.015
    last = np.where(left.any(axis=1), left.argmax(axis=1), visits - 1)
    return constrained(Panel((*base, *made), 30.0 * np.arange(visits), values, last, np.full(n, visits)))


def model(folder: Path) -> Copula:
    path = folder / "generator.npz"
    if not path.exists():
        path.write_bytes(to_bytes(calibrate_copula(controls())))
    return from_bytes(path.read_bytes())


def written(folder: Path, generator: Copula, order: Order, said: str) -> dict[str, Any]:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    used, begun = _children(), time.perf_counter()
    manifest = generate(generator, out, order, executor=executor(said))
    wall, cpu = time.perf_counter() - begun, _children() - used
    run = measured_run(out)
    shutil.rmtree(out)
    return {"sha256": manifest["sha256"], "wall_s": wall, "all_cpu_s": cpu, "run": run | {"executor": said}}


def _children() -> float:
    own, below = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime


def killed(folder: Path, said: str, seed: int) -> dict[str, Any]:
    out = folder / "killed"
    shutil.rmtree(out, ignore_errors=True)
    call = [sys.executable, __file__, "--one", str(folder / "generator.npz"), str(out), said]
    running = subprocess.Popen(call)
    shards, moment = SMALL.records // SMALL.shard, random.Random(seed).random()
    while running.poll() is None and len(list(out.glob("study=*/arm=*/part-*.parquet"))) < moment * shards:
        time.sleep(0.001)
    time.sleep(random.Random(seed + 1).random() * 0.2)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    left = len(list(out.glob("study=*/arm=*/part-*.parquet")))
    time.sleep(0.5)
    manifest = generate(from_bytes((folder / "generator.npz").read_bytes()), out, SMALL, executor=executor(said))
    verify(out)
    shutil.rmtree(out)
    return {"sha256": manifest["sha256"], "shards_at_kill": left, "of": shards}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--executors", default="serial,processes:1,processes:2,dask:1,dask:2,ray:2")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path, default=Path("build/bench/trials_scale.json"))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.one:
        generate(from_bytes(Path(o.one[0]).read_bytes()), Path(o.one[1]), SMALL, executor=executor(o.one[2]))
        return
    kept = Results(o.json, o.again)
    with tempfile.TemporaryDirectory(prefix="gemel-scale-", dir=o.folder) as name:
        folder = Path(name)
        generator = model(folder)
        settings = {"generator": generator.hash[:16]}
        first = _stage(kept, "time", settings | {"records": o.records}, lambda: written(folder, generator, Order(o.records), "processes:2"))
        print(f"{o.records:,} virtual patients, 12 visits x 20 variables, processes:2, SIMULATED")
        print(
            f"  {first['wall_s']:.1f} s, {first['all_cpu_s']:.1f} CPU-s, {first['run']['bytes'] / 1e6:.0f} MB; goal S5 60 s: {'met' if first['wall_s'] <= 60 else 'MISSED'}"
        )
        print(f"\nthe same {SMALL.records:,} patients")
        hashes = set()
        for said in o.executors.split(","):
            try:
                found = _stage(kept, f"same {said}", settings, lambda said=said: written(folder, generator, SMALL, said))
                hashes.add(found["sha256"])
                print(f"  {said:14} {found['sha256'][:16]}  {found['wall_s']:6.1f} s")
            except GemelError as error:
                print(f"  {said:14} not run: {error.what}")
        for said in ("serial", "processes:2"):
            for k in range(o.kills):
                found = _stage(kept, f"killed {said} {k}", settings, lambda said=said: killed(folder, said, time.time_ns()))
                hashes.add(found["sha256"])
                print(f"  {said:14} {found['sha256'][:16]}  killed with {found['shards_at_kill']} of {found['of']} shards, resumed")
        print(f"  one content: {'met' if len(hashes) == 1 else 'MISSED'}")
        if o.large:
            large = _stage(
                kept, "large", settings | {"records": o.large}, lambda: written(folder, generator, Order(o.large), "processes:2")
            )
            plan = capacity(large["run"], 300_000_000, cores=2)
            print(f"\n{o.large:,} measured: {large['wall_s']:.0f} s, {large['all_cpu_s']:.0f} CPU-s, {large['run']['bytes'] / 1e9:.2f} GB")
            print(
                f"  300,000,000 in proportion: {plan['core_hours']:.2f} core-hours, {plan['hours_as_measured']:.2f} h as measured, {plan['gigabytes']:.1f} GB"
            )
            print(f"  goal S6 at most 120 GB: {'met' if plan['gigabytes'] <= 120 else 'MISSED'}; ratio to it {plan['gigabytes'] / 120:.2f}")
    print(f"ratio of seconds to the goal of S5: {first['wall_s'] / 60:.2f}")


def _stage(kept: Results, name: str, settings: dict[str, Any], make: Any) -> dict[str, Any]:
    found = kept.get(name, settings)
    if found is None:
        note(name)
        found = kept.put(name, settings, make())
    return json.loads(json.dumps(found))


if __name__ == "__main__":
    main()
