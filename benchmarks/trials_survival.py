"""Times to an event: does the adjusted log-rank test hold its level, what does it save, and do we and lifelines say the same?

    gemel bench trials-survival -- [--replicates 20000] [--patients 200] [--parts operating,peer] [--peer-python PYTHON] [--json FILE]

*operating* (SIMULATED) draws trials with and without an effect in five worlds: one covariate that matters, five of which one does, noise only, one that
matters but not linearly, and hazards that cross the more the later; prints the level or power of the plain and adjusted log-rank test, the marginal hazard
ratio and the restricted means, with Monte-Carlo errors, and the ratio of variances. *peer* runs log-rank, Kaplan-Meier and restricted means of lifelines, which
lives in its own environment (``pip install lifelines``), on the same trials, and on the one real experiment that it carries; without it its row reads *not run*.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _results import Results, note

WORLDS = ("one covariate", "five, one of them matters", "noise only", "not linear", "late effect")
METHODS = ("plain log-rank", "adjusted log-rank", "marginal hazard", "restricted means", "augmented means", "adjusted, small sample")
TAU = 1.0


def trial(rng: np.random.Generator, world: str, n: int, log_ratio: float) -> Any:
    from gemel.trials.data import TrialData
    from gemel.trials.survival import SurvivalData

    columns = 5 if world.startswith("five") else 1
    x, arm = rng.normal(size=(n, columns)), rng.permutation(np.arange(n) % 2)
    shape = {"noise only": 0 * x[:, 0], "not linear": x[:, 0] + np.abs(x[:, 0])}.get(world, 1.2 * x[:, 0])
    draw = rng.exponential(size=n)
    event = draw * np.exp(-shape - (0.0 if world == "late effect" else log_ratio * arm))
    if world == "late effect":  # the hazard changes at half a unit of time
        hazard, effect = np.exp(shape), np.exp(2 * log_ratio * arm)
        event = np.where(draw < 0.5 * hazard, draw / hazard, 0.5 + (draw - 0.5 * hazard) / (hazard * effect))
    end = rng.uniform(1.2, 3.0, size=n)
    names = tuple(f"x{k}" for k in range(columns))
    data = TrialData(tuple(map(str, range(n))), ("0", "1"), arm, np.minimum(event, end), x, names)
    return SurvivalData(data, event <= end)


def operating(world: str, replicates: int, n: int, log_ratio: float) -> dict[str, Any]:
    from gemel.trials.survival import adjusted_logrank, marginal_hazard, restricted_means
    from gemel.trials.survival.adjusted_logrank import slopes_cost

    rng = np.random.default_rng([replicates, n, WORLDS.index(world), int(1000 * abs(log_ratio))])
    rejected, ratios, hazards, errors, begin = np.zeros(6), np.zeros(2), np.zeros((replicates, 2)), [], time.process_time()
    means = np.zeros((replicates, 2))
    for k in range(replicates):
        if k % 5000 == 0:
            note(f"{world}, log ratio {log_ratio:g}: {k} of {replicates}")
        data = trial(rng, world, n, log_ratio)
        test, hazard, rmst = adjusted_logrank(data), marginal_hazard(data), restricted_means(data, TAU)
        plain = test.unadjusted_score / math.sqrt(test.unadjusted_variance)
        statistics = (
            plain,
            test.z,
            hazard.log_ratio / hazard.standard_error,
            rmst.unadjusted / rmst.unadjusted_error,
            rmst.difference / rmst.standard_error,
            test.z / math.sqrt(slopes_cost(data)),
        )
        rejected += np.abs(statistics) > 1.959964
        ratios += test.unadjusted_variance / test.variance, (rmst.unadjusted_error / rmst.standard_error) ** 2
        hazards[k], means[k] = (hazard.unadjusted, hazard.log_ratio), (rmst.unadjusted, rmst.difference)
        errors.append((hazard.unadjusted_error, hazard.standard_error, rmst.unadjusted_error, rmst.standard_error))
    spread, said = np.concatenate([hazards.std(axis=0), means.std(axis=0)]), np.mean(errors, axis=0)
    return {
        "rejected": dict(zip(METHODS, (rejected / replicates).tolist(), strict=True)),
        "variance_ratio": {"log-rank": ratios[0] / replicates, "restricted means": ratios[1] / replicates},
        "realised_ratio": {"hazard": float((spread[0] / spread[1]) ** 2), "restricted means": float((spread[2] / spread[3]) ** 2)},
        "said_over_realised_error": (said / spread).tolist(),
        "mean_log_ratio": hazards.mean(axis=0).tolist(),
        "seconds": time.process_time() - begin,
    }


def peer(python: str | None, trials: int) -> dict[str, Any]:
    from gemel.trials.survival import kaplan_meier, logrank, marginal_hazard, restricted_mean

    rng = np.random.default_rng(0)
    drawn = {f"t{k:04d}": trial(rng, "one covariate", 200, -0.4) for k in range(trials)}
    stored = {k: np.stack([np.ceil(50 * d.time) / 50 if int(k[1:]) % 2 else d.time, d.event, d.trial.arm]) for k, d in drawn.items()}
    from dataclasses import replace

    tied = {k: type(d)(replace(d.trial, outcome=stored[k][0].copy()), d.event) for k, d in drawn.items()}
    begin, ours = time.process_time(), {}
    for key, data in tied.items():
        curves = kaplan_meier(data)
        ours[key] = {
            "chi_squared": logrank(data).chi_squared,
            "survival": [c.at(TAU / 2) for c in curves],
            "means": [restricted_mean(c, TAU)[0] for c in curves],
        }
    told: dict[str, Any] = {"trials": trials, "ours_seconds": time.process_time() - begin, "peer": None}
    if python is None:
        return told
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.npz"
        np.savez(path, **stored)  # type: ignore[arg-type]
        command = [python, str(Path(__file__).with_name("_lifelines_peer.py")), str(path), str(TAU)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        note(done.stderr[-1000:])
        return told
    theirs = json.loads(done.stdout)
    apart = {
        name: max(float(np.max(np.abs(np.subtract(ours[k][name], theirs["trials"][k][name])))) for k in ours) for name in ours["t0000"]
    }
    cox = [(k, v["cox"]) for k, v in theirs["trials"].items() if "cox" in v]
    found = [(marginal_hazard(replace_covariates(tied[k])), c) for k, c in cox]
    apart["hazard without covariates (untied)"] = max(max(abs(h.log_ratio - c[0]), abs(h.standard_error - c[1])) for h, c in found)
    told |= {"peer": theirs["version"], "peer_seconds": theirs["seconds"], "largest_differences": apart, "cox": len(cox)}
    return told | {"rossi": rossi(theirs["rossi"])}


def rossi(theirs: dict[str, Any]) -> dict[str, Any]:
    """A real experiment that lifelines carries: 432 convicts, financial aid by lot, weeks to arrest within a year (Rossi, Berk and Lenihan 1980)."""
    from gemel.trials.survival import adjusted_logrank, logrank, marginal_hazard, restricted_means, survival_data

    names = ("age", "race", "wexp", "mar", "paro", "prio")
    data = survival_data(theirs["columns"], time="week", event="arrest", arm="fin", baseline=names).pair("0", "1")
    test, hazard, means, plain = adjusted_logrank(data), marginal_hazard(data), restricted_means(data, 52.0), logrank(data)
    bare = restricted_means(replace_covariates(data), 52.0)
    return {
        "chi_squared": [plain.chi_squared, theirs["chi_squared"]],
        "difference": [bare.difference, theirs["means"][1] - theirs["means"][0]],
        "p": [plain.p_value, test.p_value],
        "hazard": [hazard.unadjusted, hazard.unadjusted_error, hazard.log_ratio, hazard.standard_error],
        "means": [means.unadjusted, means.unadjusted_error, means.difference, means.standard_error],
        "variance_ratio": [test.unadjusted_variance / test.variance, (means.unadjusted_error / means.standard_error) ** 2],
    }


def replace_covariates(data: Any) -> Any:
    from dataclasses import replace

    return type(data)(replace(data.trial, covariates=np.zeros((data.n, 0)), names=()), data.event)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=20_000)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--parts", default="operating,peer")
    parser.add_argument("--peer-python")
    parser.add_argument("--json", type=Path, default=Path("build/bench/trials_survival.json"))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    kept, parts = Results(options.json, options.again), options.parts.split(",")
    if "operating" in parts:
        for world in WORLDS:
            for log_ratio in (0.0, -0.5):
                name = f"{world}, log ratio {log_ratio:g}"
                settings = {"replicates": options.replicates if log_ratio == 0 else options.replicates // 4, "patients": options.patients}
                found = kept.get(name, settings) or kept.put(
                    name, settings, operating(world, settings["replicates"], options.patients, log_ratio)
                )
                error = math.sqrt(0.05 * 0.95 / settings["replicates"])
                what = f"type-I error (Monte-Carlo SE {error:.4f})" if log_ratio == 0 else "power"
                print(f"n {options.patients}, {name}: {what} " + ", ".join(f"{k} {v:.4f}" for k, v in found["rejected"].items()))
                said = ", ".join(f"{v:.3f}" for v in found["said_over_realised_error"])
                print(
                    f"  variance saved: log-rank {found['variance_ratio']['log-rank']:.3f}, restricted means {found['realised_ratio']['restricted means']:.3f} realised; "
                    f"stated over realised error (hazard plain, adjusted; means plain, augmented) {said}; {found['seconds']:.0f} CPU-s"
                )
        print("trials simulated; a variance ratio of 1.25 saves a fifth of the events")
    if "peer" in parts:
        found = kept.put("peer", {}, peer(options.peer_python, 500))
        if found["peer"] is None:
            print(f"lifelines: not run; ours {1e3 * found['ours_seconds'] / found['trials']:.3f} CPU-ms a trial")
        else:
            for name, value in found["largest_differences"].items():
                print(
                    f"largest difference from lifelines {found['peer']}, {found['trials']} trials, half of them with ties: {name} {value:.1e}"
                )
            r = found["rossi"]
            print(
                f"Rossi's experiment (REAL, n 432): chi² {r['chi_squared'][0]:.5f} (lifelines {r['chi_squared'][1]:.5f}), p {r['p'][0]:.4f}, adjusted for six columns {r['p'][1]:.4f}; "
                f"log hazard ratio {r['hazard'][0]:.4f} ({r['hazard'][1]:.4f}), adjusted {r['hazard'][2]:.4f} ({r['hazard'][3]:.4f})"
            )
            print(
                f"  weeks without arrest in 52, difference {r['means'][0]:.4f} ({r['means'][1]:.4f}; lifelines {r['difference'][1]:.4f}), "
                f"augmented {r['means'][2]:.4f} ({r['means'][3]:.4f}); variance saved {r['variance_ratio'][0]:.3f} and {r['variance_ratio'][1]:.3f}"
            )
            ours, theirs = (1e3 * found[k] / found["trials"] for k in ("ours_seconds", "peer_seconds"))
            print(f"CPU-ms for log-rank, two curves and two restricted means of 200 patients: ours {ours:.3f}, lifelines {theirs:.3f}")
            print(f"ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
