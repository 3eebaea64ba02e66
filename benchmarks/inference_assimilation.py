"""Data assimilation on Lorenz-63 and Lorenz-96 against the errors that DAPPER states beside its configurations.

    python benchmarks/inference_assimilation.py [--json PATH] [--seeds 10] [--rows sqrt,letkf] [--peer-python PATH]

Each row runs all seeds at once (vmapped). A row passes when ``|mean - table| <= max(0.02, 2 se, half a unit of the table's last digit)`` or
when the mean is better than the table. A pass that lives on the standard error of lost seeds (more than twice the median) is marked ``*``,
with its median beside it. Rows marked ``baseline`` are not methods of Gemel and do not count for the exit status. With ``--json`` each row is written as soon as it is done and a second run goes on where the first stopped (same seeds, cycles and key).
The peer runs in its own environment (``python -m venv``; ``pip install dapper==1.7.1``); without it its rows read *not run*.
CPU-seconds are of the whole process, all threads; compilation is reported apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _lorenz as lorenz
import jax
import numpy as np

from gemel.engine.infer.enkf import EnKF
from gemel.engine.infer.particle import ParticleFilter

# DAPPER 1.7.1, comments of mods/Lorenz63/sakov2012.py and mods/Lorenz96/sakov2008.py: name, table value, run(setup, key)
ROWS_63 = [
    ("climatology", 7.6, lorenz.climatology),
    ("optimal interpolation", 1.25, lorenz.optimal_interpolation),
    ("3D-Var, xB 0.1", 1.04, lambda s, k: lorenz.variational(s, 0.1, k)),
    ("extended KF, infl 180", 0.92, lambda s, k: lorenz.extended(s, 180.0, k)),
    ("EnKF sqrt N=3, 1.30", 0.80, EnKF(kind="sqrt", size=3, inflation=1.30)),
    ("EnKF sqrt N=10, 1.02, rotated", 0.60, EnKF(kind="sqrt", size=10, inflation=1.02, rotate=True)),
    ("EnKF perturbed N=10, 1.04", 0.65, EnKF(kind="perturbed", size=10, inflation=1.04)),
    ("EnKF perturbed N=100, 1.01", 0.56, EnKF(kind="perturbed", size=100, inflation=1.01)),
    ("particle N=100, reg 2.4, NER 0.3", 0.38, ParticleFilter(size=100, regularisation=2.4, threshold=0.3)),
    ("particle N=800, reg 0.9, NER 0.2", 0.28, ParticleFilter(size=800, regularisation=0.9, threshold=0.2)),
    ("particle N=4000, reg 0.7, NER 0.05", 0.27, ParticleFilter(size=4000, regularisation=0.7, threshold=0.05)),
]
ROWS_96 = [
    ("climatology", 3.6, lorenz.climatology),
    ("optimal interpolation", 0.95, lorenz.optimal_interpolation),
    ("3D-Var, xB 0.02", 0.41, lambda s, k: lorenz.variational(s, 0.02, k)),
    ("extended KF, infl 10", 0.24, lambda s, k: lorenz.extended(s, 10.0, k)),
    ("EnKF perturbed N=40, 1.06", 0.22, EnKF(kind="perturbed", size=40, inflation=1.06)),
    ("EnKF perturbed N=28, 1.08", 0.24, EnKF(kind="perturbed", size=28, inflation=1.08)),
    ("EnKF sqrt N=24, 1.013, rotated", 0.18, EnKF(kind="sqrt", size=24, inflation=1.013, rotate=True)),
    ("LETKF N=7, 1.04, rotated, localisation 4", 0.22, EnKF(kind="letkf", size=7, inflation=1.04, rotate=True, radius=4.0)),
]
BASELINES = ("optimal interpolation", "3D-Var, xB 0.1", "3D-Var, xB 0.02", "extended KF, infl 180", "extended KF, infl 10")
RACE = "Lorenz-96 / EnKF sqrt N=24, 1.013, rotated"

PEER = """
import json, sys, time
import numpy as np
import dapper as dpr
import dapper.da_methods as da
import dapper.stats
import dapper.tools.progressbar as bar
from dapper.mods.Lorenz96.sakov2008 import HMM
bar.disable_progbar = True
seeds, cycles = int(sys.argv[1]), int(sys.argv[2])
HMM.tseq.Ko = cycles
errors, cpu, bare = [], 0.0, 0.0
assess = dapper.stats.Stats.assess
for seed in range(seeds):
    dpr.set_seed(3000 + seed)
    truth, observed = HMM.simulate()
    for light in (False, True):
        dapper.stats.Stats.assess = (lambda *a, **k: None) if light else assess
        xp = da.EnKF("Sqrt", N=24, infl=1.013, rot=True)
        start = time.process_time()
        xp.assimilate(HMM, truth, observed, liveplots=False)
        spent = time.process_time() - start
        if light:
            bare += spent
        else:
            cpu += spent
            xp.stats.average_in_time()
            errors.append(float(xp.avrgs.err.rms.a.val))
dapper.stats.Stats.assess = assess
others = {"climatology": da.Climatology(), "3D-Var, xB 0.02": da.Var3D(xB=0.02)}
found = {name: [] for name in others}
for seed in range(min(seeds, 10)):
    dpr.set_seed(3000 + seed)
    truth, observed = HMM.simulate()
    for name, xp in others.items():
        xp.assimilate(HMM, truth, observed, liveplots=False)
        xp.stats.average_in_time()
        found[name].append(float(xp.avrgs.err.rms.a.val))
print("RESULT" + json.dumps({"errors": errors, "cpu": cpu, "bare": bare, "others": found}))
"""


def _runner(setup: lorenz.Setup, what: EnKF | ParticleFilter | Callable) -> Callable:
    if isinstance(what, EnKF):
        return partial(lorenz.ensemble, setup, what)
    if isinstance(what, ParticleFilter):
        return partial(lorenz.particle, setup, what)
    return partial(what, setup)


def _measure(run: Callable, keys: jax.Array) -> dict:
    start = time.process_time()
    program = jax.jit(jax.vmap(run)).lower(keys).compile()
    compiled = time.process_time()
    errors = np.asarray(program(keys))
    return {"errors": errors.tolist(), "compile_cpu_s": compiled - start, "run_cpu_s": time.process_time() - compiled}


def _judge(errors: list[float], table: float) -> tuple[float, float, bool, str]:
    """Mean, standard error, verdict and the rule that gave it; 3.6 stands for 3.55 to 3.65, 0.95 for 0.945 to 0.955."""
    mean, se, median = float(np.mean(errors)), float(np.std(errors, ddof=1) / np.sqrt(len(errors))), float(np.median(errors))
    band = max(0.02, 2 * se, 0.05 if table >= 2 else 0.005)
    lost = int(np.sum(np.asarray(errors) > 2 * median))
    note = f" * {lost} lost, median {median:.3f}" if lost else ""
    if abs(mean - table) <= band:
        return mean, se, True, f"|{mean - table:+.3f}| <= {band:.3f}{note}"
    return mean, se, mean < table, (f"better than {table:g}" if mean < table else f"{mean - table:+.3f} > {band:.3f}") + note


def _peer(python: str | None, seeds: int, cycles: int) -> dict | None:
    """Run DAPPER in its own environment; None when there is none."""
    if python is None:
        return None
    environment = os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-c", PEER, str(seeds), str(cycles)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=os.environ.get("TMPDIR", "/tmp"),
        check=False,
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT")), None)
    if line is None:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return json.loads(line.removeprefix("RESULT"))


def _machine() -> str:
    model = (
        next((x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), "")
        if (Path("/proc/cpuinfo").exists())
        else platform.processor()
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, jax {jax.__version__} on {jax.default_backend()}"


def main() -> int:
    """Run the rows that are asked for; 1 when one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file that keeps the rows; finished ones are not run again")
    parser.add_argument("--seeds", type=int, default=10, help="10 or more")
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--key", type=int, default=2026)
    parser.add_argument("--rows", default="", help="only rows whose name holds one of these words, comma separated")
    parser.add_argument("--peer-python", help="python of an environment with dapper==1.7.1")
    arguments = parser.parse_args()
    if arguments.seeds < 10:
        parser.error("one seed proves nothing: at least 10")
    setting = {"seeds": arguments.seeds, "cycles": arguments.cycles, "key": arguments.key}
    kept = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    if kept.get("setting") != setting:
        kept = {"setting": setting, "machine": _machine(), "rows": {}}
    words = [w.strip() for w in arguments.rows.split(",") if w.strip()]
    keys = jax.random.split(jax.random.key(arguments.key), arguments.seeds)
    print(f"{kept['machine']}; {arguments.seeds} seeds, {arguments.cycles} cycles\n")
    print(f"{'row':58s} {'table':>6s} {'mean':>7s} {'se':>6s}  {'':14s} {'rule':44s} {'compile':>8s} {'run CPU-s':>9s}")
    passed = True
    for setup, rows in ((lorenz.lorenz63(arguments.cycles), ROWS_63), (lorenz.lorenz96(arguments.cycles), ROWS_96)):
        for name, table, what in rows:
            full = f"{setup.name} / {name}"
            if words and not any(w in full for w in words):
                continue
            row = kept["rows"].get(full)
            if row is None:
                row = kept["rows"][full] = _measure(_runner(setup, what), keys) | {"table": table}
                if arguments.json:
                    arguments.json.write_text(json.dumps(kept, indent=1))
            mean, se, good, rule = _judge(row["errors"], table)
            baseline = name in BASELINES
            passed &= good or baseline
            verdict = ("pass" if good else "FAIL") + (" baseline" if baseline else "")
            print(
                f"{full:58s} {table:6.2f} {mean:7.3f} {se:6.3f}  {verdict:14s} {rule:44s} {row['compile_cpu_s']:8.2f} {row['run_cpu_s']:9.2f}",
                flush=True,
            )
    if RACE in kept["rows"]:
        work = arguments.seeds * arguments.cycles
        ours = work / kept["rows"][RACE]["run_cpu_s"]
        print(f"\n{RACE}: {ours:,.0f} cycles per CPU-s, {arguments.seeds} seeds in one batch")
        peer = kept.get("peer") or _peer(arguments.peer_python, arguments.seeds, arguments.cycles)
        if peer is None:
            print("DAPPER 1.7.1: not run")
        else:
            kept["peer"] = peer
            if arguments.json:
                arguments.json.write_text(json.dumps(kept, indent=1))
            whole, bare = work / peer["cpu"], work / peer["bare"]
            errors = np.asarray(peer["errors"])
            print(f"DAPPER 1.7.1: {whole:,.0f} cycles per CPU-s as it is, {bare:,.0f} with its statistics switched off")
            lost = int(np.sum(errors > 2 * np.median(errors)))
            print(f"DAPPER errors: mean {errors.mean():.3f}, median {np.median(errors):.3f}, {lost} of {len(errors)} seeds lost")
            for name, values in peer["others"].items():
                print(f"DAPPER Lorenz-96 / {name}: mean {np.mean(values):.3f} over {len(values)} seeds of its own")
            print(f"ratio: {ours / whole:.1f} (as it is), {ours / bare:.1f} (without its statistics)")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
