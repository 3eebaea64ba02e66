"""Closed loop on the thirty virtual people: our predictive controller beside the two of simglucose, on the same people, meals, errors and sensor noise.

    gemel bench metabolic-control [--days 14] [--seed 1] [--json FILE] [--peer-python PATH]

Meals follow simglucose's random scenario and are announced with an error of up to 30 %; its CGM noise; a decision every five minutes. The two laws of
simglucose run as our own transcription in the same compiled loop; with ``--peer-python`` (an environment with simglucose 0.2.11) the package's own
controllers judge what was recorded, decision by decision. Settings of ours were chosen on virtual people drawn anew, none of these thirty.
Figures are of glucose itself, not of readings. The last line is the difference in time in range to the better peer, with a 95 % interval over people.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

GROUPS = ("adult", "adolescent", "child")
LAWS = ("ours", "basal-bolus", "PID")
FLOORS = {"time in range": 80.0, "below 70": 2.0, "below 54": 0.5, "below 40": 0.0}

PEER = """
import json, sys, types
gym = types.ModuleType("gym"); gym.envs = types.ModuleType("gym.envs"); gym.envs.registration = types.ModuleType("gym.envs.registration")
gym.envs.registration.register = lambda **k: None
sys.modules.update({"gym": gym, "gym.envs": gym.envs, "gym.envs.registration": gym.envs.registration})
from collections import namedtuple
from simglucose.controller.basal_bolus_ctrller import BBController
from simglucose.controller.pid_ctrller import PIDController
Observation = namedtuple("Observation", ["CGM"])
told = json.load(open(sys.argv[1]))
law = BBController() if told["law"] == "basal-bolus" else PIDController(P=0.001, I=0.00001, D=0.001, target=140)
out = []
for reading, meal in zip(told["reading"], told["announced"]):
    a = law.policy(Observation(CGM=reading), 0, False, sample_time=5, patient_name=told["name"], meal=meal / 5)
    out.append([float(a.basal), float(a.bolus) * 5])
json.dump(out, open(sys.argv[2], "w"))
"""


def world(persons: list[Any], days: int, seed: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, food, announced carbohydrate and sensor noise: each person's own, drawn from the seed."""
    import jax
    import jax.numpy as jnp

    from gemel.twins.metabolic.sensor import noise
    from gemel.twins.metabolic.t1d.closed_loop import days_of_meals
    from gemel.twins.metabolic.t1d.virtual import eaten, parameters_of

    n, samples = len(persons), days * 288
    food, announced = np.zeros((days * 1440, n)), np.zeros((samples, n))
    for j in range(n):
        rng = np.random.default_rng([seed, j])
        meals = days_of_meals(rng, days)
        food[:, j] = eaten(meals, days * 1440)
        for minute, grams in meals:
            announced[int(minute) // 5, j] += grams * (1.0 + 0.3 * rng.uniform(-1.0, 1.0))
    minutes = 5.0 * np.arange(samples)
    wrong = np.stack([np.asarray(noise(minutes, key=jax.random.fold_in(jax.random.key(seed), j))) for j in range(n)], axis=1)
    return {k: jnp.asarray(v) for k, v in parameters_of(persons).items()}, food, announced, wrong


def law(name: str, p: dict[str, Any], persons: list[Any]) -> Any:
    """Build a controller for these people."""
    from gemel.twins.metabolic._controller import Controller
    from gemel.twins.metabolic._peer_controllers import BasalBolus, Pid
    from gemel.twins.metabolic.t1d.closed_loop import patients

    known = patients(p, np.array([x.carbohydrate_ratio for x in persons]), np.array([x.correction_factor for x in persons]))
    kind = {"ours": Controller, "basal-bolus": BasalBolus, "PID": Pid}[name]
    return kind(known)


def figures(glucose: np.ndarray) -> dict[str, float]:
    """Consensus figures of (minute, person), per cent of time; the lowest value in mg/dL."""
    inside = (glucose >= 70) & (glucose <= 180)
    out = (
        {"time in range": inside.mean()}
        | {f"below {k}": (glucose < k).mean() for k in (70, 54, 40)}
        | {f"above {k}": (glucose > k).mean() for k in (180, 250)}
    )
    return {k: float(100 * v) for k, v in out.items()} | {"mean": float(glucose.mean()), "lowest": float(glucose.min())}


def interval(difference: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean over people by the bootstrap."""
    rng = np.random.default_rng(seed)
    means = difference[rng.integers(0, len(difference), (4000, len(difference)))].mean(axis=1)
    return tuple(np.quantile(means, [0.025, 0.975]).round(2).tolist())  # type: ignore[return-value]


def judged(python: str, name: str, person: Any, readings: np.ndarray, announced: np.ndarray, given: np.ndarray, folder: Path) -> float:
    """Return the largest difference between what our transcription gave and what the package's controller asks for."""
    task, answer = folder / "in.json", folder / "out.json"
    task.write_text(json.dumps({"law": name, "name": person.name, "reading": readings.tolist(), "announced": announced.tolist()}))
    subprocess.run([python, "-W", "ignore", "-c", PEER, str(task), str(answer)], check=True)
    asked = np.array(json.loads(answer.read_text()))
    asked[:, 0] = np.maximum(asked[:, 0], 0.0)  # its pump gives no negative rate
    return float(np.abs(asked - given).max())


def run(days: int, seed: int, peer: str | None, folder: Path) -> dict[str, Any]:
    from gemel.twins.metabolic.t1d.closed_loop import close
    from gemel.twins.metabolic.t1d.priors import people

    told: dict[str, Any] = {"days": days, "seed": seed, "groups": {}, "peer": {}}
    for group in GROUPS:
        persons = [v for k, v in people().items() if k.startswith(group)]
        p, food, announced, wrong = world(persons, days, seed)
        rows, share = {}, {}
        for name in LAWS:
            begin = time.process_time()
            loop = close(law(name, p, persons), p, food, announced, wrong)
            glucose = np.asarray(loop.glucose)
            inside = 100 * ((glucose >= 70) & (glucose <= 180)).mean(axis=0)
            share[name] = inside
            rows[name] = figures(glucose) | {
                "worst person in range": float(inside.min()), "worst person below 70": float(100 * (glucose < 70).mean(axis=0).max()),
                "units a day": float(np.asarray(5 * loop.rate + loop.bolus).sum() / days / len(persons)), "cpu_s": time.process_time() - begin,
            }  # fmt: skip
            if peer and group == "adult" and name != "ours":
                given = np.stack([np.asarray(loop.rate)[:288, 0], np.asarray(loop.bolus)[:288, 0]], axis=1)
                told["peer"][name] = judged(peer, name, persons[0], np.asarray(loop.reading)[:288, 0], announced[:288, 0], given, folder)
        best = max(LAWS[1:], key=lambda k: rows[k]["time in range"])
        gain = share["ours"] - share[best]
        told["groups"][group] = {
            "people": len(persons),
            "laws": rows,
            "better peer": best,
            "gain": float(gain.mean()),
            "interval": interval(gain),
        }
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peer-python", help="Python of an environment with simglucose")
    parser.add_argument("--json", type=Path, default=Path("gemel-bench") / "metabolic_control.json")
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    key = f"{options.days} days, seed {options.seed}" + (", peer" if options.peer_python else "")
    if key not in done:
        import gemel.engine  # noqa: F401  sets the numerics

        done[key] = run(options.days, options.seed, options.peer_python, options.json.parent)
        options.json.write_text(json.dumps(done, indent=1))
    told, missed, lines = done[key], [], []
    columns = (
        "time in range",
        "below 70",
        "below 54",
        "below 40",
        "above 180",
        "above 250",
        "mean",
        "lowest",
        "worst person in range",
        "units a day",
        "cpu_s",
    )
    for group, g in told["groups"].items():
        print(
            f"\n{group}: {g['people']} people, {told['days']} days, simulated; per cent of time\n{'':14s}"
            + "".join(f"{c[:15]:>16s}" for c in columns)
        )
        for name, row in g["laws"].items():
            print(f"{name:14s}" + "".join(f"{row[c]:16.2f}" for c in columns))
        ours, better = g["laws"]["ours"], g["laws"][g["better peer"]]
        if group == "adult":
            missed += [f"adults: {k}" for k, v in FLOORS.items() if (ours[k] < v if k == "time in range" else ours[k] > v)]
        missed += (
            [f"{group}: {g['better peer']} is better"]
            if ours["time in range"] < better["time in range"] or ours["below 70"] > better["below 70"]
            else []
        )
        lines.append(f"{group} {g['gain']:+.2f} {g['interval']}")
    for name, difference in told["peer"].items():
        print(f"simglucose's own {name} on what was recorded: largest difference {difference:.1e} U or U/min")
        missed += [f"transcription of {name}"] if difference > 1e-9 else []
    if not told["peer"]:
        print("simglucose's own controllers: not run (--peer-python)")
    print("missed: " + ("; ".join(missed) or "none"))
    print("time in range, points above the better peer: " + ", ".join(lines))
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
