"""Solvers and starts: our fixed-step solves beside diffrax and SciPy at equal accuracy, and what the first and second start of each command cost.

    gemel bench inference-solver [--people 1000] [--json FILE] [--no-commands]

Problem: Bergman's minimal model with an insulin input held for each minute, six hours, one set of parameters per person. Each solver is run at the
cheapest setting whose largest error against a reference (SciPy DOP853, rtol 1e-12) is below 1e-4 mg/dL. CPU-seconds, compilation apart, ratio last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MINUTES, GOAL = 360, 1e-4


def _inputs() -> np.ndarray:
    t = np.arange(MINUTES)
    return 10.0 + 60.0 * np.exp(-(((t - 40) / 25.0) ** 2)) + 25.0 * np.exp(-(((t - 160) / 40.0) ** 2))


def _parameters(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack(
        [0.028 * np.exp(0.2 * rng.normal(size=n)), 0.025 * np.exp(0.2 * rng.normal(size=n)), 1.3e-5 * np.exp(0.2 * rng.normal(size=n))],
        axis=1,
    )


def _scipy(parameters: np.ndarray, method: str, rtol: float) -> np.ndarray:
    from scipy.integrate import solve_ivp

    insulin, out = _inputs(), []
    for p1, p2, p3 in parameters:
        state, path = np.array([280.0, 0.0]), []
        for k in range(MINUTES):  # the input jumps every minute: a solver that steps over a jump is wrong

            def f(_, y, u=insulin[k], a=p1, b=p2, c=p3):
                return [-(a + y[1]) * y[0] + a * 90.0, -b * y[1] + c * (u - 10.0)]

            state = solve_ivp(f, (k, k + 1), state, method=method, rtol=rtol, atol=rtol * 1e-2).y[:, -1]
            path.append(state[0])
        out.append(path)
    return np.array(out)


def _ours(parameters: np.ndarray, integrator: Any) -> tuple[np.ndarray, float, float]:
    import jax
    import jax.numpy as jnp

    from gemel.physics.ode import integrate

    insulin = jnp.asarray(_inputs())

    def f(_, y, u, p):
        return (-(p[0] + y[1]) * y[0] + p[0] * 90.0, -p[1] * y[1] + p[2] * (u - 10.0))

    run = jax.jit(jax.vmap(lambda p: integrate(f, (jnp.asarray(280.0), jnp.asarray(0.0)), insulin, p, integrator=integrator)[0]))
    begin = time.process_time()
    path = np.asarray(run(parameters))
    compiled = time.process_time() - begin
    begin = time.process_time()
    path = np.asarray(run(parameters))
    return path, time.process_time() - begin, compiled


def solvers(people: int) -> dict[str, Any]:
    from gemel.physics.ode import RK4, Adaptive

    parameters = _parameters(people)
    few = parameters[:5]
    reference = _scipy(few, "DOP853", 1e-12)
    rows = []
    for name, choices in (
        ("fixed-step RK4 in lax.scan", [RK4(n) for n in (1, 2, 4)]),
        ("diffrax Tsit5", [Adaptive(rtol=r, atol=r * 1e-2) for r in (1e-4, 1e-6, 1e-8)]),
    ):
        for choice in choices:
            path, seconds, compiled = _ours(parameters, choice)
            error = float(np.abs(path[:5] - reference).max())
            if error < GOAL:
                rows.append(
                    {
                        "solver": name,
                        "setting": repr(choice),
                        "error": error,
                        "solves_per_cpu_s": people / seconds,
                        "compile_cpu_s": compiled,
                    }
                )
                break
        else:
            rows.append(
                {"solver": name, "setting": "none reached the goal", "error": error, "solves_per_cpu_s": None, "compile_cpu_s": compiled}
            )
    for method in ("RK45", "LSODA"):
        for rtol in (1e-4, 1e-6, 1e-8):
            begin = time.process_time()
            path = _scipy(few, method, rtol)
            seconds, error = time.process_time() - begin, float(np.abs(path - reference).max())
            if error < GOAL:
                rows.append(
                    {
                        "solver": f"scipy {method}",
                        "setting": f"rtol {rtol:g}",
                        "error": error,
                        "solves_per_cpu_s": len(few) / seconds,
                        "compile_cpu_s": 0.0,
                    }
                )
                break
    return {"people": people, "rows": rows}


COMMANDS = (["--help"], ["twins"], ["data", "list"], ["calibrate", "toy-linear", "RECORD", "-o", "OUT"], ["forecast", "OUT"])


def commands() -> list[dict[str, Any]]:
    """First start with an empty compile cache, then a second one."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        record, out = Path(folder) / "toy.sqlite", Path(folder) / "toy.gemel"
        make = (
            "import jax, sys; from gemel.verbs import room; from gemel.platform.store import Store; r, now, _ = room('toy-linear').simulate_record(jax.random.key(0));"
            "s = Store(sys.argv[1]); s.append(r.id, r.facts(), recorded=now)"
        )
        made = subprocess.run([sys.executable, "-c", make, str(record)], capture_output=True, text=True, check=False)
        for command in COMMANDS:
            arguments = [a.replace("RECORD", str(record)).replace("OUT", str(out)) for a in command]
            if made.returncode and "RECORD" in command:
                found.append({"command": " ".join(command), "first": None, "second": None, "why": made.stderr.strip().splitlines()[-1]})
                continue
            seconds = []
            for _ in range(2):
                before = os.times()
                subprocess.run(
                    [sys.executable, "-m", "gemel.cli", "--no-worker", *arguments],
                    capture_output=True,
                    check=False,
                    env=os.environ | {"XDG_CACHE_HOME": folder},
                )
                after = os.times()
                seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
            found.append({"command": "gemel " + " ".join(command), "first": seconds[0], "second": seconds[1]})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--no-commands", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import gemel.engine  # noqa: F401  sets the flags before JAX is used

    told: dict[str, Any] = {"solvers": solvers(options.people)}
    print(f"{'solver at an error below 1e-4 mg/dL':34s}{'error':>10s}{'solves per CPU-s':>18s}{'compile':>9s}  setting")
    for r in told["solvers"]["rows"]:
        rate = "-" if r["solves_per_cpu_s"] is None else f"{r['solves_per_cpu_s']:.0f}"
        print(f"{r['solver']:34s}{r['error']:10.1e}{rate:>18s}{r['compile_cpu_s']:9.1f}  {r['setting']}")
    if not options.no_commands:
        told["commands"] = commands()
        print("\nCPU-seconds of a start, empty compile cache, then again")
        for c in told["commands"]:
            print(
                f"{c['command']:60s}{'-' if c['first'] is None else format(c['first'], '8.2f')}{'' if c['second'] is None else format(c['second'], '8.2f')}"
            )
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))
    rates = {r["solver"]: r["solves_per_cpu_s"] for r in told["solvers"]["rows"]}
    ours = rates["fixed-step RK4 in lax.scan"]
    print(
        "\nsolves per CPU-second, ours / peer: "
        + ", ".join(f"{k} {ours / v:.1f}" for k, v in rates.items() if v and ours and v is not ours)
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
