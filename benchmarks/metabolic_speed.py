"""Virtual people a CPU-second: the UVA/Padova model of `metabolic-t1d` beside simglucose and GluCoEnv, at equal accuracy.

    python benchmarks/metabolic_speed.py [--json] [-o FILE] [--people 1000] [--days 3] [--patient-days 100000] [--peer-python PATH]
                                         [--glucoenv-python PATH --glucoenv-source FOLDER] [--stages accuracy,speed,cohort,peer,glucoenv,identifiability] [--again]

Stages: *accuracy*, thirty people on a day of three meals against Runge-Kutta steps of 1/64 min, rest, order; *speed*, patient-days a CPU-second in float64 by
the cascade and by Runge-Kutta steps of half a minute of the whole system, compilation apart; *cohort*, so many patient-days of new people from start to
end, drawing them included; *peer*, simglucose 0.2.11 as shipped and with its parameters as a plain object, on the same day of one adult, and the difference of
both traces (V2); *glucoenv*, GluCoEnv on the same thirty people; *identifiability*, what three days of one virtual person tell of each parameter. Each
finished stage is stored in FILE and not run again with the same settings. The peers run in environments of their own (``pip install --no-deps
simglucose==0.2.11`` with numpy, scipy, pandas, matplotlib and setuptools<80; torch and torchdiffeq): without them they are *not run*. CPU-seconds are of
the whole process, all threads. Exit status 1 when a floor is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gemel.engine  # noqa: F401  first: it sets the flags before JAX

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from _results import Results, note

from gemel.engine.prior import Parameter, Prior
from gemel.engine.transform import Log
from gemel.twins.metabolic.t1d import evidence
from gemel.twins.metabolic.t1d.model import T1DModel
from gemel.twins.metabolic.t1d.priors import FREE, GROUPS, PERSONAL, people
from gemel.twins.metabolic.t1d.simulate import simulate_person
from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, sample, simulate

STAGES = ("accuracy", "speed", "cohort", "peer", "glucoenv", "identifiability")
FLOORS = {"error": 0.01, "patient-days": 450.0, "ratio": 1000.0, "cohort minutes": 6.0}
ADULT = "adult#001"


def repeated(count: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Return the standard day of the thirty, as often as it takes for so many people."""
    p, insulin, food = evidence.standard_day()
    who = np.arange(count) % 30
    return {k: jnp.asarray(np.asarray(v)[who]) for k, v in p.items()}, insulin[:, who], food[:, who]


def accuracy(_: argparse.Namespace) -> dict[str, Any]:
    """Compute every verification problem, and Runge-Kutta at other steps."""
    day = evidence.standard_day()
    fine = evidence.runge_kutta_day(*day, 64)
    names, errors = list(people()), {}
    runs = {f"Runge-Kutta, {1 / n:g} min": evidence.runge_kutta_day(*day, n) for n in (1, 2, 4)} | {"cascade": simulate(*day, every=1)}
    for label, path in runs.items():
        worst = np.abs(path - fine).max(axis=0)
        errors[label] = {
            "worst": float(worst.max()), "median": float(np.median(worst)), "who": names[int(worst.argmax())], "above 0.01": int((worst > 0.01).sum()),
        }  # fmt: skip
    problems = {
        p.name: {"statement": p.statement, "answer": p.answer, "found": p.compute(), "tolerance": p.tolerance}
        for p in evidence.VERIFICATION
    }
    return {"errors": errors, "problems": problems}


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Time a day of many people; the first run compiles."""
    day, out = repeated(args.people), {}
    for label, run in (
        ("cascade", lambda: simulate(*day, every=5, chunk=args.people)),
        ("Runge-Kutta, 0.5 min", lambda: evidence.runge_kutta_day(*day, 2)),
    ):
        spent = []
        for _ in range(1 + args.days):
            begin = time.process_time()
            run()
            spent.append(time.process_time() - begin)
        best, mean = args.people / min(spent[1:]), args.people * args.days / sum(spent[1:])
        out[label] = {"patient_days_per_cpu_s": mean, "best": best, "cpu_s_to_compile": spent[0] - float(np.mean(spent[1:]))}
        note(f"  {label}: {mean:.0f} patient-days per CPU-s")
    return {"runs": out}


def cohort(args: argparse.Namespace) -> dict[str, Any]:
    """Draw new people of all groups and let each live a day, chunk by chunk."""
    begin, wall = time.process_time(), time.perf_counter()
    done, lows, chunk = 0, [], 1000
    while done < args.patient_days:
        group = GROUPS[(done // chunk) % 3]
        persons = sample(chunk, group, key=jax.random.fold_in(jax.random.key(args.seed), done))
        p = parameters_of(persons)
        rng = np.random.default_rng([args.seed, done])
        grams = np.round([45.0, 70.0, 80.0] * np.exp(rng.normal(0, 0.3, (chunk, 3))) * (1.0 if group == "adult" else 0.7))
        minutes = np.round(60 * (np.array([7.0, 12.0, 19.0]) + rng.normal(0, 0.5, (chunk, 3)))).astype(int)
        food = np.stack([eaten(list(zip(m, g, strict=True)), 1440) for m, g in zip(minutes, grams, strict=True)], axis=1)
        doses = [
            bolus([(a, b / q.carbohydrate_ratio) for a, b in zip(m, g, strict=True)], 1440)
            for m, g, q in zip(minutes, grams, persons, strict=True)
        ]
        glucose = simulate(p, np.stack(doses, axis=1) + np.asarray(basal_rate(p)), food)
        if not np.isfinite(glucose).all():
            raise ArithmeticError(f"glucose of new people is not finite in the chunk after {done}")
        lows.append([float((glucose < 70).mean()), float(((glucose >= 70) & (glucose <= 180)).mean()), float((glucose > 250).mean())])
        done += chunk
    spent = {"cpu_s": time.process_time() - begin, "wall_s": time.perf_counter() - wall}
    return {
        "patient_days": done,
        **spent,
        "shares": dict(zip(("below 70", "70 to 180", "above 250"), np.mean(lows, axis=0).tolist(), strict=True)),
    }


def _ask(python: str, script: str, task: dict[str, Any], *before: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "in.json", Path(folder) / "out.json"
        given.write_text(json.dumps(task))
        place = Path(__file__).with_name(script)
        subprocess.run([python, str(place), *before, str(given), str(answer)], check=True, env={**os.environ, "PYTHONPATH": ""})
        return json.loads(answer.read_text())


def peer(args: argparse.Namespace) -> dict[str, Any]:
    """Give one adult's day to the peer, tuned; and its first minutes as shipped. V2: bolus of carbohydrate over ten."""
    meals = [[m, g] for m, g in evidence.MEALS]
    task = {"name": ADULT, "meals": meals, "boluses": [[m, g / 10.0] for m, g in meals], "minutes": 1440, "is_tuned": True}
    tuned = _ask(args.peer_python, "_simglucose_peer.py", task)
    note(f"  tuned: {tuned['cpu_s']:.2f} CPU-s for a day")
    shipped = _ask(args.peer_python, "_simglucose_peer.py", task | {"minutes": args.peer_minutes, "is_tuned": False})
    p = parameters_of([people()[ADULT]])
    insulin = float(basal_rate(p)[0]) + bolus([(m, u) for m, u in task["boluses"]], 1440)
    ours = simulate(p, insulin[:, None], eaten(evidence.MEALS, 1440)[:, None], every=1)[:, 0]
    return {
        "version": tuned["version"], "tuned_cpu_s": tuned["cpu_s"], "shipped_cpu_s": shipped["cpu_s"] * 1440 / args.peer_minutes,
        "shipped_is": "measured" if args.peer_minutes == 1440 else f"computed from {args.peer_minutes} min",
        "largest_difference": float(np.abs(ours - tuned["glucose"]).max()), "range": [float(ours.min()), float(ours.max())],
    }  # fmt: skip


def glucoenv(args: argparse.Namespace) -> dict[str, Any]:
    """Give the thirty one meal under basal insulin to the torch peer, and compare speed and trace."""
    p = parameters_of(list(people().values()))
    column = {
        "x0_ 4": "Gpb", "x0_ 5": "Gtb", "x0_ 6": "Ipb", "x0_ 8": "Ib", "x0_ 9": "Ib", "x0_10": "Ilb", "x0_13": "Gpb", "Fsnc": "Fcns",
    }  # fmt: skip
    rows = []
    for i in range(30):
        row = {k: float(np.asarray(v)[i]) for k, v in p.items()}
        first = row["u2ss"] / (row["ka1"] + row["kd"])
        row |= {name: row[source] for name, source in column.items()} | {"x0_ 1": 0.0, "x0_ 2": 0.0, "x0_ 3": 0.0, "x0_ 7": 0.0}
        rows.append(row | {"x0_11": first, "x0_12": row["kd"] * first / row["ka2"]})
    meals, minutes = [[5, 45.0]], args.peer_minutes
    their = _ask(args.glucoenv_python, "_glucoenv_peer.py", {"people": rows, "meals": meals, "minutes": minutes}, str(args.glucoenv_source))
    basal = np.broadcast_to(np.asarray(basal_rate(p)), (minutes, 30))
    ours = simulate(p, basal, np.repeat(eaten([(5, 45.0)], minutes)[:, None], 30, axis=1), every=1)
    return {
        "torch": their["torch"], "minutes": minutes, "cpu_s_per_patient_day": their["cpu_s"] * 1440 / minutes / 30,
        "largest_difference": float(np.abs(ours - np.array(their["glucose"])).max()),
    }  # fmt: skip


def identifiability(args: argparse.Namespace) -> dict[str, Any]:
    """Return posterior over prior standard deviation of every free parameter: alone, and all at once (Gaussian approximation at the prior's mean)."""
    names = [n for n, f in FREE.items() if n != "BW" and not f.is_share]
    z = np.log([[q.parameters[n] for n in names] for q in people().values()])
    sd = np.maximum(z.std(axis=0, ddof=1), [PERSONAL.get(n, (None, 0.0))[0] or 0.0 for n in names])
    prior = Prior.of(
        [Parameter(n, FREE[n].unit, Log(), float(m), float(s), "table", "free") for n, m, s in zip(names, z.mean(axis=0), sd, strict=True)]
    )
    model, out = T1DModel(prior=prior), {}
    slopes = jax.jit(jax.jacfwd(lambda x, o: model.residual(prior.constrain(x), *o)))
    for who in (ADULT, "adolescent#003", "child#002"):
        record, now, _ = simulate_person(jax.random.key(args.seed), who=who)
        seen = model.observe(record, now)
        J = np.asarray(slopes(prior.mean, (seen.plan, seen.data, jax.tree.map(np.asarray, seen.context)))) * sd
        together = np.sqrt(np.diag(np.linalg.inv(J.T @ J + np.eye(len(names)))))
        out[who] = {n: [float(a), float(b)] for n, a, b in zip(names, 1 / np.sqrt(1 + (J**2).sum(axis=0)), together, strict=True)}
    return {"people": out, "personal": list(PERSONAL)}


def report(stages: dict[str, Any], args: argparse.Namespace) -> list[str]:
    """Print what was found, ratios last; return the floors that were missed."""
    missed, rate = [], None
    if "accuracy" in stages:
        print("largest error of a day with three meals, thirty people, mg/dL:")
        for label, e in stages["accuracy"]["errors"].items():
            print(f"  {label:22} worst {e['worst']:.4f} ({e['who']}), median {e['median']:.5f}, above 0.01: {e['above 0.01']}")
        for name, q in stages["accuracy"]["problems"].items():
            print(f"  {name}: {q['statement']}: {q['found']:.3g} (answer {q['answer']:g}, tolerance {q['tolerance']:g})")
            missed += [name] if abs(q["found"] - q["answer"]) > q["tolerance"] else []
    if "identifiability" in stages:
        print("posterior over prior SD after three days, all parameters at once (alone):")
        for who, told in stages["identifiability"]["people"].items():
            order = sorted(told.items(), key=lambda item: item[1][1])
            print(f"  {who}: " + ", ".join(f"{n} {b:.2f} ({a:.2f})" for n, (a, b) in order))
    if "cohort" in stages:
        c = stages["cohort"]
        print(
            f"{c['patient_days']} patient-days of new people, drawing them included: {c['wall_s']:.0f} s, {c['cpu_s']:.0f} CPU-s; "
            + ", ".join(f"{k}: {100 * v:.1f} %" for k, v in c["shares"].items())
        )
        missed += ["cohort minutes"] if c["wall_s"] > 60 * FLOORS["cohort minutes"] * c["patient_days"] / 100_000 else []
    if "speed" in stages:
        for label, r in stages["speed"]["runs"].items():
            print(
                f"{label}, float64, {args.people} people x 24 h: {r['patient_days_per_cpu_s']:.0f} patient-days per CPU-s (best {r['best']:.0f}); "
                f"compilation {r['cpu_s_to_compile']:.1f} CPU-s once"
            )
        rate = stages["speed"]["runs"]["cascade"]["patient_days_per_cpu_s"]
        missed += ["patient-days per CPU-s"] if rate < FLOORS["patient-days"] else []
    print(
        "GlucoSim (JAX): not run: it adds exercise, process noise and clamps to the equations, so that no equal error can be asked of it, and has no release to install"
    )
    if "glucoenv" in stages:
        g = stages["glucoenv"]
        print(
            f"GluCoEnv (torch {g['torch']}, one thread): {g['cpu_s_per_patient_day']:.2f} CPU-s per patient-day (30 together, computed from {g['minutes']} min); "
            f"differs by {g['largest_difference']:.1f} mg/dL: its amount of the meal adds g to mg, so that the error is not equal"
        )
        if rate is not None:
            print(f"  ratio to GluCoEnv: {rate * g['cpu_s_per_patient_day']:.0f}")
    else:
        print("GluCoEnv (torch): not run (--glucoenv-python, --glucoenv-source)")
    if "peer" not in stages:
        print("simglucose: not run (--peer-python)")
        return missed
    q = stages["peer"]
    print(
        f"simglucose {q['version']}, {ADULT}: V2, largest difference {q['largest_difference']:.1e} mg/dL (range {q['range'][0]:.0f} to {q['range'][1]:.0f})"
    )
    print(f"  tuned {q['tuned_cpu_s']:.2f}, as shipped {q['shipped_cpu_s']:.1f} CPU-s per patient-day ({q['shipped_is']})")
    missed += ["V2"] if q["largest_difference"] > FLOORS["error"] else []
    if rate is not None:
        print(f"ratio to simglucose as shipped: {rate * q['shipped_cpu_s']:.0f}")
        print(f"ratio to simglucose tuned: {rate * q['tuned_cpu_s']:.0f} (floor {FLOORS['ratio']:.0f})")
        missed += ["ratio to the tuned peer"] if rate * q["tuned_cpu_s"] < FLOORS["ratio"] else []
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("-o", "--output", type=Path, default=Path("gemel-bench") / "metabolic-speed.json")
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--days", type=int, default=5, help="how often a day is timed")
    parser.add_argument("--patient-days", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--peer-python", help="Python of an environment with simglucose")
    parser.add_argument("--peer-minutes", type=int, default=60, help="minutes that slow peers run; their day is computed from these")
    parser.add_argument("--glucoenv-python", help="Python of an environment with torch and torchdiffeq")
    parser.add_argument("--glucoenv-source", type=Path, help="a clone of GluCoEnv")
    parser.add_argument("--again", action="store_true", help="forget what is stored")
    args = parser.parse_args()
    wanted, results, stages = args.stages.split(","), Results(args.output, args.again), {}
    common = {"seed": args.seed}
    plan = {
        "accuracy": (accuracy, {}),
        "speed": (speed, {"people": args.people, "days": args.days}),
        "cohort": (cohort, common | {"patient_days": args.patient_days}),
        "peer": (peer, {"minutes": args.peer_minutes}),
        "glucoenv": (glucoenv, {"minutes": args.peer_minutes}),
        "identifiability": (identifiability, common),
    }
    possible = {"peer": args.peer_python, "glucoenv": args.glucoenv_python and args.glucoenv_source}
    for name, (run, settings) in plan.items():
        if name not in wanted or not possible.get(name, True):
            continue
        stages[name] = results.get(name, settings)
        if stages[name] is None:
            note(f"stage {name}")
            stages[name] = results.put(name, settings, run(args))
    machine = {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count(), "jax": jax.__version__}
    if args.json:
        print(json.dumps({"stages": stages, **machine}, indent=1))
        return 0
    missed = report(stages, args)
    print("missed: " + ("; ".join(missed) if missed else "none"), file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
