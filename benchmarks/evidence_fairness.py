"""The fairness audit: does it recover a bias that was planted, is it quiet where there is none, does it count as fairlearn does, and what do remedies buy?

    gemel bench evidence-fairness -- [--seeds 1000] [--people 2000] [--parts recovery,null,audit,metrics,remedies] [--peer-python PYTHON] [--json FILE]

*recovery* draws worlds in which costs of one group run 0.5 lower at equal need, which leaves 0.4 of need per person at equal score (closed form), and counts how
often the 95 % interval of the audit holds it; *null* draws worlds without any bias and counts flags after Holm. *audit* counts flags of the audit by subgroup
where groups differ in nothing, over two attributes and their intersections. *metrics* and *remedies* stand beside fairlearn on the same rows and the same
split; it lives in its own environment (``pip install fairlearn torch``), and without it its rows read *not run*. Worlds are simulated, all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _results import note

GOAL = (0.92, 0.98)
NAMES = ("logistic", "reweighing", "adversarial, equalised odds", "adversarial, demographic parity")
PARTS = ("recovery", "null", "audit", "metrics", "remedies")


def limits(share: float, n: int) -> str:
    from scipy import stats

    low, high = stats.binom.interval(0.95, n, share)
    return f"{share:.3f} (95 % of runs {low / n:.3f} to {high / n:.3f})"


def recovery(seeds: int, people: int, is_null: bool) -> dict[str, Any]:
    from gemel.evidence.fairness.planted import PlantedBias
    from gemel.evidence.fairness.proxy import audit_proxy

    world = PlantedBias(delta=0.0 if is_null else 0.5)
    held = before = anything = 0
    gaps, reductions = [], []
    begin = time.process_time()
    for seed in range(seeds):
        if seed % 100 == 0:
            note(f"{'null' if is_null else 'planted'}: {seed} of {seeds}")
        drawn = world.draw(people, seed=seed)
        found = audit_proxy(
            drawn.score, drawn.need, drawn.group, need_score=drawn.need_score, reference="A", replicates=400, seed=seed
        ).group("B")
        held += found.before.gap.low <= world.gap <= found.before.gap.high
        before += found.before.is_flagged
        anything += found.before.is_flagged or bool(found.after and found.after.is_flagged)
        gaps.append(found.before.gap.value)
        if found.reduction is not None:
            reductions.append(found.reduction.value)
    return {
        "seeds": seeds, "people_per_group": people, "bins": 100, "true_gap": world.gap, "mean_gap": float(np.mean(gaps)), "sd_gap": float(np.std(gaps)),
        "coverage": held / seeds, "flagged_before": before / seeds, "flagged_any": anything / seeds,
        "mean_reduction": float(np.mean(reductions)) if reductions else None, "seconds": time.process_time() - begin,
    }  # fmt: skip


def label_change(people: int, seed: int) -> dict[str, Any]:
    from gemel.evidence.fairness.planted import PlantedBias
    from gemel.evidence.fairness.proxy import audit_proxy

    drawn = PlantedBias().draw(people, seed=seed)
    g = audit_proxy(drawn.score, drawn.need, drawn.group, need_score=drawn.need_score, reference="A", seed=seed).group("B")
    return {
        name: [e.value, e.low, e.high]
        for name, e in (
            ("before", g.before.share_above),
            ("after", g.after.share_above),
            ("change", g.change_above),
            ("reduction", g.reduction),
        )
    }


def audit_null(seeds: int) -> dict[str, Any]:
    from gemel.evidence.fairness.audit import Settings, audit
    from gemel.evidence.fairness.scored import Scored

    flagged = made = 0
    for seed in range(seeds):
        if seed % 100 == 0:
            note(f"audit: {seed} of {seeds}")
        rng = np.random.default_rng(seed)
        n = 1000
        z = rng.normal(-0.5, 1.3, n)
        y, p = rng.random(n) < 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-z))
        groups = {"sex": rng.choice(["f", "m"], n), "site": rng.choice(["x", "y", "z"], n, p=[0.5, 0.3, 0.2])}
        report = audit(Scored(outcome=y, probability=p), groups, settings=Settings(replicates=300, seed=seed))
        flagged += bool(report.flagged)
        made += len(report.differences)
    return {"seeds": seeds, "comparisons": made / seeds, "flagged_any": flagged / seeds}


def rows(n: int, seed: int) -> dict[str, np.ndarray]:
    """Two groups with unequal prevalence; one input is about the outcome, one about the group."""
    rng = np.random.default_rng(seed)
    group = (rng.random(n) < 0.5).astype(int)
    z = rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-(1.2 * z - 0.4 + 1.2 * group)))).astype(int)
    x = np.column_stack([z + rng.normal(0, 0.3, n), group + rng.normal(0, 0.5, n), rng.normal(size=n)])
    return {"x": (x - x.mean(axis=0)) / x.std(axis=0), "y": y, "group": group}


def peer(python: str | None, part: str, data: dict[str, Any]) -> dict[str, Any] | None:
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, **data)
        done = subprocess.run(
            [python, str(Path(__file__).with_name("_fairlearn_peer.py")), part, str(path)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        note(done.stderr[-2000:])
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def metrics(python: str | None) -> dict[str, Any]:
    from gemel.evidence.fairness.audit import Settings, audit
    from gemel.evidence.fairness.scored import Scored

    rng = np.random.default_rng(0)
    n = 100_000
    z = rng.normal(-0.5, 1.3, n)
    group = rng.integers(0, 20, n)
    y, p = (rng.random(n) < 1 / (1 + np.exp(-z + 0.02 * group))).astype(int), np.round(1 / (1 + np.exp(-z)), 4).clip(1e-4, 1 - 1e-4)
    begin = time.process_time()
    report = audit(Scored(outcome=y, probability=p), {"g": group.astype(str)}, settings=Settings(replicates=0))
    seconds = time.process_time() - begin
    begin = time.process_time()
    audit(Scored(outcome=y, probability=p), {"g": group.astype(str)}, settings=Settings(replicates=200))
    out: dict[str, Any] = {"rows": n, "groups": 20, "seconds": seconds, "seconds_200_resamples": time.process_time() - begin}
    theirs = peer(python, "metrics", {"y": y, "p": p, "group": group})
    if theirs is not None:
        worst = max(
            abs(report.group(g=str(g)).metrics[name].value - value) for name, by in theirs["by_group"].items() for g, value in by.items()
        )
        gaps = {
            "demographic_parity_difference": report.gap("selection_rate", "g").difference.value,
            "demographic_parity_ratio": report.gap("selection_rate", "g").ratio,
            "equalized_odds_difference": max(report.gap(m, "g").difference.value for m in ("true_positive_rate", "false_positive_rate")),
        }
        worst = max(worst, *(abs(gaps[name] - theirs[name]) for name in gaps))
        out |= {"largest_difference": worst, "compared": len(theirs["by_group"]) * 20 + 3, "peer_seconds": theirs["seconds"]}
    return out


def judged(y: np.ndarray, group: np.ndarray, p: np.ndarray) -> dict[str, float]:
    flag = p >= 0.5

    def gap(mask: np.ndarray) -> float:
        rates = [flag[mask & (group == g)].mean() for g in (0, 1)]
        return float(abs(rates[0] - rates[1]))

    return {
        "accuracy": float((flag == (y == 1)).mean()),
        "parity_gap": gap(np.ones(len(y), bool)),
        "odds_gap": max(gap(y == 1), gap(y == 0)),
    }


def trained(name: str, x: np.ndarray, y: np.ndarray, group: np.ndarray, learn: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    from gemel.evidence.fairness.mitigation import logistic, train_adversarial

    if name.startswith("adversarial"):
        goal = "equalised odds" if "odds" in name else "demographic parity"
        return train_adversarial(x[learn], y[learn], group[learn], goal=goal, seed=seed)(x)
    return logistic(x, y, learn, weights=weights if name == "reweighing" else None)


def remedies(python: str | None, seeds: int) -> dict[str, Any]:
    from gemel.evidence.fairness.mitigation import reweighing

    ours: dict[str, list[dict[str, float]]] = {}
    theirs: dict[str, list[dict[str, float]]] = {}
    apart = 0.0
    for seed in range(seeds):
        note(f"remedies: {seed} of {seeds}")
        data = rows(4000, seed)
        order = np.random.default_rng(seed).permutation(4000)
        learn, show = order[:2000], order[2000:]
        x, y, group = data["x"], data["y"], data["group"]
        weights = reweighing(y[learn], group[learn])
        made = {}
        for name in NAMES:
            begin = time.process_time()
            made[name] = trained(name, x, y, group, learn, weights, seed)[show]
            ours.setdefault(name, []).append(judged(y[show], group[show], made[name]) | {"seconds": time.process_time() - begin})
        found = peer(python, "remedies", data | {"learn": learn, "show": show, "weights": weights, "seed": np.array(seed)})
        for name, told in (found or {}).items():
            p = np.array(told["p"])
            theirs.setdefault(name, []).append(judged(y[show], group[show], p) | {"seconds": told["seconds"]})
            if name in ("logistic", "reweighing"):
                apart = max(apart, float(np.abs(p - made[name]).max()))

    def mean(runs: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
        return {name: {k: float(np.mean([r[k] for r in told])) for k in told[0]} for name, told in runs.items()}

    return {"seeds": seeds, "ours": mean(ours), "fairlearn": mean(theirs), "probabilities_apart": apart if theirs else None}


def show_remedies(told: dict[str, Any]) -> None:
    print(f"\nremedies, mean of {told['seeds']} splits: 2,000 people learnt from, 2,000 shown; gaps at 0.5")
    print(f"{'':39s}{'accuracy':>10s}{'parity gap':>12s}{'odds gap':>10s}{'CPU-s':>8s}")
    for name, ours in told["ours"].items():
        theirs = told["fairlearn"].get(name)
        print(f"{name + ', gemel':44s}{ours['accuracy']:.3f}{ours['parity_gap']:12.3f}{ours['odds_gap']:10.3f}{ours['seconds']:8.2f}")
        if theirs is None:
            print(f"{name + ', fairlearn':44s}not run")
            continue
        print(
            f"{name + ', fairlearn':44s}{theirs['accuracy']:.3f}{theirs['parity_gap']:12.3f}{theirs['odds_gap']:10.3f}{theirs['seconds']:8.2f}"
        )
        key = "odds_gap" if "odds" in name else "parity_gap"
        print(
            f"  ratio, fairlearn / gemel: {key.replace('_', ' ')} {theirs[key] / ours[key]:.2f}, CPU-s {theirs['seconds'] / max(ours['seconds'], 1e-9):.1f}"
        )
    if told["probabilities_apart"] is not None:
        print(f"logistic and reweighed probabilities differ from scikit-learn's by at most {told['probabilities_apart']:.1e}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--people", type=int, default=2000, help="per group")
    parser.add_argument("--splits", type=int, default=5, help="of the remedies")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--peer-python", help="the Python of an environment with fairlearn and torch")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    parts = set(asked.parts.split(","))
    told: dict[str, Any] = {}
    if "recovery" in parts:
        r = told["recovery"] = recovery(asked.seeds, asked.people, False)
        print(
            f"planted gap {r['true_gap']:.3f}: mean found {r['mean_gap']:.4f}, {asked.people} people a group, 100 bins, {r['seconds']:.0f} CPU-s"
        )
        verdict = "inside" if GOAL[0] <= r["coverage"] <= GOAL[1] else "OUTSIDE"
        print(f"  the 95 % interval holds it in {limits(r['coverage'], r['seeds'])}: {verdict} 0.95 +- 0.03")
        print(
            f"  flagged {r['flagged_before']:.3f}; changing the label takes away {r['mean_reduction']:.3f} of the excess on average (1 by construction)"
        )
        c = told["label_change"] = label_change(asked.people, 0)
        print(
            "  share of B above the 97th percentile, one world: "
            + ", ".join(f"{k} {v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for k, v in c.items())
        )
    if "null" in parts:
        r = told["null"] = recovery(asked.seeds, asked.people, True)
        print(f"no bias: some flag after Holm in {limits(r['flagged_any'], r['seeds'])}; nominal at most 0.05")
    if "audit" in parts:
        r = told["audit_null"] = audit_null(min(asked.seeds, 500))
        print(
            f"audit of equal groups, {r['comparisons']:.0f} comparisons each: some flag in {limits(r['flagged_any'], r['seeds'])}; nominal at most 0.05"
        )
    if "metrics" in parts:
        r = told["metrics"] = metrics(asked.peer_python)
        print(
            f"metrics of {r['rows']} rows in {r['groups']} groups: {r['seconds']:.2f} CPU-s, with 200 resamples {r['seconds_200_resamples']:.2f}"
        )
        if "largest_difference" in r:
            print(
                f"  {r['compared']} numbers differ from fairlearn's by at most {r['largest_difference']:.1e} ({'inside' if r['largest_difference'] <= 1e-12 else 'OUTSIDE'} 1e-12)"
            )
            print(f"  ratio, fairlearn / gemel: CPU-s {r['peer_seconds'] / r['seconds']:.2f}")
        else:
            print("  fairlearn: not run (--peer-python)")
    if "remedies" in parts:
        r = told["remedies"] = remedies(asked.peer_python, asked.splits)
        show_remedies(r)
    if asked.json is not None:
        asked.json.write_text(json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
