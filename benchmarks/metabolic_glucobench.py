"""GlucoBench's own protocol (Sergazinov et al. 2024, arXiv 2410.05780) on Colas and D1NAMO, without covariates: the twin beside its linear regression.

    gemel bench metabolic-glucobench [--sets colas,d1namo] [--seeds 10] [--json FILE]

Gaps are filled linearly, segments cut, people and segments split as its configuration says (a tenth of the people unseen, the end of each last segment
tested), forecasts of twelve steps of five minutes start every six steps, errors are over whole trajectories: RMSE is the root of the mean (or median)
of the windows' mean squared errors, averaged over ten splits. Not comparable with protocol P. Its linear regression (last hour, twelve outputs) is
run here on the same windows: where that gives the published figure, the protocol was read rightly. *Stacked* is a variant of the twin's correction, mixed
with a regression on a longer history; every choice in it is made on the validation parts (_glucobench_stack.py). The last line is the ratio stacked / published best.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from _glucobench_stack import Stack, history

STEPS, STRIDE, LAGS, SLOT = 12, 6, 12, 300_000_000_000
CONFIGURATIONS = {
    "colas": {"gap": 45, "shortest": 192, "segment": 72, "input": 144, "drop": ()},
    "d1namo": {"gap": 30, "shortest": 240, "segment": 144, "input": 192, "drop": (8,)},
}
"""Of its configuration files: minutes, readings, slots; the person dropped, by position."""
PUBLISHED = {
    "colas": {"linear": (9.7, 5.3), "best": (9.7, 5.3), "best unseen": (9.5, 5.3), "calibration": 0.075},
    "d1namo": {"linear": (24.7, 12.1), "best": (24.7, 12.1), "best unseen": (24.0, 15.7), "calibration": 0.065},
}
"""Mean and median RMSE of its tables: its linear regression, its best model, its best model on unseen people; its best calibration error."""


METHODS = ("twin", "stacked", "linear")


@dataclass(frozen=True)
class Person:
    """One person on slots of five minutes; ``segment`` is -1 between segments."""

    id: str
    start: int
    value: np.ndarray
    segment: np.ndarray


def people_of(name: str) -> list[Person]:
    """Read, cut into segments and fill gaps as the protocol does."""
    from gemel.interop.wearables import read_all
    from gemel.platform.datasets import resolve
    from gemel.twins.metabolic import observe

    c = CONFIGURATIONS[name]
    records = sorted((r for r, _ in read_all(resolve(name), format=name)), key=lambda r: r.id)
    out = []
    for record in (r for i, r in enumerate(records) if i not in c["drop"]):
        known = observe.glucose(record)
        minute = np.round(known.time / 60e9).astype(np.int64)
        keep = np.r_[True, np.diff(minute) > 0]
        minute, value = minute[keep], known.read[keep]
        cuts = np.flatnonzero(np.diff(minute) > c["gap"]) + 1
        pieces = [(m, v) for m, v in zip(np.split(minute, cuts), np.split(value, cuts), strict=True) if len(m) >= c["shortest"]]
        if not pieces:
            continue
        first = int(pieces[0][0][0]) // 5
        n = int(pieces[-1][0][-1]) // 5 - first + 1
        whole, segment = np.full(n, np.nan), np.full(n, -1)
        for i, (m, v) in enumerate(pieces):
            grid = np.arange(m[0], m[-1] + 1, 5)
            at = int(m[0]) // 5 - first
            whole[at : at + len(grid)], segment[at : at + len(grid)] = np.interp(grid, m, v), i
        out.append(Person(record.id, first * SLOT, whole, segment))
    return out


def split(person: Person, c: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slots of one seen person that train, validate and test."""
    n, length, longest = int(person.segment.max()) + 1, c["segment"], c["input"]
    slots = [np.flatnonzero(person.segment == i) for i in range(n)]
    none, last = np.zeros(0, int), slots[-1]
    earlier = np.concatenate([none, *slots[:-1]])
    if len(last) >= longest + 3 * length:
        return np.concatenate([earlier, last[: -2 * length]]), last[-2 * length - longest : -length], last[-length - longest :]
    if len(last) >= longest + 2 * length:
        if n == 1:
            return last[:-length], none, last[-length - longest :]
        return earlier, last[:-length], last[-length - longest :]
    if n == 1:
        return last, none, none
    if len(slots[-2]) >= longest + 2 * length:
        return np.concatenate([*slots[:-2], slots[-2][:-length]]), slots[-2][-length - longest :], last
    return earlier, none, last


def origins(slots: np.ndarray, start: int, stride: int = STRIDE) -> np.ndarray:
    """Return origins inside runs of slots, the first after ``start`` of them, every ``stride``, whole trajectories only."""
    runs = np.split(slots, np.flatnonzero(np.diff(slots) != 1) + 1) if len(slots) else []
    return np.concatenate([np.zeros(0, int), *(r[start - 1 : len(r) - STEPS : stride] for r in runs)])


def calibration_error(levels: np.ndarray, quantiles: np.ndarray, y: np.ndarray) -> float:
    """Mean over steps of the sum, over eleven probabilities, of the squared difference between nominal and observed."""
    below = np.zeros(y.shape)
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            below[i, j] = np.interp(y[i, j], quantiles[i, j], levels, left=0.0, right=1.0)
    return float(np.mean(sum(((below <= p).mean(axis=0) - p) ** 2 for p in np.linspace(0, 1, 11))))


def one_split(people: list[Person], c: dict[str, Any], seed: int) -> dict[str, Any]:
    """Learn on one split and forecast its tests; squared errors per window."""
    from gemel.engine.bands import LEVELS
    from gemel.twins.metabolic.correct import learn
    from gemel.twins.metabolic.discrepancy import PersonSeries

    np.random.seed(seed)  # the protocol's own generator and call, so that the same people are left out
    unseen = set(np.random.choice(np.arange(len(people)), ceil(0.1 * len(people)), replace=False).tolist())
    horizons = tuple(5 * (k + 1) for k in range(STEPS))
    series, every, lags, outcomes, parts, tests, pasts = [], [], [], [], [], [], []
    for i, p in enumerate(people):
        ahead = np.stack([np.r_[p.value[k + 1 :], np.full(k + 1, np.nan)] for k in range(STEPS)], axis=1)
        o = np.concatenate([np.flatnonzero(p.segment == s)[LAGS:] for s in range(int(p.segment.max()) + 1)])
        part = np.full(len(o), 2)
        if i in unseen:
            test = origins(np.flatnonzero(p.segment >= 0), c["input"])
        else:
            train, validate, held = split(p, c)
            test, known = origins(held, c["input"]), np.union1d(train, validate)
            mine = np.isin(o, known) & np.isin(o + STEPS, known)
            part[mine] = (np.arange(mine.sum()) >= 0.75 * mine.sum()).astype(int)
        hour = ((p.start // SLOT + np.arange(len(p.value))) * 5 / 60) % 24
        nothing = np.zeros(len(p.value))
        series.append(PersonSeries(p.id, p.id, 5, p.value, hour, nothing, nothing, nothing, p.start))
        every.append(o)
        lags.append(np.stack([p.value[o - j] for j in range(LAGS + 1)], axis=1))
        pasts.append(history(p.value, p.segment, o, c["input"]))
        outcomes.append(ahead[o])
        parts.append(part)
        tests.append(np.flatnonzero(np.isin(o, test)))
    x = np.concatenate([v[q < 2][:, :LAGS] for v, q in zip(lags, parts, strict=True)])
    y = np.concatenate([v[q < 2] for v, q in zip(outcomes, parts, strict=True)])
    whole = np.isfinite(y).all(axis=1)
    weights = np.linalg.lstsq(np.c_[np.ones(whole.sum()), x[whole]], y[whole], rcond=None)[0]
    learnt, members = learn(series, every, lags, outcomes, parts, horizons, without=("inputs",))
    said = [[d.distribution(group[i]) for d, group in zip(learnt.parts, members, strict=True)] for i in range(len(people))]
    means = [np.stack([m.mean for m in made], axis=1) for made in said]
    known = [(q < 2) & np.isfinite(v).all(axis=1) for q, v in zip(parts, outcomes, strict=True)]
    past, outcome, mean, part = (np.concatenate([v[k] for v, k in zip(x, known, strict=True)]) for x in (pasts, outcomes, means, parts))
    stack = Stack.of(past, outcome, mean, part, c["input"])
    found: dict[str, Any] = {k + who: [] for who in ("", " unseen") for k in METHODS}
    persons: dict[str, list[list[float]]] = {}
    quantiles: dict[str, list[np.ndarray]] = {"": [], " unseen": []}
    observed: dict[str, list[np.ndarray]] = {"": [], " unseen": []}
    for i, t in enumerate(tests):
        if not len(t):
            continue
        who = " unseen" if i in unseen else ""
        mean, truth = means[i][t], outcomes[i][t]
        stacked = stack(pasts[i][t], mean)
        found["twin" + who].append(np.mean((mean - truth) ** 2, axis=1))
        found["stacked" + who].append(np.mean((stacked - truth) ** 2, axis=1))
        found["linear" + who].append(np.mean((np.c_[np.ones(len(t)), lags[i][t][:, :LAGS]] @ weights - truth) ** 2, axis=1))
        if not who:
            persons[people[i].id] = [[float(e) for e in found[k][-1]] for k in METHODS]
        quantiles[who].append(np.stack([m.quantiles[t] for m in said[i]], axis=1) + (stacked - mean)[:, :, None])
        observed[who].append(truth)
    out: dict[str, Any] = {"stack": {"weight": stack.weight, "span": stack.regression.span, "penalty": stack.penalty}, "persons": persons}
    for k, v in found.items():
        e = np.concatenate(v)
        out[k] = {"mean": float(e.mean()), "median": float(np.median(e)), "windows": len(e)}
    for who in ("", " unseen"):
        out["calibration" + who] = calibration_error(LEVELS, np.concatenate(quantiles[who]), np.concatenate(observed[who]))
    return out


def uncertainty(splits: list[dict[str, Any]]) -> dict[str, Any]:
    """Say how far the people decide the figure: who carries most of the squared error, and what resampling them does to the difference to the linear regression."""
    ids = sorted({p for s in splits for p in s["persons"]})
    errors = [np.mean([s["persons"][p] for s in splits if p in s["persons"]], axis=0) for p in ids]  # each: (method, window)
    total, count = np.array([e.sum(axis=1) for e in errors]), np.array([e.shape[1] for e in errors], float)
    a, b = METHODS.index("stacked"), METHODS.index("linear")
    drawn = np.random.default_rng(0).integers(0, len(ids), (4000, len(ids)))
    rmse = np.sqrt(total[drawn].sum(axis=1) / count[drawn].sum(axis=1)[:, None])
    worst, windows = int(np.argmax(total[:, a])), np.sort(np.concatenate([e[a] for e in errors]))[::-1]
    return {
        "stacked": np.quantile(rmse[:, a], [0.025, 0.975]).tolist(),
        "stacked - linear": np.quantile(rmse[:, a] - rmse[:, b], [0.025, 0.975]).tolist(),
        "worst error": float(total[worst, a] / total[:, a].sum()),
        "worst windows": float(count[worst] / count.sum()),
        "tail error": float(windows[: len(windows) // 10].sum() / windows.sum()),
    }


def run(name: str, seeds: int) -> dict[str, Any]:
    """Average over splits."""
    people, begin = people_of(name), time.process_time()
    splits = [one_split(people, CONFIGURATIONS[name], seed) for seed in range(10, 10 + seeds)]
    told: dict[str, Any] = {"people": len(people), "splits": seeds}
    for k in (m + who for who in ("", " unseen") for m in METHODS):
        told[k] = {r: float(np.sqrt(np.mean([s[k][r] for s in splits]))) for r in ("mean", "median")}
        told[k]["windows"] = float(np.mean([s[k]["windows"] for s in splits]))
    for k in ("calibration", "calibration unseen"):
        told[k] = float(np.mean([s[k] for s in splits]))
    told["stacks"], told["uncertainty"] = [s["stack"] for s in splits], uncertainty(splits)
    return told | {"cpu_seconds": round(time.process_time() - begin, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(CONFIGURATIONS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=Path, default=Path("gemel-bench") / "metabolic_glucobench.json")
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    missed, ratios = [], []
    for name in options.sets.split(","):
        key = f"{name} {options.seeds}"
        if key not in done:
            done[key] = run(name, options.seeds)
            options.json.write_text(json.dumps(done, indent=1))
        told, published = done[key], PUBLISHED[name]
        print(f"\n{name}: {told['people']} people, {told['splits']} splits, {told['cpu_seconds']} CPU-s; RMSE mean / median, mg/dL")
        for k in (m + who for who in ("", " unseen") for m in METHODS):
            print(f"  {k:14s} {told[k]['mean']:6.2f} / {told[k]['median']:5.2f}   ({told[k]['windows']:.0f} windows a split)")
        print(f"  published: linear {published['linear']}, best {published['best']}, best on unseen people {published['best unseen']}")
        weight, spans = np.mean([s["weight"] for s in told["stacks"]]), sorted({s["span"] for s in told["stacks"]})
        print(
            f"  chosen on the validation parts: weight of the twin {weight:.2f} on average, readings looked back by the regression {spans}"
        )
        print(
            f"  calibration error, stacked {told['calibration']:.3f}, unseen {told['calibration unseen']:.3f} (published best {published['calibration']})"
        )
        u = told["uncertainty"]
        (low, high), (less, more) = u["stacked"], u["stacked - linear"]
        print(f"  people resampled: RMSE of stacked {low:.1f} to {high:.1f}, less that of linear {less:+.2f} to {more:+.2f}")
        print(
            f"  of its squared error one person with {u['worst windows']:.0%} of the windows carries {u['worst error']:.0%}, a tenth of the windows {u['tail error']:.0%}"
        )
        for k, best in zip(("mean", "median"), published["best"], strict=True):
            missed += [f"{name} {k}"] if round(told["stacked"][k], 1) > best else []
        missed += [f"{name} calibration"] if told["calibration"] > 0.05 else []
        ratios.append(f"{name} {told['stacked']['mean'] / published['best'][0]:.3f}")
    print("missed: " + ("; ".join(missed) or "none"))
    print("RMSE stacked / best published: " + ", ".join(ratios))
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
