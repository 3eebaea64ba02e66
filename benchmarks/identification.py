"""Identification of the minimal model: speed, coverage, rank calibration, sampling, and py_replay_bg on the same day.

    python benchmarks/identification.py [--json] [-o FILE] [--people 500] [--batch 100] [--stages time,coverage,nuts,accuracy,peer]
                                        [--peer-python PATH] [--peer-starts 4] [--again]

Fifteen parameters from one simulated day (see ``_identification.py``). Stages: *accuracy*, our integrators against a fine one; *time*, 16 starts and
Laplace in one batch; *coverage*, 90 % intervals and ranks of simulated people; *nuts*, CPU-seconds to 400 effective draws; *peer*, the other
program on one of these days. Each finished stage (of *coverage*, each 32 people) is stored in FILE and not run again with the same settings.
The peer is GPL and runs in its own environment (``python -m venv; pip install py_replay_bg==1.4.0``): without it, it is *not run*.
CPU-seconds are of the whole process, all threads; compilation is reported apart. Exit status 1 when a floor is missed.
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

import _identification as day  # first: it sets the flags before JAX
import _identification_peer as peer_day

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from _results import Results, note

from gemel.engine import diagnostics
from gemel.engine.compile import counting
from gemel.engine.infer import lanes
from gemel.engine.infer.adaptive import Adaptive
from gemel.engine.infer.laplace import Laplace
from gemel.engine.infer.nuts import Nuts
from gemel.evidence.calibration import Calibration, coverage, uniformity
from gemel.physics.ode import RK4, BackwardEuler

STAGES = ("accuracy", "time", "coverage", "nuts", "peer")
FLOORS = {"seconds": 5.0, "goal seconds": 3.0, "nuts seconds": 150.0, "ratio end to end": 25.0, "ratio per start": 5.0, "p": 0.01}
BARRIER = 0.1
"""Width, on the log scale, of the walls between ordered rates (ka2 < kd, kabs < kempt): people are drawn with them, and inferred with them."""
CHUNK = 32
"""People inferred together and stored together by the stage *coverage*."""


def keys_of(seed: int, first: int, n: int) -> jax.Array:
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(first, first + n))


def accuracy(args: argparse.Namespace) -> dict[str, Any]:
    """Compare integrators on simulated days: largest error of each day against RK4 with 40 steps a slot, mg/dL."""
    days, _ = day.simulate(day.identification_model(barrier=BARRIER), 100, seed=args.seed)
    z = jnp.asarray(np.stack([d.truth for d in days]))

    def paths(slot, integrator):
        plans, contexts = lanes.stack([day.plan_of(d) for d in days]), lanes.stack([day.context_of(d, slot) for d in days])
        found = day.paths(day.identification_model(slot, integrator), z, plans, contexts)
        return np.asarray(found)[:, round(day.CADENCE / slot) - 1 :: round(day.CADENCE / slot)]

    # the delay's spline depends on the grid: each grid has its own reference
    coarse, fine = paths(5.0, RK4(40)), paths(1.0, RK4(8))
    out = {}
    for label, path, reference in (
        ("RK4(2), slots of 5 min (default)", paths(5.0, RK4(2)), coarse),
        ("RK4(1), slots of 1 min", paths(1.0, RK4(1)), fine),
        ("backward Euler, slots of 1 min", paths(1.0, BackwardEuler(1)), fine),
        ("slots of 5 min against 1 min", coarse, fine),
    ):
        worst = np.abs(path - reference).max(axis=1)
        out[label] = {"median": float(np.median(worst)), "largest": float(worst.max())}
    return {"errors": out}


def timing(args: argparse.Namespace) -> dict[str, Any]:
    """Time 16 starts and Laplace for a batch: one batch to compile, another to measure."""
    model, method = day.identification_model(barrier=BARRIER), Laplace(starts=16)
    rows = []
    for i in range(2):
        days, _ = day.simulate(model, args.batch, seed=args.seed, first=1 + i)
        targets = day.targets_of(model, days)
        begin = time.process_time()
        with counting() as programs:
            found = method.run_batch(targets, keys=keys_of(args.seed, i * args.batch, args.batch))
        rows.append((time.process_time() - begin, programs.count))
    modes = np.array([f.diagnostics["starts_converged"] for f in found])
    return {
        "cpu_s_per_person": rows[1][0] / args.batch,
        "cpu_s_to_compile": rows[0][0] - rows[1][0],
        "programs": rows[0][1],
        "programs_second_batch": rows[1][1],
        "starts_converged_mean": float(modes.mean()),
        "status": count(f.status for f in found),
        "psis_k_median": float(np.median([f.diagnostics["psis_k"] for f in found])),
    }


def count(values: Any) -> dict[str, int]:
    out: dict[str, int] = {}
    for v in values:
        out[str(int(v))] = out.get(str(int(v)), 0) + 1
    return out


def methods() -> dict[str, Any]:
    return {"laplace": Laplace(starts=16), "adaptive": Adaptive(starts=16, draws=1024, rounds=5, enough=400, kept=100, moves=300)}


def calibrating(args: argparse.Namespace, results: Results) -> dict[str, Any]:
    """Rank the truths of simulated people, chunk by chunk."""
    model = day.identification_model(barrier=BARRIER)
    for first in range(0, args.people, CHUNK):
        name, settings = (
            f"coverage {first}",
            {"seed": args.seed, "chunk": CHUNK, "barrier": BARRIER, "methods": {k: repr(m) for k, m in methods().items()}},
        )
        if results.get(name, settings) is not None:
            continue
        days, share = day.simulate(model, CHUNK, seed=args.seed, first=1000 + first)
        targets, values = day.targets_of(model, days), {"kept": share}
        for label, method in methods().items():
            begin = time.process_time()
            found = method.run_batch(targets, keys=keys_of(args.seed + 1, first, CHUNK))
            values[label] = {
                "cpu_s": time.process_time() - begin,
                "usable": [f.usable for f in found],
                "status": [int(f.status) for f in found],
                "ranks": day.ranks_of(days, targets, found, draws=99, seed=args.seed + first).tolist(),
            }
            note(f"coverage: people {first + 1} to {first + CHUNK}, {label}: {values[label]['cpu_s'] / CHUNK:.2f} CPU-s each")
        results.put(name, settings, values)
    out = {}
    chunks = [results.stages[f"coverage {first}"] for first in range(0, args.people, CHUNK)]
    for label in methods():
        ranks = np.concatenate([np.array(c[label]["ranks"]) for c in chunks])[: args.people]
        usable = np.concatenate([np.array(c[label]["usable"]) for c in chunks])[: args.people]
        status = [s for c in chunks for s in c[label]["status"]][: args.people]
        out[label] = {"status": count(status), "cpu_s_per_person": float(np.mean([c[label]["cpu_s"] for c in chunks]) / CHUNK)}
        for who, chosen in (("all", ranks[:, 0] >= 0), ("passed the gates", usable)):
            if chosen.sum() < 20:
                continue
            found = Calibration({n: ranks[chosen, i] for i, n in enumerate(day.NAMES)}, 99)
            flat = uniformity(found)
            out[label][who] = {
                "people": int(chosen.sum()),
                "p_after_holm": flat.p_value,
                "worst": list(flat.worst),
                "coverage_90": {n: coverage(found, n, levels=(0.9,))[0].share for n in day.NAMES[:-1]},
            }
    return out


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """Sample two people until every effective size is 400: the pilot, the warm-up and the draws are all counted."""
    model, rows = day.identification_model(barrier=BARRIER), []
    days, _ = day.simulate(model, 2, seed=args.seed)
    pilot = Adaptive(starts=16, draws=1024, rounds=5, enough=400, kept=400)
    method = Nuts(warmup=200, draws=200, most=2000, pilot=pilot, forward=True, until_ess=400)
    for i, target in enumerate(day.targets_of(model, days)):
        begin = time.process_time()
        with counting() as programs:
            found = method.run(target, key=jax.random.key(args.seed + i), progress=Watched(args.nuts_seconds, begin))
        spent = time.process_time() - begin
        draws = np.asarray(found.posterior.draws).reshape(method.chains, -1, len(target.names))
        size = float(np.minimum(diagnostics.ess_bulk(draws), diagnostics.ess_tail(draws)).min()) if draws.shape[1] >= 4 else 0.0
        rows.append(
            {
                "cpu_s": spent - programs.seconds, "cpu_s_to_compile": programs.seconds, "programs": programs.count, "least_ess": size,
                "rhat": float(np.max(diagnostics.rhat(draws))), "divergences": int(found.diagnostics["divergences"]),
                "leapfrogs": int(found.diagnostics["leapfrogs"]), "draws_per_chain": draws.shape[1], "status": int(found.status),
            }
        )  # fmt: skip
        note(f"nuts: person {i + 1}: {rows[-1]}")
    return {"people": rows}


class Watched:
    """Stops a run that has used its CPU-seconds."""

    def __init__(self, seconds: float, begin: float) -> None:
        self.seconds, self.begin = seconds, begin

    def start(self, what: str, total: int) -> None:
        note(f"{what}: {total} iterations at least")

    def update(self, done: int, text: str = "") -> bool:
        note(f"  {done} {text}, {time.process_time() - self.begin:.0f} CPU-s")
        return time.process_time() - self.begin < self.seconds

    def finish(self) -> None:
        pass


def comparing(args: argparse.Namespace) -> dict[str, Any]:
    """Give one day to both: our search of the peer's own objective, its search, and its judgement of both points."""
    model = day.identification_model(barrier=BARRIER)
    people, _ = day.simulate(model, 2, seed=args.seed)
    spent = []
    for d in people[::-1]:  # the other person first: compilation apart
        begin = time.process_time()
        point, _, found = peer_day.maximise(peer_day.peer_objective(d), jax.random.key(args.seed))
        spent.append(time.process_time() - begin)
    person = people[0]
    product = day.identification_model(slot=1.0, integrator=RK4(1), barrier=0.02)
    begin = time.process_time()
    room = Laplace(starts=16, draws=64).run(day.targets_of(product, [person])[0], key=jax.random.key(args.seed))
    room_cold = time.process_time() - begin
    room_point = peer_day.ours_to_peer({k: float(v) for k, v in product.prior.constrain(room.posterior.moments()[0]).items()})
    truth = peer_day.ours_to_peer({k: float(v) for k, v in model.prior.constrain(jnp.asarray(person.truth)).items()})
    with tempfile.TemporaryDirectory() as folder:
        task, answer = Path(folder) / "in.json", Path(folder) / "out.json"
        points = {"ours": point, "room": room_point, "truth": truth}
        settings = {
            "rows": peer_day.rows_of(person),
            "weight": person.weight,
            "starts": args.peer_starts,
            "evaluations": 100_000,
            "points": points,
            "seed": 1,
        }
        task.write_text(json.dumps(settings))
        script = Path(__file__).with_name("_replay_peer.py")
        subprocess.run([args.peer_python, str(script), str(task), str(answer)], check=True, env={**os.environ, "PYTHONPATH": ""})
        peer = json.loads(answer.read_text())
    best = min(s["value"] for s in peer["starts"])
    per_start = float(np.mean([s["cpu_s"] for s in peer["starts"]]))
    measured = float(sum(s["cpu_s"] for s in peer["starts"]))
    return {
        "peer_version": peer["version"],
        "peer_negative_log_posterior": {
            "its own best": best,
            "our point": peer["points"]["ours"],
            "the room's own MAP": peer["points"]["room"],
            "truth": peer["points"]["truth"],
        },
        "peer_starts": [{k: s[k] for k in ("value", "evaluations", "cpu_s", "converged")} for s in peer["starts"]],
        "peer_cpu_s_measured": measured,
        "peer_cpu_s_per_start": per_start,
        "peer_cpu_s_128_starts": per_start * 128,
        "peer_128_is": "measured"
        if len(peer["starts"]) == 128
        else f"computed: 128 times the mean of {len(peer['starts'])} measured starts",
        "peer_evaluations_per_cpu_s": 1 / peer["evaluation_cpu_s"],
        "ours_cpu_s": spent[1],
        "ours_cpu_s_to_compile": spent[0] - spent[1],
        "ours_starts_converged": found.diagnostics["starts_converged"],
        "room_cpu_s_cold": room_cold,
        "ratio_end_to_end": per_start * 128 / spent[1],
        "ratio_per_start": per_start / (spent[1] / 16),
    }


def report(stages: dict[str, Any], args: argparse.Namespace) -> list[str]:
    """Print what was found, ratios last; return the floors that were missed."""
    missed = []
    if "accuracy" in stages:
        print("largest error of a day, mg/dL (median day, worst day of 100):")
        for label, e in stages["accuracy"]["errors"].items():
            print(f"  {label:38} {e['median']:.4f} {e['largest']:.4f}")
    if "time" in stages:
        t = stages["time"]
        print(
            f"16 starts + Laplace, batch of {args.batch}: {t['cpu_s_per_person']:.3f} CPU-s per person; compilation {t['cpu_s_to_compile']:.0f} CPU-s once"
        )
        missed += ["seconds per person"] if t["cpu_s_per_person"] >= FLOORS["seconds"] else []
    if "coverage" in stages:
        for label in methods():
            c = stages["coverage"][label]
            print(f"{label}: {c['cpu_s_per_person']:.2f} CPU-s per person, status {c['status']}")
            for who in ("all", "passed the gates"):
                if who not in c:
                    continue
                shares = c[who]["coverage_90"]
                print(
                    f"  {who} ({c[who]['people']}): p {c[who]['p_after_holm']:.4f} after Holm (worst: {', '.join(c[who]['worst'])}); coverage of 90 % intervals:"
                )
                print("   ", ", ".join(f"{n} {v:.3f}" for n, v in shares.items()))
        c = stages["coverage"]["adaptive"]["all"]
        missed += ["coverage " + n for n, v in c["coverage_90"].items() if not 0.85 <= v <= 0.95]
        missed += ["rank uniformity"] if not c["p_after_holm"] > FLOORS["p"] else []
    if "nuts" in stages:
        for i, r in enumerate(stages["nuts"]["people"]):
            print(
                f"nuts, person {i + 1}: {r['cpu_s']:.0f} CPU-s with pilot and warm-up (compilation {r['cpu_s_to_compile']:.0f} more, {r['programs']} programs), "
                f"least effective size {r['least_ess']:.0f}, R-hat {r['rhat']:.3f}, {r['divergences']} divergences, {r['leapfrogs']} leapfrogs"
            )
            reached = r["cpu_s"] <= FLOORS["nuts seconds"] and r["least_ess"] >= 400 and r["rhat"] <= 1.01
            missed += [] if reached else [f"nuts person {i + 1}"]
    if "peer" not in stages:
        print("py_replay_bg: not run (--peer-python)")
        return missed
    p = stages["peer"]
    print(
        f"py_replay_bg {p['peer_version']}, negative log posterior by its own code: "
        + ", ".join(f"{k} {v:.3f}" for k, v in p["peer_negative_log_posterior"].items())
    )
    print(
        f"  its starts, measured: {p['peer_cpu_s_measured']:.1f} CPU-s for {len(p['peer_starts'])}; 128 starts {p['peer_cpu_s_128_starts']:.0f} CPU-s ({p['peer_128_is']})"
    )
    print(
        f"  ours, 16 starts of its objective + Laplace, one person alone: {p['ours_cpu_s']:.2f} CPU-s; compilation {p['ours_cpu_s_to_compile']:.0f} CPU-s once"
    )
    values = p["peer_negative_log_posterior"]
    missed += ["log posterior worse than the peer's"] if values["our point"] > values["its own best"] + 1e-6 else []
    print(f"ratio per start: {p['ratio_per_start']:.1f} (floor {FLOORS['ratio per start']:.0f})")
    print(
        f"ratio end to end, against 128 starts {p['peer_128_is'].split(':')[0]}: {p['ratio_end_to_end']:.1f} (floor {FLOORS['ratio end to end']:.0f})"
    )
    missed += [k for k, v in (("ratio per start", p["ratio_per_start"]), ("ratio end to end", p["ratio_end_to_end"])) if v < FLOORS[k]]
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("-o", "--output", type=Path, default=Path("gemel-bench") / "identification.json")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--nuts-seconds", type=float, default=400.0, help="stop sampling a person after so many CPU-seconds")
    parser.add_argument("--peer-python", help="Python of an environment with py_replay_bg")
    parser.add_argument("--peer-starts", type=int, default=4, help="starts of the peer that are run (its default is 128)")
    parser.add_argument("--again", action="store_true", help="forget what is stored")
    args = parser.parse_args()
    wanted, results, stages = args.stages.split(","), Results(args.output, args.again), {}
    common = {"seed": args.seed, "barrier": BARRIER}
    plan = {
        "accuracy": (lambda: accuracy(args), common),
        "time": (lambda: timing(args), common | {"batch": args.batch}),
        "coverage": (
            lambda: calibrating(args, results),
            common | {"people": args.people, "methods": {k: repr(m) for k, m in methods().items()}},
        ),
        "nuts": (lambda: sampling(args), common),
        "peer": (lambda: comparing(args), common | {"starts": args.peer_starts}),
    }
    for name, (run, settings) in plan.items():
        if name not in wanted or (name == "peer" and not args.peer_python):
            continue
        stages[name] = results.get(name, settings)
        if stages[name] is None:
            note(f"stage {name}")
            stages[name] = results.put(name, settings, run())
    machine = {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count(), "jax": jax.__version__}
    if args.json:
        print(json.dumps({"stages": stages, **machine}, indent=1))
        return 0
    missed = report(stages, args)
    print("missed: " + ("; ".join(missed) if missed else "none"), file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
