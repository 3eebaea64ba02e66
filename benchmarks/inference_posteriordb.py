"""Eight posteriors of posteriordb by our NUTS, judged against the reference draws; nutpie on the same posteriors where it can be had.

    python benchmarks/inference_posteriordb.py [--data FOLDER] [--peer-python PYTHON] [--json FILE] [--only NAME ...] [--seed 0] [--ess 10000]

Settings are the same for all eight; starts are uniform on (-2, 2) in unconstrained space, never near the reference. The rule asks for a bulk
ESS of at least 2,000; by default the run goes on to 10,000 (bulk and tail), because the 5 % and 95 % quantiles have to lie within a tenth of a
standard deviation. Each posterior is written to the JSON file when it is done, and one that is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gemel.engine  # noqa: F401  (flags before JAX)

# isort: split
import jax
import numpy as np
from _posteriordb import POSTERIORS, data_folder, judge, load

from gemel.engine import diagnostics as checks
from gemel.engine.compile import counting
from gemel.engine.infer.nuts import Nuts


def ours(name: str, data: Path, seed: int, ess: int) -> dict[str, Any]:
    target, reference = load(name, data)
    method = Nuts(warmup=1000, draws=1000, until_ess=ess, most=20000)
    marks: list[tuple[int, float]] = []
    begin = time.process_time()
    with counting() as counter:
        result = method.run(target, key=jax.random.key(seed), checkpoint=lambda s: marks.append((s.iteration, time.process_time())))
    cpu = time.process_time() - begin
    d = result.diagnostics
    z = np.asarray(result.posterior.draws).reshape(d["chains"], -1, target.size)
    draws = np.asarray(jax.jit(jax.vmap(jax.vmap(target.quantities)))(z))
    verdict = judge(draws, target.labels(), reference)
    first_mark = marks[0][1] - begin  # the first chunk holds the compilation
    begin = time.process_time()
    even = Nuts(warmup=1000, draws=1000, until_ess=None, retries=()).run(target, key=jax.random.key(seed + 1))  # nothing left to compile
    even_cpu = time.process_time() - begin
    return verdict | {
        "sentence": result.sentence,
        "attempts": d["attempts"],
        "restarted": d["restarted"],
        "draws_per_chain": d["draws_per_chain"],
        "leapfrogs": d["leapfrogs"],
        "min_ess_bulk": float(d["ess_bulk"].min()),
        "min_ess_tail": float(d["ess_tail"].min()),
        "cpu": cpu,
        "cpu_first_chunk": first_mark,
        "even_cpu": even_cpu,
        "even_ess_bulk": float(even.diagnostics["ess_bulk"].min()),
        "programs": counter.count,
    }


def peer(name: str, data: Path, seed: int, python: str) -> dict[str, Any]:
    _, reference = load(name, data)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "draws.npz"
        script = Path(__file__).with_name("_peer_nutpie.py")
        done = subprocess.run(
            [python, str(script), name, str(data), str(out), "1000", "1000", str(seed)],
            env={**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")},  # chains are threads
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        if not out.exists():
            return {"not run": (done.stderr.strip().splitlines() or ["no output"])[-1][:200]}
        with np.load(out) as arrays:
            cpu = {k: float(arrays[k]) for k in ("cpu.compile", "cpu.sample")}
            table = np.stack([arrays[k] for k in reference], axis=-1)
    verdict = judge(table, list(reference), reference)
    return {
        "pass": verdict["pass"],
        "min_ess_bulk": float(np.nanmin(checks.ess_bulk(table))),
        "min_ess_tail": float(np.nanmin(checks.ess_tail(table))),
        "cpu_compile": cpu["cpu.compile"],
        "cpu_sample": cpu["cpu.sample"],
    }


def describe(name: str, row: dict[str, Any]) -> str:
    q = row["quantities"]
    return (
        f"{name:40} {'pass' if row['pass'] else 'FAIL'} {row['share']:.2f} | mean {max(x['mean_error_sd'] for x in q):.3f} sd, "
        f"{max(x['mean_error_mcse'] for x in q):.1f} mcse | sd {min(x['sd_ratio'] for x in q):.3f}-{max(x['sd_ratio'] for x in q):.3f} | "
        f"quantile {max(x['quantile_error_sd'] for x in q):.3f} | R-hat {max(x['rhat'] for x in q):.4f} | ESS {row['min_ess_bulk']:.0f} bulk "
        f"{row['min_ess_tail']:.0f} tail | {row['cpu']:.1f} CPU-s | goals {[a for a, _ in row['attempts']]} | {row['sentence']}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--peer-python", help="the Python of an environment with nutpie and PyMC")
    parser.add_argument("--json", type=Path, help="results; posteriors found in it are not run again")
    parser.add_argument("--only", nargs="+", choices=list(POSTERIORS), default=list(POSTERIORS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ess", type=int, default=10_000)
    args = parser.parse_args()
    data = data_folder(args.data)
    kept: dict[str, Any] = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    settings = {"seed": args.seed, "ess": args.ess, "machine": platform.processor() or platform.machine(), "jax": jax.__version__}
    if kept.get("settings") != settings:
        kept = {"settings": settings, "ours": {}, "nutpie": {}}

    def keep() -> None:
        if args.json:
            args.json.write_text(json.dumps(kept, indent=1))

    for name in args.only:
        if name not in kept["ours"]:
            kept["ours"][name] = ours(name, data, args.seed, args.ess)
            keep()
        print(describe(name, kept["ours"][name]), flush=True)
    for name in args.only:
        if args.peer_python and "cpu_sample" not in kept["nutpie"].get(name, {}):
            kept["nutpie"][name] = peer(name, data, args.seed, args.peer_python)
            keep()
    print("\nequal work: 4 chains x (1000 warm-up + 1000 draws), warm-up included, compilation not")
    print(f"{'min bulk ESS per CPU-s':40} {'ours':>10} {'nutpie':>10} {'ratio':>8}   compile CPU-s: ours (first chunk), nutpie")
    for name in args.only:
        a, b = kept["ours"][name], kept["nutpie"].get(name, {"not run": "no --peer-python"})
        mine = a["even_ess_bulk"] / a["even_cpu"]
        if "not run" in b:
            print(f"{name:40} {mine:10.0f} {'not run':>10} {'':8}   {a['cpu_first_chunk']:.1f}, - ({b['not run']})")
        else:
            theirs = b["min_ess_bulk"] / b["cpu_sample"]
            note = "" if b["pass"] else " (the peer's 4 x 1000 draws are too few for the rule)"
            print(f"{name:40} {mine:10.0f} {theirs:10.0f} {mine / theirs:8.2f}   {a['cpu_first_chunk']:.1f}, {b['cpu_compile']:.1f}{note}")
    passed = sum(kept["ours"][n]["pass"] for n in args.only)
    print(f"passed: {passed} of {len(args.only)}")
    return passed != len(args.only)


if __name__ == "__main__":
    sys.exit(main())
