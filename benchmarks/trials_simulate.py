"""Simulated trials by closed form: 10,000 trials of 200 patients, each read without and with the prognosis.

    gemel bench trials-simulate -- [--replicates 10000] [--patients 200] [--repeats 5] [--fits 400] [--peer-python PYTHON] [--json FILE]

Drawing, reading, intervals and p-values are inside the time; nothing is compiled, so the first call costs what the others do (it loads SciPy). Goals: 0.4 CPU-s with fixed
arms of independent patients (0.3 wished for), 1.0 with random allocation. The peer fits some of the same trials by OLS with HC1, twice a trial, in its own environment
(``pip install statsmodels``); without it its row reads *not run*. All of it is SIMULATED. One thread.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from _results import note  # noqa: E402

from gemel.trials.simulate import Design, Enrolment, LinearModel, LinearWorld, reduction, simulate  # noqa: E402
from gemel.trials.simulate.batch import BLOCK, generator, philox_key  # noqa: E402
from gemel.trials.sizing import Assumptions, power_of, variance  # noqa: E402

GOALS = {"fixed": 0.4, "permuted": 1.0, "blocks": 1.0, "simple": 1.0}
WORLD = LinearWorld(0.4, correlation=0.5)


def design(patients: int, allocation: str, kind: str) -> Design:
    return Design(patients // 2, patients // 2, (LinearModel(0, kind), LinearModel(1, kind)), allocation=allocation)


def timed(patients: int, allocation: str, kind: str, replicates: int, repeats: int) -> tuple[float, float]:
    """Return median CPU-seconds, and those of the first call."""
    times = []
    for k in range(repeats):
        begin = time.process_time()
        simulate(design(patients, allocation, kind), WORLD, replicates, key=k)
        times.append(time.process_time() - begin)
    return float(np.median(times)), times[0]


def peer(python: str | None, patients: int, fits: int) -> dict[str, Any] | None:
    """Fit the same trials, twice each, in another environment."""
    if python is None:
        return None
    plan, data, ours = design(patients, "fixed", "hc1"), {}, {}
    for block in range(-(-fits // BLOCK)):
        arm = np.r_[np.zeros(patients // 2, np.int8), np.ones(patients // 2, np.int8)]
        batch = WORLD.draw(Enrolment(arm, BLOCK), generator(philox_key(1), block))
        readings = [a.read(batch) for a in plan.analyses]
        for i in range(min(BLOCK, fits - block * BLOCK)):
            x = np.column_stack([np.ones(patients), arm, batch.covariates[0, i]])
            for j, columns in enumerate((2, 3)):
                name = f"{block * BLOCK + i:06d}_{j}"
                data["x" + name], data["y" + name] = x[:, :columns], batch.outcome[i].astype(float)
                ours["x" + name] = (readings[j].estimate[i], readings[j].standard_error[i])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "designs.npz"
        np.savez(path, **data)
        script = str(Path(__file__).with_name("_statsmodels_peer.py"))
        done = subprocess.run([python, script, str(path), "hc1"], capture_output=True, text=True, check=False)
    if done.returncode:
        note(done.stderr[-1000:])
        return None
    theirs = json.loads(done.stdout)
    apart = max(max(abs(e - theirs["fits"][k]["estimate"]) / s, abs(s / theirs["fits"][k]["hc1"] - 1)) for k, (e, s) in ours.items())
    return {"version": theirs["version"], "seconds_per_trial": theirs["seconds"] / fits, "largest_difference": float(apart)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--fits", type=int, default=400)
    parser.add_argument("--peer-python")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    told: dict[str, Any] = {
        "machine": platform.machine(),
        "numpy": np.__version__,
        "replicates": options.replicates,
        "patients": options.patients,
    }
    for allocation in GOALS:
        for kind in ("hc2", "hc3", "hc1") if allocation == "fixed" else ("hc2",):
            seconds, first = timed(options.patients, allocation, kind, options.replicates, options.repeats)
            met = seconds <= GOALS[allocation]
            told[f"{allocation} {kind}"] = {"cpu_s": seconds, "first_cpu_s": first, "goal_cpu_s": GOALS[allocation], "met": met}
            print(
                f"{options.replicates:,} trials of {options.patients}, two fits each, {allocation} allocation, {kind}: {seconds:.3f} CPU-s "
                f"(first call {first:.3f}, no compile); goal {GOALS[allocation]}: {'met' if met else 'MISSED'}"
            )
    under = simulate(design(options.patients, "fixed", "hc2"), WORLD, options.replicates, key=1)
    null = simulate(design(options.patients, "fixed", "hc2"), WORLD.null(), options.replicates, key=1)
    saved, error = reduction(null["unadjusted"], null["ancova"])
    for name, rho in (("unadjusted", 0.0), ("ancova", 0.5)):
        theory = power_of(options.patients, WORLD.effect, variance(Assumptions(sd=1, correlation=rho)))
        print(
            f"{name}, hc2: type-I {null[name].power:.4f} ({null[name].errors['power']:.4f}), power {under[name].power:.4f} "
            f"({under[name].errors['power']:.4f}), asymptotic theory {theory:.4f}"
        )
    print(f"variance of the adjusted estimate {1 - saved:.4f} ({error:.4f}) of the unadjusted one; theory 0.75 and 1/n")
    found = peer(options.peer_python, options.patients, options.fits)
    told["statsmodels"] = "not run" if found is None else found
    own = told["fixed hc1"]["cpu_s"]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(told, indent=1))
    if found is None:
        print(f"statsmodels: not run; ours {1e6 * own / options.replicates:.1f} CPU-us a trial with draws")
    else:
        print(
            f"largest difference from statsmodels {found['version']} on {options.fits} trials: {found['largest_difference']:.1e} (single-precision steps); "
            f"it takes {1e3 * found['seconds_per_trial']:.2f} CPU-ms a trial for two fits without draws, {found['seconds_per_trial'] * options.replicates:.1f} CPU-s for {options.replicates:,}"
        )
        print(f"ratio (statsmodels / ours, CPU, hc1): {found['seconds_per_trial'] * options.replicates / own:.0f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
