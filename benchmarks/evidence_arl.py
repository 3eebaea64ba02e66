"""Run lengths of the risk-adjusted CUSUM: our Markov chain beside simulation, on the operations of phase I.

    gemel bench evidence-arl -- [--runs 20000] [--seed 1] [--json FILE]

The risk model is fitted to the 1,766 operations; run lengths in control and under doubled odds at three thresholds, by the chain with paired rounding at
600 states and by simulated runs (the peer: the same numbers to the Monte-Carlo error, at another price). R's vlad is run where Rscript and the package are there.
A second table: what the threshold of 4.5 would truly give, had the risk model been fitted to other patients of the same kind. A miss is a chain further from
simulation than 3.5 standard errors and 2 %, or more than one CPU-second. The data set has noise added by its publishers: nothing is said about real people.
The last line is the ratio of CPU-seconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np

from gemel.evidence.surveillance.arl import refitted_run_lengths, run_length, threshold
from gemel.evidence.surveillance.risk import fit_risk
from gemel.platform import datasets

CASES = [(4.5, 1.0), (4.5, 2.0), (4.655, 1.0), (4.655, 2.0), (2.9, 1.0), (2.9, 2.0)]


def simulate(p: np.ndarray, h: float, true_ratio: float, runs: int, rng: np.random.Generator) -> np.ndarray:
    """Return the lengths of independent runs, each case any of the mix."""
    q = true_ratio * p / (1 - p + true_ratio * p)
    alive = -np.log(1 - p + 2 * p)
    value, at, lengths, step = np.zeros(runs), np.arange(runs), np.zeros(runs, int), 0
    while len(value):
        step += 1
        who = rng.integers(0, len(p), len(value))
        value = np.maximum(0.0, value + alive[who] + np.log(2) * (rng.random(len(value)) < q[who]))
        out = value > h
        if out.any():
            lengths[at[out]] = step
            value, at = value[~out], at[~out]
    return lengths


def vlad_version() -> str | None:
    """Return the version of R's vlad, or None."""
    if shutil.which("Rscript") is None:
        return None
    told = subprocess.run(["Rscript", "-e", "cat(as.character(packageVersion('vlad')))"], capture_output=True, text=True, check=False)
    return told.stdout.strip() if told.returncode == 0 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with datasets.resolve("cardiac-surveillance", environ=dict(os.environ), download=False).open() as source:
        rows = list(csv.DictReader(source))
    score = np.array([float(r["Parsonnet"]) for r in rows])
    died = np.array([float(r["status"] == "1" and float(r["time"]) <= 30) for r in rows])
    model = fit_risk(score, died)
    p = model.probability(score)
    print(f"risk model: n = {model.n}, {model.events} events; coefficients {model.coefficients[0]:.5f}, {model.coefficients[1]:.7f}")
    rng, told, misses, seconds = np.random.default_rng(options.seed), [], [], {"chain": 0.0, "simulation": 0.0}
    print(f"{'h':>6} {'odds':>5} | {'chain':>9} {'CPU-s':>8} | {'simulated':>10} {'s.e.':>7} {'CPU-s':>7} | {'difference':>10}")
    for h, ratio in CASES:
        begin = time.process_time()
        chain = run_length(p, h, true_ratio=ratio)
        used = time.process_time() - begin
        begin = time.process_time()
        lengths = simulate(p, h, ratio, options.runs, rng)
        spent = time.process_time() - begin
        seconds["chain"] += used
        seconds["simulation"] += spent
        mean, error = float(lengths.mean()), float(lengths.std() / np.sqrt(options.runs))
        print(
            f"{h:6.3f} {ratio:5.1f} | {chain:9.1f} {used:8.4f} | {mean:10.1f} {error:7.1f} {spent:7.1f} | {100 * (chain / mean - 1):+9.2f} %"
        )
        told.append({"h": h, "odds": ratio, "chain": chain, "simulated": mean, "standard_error": error})
        if abs(chain - mean) > 3.5 * error and abs(chain / mean - 1) > 0.02:
            misses.append(f"h = {h}, odds {ratio}: {chain:.1f} against {mean:.1f} +- {error:.1f}")
        if used > 1.0:
            misses.append(f"h = {h}: {used:.2f} CPU-s")
    begin = time.process_time()
    h370 = threshold(p, 370)
    print(f"threshold for an in-control run length of 370: {h370:.4f} (published 1.8592), {time.process_time() - begin:.3f} CPU-s")
    spread = np.quantile(refitted_run_lengths(score, died, 4.5, resamples=400, seed=options.seed), [0.025, 0.1, 0.5, 0.9, 0.975])
    print("true in-control run length at h = 4.5 under refits, 2.5/10/50/90/97.5 %: " + " / ".join(f"{v:,.0f}" for v in spread))
    version = vlad_version()
    print(f"R package vlad: {version or 'not run (no Rscript with vlad here)'}")
    print("misses:", "; ".join(misses) if misses else "none")
    ratio = seconds["simulation"] / max(seconds["chain"], 1e-9)
    if options.json:
        body = {
            "cases": told,
            "threshold_370": h370,
            "refits": spread.tolist(),
            "cpu_seconds": seconds,
            "misses": misses,
            "machine": platform.machine(),
            "runs": options.runs,
        }
        options.json.write_text(json.dumps(body, indent=1))
    print(f"ratio (simulation / chain, CPU-seconds for six run lengths, {options.runs} runs each): {ratio:,.0f}")
    return bool(misses)


if __name__ == "__main__":
    raise SystemExit(main())
