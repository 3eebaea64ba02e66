"""py_replay_bg on one day, driven through its public attributes: run with the Python of the peer's own environment.

    PEER_PYTHON benchmarks/_replay_peer.py IN.json OUT.json

``IN.json``: rows (a table per five minutes), weight, starts (how many, from its own prior), evaluations (its limit per start), points (named
parameter sets to evaluate), seed. Writes its negative log posterior at each point, what each start found, and CPU-seconds. Imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from py_replay_bg.data import ReplayBGData
from py_replay_bg.environment import Environment
from py_replay_bg.model.logpriors_t1d import physical_to_theta, sample_from_prior
from py_replay_bg.model.t1d_model_multi_meal import T1DModelMultiMeal
from scipy.optimize import minimize

WORD = {"B": "breakfast", "L": "lunch", "D": "dinner"}


def our_name(name: str) -> str:
    head, _, letter = name.partition("_")
    return name if not letter else f"{'delay' if head == 'beta' else head}_{WORD[letter]}"


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    rows = pd.DataFrame(task["rows"])
    rows["t"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rows.pop("minute"), unit="min")
    rows["bolus_label"] = ""
    rows["exercise"] = 0.0
    folder = tempfile.TemporaryDirectory()
    environment = Environment(blueprint="multi-meal", save_folder=folder.name, yts=5, seed=task["seed"], plot_mode=False, verbose=False)
    model = T1DModelMultiMeal(data=rows, bw=task["weight"], environment=environment, twinning_method="map", is_twin=True)
    data = ReplayBGData(data=rows, model=model, environment=environment)
    names = [our_name(str(n)) for n in model.unknown_parameters]

    def objective(theta):
        value = model.neg_log_posterior(theta, data)
        return value if np.isfinite(value) else np.inf

    begin = time.process_time()
    objective(np.asarray(model.start_guess, float))
    out = {"version": version("py_replay_bg"), "compile_cpu_s": time.process_time() - begin, "names": names, "points": {}, "starts": []}
    for label, point in task["points"].items():
        out["points"][label] = float(objective(np.array([point[n] for n in names])))
    begin, repeats = time.process_time(), 500
    for _ in range(repeats):
        objective(np.asarray(model.start_guess, float))
    out["evaluation_cpu_s"] = (time.process_time() - begin) / repeats
    generator = np.random.default_rng(task["seed"])
    for i in range(task["starts"]):
        # as its own search does: the population's values first, then its prior; Powell with its limits
        first = model.start_guess if i == 0 else physical_to_theta(sample_from_prior(model.model_parameters.VG, generator), model)
        begin = time.process_time()
        options = {"maxiter": 100_000, "maxfev": task["evaluations"], "disp": False}
        with np.errstate(all="ignore"):
            found = minimize(model.neg_log_posterior, np.asarray(first, float), method="Powell", args=(data,), options=options)
        row = {
            "value": float(found.fun),
            "evaluations": int(found.nfev),
            "cpu_s": time.process_time() - begin,
            "converged": bool(found.success),
        }
        row["x"] = {n: float(v) for n, v in zip(names, found.x, strict=True)}
        out["starts"].append(row)
        print(
            f"peer start {i + 1}/{task['starts']}: {row['value']:.3f} after {row['evaluations']} evaluations, {row['cpu_s']:.1f} CPU-s",
            file=sys.stderr,
            flush=True,
        )
    Path(sys.argv[2]).write_text(json.dumps(out))


if __name__ == "__main__":
    main()
