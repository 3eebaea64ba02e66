"""One mixed model for repeated measures, from columns to tests: the FEV trial, and 1,000 patients at 10 visits.

    gemel bench trials-mmrm -- [--repeats 15] [--patients 1000] [--json FILE]

Both with an unstructured covariance, REML and Satterthwaite: reading the columns, the search, degrees of freedom of each coefficient and the differences between arms
at each visit are inside the time. Peers in the same run: the textbook (Fisher scoring subject by subject, ``_mmrm_plain.py``), of which only the search is timed, and
the R package mmrm where ``Rscript`` has it. Goals: 25 CPU-ms and 1.5 CPU-s. One thread. Nothing is compiled, so the first call costs what the others do.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse  # noqa: E402
import csv  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from _mmrm_plain import plain_scoring  # noqa: E402

from gemel.platform import datasets  # noqa: E402
from gemel.trials.mmrm import MMRMResult, mmrm  # noqa: E402

GOAL = {"fev": 0.025, "large": 1.5}
PUBLISHED = {"fev": "56 ms", "large": "3.36 s"}
R_SCRIPT = """
suppressMessages(library(mmrm)); a <- commandArgs(TRUE)
d <- read.csv(a[1]); for (n in c("id", "visit", "arm", "race", "sex")) if (n %in% names(d)) d[[n]] <- factor(d[[n]])
f <- as.formula(a[2]); n <- as.integer(a[3])
t <- numeric(n); for (i in 1:n) { b <- proc.time(); m <- mmrm(f, d); s <- summary(m); t[i] <- sum((proc.time() - b)[1:2]) }
cat(median(t), -2 * as.numeric(logLik(m)), as.character(packageVersion("mmrm")))
"""


def fev() -> tuple[dict[str, Any], str, list[str]]:
    environment = dict(os.environ)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not environment.get("GEMEL_DATA") and beside.is_dir():
        environment["GEMEL_DATA"] = str(beside)
    with open(datasets.resolve("mmrm-fev", environ=environment), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {"USUBJID": "id", "AVISIT": "visit", "ARMCD": "arm", "RACE": "race", "SEX": "sex"}
    columns: dict[str, Any] = {new: np.array([r[old] for r in rows]) for old, new in names.items()}
    columns["y"] = np.array([float(r["FEV1"] or "nan") for r in rows])
    return columns, "y ~ race + sex + arm*visit", ["VIS1", "VIS2", "VIS3", "VIS4"]


def large(patients: int, visits: int = 10) -> tuple[dict[str, Any], str, list[str]]:
    rng = np.random.default_rng(20)
    at = np.arange(visits)
    spread = np.sqrt(1 + 0.1 * at)
    root = np.linalg.cholesky((0.3 + 0.7 * 0.8 ** np.abs(np.subtract.outer(at, at))) * np.outer(spread, spread))
    base = rng.normal(size=patients)
    arm = rng.integers(0, 2, patients)
    y = rng.normal(size=(patients, visits)) @ root.T + 0.5 * base[:, None] + 0.3 * arm[:, None] * at / visits
    leaves = rng.geometric(0.05, patients)
    missing = (at >= np.maximum(leaves, 1)[:, None]) | (rng.random((patients, visits)) < 0.05)
    y[missing] = np.nan
    labels = [f"V{k:02d}" for k in range(1, visits + 1)]
    columns = {
        "id": np.repeat([f"S{i:05d}" for i in range(patients)], visits),
        "visit": np.tile(labels, patients),
        "arm": np.repeat(np.array(["control", "treated"])[arm], visits),
        "base": np.repeat(base, visits),
        "y": y.ravel(),
    }
    return columns, "y ~ base*visit + arm*visit", labels


def analysis(columns: dict[str, Any], formula: str, labels: list[str]) -> MMRMResult:
    found = mmrm(columns, formula, subject="id", visit="visit", visits=labels)
    found.differences("arm", by="visit")
    return found


def median(call: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Return median CPU-seconds, CPU-seconds of the first call, and what it gave."""
    times, found = [], None
    for _ in range(repeats):
        begin = time.process_time()
        found = call()
        times.append(time.process_time() - begin)
    return float(np.median(times)), times[0], found


def textbook(columns: dict[str, Any], found: MMRMResult, labels: list[str]) -> tuple[float, float, int]:
    used = np.flatnonzero(~np.isnan(columns["y"]))
    x = found.design.matrix(found.coded, len(used))
    when = np.array([labels.index(v) for v in columns["visit"][used].tolist()])
    who = np.unique(columns["id"][used], return_inverse=True)[1]
    begin = time.process_time()
    value, _, iterations = plain_scoring(who, when, x, columns["y"][used], len(labels))
    return time.process_time() - begin, value, iterations


def in_r(columns: dict[str, Any], formula: str, repeats: int) -> tuple[float, float, str] | None:
    program = shutil.which("Rscript")
    if program is None or subprocess.run([program, "-e", "library(mmrm)"], capture_output=True).returncode:
        return None
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "trial.csv"
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(["NA" if v != v else v for v in c.tolist()] for c in columns.values()), strict=True))
        script = Path(room) / "run.R"
        script.write_text(R_SCRIPT)
        ran = subprocess.run(
            [program, str(script), str(path), f"{formula} + us(visit | id)", str(repeats)], capture_output=True, text=True, check=True
        )
    seconds, value, version = ran.stdout.split()
    return float(seconds), float(value), version


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kept: dict[str, Any] = {"machine": platform.machine(), "numpy": np.__version__, "patients": options.patients}
    ratios = []
    for name, (columns, formula, labels), repeats in (
        ("fev", fev(), options.repeats),
        ("large", large(options.patients), max(3, options.repeats // 5)),
    ):
        own, first, found = median(lambda c=columns, f=formula, v=labels: analysis(c, f, v), repeats)
        told: dict[str, Any] = {"ours_cpu_s": own, "first_cpu_s": first, "goal_cpu_s": GOAL[name], "met": own <= GOAL[name]}
        seen = ~np.isnan(columns["y"].reshape(-1, len(labels)))
        told["patterns"] = len(np.unique(seen[seen.any(axis=1)], axis=0))
        print(
            f"{name}: {found.subjects} subjects, {found.observations} responses, {len(labels)} visits, {told['patterns']} patterns, "
            f"{len(found.names)} coefficients; {found.attempts[-1].iterations} steps, -2 log likelihood {found.minus_two_log_likelihood:.6f}"
        )
        print(
            f"  Gemel     {own * 1e3:10.1f} CPU-ms (first call {first * 1e3:.1f}); goal {GOAL[name] * 1e3:.0f}: {'met' if told['met'] else 'MISSED'}"
        )
        seconds, value, iterations = textbook(columns, found, labels)
        told["textbook"] = {"cpu_s": seconds, "steps": iterations, "above_ours": value - found.minus_two_log_likelihood}
        print(
            f"  textbook  {seconds * 1e3:10.1f} CPU-ms, {iterations} steps, -2 log likelihood above ours by {value - found.minus_two_log_likelihood:.1e}"
        )
        peer = in_r(columns, formula, repeats)
        if peer is None:
            told["r_mmrm"] = "not run"
            print(
                f"  R mmrm      not run (no Rscript with mmrm here; its authors published {PUBLISHED[name]} for a like analysis, on their machine)"
            )
        else:
            told["r_mmrm"] = {"cpu_s": peer[0], "version": peer[2], "above_ours": peer[1] - found.minus_two_log_likelihood}
            print(
                f"  R mmrm {peer[2]} {peer[0] * 1e3:10.1f} CPU-ms, -2 log likelihood above ours by {peer[1] - found.minus_two_log_likelihood:.1e}"
            )
        told["ratio"] = (seconds if peer is None else peer[0]) / own
        ratios.append((name, "textbook" if peer is None else "R mmrm", told["ratio"]))
        kept[name] = told
    if options.json:
        options.json.write_text(json.dumps(kept, indent=1))
    print("ratio (peer / ours, CPU):", "; ".join(f"{name} {ratio:.0f} ({peer})" for name, peer, ratio in ratios))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
