"""Ten kinds of drift: how soon the watch rings and how often for nothing, beside River's detectors at the same in-control run length.

    gemel bench evidence-drift -- [--seeds 200] [--peer-python PYTHON] [--run-length 5000] [--json FILE]

A released model (logistic, three inputs) predicts an event; after 500 cases something changes, and 2,500 more follow. Our thresholds come from the mix of risks of 5,000
cases at release, by the chain and the simulated limit, with no stream looked at; *outcomes* is the risk-adjusted CUSUM in both directions, the CUSUM of extreme predictions and the adaptive window,
*with inputs* adds batches of inputs, each share of the same run length of the whole. The peers live in their own environment (``pip install river``); each
is tuned by bisection to the same run length on 200 streams. Printed: median delay in cases among those that had not rung before the change, the share that rang within the
2,500, and the share of false alarms before. The mean delay counts a miss as 2,500. Where a peer is sooner, the last lines say so. The last line is the ratio of mean delays,
best peer of each kind over ours (outcomes), geometric mean over the nine kinds in which performance changes.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gemel.evidence.surveillance.arl import chain_threshold, flattened, likelihood_increments, threshold
from gemel.evidence.surveillance.charts import cusum, weights
from gemel.evidence.surveillance.input_watch import watch_inputs
from gemel.evidence.surveillance.prediction_log import UNKNOWN, PredictionLog
from gemel.evidence.surveillance.release import freeze
from gemel.evidence.surveillance.scan import residual_scan, scan_limit

BEFORE, AFTER = 500, 2500
LENGTH = BEFORE + AFTER
KINDS = {
    "none": "nothing changes",
    "odds": "odds of the event doubled",
    "gradual": "odds rise to twice, over 1,000 cases",
    "better": "odds halved",
    "slope": "predictions too extreme: true slope 0.4",
    "group": "odds tripled in one case of four",
    "sign": "the effect of an input turns round",
    "unit": "an input arrives in another unit",
    "missing": "half of an input is missing and replaced by its mean",
    "recording": "four events of ten are no longer recorded",
    "mix": "older, sicker people; the model stays right",
}
HARMLESS = ("mix",)
EFFECT = np.array([0.8, 0.5, 0.4])
BASE = -2.2


def stream(kind: str, rng: np.random.Generator, n: int = LENGTH, before: int = BEFORE) -> dict[str, np.ndarray]:
    """Return inputs as the model gets them, its predictions, and outcomes."""
    after = np.arange(n) >= before
    x = rng.normal(size=(n, 3))
    if kind == "mix":
        x[after] += 0.7
    effect = np.where(after[:, None] & (kind == "sign"), EFFECT * [1, -1, 1], EFFECT)
    true = BASE + (x * effect).sum(axis=1)
    ratio = {"odds": 2.0, "better": 0.5}.get(kind, 1.0)
    shift = np.where(after, np.log(ratio), 0.0)
    if kind == "gradual":
        shift = np.log(2) * np.clip((np.arange(n) - before) / 1000, 0, 1)
    if kind == "group":
        shift = np.where(after & (rng.random(n) < 0.25), np.log(3), 0.0)
    if kind == "slope":
        true = np.where(after, BASE + 0.4 * (true - BASE), true)
    event = rng.random(n) < 1 / (1 + np.exp(-(true + shift)))
    if kind == "recording":
        event &= ~(after & (rng.random(n) < 0.4))
    glucose = np.exp(1.7 + 0.2 * x[:, 0])
    raw = np.stack([np.where(after & (kind == "unit"), 18.016 * glucose, glucose), x[:, 1], x[:, 2]], axis=1)
    gone = after & (kind == "missing") & (rng.random(n) < 0.5)
    raw[gone, 0] = np.nan
    seen = x.copy()
    seen[:, 0] = np.where(gone, 0.0, (np.log(np.where(gone, 1.0, raw[:, 0])) - 1.7) / 0.2)
    p = 1 / (1 + np.exp(-(BASE + seen @ EFFECT)))
    return {"inputs": raw, "p": p, "y": event.astype(float)}


def log_of(told: dict[str, np.ndarray]) -> PredictionLog:
    n = len(told["p"])
    time_ = np.arange(n, dtype=np.int64)
    inputs = {f"x{j}": told["inputs"][:, j] for j in range(3)}
    return PredictionLog(
        time_, time_, np.full(n, "p"), "event", {"prediction": told["p"], "outcome": told["y"]}, np.full(n, UNKNOWN), np.full(n, ""), inputs
    )


class Ours:
    """The charts of the watch, set once."""

    def __init__(self, wanted: float, rng: np.random.Generator) -> None:
        base = log_of(stream("none", rng, n=5000))
        self.release = freeze(base, model="m", version="1", now=0)
        mix = np.asarray(self.release.mix)
        begin = time.process_time()
        self.mix, flat = mix, likelihood_increments(mix, flattened(mix, mix, 0.5))
        self.limits = {
            k: (threshold(mix, k * wanted), threshold(mix, k * wanted, 0.5), chain_threshold(flat, k * wanted), scan_limit(mix, k * wanted))
            for k in (4, 5)
        }
        self.level = 200 / (5 * wanted)
        self.setting = time.process_time() - begin

    def first(self, told: dict[str, np.ndarray], *, inputs: bool) -> int:
        up, down, extreme, scan = self.limits[5 if inputs else 4]
        flat = flattened(told["p"], self.mix, 0.5)
        slope = np.where(told["y"] == 1, np.log(flat / told["p"]), np.log1p(-flat) - np.log1p(-told["p"]))
        rang = [
            cusum(weights(told["p"], told["y"], 2.0), up).alarms,
            cusum(weights(told["p"], told["y"], 0.5), down).alarms,
            cusum(slope, extreme).alarms,
            residual_scan(told["p"], told["y"], scan).alarms,
        ]
        found = [int(a[0]) for a in rang if len(a)]
        if inputs:
            log, start = log_of(told), 0
            for start in range(0, min([*found, len(log)]), 200):
                batch = watch_inputs(log.take(np.arange(start, min(start + 200, len(log)))), self.release, size=200, level=self.level)
                if batch and batch[0].rings:
                    found.append(start + 199)
                    break
        return min(found, default=-1)


def summary(first: list[int]) -> dict[str, float]:
    """Return false alarms before the change, and delays of the others."""
    at = np.asarray(first)
    early = (at >= 0) & (at < BEFORE)
    rest = at[~early]
    delay = np.where(rest < 0, AFTER, rest - BEFORE + 1).astype(float)
    rang = rest >= 0
    return {
        "early": float(early.mean()),
        "within": float(rang.mean()),
        "median": float(np.median(delay)) if rang.mean() >= 0.5 else float("nan"),
        "mean": float(delay.mean()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--run-length", type=float, default=5000)
    parser.add_argument("--peer-python", help="the Python of an environment with river")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ours = Ours(options.run_length, np.random.default_rng(7))
    streams = {kind: [stream(kind, np.random.default_rng([1000 + k, i])) for i in range(options.seeds)] for k, kind in enumerate(KINDS)}
    quiet = {name: [stream("none", np.random.default_rng([s, i])) for i in range(200)] for name, s in (("tune", 1), ("check", 2))}
    results: dict[str, Any] = {}
    for name, inputs in (("Gemel, outcomes", False), ("Gemel, with inputs", True)):
        begin = time.process_time()
        rang = np.mean([ours.first(s, inputs=inputs) >= 0 for s in quiet["check"]])
        results[name] = {
            "share_in_control": float(rang),
            "first": {k: [ours.first(s, inputs=inputs) for s in streams[k]] for k in KINDS},
            "cpu_s": time.process_time() - begin,
        }
    version = "not run: name an environment with river by --peer-python"
    if options.peer_python:
        with tempfile.TemporaryDirectory() as room:
            arrays = {f"{w}_{k}": np.stack([s[w] for s in streams[k]]) for k in KINDS for w in ("p", "y")}
            arrays |= {f"{name}_{w}": np.stack([s[w] for s in some]) for name, some in quiet.items() for w in ("p", "y")}
            np.savez(Path(room) / "streams.npz", kinds=np.array(list(KINDS)), **arrays)
            script = Path(__file__).with_name("_drift_peer.py")
            subprocess.run(
                [options.peer_python, str(script), str(Path(room) / "streams.npz"), str(Path(room) / "out.json"), str(options.run_length)],
                check=True,
            )
            peer = json.loads((Path(room) / "out.json").read_text())
        results |= peer["detectors"]
        version = f"river {peer['river']}"
    print(f"{options.seeds} seeds a kind, simulated; wanted run length {options.run_length:,.0f}; {platform.machine()}; peer: {version}")
    print(f"{'in control':26} {'measured run length':>20} {'CPU-s':>7}")
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name, found in results.items():
        rate = found["share_in_control"]
        length = -LENGTH / np.log(1 - rate) if 0 < rate < 1 else float("inf")
        low, high = (-LENGTH / np.log(1 - np.clip(rate + s * 2 * np.sqrt(rate * (1 - rate) / 200), 1e-9, 0.999)) for s in (1, -1))
        print(f"{name:26} {f'{length:,.0f} ({low:,.0f} to {high:,.0f})':>20} {found['cpu_s']:7.0f}")
        table[name] = {kind: summary(found["first"][kind]) for kind in KINDS}
    print("\nmedian delay (share rung within 2,500) [false alarms before the change]")
    lost = []
    for kind, words in KINDS.items():
        print(f"{kind}: {words}")
        for name, rows in table.items():
            r = rows[kind]
            print(
                f"  {name:26} {'-' if np.isnan(r['median']) else format(r['median'], '.0f'):>6}  mean {r['mean']:6.0f}  ({100 * r['within']:3.0f} %)  [{100 * r['early']:4.1f} %]"
            )
    peers = [n for n in table if not n.startswith("Gemel")]
    ratios = []
    for kind in [k for k in KINDS if k != "none" and k not in HARMLESS]:
        if not peers:
            break
        best = min(peers, key=lambda n: table[n][kind]["mean"])
        ratios.append(table[best][kind]["mean"] / table["Gemel, outcomes"][kind]["mean"])
        if ratios[-1] < 1:
            lost.append(f"{kind}: {best} {table[best][kind]['mean']:.0f} against {table['Gemel, outcomes'][kind]['mean']:.0f}")
    if options.json:
        options.json.write_text(
            json.dumps({"results": results, "table": table, "ratios": ratios, "machine": platform.machine(), "peer": version}, indent=1)
        )
    if not ratios:
        print("ratio: peers not run")
        return 0
    print("where a peer is sooner on average:", "; ".join(lost) if lost else "nowhere")
    print(f"ratio (best peer / ours, mean delay, geometric mean over {len(ratios)} kinds): {np.exp(np.mean(np.log(ratios))):.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
