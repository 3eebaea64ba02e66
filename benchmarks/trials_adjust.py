"""Adjustment for a prognosis: does the level hold whatever the model is, does it save R², and what is it worth in two public trials?

    gemel bench trials-adjust -- [--replicates 1000000] [--patients 200] [--splits 200] [--parts operating,actg,adas,peer] [--peer-python PYTHON] [--json FILE]

*operating* (SIMULATED) draws trials under no effect and under one, with the true model and four wrong ones (noise, one SD too high, from a shifted population,
anti-correlated), HC3 with t. *actg* calibrates a prognosis on a random half of arm 0 of ACTG 175 and uses it on the other half and arms 1, 2. *adas* calibrates
one on the placebo patients of CDISC pilot 01 and prints its cross-validated R², whatever it is. *peer* fits the same designs with statsmodels, which lives in
its own environment (``pip install statsmodels``); without it its row reads *not run*. REAL trials: two, and they say little about others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from _results import Results, note

ACTG = ("cd40", "cd80", "age", "wtkg", "karnof", "hemo", "homo", "drugs", "race", "gender", "str2", "symptom")
WORLDS = ("true model", "noise", "biased by +1 SD", "from a shifted population", "anti-correlated")
PARTS = ("operating", "actg", "adas", "peer")
RHO = 0.5


def prognosis(world: str, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if world == "noise":
        return rng.normal(size=x.shape)
    if world == "biased by +1 SD":
        return RHO * x + 1.0
    if world == "from a shifted population":
        return np.exp(0.5 * (x + 1.0))
    return -RHO * x if world == "anti-correlated" else RHO * x


def batch(rng: np.random.Generator, world: str, trials: int, n: int, effect: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes (trial, patient), designs (trial, patient, 3) and the unadjusted variances of many trials."""
    arm, x = rng.permuted(np.tile(np.arange(n) % 2, (trials, 1)), axis=1), rng.normal(size=(trials, n))
    y = effect * arm + RHO * x + np.sqrt(1 - RHO**2) * rng.normal(size=(trials, n))
    m = prognosis(world, x, rng)
    sums = np.stack([np.where(arm == a, y, 0).sum(axis=1) for a in (0, 1)])
    squares = np.stack([np.where(arm == a, y**2, 0).sum(axis=1) for a in (0, 1)])
    plain = (2 / n * (squares - sums**2 * 2 / n) / (n / 2 - 1)).sum(axis=0)
    return y, np.stack([np.ones_like(y), arm, m - m.mean(axis=1, keepdims=True)], axis=2), plain


def robust(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The formulas of ``least_squares`` for many trials at once: effects, and their HC3 and HC1 variances."""
    transposed = x.swapaxes(1, 2)
    inverse = np.linalg.inv(transposed @ x)
    beta = inverse @ (transposed @ y[..., None])
    xi = x @ inverse
    residual, (_, n, p) = y - (x @ beta)[..., 0], x.shape
    squares = (xi[:, :, 1] * residual) ** 2
    hc3 = (squares / (1 - (xi * x).sum(axis=2)) ** 2).sum(axis=1)
    return beta[:, 1, 0], {"hc3": hc3, "hc1": squares.sum(axis=1) * n / (n - p)}


def operating(world: str, replicates: int, n: int, effect: float) -> dict[str, float]:
    from scipy import special

    from gemel.trials.adjust.ancova import least_squares

    rng = np.random.default_rng([replicates, n, WORLDS.index(world), int(1000 * effect)])
    t, size = special.stdtrit(n - 3, 0.975), min(2500, replicates)
    rejected, covered, squared = ({"hc3": 0.0, "hc1": 0.0} for _ in range(3))
    plain = apart = 0.0
    begin = time.process_time()
    for k in range(0, replicates, size):
        if k % 250_000 == 0:
            note(f"{world}, effect {effect:g}: {k} of {replicates}")
        y, x, unadjusted = batch(rng, world, size, n, effect)
        estimate, variances = robust(x, y)
        plain += float(unadjusted.sum())
        for kind, variance in variances.items():
            for i in range(min(200, size) if k == 0 else 0):  # the batch is the product's own formula
                fit = least_squares(x[i], y[i], variance=kind)
                apart = max(apart, abs(fit.covariance[1, 1] / variance[i] - 1), abs(fit.coefficients[1] - estimate[i]))
            error = t * np.sqrt(variance)
            rejected[kind] += float((np.abs(estimate) > error).sum())
            covered[kind] += float((np.abs(estimate - effect) <= error).sum())
            squared[kind] += float(variance.sum())
    made = -(-replicates // size) * size
    return {
        "rejected": {k: v / made for k, v in rejected.items()},
        "coverage": {k: v / made for k, v in covered.items()},
        "variance_ratio": {k: v / plain for k, v in squared.items()},
        "monte_carlo_error": float(np.sqrt(0.05 * 0.95 / made)),
        "largest_difference_from_least_squares": apart,
        "seconds": time.process_time() - begin,
    }


def actg_columns() -> dict[str, list[str]]:
    from gemel.platform.datasets import resolve
    from gemel.trials import columns_of

    return columns_of(resolve("actg175", download=False).read_text().splitlines())


def actg(splits: int) -> dict[str, Any]:
    from gemel.trials import calibrate, trial_data
    from gemel.trials.adjust.ancova import ancova
    from gemel.trials.analysis import with_prognosis
    from gemel.trials.estimand import Estimand

    columns = actg_columns()
    arms = np.array(columns["arms"])
    pair = Estimand(
        population="ACTG 175, arms 0 to 2", reference="0", treatment="1", variable="CD4 at week 20, cells/mm3", no_intercurrent_events=True
    )
    ratios: dict[str, list[float]] = {"prognosis": [], "cd40": [], "prognosis beside cd40": []}
    r_squared, begin = [], time.process_time()
    for k in range(splits):
        if k % 20 == 0:
            note(f"ACTG 175: split {k} of {splits}")
        rng = np.random.default_rng(k)
        controls = rng.permutation(np.flatnonzero(arms == "0"))
        training = set(controls[: len(controls) // 2].tolist())
        history = {c: [v for i, v in enumerate(columns[c]) if i in training] for c in columns}
        rest = {c: [v for i, v in enumerate(columns[c]) if i not in training] for c in columns}
        bundle = calibrate(history, outcome="cd420", inputs=ACTG, subject="pidnum", seed=k).lock(name=f"split {k}", today=date(1990, 1, 1))
        r_squared.append(bundle.r_squared)
        same = {"outcome": "cd420", "arm": "treat", "subject": "pidnum", "reference": "0", "prognosis_inputs": ACTG}
        bare, single = trial_data(rest, **same), trial_data(rest, baseline=("cd40",), **same)
        for name, data in (
            ("prognosis", with_prognosis(bare, bundle)[0]),
            ("cd40", single),
            ("prognosis beside cd40", with_prognosis(single, bundle)[0]),
        ):
            ratios[name].append(ancova(data, pair, interaction=False, variance="hc1").variance_ratio)
    return {
        "splits": splits,
        "trained_on": len(training),
        "r_squared_in_training": float(np.mean(r_squared)),
        "ratios": {k: [float(np.mean(v)), float(np.quantile(v, 0.05)), float(np.quantile(v, 0.95))] for k, v in ratios.items()},
        "seconds": time.process_time() - begin,
    }


def adas() -> dict[str, Any]:
    from gemel.platform.datasets import resolve
    from gemel.trials import calibrate, columns_of

    where = {"PARAMCD": "ACTOT", "AVISIT": "Week 24", "EFFFL": "Y", "ANL01FL": "Y", "TRTP": "Placebo"}
    columns = columns_of((resolve("cdisc-pilot", download=False) / "tplyr_adas.csv").read_text().splitlines(), where=where)
    found = calibrate(columns, outcome="CHG", inputs=("BASE", "AGE", "SEX", "RACE"), subject="USUBJID")
    bundle = found.lock(name="placebo", today=date(2026, 1, 1))
    return {
        "people": bundle.n,
        "r_squared": bundle.r_squared,
        "interval": list(bundle.r_squared_interval),
        "correlation": bundle.correlation,
    }


def peer(python: str | None, fits: int) -> dict[str, Any]:
    from gemel.trials.adjust.ancova import least_squares

    rng, data = np.random.default_rng(0), {}
    for k in range(fits):
        x = rng.normal(size=200)
        arm = rng.permutation(np.arange(200) % 2)
        data[f"x{k:05d}"] = np.column_stack([np.ones(200), arm, x])
        data[f"y{k:05d}"] = 0.5 * x + rng.normal(size=200)
    begin = time.process_time()
    ours = {}
    for key in (k for k in data if k.startswith("x")):
        both = {kind: least_squares(data[key], data["y" + key[1:]], variance=kind) for kind in ("hc1", "hc3")}
        ours[key] = {"estimate": both["hc1"].coefficients[1]} | {k: float(np.sqrt(f.covariance[1, 1])) for k, f in both.items()}
    told: dict[str, Any] = {"fits": fits, "ours_seconds": time.process_time() - begin, "peer": None}
    if python is None:
        return told
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "designs.npz"
        np.savez(path, **data)
        done = subprocess.run(
            [python, str(Path(__file__).with_name("_statsmodels_peer.py")), str(path)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        note(done.stderr[-1000:])
        return told
    theirs = json.loads(done.stdout)
    apart = max(abs(ours[k][n] / theirs["fits"][k][n] - 1) for k in ours for n in ("estimate", "hc1", "hc3"))
    return told | {"peer": theirs["version"], "peer_seconds": theirs["seconds"], "largest_difference": apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1_000_000)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--peer-python")
    parser.add_argument("--json", type=Path, default=Path("build/bench/trials_adjust.json"))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    kept, parts = Results(options.json, options.again), options.parts.split(",")
    if "operating" in parts:
        band = (0.0486, 0.0514)
        for world in WORLDS:
            for effect in (0.0, 0.4):
                settings = {
                    "replicates": options.replicates if effect == 0 else options.replicates // 10,
                    "patients": options.patients,
                    "effect": effect,
                }
                name = f"{world}, effect {effect:g}"
                found = kept.get(name, settings) or kept.put(
                    name, settings, operating(world, settings["replicates"], options.patients, effect)
                )
                for kind in ("hc3", "hc1"):
                    rate, covered, ratio = (found[k][kind] for k in ("rejected", "coverage", "variance_ratio"))
                    said = f"power {rate:.4f}"
                    if effect == 0:
                        inside = "inside" if band[0] <= rate <= band[1] else "OUTSIDE"
                        said = f"type-I error {rate:.4f}, Monte-Carlo SE {found['monte_carlo_error']:.4f}, {inside} {band[0]} to {band[1]}"
                    print(
                        f"n {options.patients}, {world}, {kind} with t: {said}; coverage {covered:.4f}; variance {ratio:.4f} of unadjusted"
                    )
        print(f"R² of the true model {RHO**2}: variance goal {1 - RHO**2} of unadjusted within 0.02; simulated")
    if "actg" in parts:
        found = kept.get("actg", {"splits": options.splits}) or kept.put("actg", {"splits": options.splits}, actg(options.splits))
        for name, (mean, low, high) in found["ratios"].items():
            print(f"ACTG 175, {found['splits']} splits, {name:22s} variance ratio {mean:.3f} (5 to 95 % of splits {low:.3f} to {high:.3f})")
        print(
            f"trained on {found['trained_on']} controls, cross-validated R² {found['r_squared_in_training']:.3f}; goal 1.60 and no less than cd40"
        )
    if "adas" in parts:
        found = kept.get("adas", {}) or kept.put("adas", {}, adas())
        low, high = found["interval"]
        print(f"CDISC pilot 01, {found['people']} placebo patients: cross-validated R² {found['r_squared']:.3f} ({low:.3f} to {high:.3f})")
    if "peer" in parts:
        found = kept.put("peer", {}, peer(options.peer_python, 500))
        if found["peer"] is None:
            print(f"statsmodels: not run; ours {1e3 * found['ours_seconds'] / found['fits']:.3f} CPU-ms for HC1 and HC3")
        else:
            print(f"largest relative difference from statsmodels {found['peer']}: {found['largest_difference']:.1e}")
            print(
                f"CPU-ms for HC1 and HC3 of 200 patients: ours {1e3 * found['ours_seconds'] / found['fits']:.3f}, statsmodels {1e3 * found['peer_seconds'] / found['fits']:.3f}"
            )
            print(f"ratio {found['peer_seconds'] / found['ours_seconds']:.1f}")


if __name__ == "__main__":
    main()
