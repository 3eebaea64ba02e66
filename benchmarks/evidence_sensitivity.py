"""Sobol indices beside SALib in one run: two functions with known answers, and a meal model of eight uncertain parameters as an ODE.

    gemel bench evidence-sensitivity [--peer-python PYTHON] [--points 14] [--seeds 5] [--json FILE]

Both sides take 2^points scrambled Sobol points, d + 2 runs each, and 1,000 bootstrap replicates; errors are the largest over the inputs, the median over
seeds. The functions are vectorised on both sides. The ODE is fixed-step RK4 vmapped here, and a Python loop over SciPy's LSODA there, at the setting whose
error against DOP853 (rtol 1e-12) is printed. The peer lives in its own environment (``python -m venv``; ``pip install SALib``); without it its rows read
*not run*. CPU-seconds of the whole process, compilation apart; the ratio last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

MINUTES, AT = 180, (60, 120, 180)
NAMES = ("gut_1", "gut_2", "S_G", "G_b", "p_2", "S_I", "clearance", "secretion")
CENTRE = np.array([0.04, 0.06, 0.02, 95.0, 0.03, 1.2e-3, 0.09, 0.035])
LOW, HIGH = 0.7 * CENTRE, 1.3 * CENTRE
DOSE = 380.0

SHARED = f"""
import numpy as np
LOW, HIGH = np.array({LOW.tolist()}), np.array({HIGH.tolist()})

def derivative(y, p):
    k1, k2, sg, gb, p2, si, n, gamma = p
    q1, q2, g, x, i = y
    return [-k1 * q1, k1 * q1 - k2 * q2, -(sg + x) * g + sg * gb + k2 * q2, -p2 * (x - si * i), -n * i + gamma * (g - gb)]
"""

PEER = (
    SHARED
    + """
import json, sys, time
from importlib.metadata import version
from scipy.integrate import odeint, solve_ivp
from SALib.analyze import sobol
from SALib.sample import sobol as sample
points, seeds = 2 ** int(sys.argv[1]), int(sys.argv[2])
G = np.array([0, 1, 4.5, 9, 99, 99, 99, 99])
def ishigami(x):
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
def sobol_g(x):
    return np.prod((np.abs(4 * x - 2) + G) / (1 + G), axis=1)
def meals(x, rtol=1e-6):
    out = []
    t = np.array([0.0, 60.0, 120.0, 180.0])
    for p in x:
        out.append(odeint(lambda y, _: derivative(y, p), [380.0, 0, p[3], 0, 0], t, rtol=rtol, atol=rtol)[-1, 2])
    return np.array(out)
told = {"version": version("SALib")}
for name, f, bounds, repeats in (("Ishigami", ishigami, [[-np.pi, np.pi]] * 3, seeds), ("Sobol G", sobol_g, [[0, 1]] * 8, seeds), ("meal ODE", meals, np.stack([LOW, HIGH], 1).tolist(), 1)):
    problem = {"num_vars": len(bounds), "names": [f"x{i}" for i in range(len(bounds))], "bounds": bounds}
    rows = []
    for seed in range(repeats):
        start = time.process_time()
        x = sample.sample(problem, points, calc_second_order=False, seed=seed)
        y = f(x)
        found = sobol.analyze(problem, y, calc_second_order=False, num_resamples=1000, seed=seed)
        rows.append({"cpu": time.process_time() - start, **{k: np.asarray(found[k]).tolist() for k in ("S1", "S1_conf", "ST", "ST_conf")}})
    told[name] = rows
few = LOW + (HIGH - LOW) * np.random.default_rng(0).random((20, 8))
exact = [solve_ivp(lambda t, y: derivative(y, p), (0, 180), [380.0, 0, p[3], 0, 0], method="DOP853", rtol=1e-12, atol=1e-12).y[2, -1] for p in few]
told["error"] = float(np.abs(meals(few) - exact).max())
told["exact"] = [float(v) for v in exact]
json.dump(told, sys.stdout)
"""
)


def peer(python: str | None, points: int, seeds: int) -> dict[str, Any] | None:
    if python is None:
        return None
    done = subprocess.run([python, "-c", PEER, str(points), str(seeds)], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"SALib: not run ({done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode})", file=sys.stderr)
        return None
    return json.loads(done.stdout)


def meal_model():
    """Return the batched ODE: glucose after 180 minutes, mg/dL, for (n, 8) parameters."""
    import jax
    import jax.numpy as jnp

    from gemel.physics.ode import RK4, integrate

    def derivative(time, y, inputs, p):
        del time, inputs
        k1, k2, sg, gb, p2, si, n, gamma = p
        q1, q2, g, x, i = y
        return (-k1 * q1, k1 * q1 - k2 * q2, -(sg + x) * g + sg * gb + k2 * q2, -p2 * (x - si * i), -n * i + gamma * (g - gb))

    @jax.jit
    def run(rows):
        def one(p):
            zero = jnp.zeros(())
            start = (jnp.asarray(DOSE), zero, p[3], zero, zero)
            return integrate(derivative, start, jnp.zeros(MINUTES // 2), tuple(p), step=2.0, integrator=RK4(), every=MINUTES // 2)[2][-1]

        return jax.vmap(one)(rows)

    return lambda x: np.asarray(run(jnp.asarray(x)))


def ours(points: int, seeds: int) -> dict[str, Any]:
    from gemel.evidence.sensitivity.known_answers import ishigami, sobol_g
    from gemel.evidence.sensitivity.sobol import sobol
    from gemel.evidence.sensitivity.unit_cube import uniform_inputs

    told: dict[str, Any] = {}
    batch = min(4096, 2**points)
    model, inputs = meal_model(), uniform_inputs(NAMES, LOW, HIGH)
    start = time.process_time()
    model(np.tile(CENTRE, (batch, 1)))
    told["compile"] = time.process_time() - start
    cases = [(k.name, k.model, k.inputs, seeds, None) for k in (ishigami(), sobol_g())] + [("meal ODE", model, inputs, 1, batch)]
    for name, f, at, repeats, size in cases:
        rows = []
        for seed in range(repeats):
            start = time.process_time()
            found = sobol(f, at, n=2**points, seed=seed, replicates=1000, batch=size)
            cpu = time.process_time() - start
            half = {
                k: (np.ptp(v[:, :, 0], axis=0) / 2).tolist()
                for k, v in (("S1_conf", found.first_interval), ("ST_conf", found.total_interval))
            }
            rows.append({"cpu": cpu, "S1": found.first[:, 0].tolist(), "ST": found.total[:, 0].tolist(), **half})
        told[name] = rows
    few = LOW + (HIGH - LOW) * np.random.default_rng(0).random((20, 8))
    told["few"] = model(few).tolist()
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="the Python of an environment with SALib")
    parser.add_argument("--points", type=int, default=14)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import gemel.engine  # noqa: F401  sets the flags before JAX is used
    from gemel.evidence.sensitivity.known_answers import ishigami, sobol_g

    mine, other = ours(options.points, options.seeds), peer(options.peer_python, options.points, options.seeds)
    known = {k.name: k for k in (ishigami(), sobol_g())}
    sides = [("gemel", mine)] + ([(f"SALib {other['version']}", other)] if other else [])
    print(
        f"{'2^' + str(options.points) + ' points':12s}{'':14s}{'error S':>10s}{'error ST':>10s}{'held':>7s}{'largest half width':>20s}{'CPU-s':>9s}"
    )
    for name, truth in known.items():
        for who, told in sides:
            rows = told[name]
            first = np.median([np.abs(np.array(r["S1"]) - truth.first).max() for r in rows])
            total = np.median([np.abs(np.array(r["ST"]) - truth.total).max() for r in rows])
            held = np.mean(
                [
                    np.abs(np.array(r[k]) - v) <= np.array(r[f"{k}_conf"]) + 1e-12
                    for r in rows
                    for k, v in (("S1", truth.first), ("ST", truth.total))
                ]
            )
            width = max(max(r["S1_conf"] + r["ST_conf"]) for r in rows)
            print(f"{name:12s}{who:14s}{first:10.5f}{total:10.5f}{held:7.2f}{width:20.4f}{np.median([r['cpu'] for r in rows]):9.2f}")
    for who, told in sides:
        row = told["meal ODE"][0]
        print(f"{'meal ODE':12s}{who:14s}{'':27s}{max(row['S1_conf'] + row['ST_conf']):20.4f}{row['cpu']:9.2f}")
    if options.json:
        options.json.write_text(json.dumps({"points": options.points, "ours": mine, "peer": other}, indent=1))
    if other is None:
        print("SALib: not run (--peer-python)")
        return 0
    a, b = mine["meal ODE"][0], other["meal ODE"][0]
    apart = max(np.abs(np.array(a[k]) - np.array(b[k])).max() for k in ("S1", "ST"))
    within = all((np.abs(np.array(a[k]) - np.array(b[k])) <= np.hypot(a[f"{k}_conf"], b[f"{k}_conf"])).all() for k in ("S1", "ST"))
    error = float(np.abs(np.array(mine["few"]) - np.array(other["exact"])).max())
    print(
        f"\nmeal ODE, 20 points, largest error: RK4 {error:.1e} mg/dL, LSODA {other['error']:.1e} mg/dL; compiled in {mine['compile']:.2f} CPU-s"
    )
    print(f"meal ODE, indices of the two sides: at most {apart:.4f} apart, {'all' if within else 'not all'} within their intervals")
    ratios = {name: np.median([r["cpu"] for r in other[name]]) / np.median([r["cpu"] for r in mine[name]]) for name in (*known, "meal ODE")}
    print("CPU-seconds, SALib / gemel: " + ", ".join(f"{k} {v:.1f}" for k, v in ratios.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
