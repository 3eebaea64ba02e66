"""Simulated trials with repeated measures: 10,000 trials of 200 patients, 4 visits, 25 % dropout, each read by a mixed model (REML, unstructured, Satterthwaite).

    gemel bench trials-simulate-mmrm -- [--replicates 10000] [--patients 200] [--singles 40] [--json FILE]

Drawing is inside the time; nothing is compiled. Goal: 60 CPU-s. The peer is this repository's own single analysis (``gemel.trials.mmrm``) on some of the same trials, and the
R package mmrm where ``Rscript`` has it; it also says how far the two are apart. A trial that does not converge is counted, not used. All of it is SIMULATED. One thread.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from gemel.trials.mmrm import mmrm  # noqa: E402
from gemel.trials.simulate import Batch, Design, Enrolment, LongitudinalWorld, RepeatedMeasures, reduction, simulate  # noqa: E402
from gemel.trials.simulate.batch import generator, philox_key  # noqa: E402

GOAL = 60.0
WORLDS = {
    "monotone, MAR": LongitudinalWorld(3.0, dropout=0.25, mechanism="mar"),
    "general, MAR and 5 % gaps": LongitudinalWorld(3.0, dropout=0.25, mechanism="mar", intermittent=0.05),
}


def columns(batch: Batch, trial: int) -> dict[str, np.ndarray]:
    n, visits = batch.outcome.shape[1:]
    seen = np.ones((n, visits), bool) if batch.observed is None else batch.observed[trial]
    return {
        "id": np.repeat(np.arange(n), visits),
        "visit": np.tile(np.arange(1, visits + 1), n),
        "arm": np.repeat(np.where(batch.arm, "treated", "control"), visits),
        "m": np.repeat(batch.covariates[0, trial], visits),
        "y": np.where(seen, batch.outcome[trial], np.nan).ravel(),
    }


def singles(world: LongitudinalWorld, patients: int, many: int) -> tuple[float, float]:
    """Return CPU-seconds of one single analysis, and the largest difference of estimate, error or p-value from the batch."""
    arm = np.r_[np.zeros(patients // 2, np.int8), np.ones(patients // 2, np.int8)]
    batch = world.draw(Enrolment(arm, many), generator(philox_key(1), 0))
    found, apart, seconds = RepeatedMeasures().read(batch), 0.0, 0.0
    for i in range(many):
        table = columns(batch, i)
        begin = time.process_time()
        last = mmrm(table, "y ~ m*visit + arm*visit", subject="id", visit="visit").differences("arm", by="visit")[-1]
        seconds += time.process_time() - begin
        apart = max(
            apart,
            abs(found.estimate[i] - last.estimate) / last.standard_error,
            abs(found.standard_error[i] / last.standard_error - 1),
            abs(found.p_value[i] - last.p_value),
        )
    return seconds / many, float(apart)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--singles", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    told: dict[str, Any] = {
        "machine": platform.machine(),
        "numpy": np.__version__,
        "replicates": options.replicates,
        "patients": options.patients,
    }
    ratios = []
    for name, world in WORLDS.items():
        plan = Design(options.patients // 2, options.patients // 2, (RepeatedMeasures(),))
        begin = time.process_time()
        under = simulate(plan, world, options.replicates, key=1)["mmrm"]
        seconds = time.process_time() - begin
        one, apart = singles(world, options.patients, options.singles)
        told[name] = {
            "cpu_s": seconds,
            "goal_cpu_s": GOAL,
            "met": seconds <= GOAL,
            "failed": under.failed,
            "single_cpu_ms": 1e3 * one,
            "largest_difference": apart,
        }
        print(
            f"{name}: {options.replicates:,} trials of {options.patients}, {world.visits} visits, {world.dropout:.0%} dropout: {seconds:.2f} CPU-s "
            f"(no compile); goal {GOAL:g}: {'met' if seconds <= GOAL else 'MISSED'}; {under.failed} did not converge"
        )
        print(
            f"  power {under.power:.4f} ({under.errors['power']:.4f}), coverage {under.coverage:.4f} ({under.errors['coverage']:.4f}), bias {under.bias:+.4f} ({under.errors['bias']:.4f})"
        )
        print(f"  one at a time {1e3 * one:.1f} CPU-ms, largest difference over {options.singles} trials {apart:.1e}")
        ratios.append(one * options.replicates / seconds)
    null = simulate(
        Design(options.patients // 2, options.patients // 2, (RepeatedMeasures(0), RepeatedMeasures(1))), WORLDS["monotone, MAR"].null(), options.replicates, key=2
    )  # fmt: skip
    saved, error = reduction(null["mmrm unadjusted"], null["mmrm"])
    for found in null.values():
        print(
            f"{found.analysis}: type-I {found.power:.4f} ({found.errors['power']:.4f}), coverage {found.coverage:.4f} ({found.errors['coverage']:.4f}), {found.failed} failed"
        )
    print(f"saved by a prognosis of R² 0.25 at the last visit: {saved:.4f} ({error:.4f})")
    told["saved"] = [saved, error]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(told, indent=1))
    print("R mmrm: " + ("found, but timed by trials_mmrm" if shutil.which("Rscript") else "not run (no Rscript here)"))
    print("ratio (our single analysis / batch, CPU): " + "; ".join(f"{r:.0f}" for r in ratios))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
