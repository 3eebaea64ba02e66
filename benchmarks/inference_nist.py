"""NIST StRD nonlinear regression: our Levenberg-Marquardt from both starts, SciPy's least squares in the same run.

    python benchmarks/inference_nist.py [--data FOLDER] [--json FILE]

Log relative errors (digits that agree with the reference values) of parameters and standard deviations; every miss is listed.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import gemel.engine  # noqa: F401  (flags before JAX)

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from _nist import MODELS, NistTarget, Problem, log_relative_error, read
from _posteriordb import data_folder
from scipy.optimize import least_squares

from gemel.engine.infer import lanes
from gemel.engine.infer.levenberg import LevenbergMarquardt, triangle, value_and_jacobian

GOAL = {"parameters": 9.0, "sd": 8.0}
GOAL_SD = {"Lanczos1": 2.5}  # its residuals are 1e-13, below what float64 can square

OURS = LevenbergMarquardt(absolute=0.0, relative=1e-28)


def our_step(target, state):
    return OURS.step(target.residual, state)


def standard_deviations(jacobian: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return the standard deviations of least squares, by the triangle of the column-scaled Jacobian."""
    scale = np.linalg.norm(jacobian, axis=0)
    factor = np.asarray(triangle(jnp.asarray(jacobian / scale)))
    inverse = np.linalg.inv(factor)
    variance = residual @ residual / (residual.size - scale.size)
    return np.sqrt(variance * np.square(inverse).sum(axis=1)) / scale


def ours(problem: Problem) -> list[dict[str, float]]:
    target = NistTarget(problem.name, jnp.asarray(problem.x), jnp.asarray(problem.y), jnp.asarray(problem.starts[0]))
    stacked = lanes.stack([target])
    rows = []
    found = lanes.multistart(our_step, OURS.init, stacked, problem.starts[None], iterations=2000, halving=False, sizes=(2,), stretch=200)
    for z in found.points[0]:
        residual, jacobian = (np.asarray(v) for v in value_and_jacobian(target.residual, jnp.asarray(z)))
        rows.append(
            {
                "parameters": log_relative_error(z, problem.reference),
                "sd": log_relative_error(standard_deviations(jacobian, residual), problem.sd),
                "iterations": found.lane_iterations,
            }
        )
    return rows


def peer(problem: Problem) -> list[dict[str, float]]:
    """SciPy's trust-region reflective with complex-step Jacobian and scaled variables, then a Gauss-Newton polish."""
    model = MODELS[problem.name]

    def residual(b):
        return problem.y - model(b, problem.x, np)

    def jacobian(b):
        size = b.size
        return np.stack([np.imag(residual(b + 1e-30j * np.eye(size)[i])) / 1e-30 for i in range(size)], axis=1)

    rows = []
    for start in problem.starts:
        with np.errstate(all="ignore"):
            fit = least_squares(residual, start, jacobian, x_scale="jac", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=5000)
            b = fit.x
            for _ in range(20):
                j = jacobian(b)
                scale = np.linalg.norm(j, axis=0)
                b = b - np.linalg.lstsq(j / scale, residual(b), rcond=None)[0] / scale
            r, j = residual(b), jacobian(b)
        scale = np.linalg.norm(j, axis=0)
        inverse = np.linalg.inv(np.linalg.qr(j / scale, mode="r"))
        sd = np.sqrt(r @ r / (r.size - b.size) * np.square(inverse).sum(axis=1)) / scale
        rows.append({"parameters": log_relative_error(b, problem.reference), "sd": log_relative_error(sd, problem.sd)})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    folder = data_folder(args.data) / "credibility" / "nist_strd"
    results, misses, seconds = {}, [], {"ours": 0.0, "scipy": 0.0}
    print(f"{'problem':10} {'start':>5} | {'ours: par':>9} {'sd':>5} | {'scipy: par':>10} {'sd':>5}")
    for name in sorted(MODELS):
        problem = read(folder, name)
        begin = time.process_time()
        mine = ours(problem)
        seconds["ours"] += time.process_time() - begin
        begin = time.process_time()
        theirs = peer(problem)
        seconds["scipy"] += time.process_time() - begin
        results[name] = {"ours": mine, "scipy": theirs}
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True), 1):
            print(f"{name:10} {i:5} | {a['parameters']:9.1f} {a['sd']:5.1f} | {b['parameters']:10.1f} {b['sd']:5.1f}")
            for what, value in (("parameters", a["parameters"]), ("sd", a["sd"])):
                goal = GOAL_SD.get(name, GOAL[what]) if what == "sd" else GOAL[what]
                if value < goal:
                    misses.append(f"{name} start {i} {what}: {value:.1f} < {goal}")
    print("misses:", "; ".join(misses) if misses else "none")
    print(f"CPU-s, compilation included: ours {seconds['ours']:.1f}, SciPy {seconds['scipy']:.1f}")
    total = {
        who: [float(np.mean([r[k] for v in results.values() for r in v[who]])) for k in ("parameters", "sd")] for who in ("ours", "scipy")
    }
    print("mean digits, parameters and sd: ours {:.2f} {:.2f}, SciPy {:.2f} {:.2f}".format(*total["ours"], *total["scipy"]))
    print(f"ratio (ours / SciPy, mean digits of parameters): {total['ours'][0] / total['scipy'][0]:.3f}")
    if args.json:
        machine = {"machine": platform.processor() or platform.machine(), "jax": jax.__version__, "cpu_seconds": seconds}
        args.json.write_text(json.dumps({"results": results, "misses": misses, **machine}, indent=1))
    return bool(misses)


if __name__ == "__main__":
    raise SystemExit(main())
