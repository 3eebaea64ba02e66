"""Steady and pulsatile flow of a real left coronary tree beside svZeroDSolver: the same answers, and what 10,000 draws of FFR cost.

    gemel bench coronary-flow -- [--draws 10000] [--trees 200] [--peer-python PYTHON] [--json FILE]

The peer is svzerod (PyPI) in an environment of its own, PYTHON or GEMEL_PEER_PYTHON; without one its rows say *not run*. Draws: radius of each of nine branches
(5 %), exponent of flow over radius, rest flow, hyperaemic ratio, aortic and venous pressure, viscosity, turbulent coefficient; both solve the same draws.
The peer's Solver is built once and kept (block values are replaced), run alone and in two processes at a time. CPU-seconds, ours after one warm call with its
compilation apart, ratio last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

MMHG = 133.322
OUTLETS = tuple(f"O{k}" for k in range(5))


def timed(call: Any, passes: int = 5) -> tuple[float, float, float, Any]:
    """CPU-seconds of the first call; smallest CPU- and wall-seconds of the later ones; the last answer."""
    import jax

    begin = time.process_time()
    answer = jax.block_until_ready(call())
    first, cpu, wall = time.process_time() - begin, [], []
    for _ in range(passes):
        begin, start = time.process_time(), time.perf_counter()
        answer = jax.block_until_ready(call())
        cpu.append(time.process_time() - begin)
        wall.append(time.perf_counter() - start)
    return first, min(cpu), min(wall), answer


def make_draws(count: int, seed: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "radius": np.exp(0.05 * rng.normal(size=(count, 9))),
        "exponent": rng.uniform(2.0, 3.0, count),
        "rest_flow": 2.25e-6 * np.exp(0.15 * rng.normal(size=count)),
        "ratio": 0.24 * np.exp(0.25 * rng.normal(size=count)),
        "aortic": 95 * MMHG * (0.95 + 0.05 * rng.normal(size=count)),
        "venous": MMHG * rng.uniform(0, 10, count),
        "viscosity": np.exp(0.1 * rng.normal(size=count)),
        "turbulence": np.exp(0.3 * rng.normal(size=count)),
    }


def elements(draw: Any, tree: Any) -> tuple[Any, Any, Any]:
    """Resistances and losses of the vessels and outlet resistances of one draw (or, with a first axis, of many), SI."""
    factor = draw["radius"]
    resistance = tree["resistance"] * draw["viscosity"][..., None] * factor**-4.0
    quadratic = tree["quadratic"] * draw["turbulence"][..., None] * factor**-4.0
    weight = tree["reference"] ** draw["exponent"][..., None]
    flow = draw["rest_flow"][..., None] * weight / weight.sum(axis=-1, keepdims=True)
    outlet = draw["ratio"][..., None] * (draw["aortic"] - draw["venous"])[..., None] / flow
    return resistance, quadratic, outlet


def accuracy(python: str, trees: int, left: Any) -> dict[str, Any]:
    import jax

    from _flow import network_of, peer_case, random_tree
    from gemel.physics.flow0d import FlowStatus, solve_steady

    steady = jax.jit(solve_steady)
    area, several = np.pi * 1.5e-3**2, []
    for degree in (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        loss = 1.52 * 1060 / (2 * area**2) * (1 / (1 - degree) ** 2 - 1) ** 2
        several.append(replace(left, quadratic=np.where(np.array(left.names) == "branch6_seg0", loss, 0.0)))
    several.append(replace(left, resistance=np.where(np.array(left.names) == "branch6_seg0", np.inf, left.resistance)))
    several += [random_tree(seed, occluded=seed % 4 == 0) for seed in range(trees)]
    found = [steady(network_of(t, size=128)) for t in several]
    result: dict[str, Any] = {
        "trees": len(several),
        "solved": sum(int(f.status) == FlowStatus.OK for f in found),
        "residual": max(float(f.residual) for f in found),
        "imbalance": max(float(f.imbalance) for f in found),
        "iterations": max(int(f.iterations) for f in found),
    }
    signs = [steady(network_of(random_tree(s, losses="signed"), size=128)) for s in range(trees)]
    result["signed"] = {FlowStatus(k).name: sum(int(f.status) == k for f in signs) for k in range(4)}
    if not python:
        return result
    with tempfile.TemporaryDirectory() as name:
        given, sink = Path(name) / "in.json", Path(name) / "out.json"
        given.write_text(json.dumps([peer_case(t) for t in several]))
        subprocess.run([python, str(Path(__file__).with_name("_svzerod_peer.py")), "cases", str(given), str(sink)], check=True)
        answer = json.loads(sink.read_text())
    worst, failed = 0.0, 0
    for tree, ours, theirs in zip(several, found, answer["answers"], strict=True):
        if "error" in theirs:
            failed += 1
            continue
        p = np.asarray(ours.pressure)
        worst = max(worst, *(abs(p[i] - 0.1 * theirs[n]) / (95 * MMHG) for i, n in enumerate(tree.names)))
    return result | {"difference": worst, "peer_failed": failed}


def posterior(python: str, count: int, left: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from _flow import network_of
    from gemel.interop.geometry import write_svzerod
    from gemel.physics.flow0d import Network, solve_steady

    network, vessels = network_of(left), len(left.names)
    ends = [next(i for i, b in enumerate(left.outlet) if b and b.name == name) for name in OUTLETS]
    resistances = np.array([left.outlet[i].values["R"] for i in ends])
    tree = {"resistance": left.resistance, "quadratic": left.quadratic, "reference": (resistances / resistances.min()) ** (-1 / 2.55)}
    draws = make_draws(count)

    def ratios(draw: dict[str, Any]) -> tuple[Any, Any]:
        r, s, outlet = elements(draw, tree)
        pad = network.size - vessels
        conductance = jnp.zeros(network.size).at[jnp.asarray(ends)].set(1.0 / outlet)
        moved = {
            "resistance": jnp.pad(r, (0, pad)), "quadratic": jnp.pad(s, (0, pad)), "outlet_conductance": conductance,
            "outlet_pressure": jnp.full(network.size, draw["venous"]), "root_pressure": draw["aortic"],
        }  # fmt: skip
        found = solve_steady(Network(**{**vars(network), **moved}))
        return found.pressure[jnp.asarray(ends)] / draw["aortic"], found.status

    many = jax.jit(lambda d: jax.lax.map(ratios, d, batch_size=2000))
    first, cpu, wall, (ffr, status) = timed(lambda: many(draws))
    result: dict[str, Any] = {
        "draws": count, "compile_cpu_s": first - cpu, "cpu_s": cpu, "wall_s": wall, "failed": int((np.asarray(status) != 0).sum()),
        "probability": {n: float((np.asarray(ffr)[:, k] <= 0.8).mean()) for k, n in enumerate(OUTLETS)},
        "ffr_median": {n: float(np.median(np.asarray(ffr)[:, k])) for k, n in enumerate(OUTLETS)},
    }  # fmt: skip
    if not python:
        return result
    r, s, outlet = elements(draws, tree)
    names = {"vessels": np.array(left.names), "outlets": np.array(OUTLETS)}
    names["reads"] = np.array([f"pressure:{left.names[i]}:{n}" for i, n in zip(ends, OUTLETS, strict=True)])
    columns = {
        "resistance": r * 1e-5,
        "quadratic": s * 1e-11,
        "outlet_resistance": outlet * 1e-5,
        "inlet": draws["aortic"] * 10,
        "distal": draws["venous"] * 10,
    }
    with tempfile.TemporaryDirectory() as name:
        folder, script = Path(name), str(Path(__file__).with_name("_svzerod_peer.py"))
        (folder / "case.json").write_text(json.dumps(write_svzerod(left)))

        def start(which: slice, tag: str) -> subprocess.Popen[bytes]:
            np.savez(folder / f"{tag}.npz", **names, **{k: v[which] for k, v in columns.items()})
            return subprocess.Popen(
                [python, script, "draws", str(folder / "case.json"), str(folder / f"{tag}.npz"), str(folder / f"{tag}.json")]
            )

        if start(slice(None), "all").wait():
            raise SystemExit("the peer failed")
        alone = json.loads((folder / "all.json").read_text())
        pair = [start(slice(k, None, 2), f"half{k}") for k in (0, 1)]
        codes = [p.wait() for p in pair]
        if any(codes):
            raise SystemExit("the peer failed")
        halves = [json.loads((folder / f"half{k}.json").read_text()) for k in (0, 1)]
    theirs = np.array(alone["pressure"]) * 0.1 / draws["aortic"][:, None]
    again = timed(lambda: many(draws))
    result["cpu_s"], result["wall_s"] = min(cpu, again[1]), min(wall, again[2])  # before and after the peer
    return result | {
        "difference": float(np.abs(theirs - np.asarray(ffr)).max()), "peer_cpu_s": alone["cpu"], "peer_wall_s": alone["wall"],
        "peer_two_cpu_s": sum(h["cpu"] for h in halves), "peer_two_wall_s": max(h["wall"] for h in halves),
    }  # fmt: skip


def field(count: int, folder: Path) -> dict[str, Any]:
    """The whole tree at 0.5 mm with a correlated radius field, leakage everywhere and a lesion: no peer does this."""
    import jax
    import jax.numpy as jnp

    from gemel.imaging.tree import resample, tree_from_lines
    from gemel.interop.geometry import read_vtp
    from gemel.physics.flow0d import Network, distal_conductance, leak_weights, make_network, make_vessels, outflow_by_weight, solve_steady

    lines = read_vtp(folder / "lca_cl.vtp").lines_with("MaximumInscribedSphereRadius")
    tree, _ = tree_from_lines(lines, unit="mm", frame="LPS", name="left", time=0, recorded=0, side="left")
    even = resample(tree, 0.5e-3)
    vessels = make_vessels(even)
    # reference radius: what never rises on the way out along a branch
    reference = np.asarray(vessels.radius).copy()
    for i, above in enumerate(even.parent):
        if above >= 0:
            reference[i] = min(reference[i], reference[above])
    reference = jnp.asarray(reference)
    network = make_network([-1], 0.0, root_pressure=0.0, size=vessels.order.parent.shape[0])
    draws = make_draws(count) | {
        "noise": np.random.default_rng(21).normal(size=(count, vessels.order.parent.shape[0])),
        "leak": np.random.default_rng(22).uniform(0, 1, count),
    }
    rest = np.exp(-0.5 / 5.0)  # correlation length of 5 mm at steps of 0.5 mm

    width, batch = vessels.order.parent.shape[0], 100

    def one(draw: dict[str, Any]) -> tuple[Any, Any, Any]:
        radius = jnp.maximum(vessels.radius + 0.1e-3 * draw["noise"], 0.2e-3)
        mu = 4e-3 * draw["viscosity"]
        up = jnp.where(vessels.begins, reference, vessels.upstream(reference))
        weight = jnp.where(vessels.is_outlet, reference ** draw["exponent"], 0.0) + leak_weights(
            vessels.order, reference, up, draw["exponent"], draw["leak"]
        )
        outflow = outflow_by_weight(draw["rest_flow"], weight, vessels.is_real)
        g = distal_conductance(
            vessels.order, vessels.is_real, vessels.friction(reference, mu), outflow, draw["aortic"], draw["venous"], draw["ratio"]
        )
        moved = {
            "order": vessels.order, "is_real": vessels.is_real, "resistance": vessels.friction(radius, mu), "outlet_conductance": g,
            "outlet_pressure": jnp.full(width, draw["venous"]), "root_pressure": draw["aortic"],
        }  # fmt: skip
        found = solve_steady(Network(**{**vars(network), **moved}))
        ends = jnp.asarray(even.ends)
        return found.pressure[ends] / draw["aortic"], found.status, found.residual

    # a process of first order down each path, in numpy, inside the time that is measured
    def fields(noise: np.ndarray) -> np.ndarray:
        table, spread, above = noise.T.copy(), np.sqrt(1 - rest**2), np.asarray(vessels.above)
        for i in range(1, len(even.parent)):
            table[i] = rest * table[above[i]] + spread * table[i]
        return table.T

    many = jax.jit(lambda d: jax.lax.map(one, d, batch_size=batch))
    first, cpu, wall, (ffr, status, residual) = timed(lambda: many({**draws, "noise": fields(draws["noise"])}), passes=2)
    ok = np.asarray(status) == 0
    return {
        "draws": count, "points": len(even.radius), "padded": int(vessels.order.parent.shape[0]), "compile_cpu_s": first - cpu, "cpu_s": cpu, "wall_s": wall,
        "failed": int((~ok).sum()), "residual": float(np.nanmax(np.asarray(residual))), "ffr_median": np.median(np.asarray(ffr)[ok], axis=0).round(4).tolist(),
    }  # fmt: skip


def pulsatile(python: str, folder: Path, count: int = 256) -> dict[str, Any]:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from _pulse import pulse_of
    from gemel.interop.geometry import read_svzerod
    from gemel.physics.flow0d import simulate_cycles, solve_periodic

    model = read_svzerod(folder / "lca_pulsatile.json")
    _, assembly, drive = pulse_of(model, size=32)
    noise = 0.2 * np.random.default_rng(0).normal(size=(count, 32))

    def moved(x: Any) -> Any:
        net = assembly.network
        return eqx.tree_at(lambda n: n.network.resistance, net, net.network.resistance * jnp.exp(x))

    rows: dict[str, Any] = {"draws": count}
    for name, solve in (("periodic", lambda n: solve_periodic(n, drive)), ("six cycles", lambda n: simulate_cycles(n, drive, 6))):
        batch = jax.jit(jax.vmap(lambda x, s=solve: (lambda f: (f.pressure.mean(axis=0), f.cycles, f.status))(s(moved(x)))))
        first, cpu, _, (_, cycles, status) = timed(lambda b=batch: b(noise), passes=2)
        rows[name] = {
            "cpu_s_per_draw": cpu / count,
            "compile_cpu_s": first - cpu,
            "cycles": int(cycles.max()),
            "failed": int((np.asarray(status) != 0).sum()),
        }
    if python:
        program = (
            "import json,sys,time,svzerod; s=svzerod.Solver(json.load(open(sys.argv[1]))); b=time.process_time()\n"
            "for _ in range(20): s.run()\nprint((time.process_time()-b)/20)"
        )
        done = subprocess.run([python, "-c", program, str(folder / "lca_pulsatile.json")], capture_output=True, text=True, check=True)
        rows["peer_cpu_s"] = float(done.stdout)
    return rows


def patients(python: str, cases: Path) -> dict[str, Any]:
    """The two patient networks of the peer: its waves after its own number of cycles, and how far those are from the periodic state."""
    import jax

    from _pulse import pulse_of
    from gemel.interop.geometry import read_svzerod
    from gemel.physics.flow0d import simulate_cycles, solve_periodic

    rows: dict[str, Any] = {}
    for name in ("0104_0001", "0080_0001"):
        path = cases / "vmr" / "reference" / f"{name}_optimal_from_0d.json"
        model = read_svzerod(path)
        tree, assembly, drive = pulse_of(model)
        cycles = int(model.settings["number_of_cardiac_cycles"])
        same = jax.jit(simulate_cycles, static_argnums=2)(assembly.network, drive, cycles)
        settled = jax.jit(solve_periodic)(assembly.network, drive)
        row: dict[str, Any] = {"cycles": cycles, "vessels": len(tree.names), "negative_losses": int((tree.quadratic < 0).sum())}
        if python:
            with tempfile.TemporaryDirectory() as folder:
                sink = Path(folder) / "out.json"
                subprocess.run([python, str(Path(__file__).with_name("_svzerod_peer.py")), "waves", str(path), str(sink)], check=True)
                theirs = json.loads(sink.read_text())
            for key, found in (("difference", same), ("periodic", settled)):
                worst = 0.0
                for i, vessel in enumerate(tree.names):
                    for wave, factor, k in ((found.flow, 1e6, 0), (found.pressure, 10.0, 1)):
                        if vessel in theirs:
                            peer = np.array(theirs[vessel][k])
                            worst = max(
                                worst, float(np.abs(np.asarray(wave[:, assembly.last[i]]) * factor - peer[1:]).max() / np.abs(peer).max())
                            )
                row[key] = worst
        rows[name] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--peer-python", default=os.environ.get("GEMEL_PEER_PYTHON", ""))
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    from _data import data_environment
    from gemel.interop.geometry import read_svzerod, tree_of
    from gemel.platform import datasets

    networks = datasets.resolve("coronary-networks", environ=data_environment(), download=False)
    lines = datasets.resolve("coronary-left-tree", environ=data_environment(), download=False)
    python = settings.peer_python
    if python and subprocess.run([python, "-c", "import svzerod"], capture_output=True, check=False).returncode:
        python = ""
    left = tree_of(read_svzerod(networks / "lca_steady.json"))

    a = accuracy(python, settings.trees, left)
    print(
        f"{a['solved']} of {a['trees']} trees solved (left tree at 9 degrees of stenosis, occlusion included, and random trees of 2 to 60 outlets)"
    )
    print(
        f"  largest residual {a['residual']:.1e} of the driving pressure, imbalance of flow {a['imbalance']:.1e}, {a['iterations']} linear solves at most"
    )
    print(f"  losses of random sign, +-1e6 dyn s2/cm8: {', '.join(f'{v} {k}' for k, v in a['signed'].items() if v)}")
    print(
        f"  largest difference of FFR from svzerod: {a['difference']:.1e} ({a['peer_failed']} failed there)"
        if python
        else "  svzerod not run"
    )

    p = pulsatile(python, networks)
    for name in ("periodic", "six cycles"):
        row = p[name]
        print(f"pulsatile left tree, 199 steps, {name}: {row['cpu_s_per_draw'] * 1e3:.1f} CPU-ms a draw of {p['draws']}, {row['cycles']} cycles, compile {row['compile_cpu_s']:.1f} CPU-s, {row['failed']} failed")  # fmt: skip
    print(
        f"  svzerod, Solver kept, six cycles: {p['peer_cpu_s'] * 1e3:.1f} CPU-ms: {p['peer_cpu_s'] / p['six cycles']['cpu_s_per_draw']:.1f}x"
        if python
        else "  svzerod not run"
    )

    v = patients(python, datasets.resolve("svzerod-cases", environ=data_environment(), download=False))
    for name, row in v.items():
        told = f"waves within {row['difference']:.1e} of svzerod's after the same {row['cycles']} cycles, which are {row['periodic']:.1e} from the periodic state"
        print(
            f"patient network {name}, {row['vessels']} elements, {row['negative_losses']} with negative loss: {told if python else 'svzerod not run'}"
        )

    f = field(settings.draws, lines)
    print(f"{f['draws']} draws at {f['points']} points with a radius field and leakage: {f['cpu_s']:.2f} CPU-s, {f['wall_s']:.2f} s (compile {f['compile_cpu_s']:.1f} CPU-s), {f['failed']} failed, residual {f['residual']:.0e}")  # fmt: skip

    q = posterior(python, settings.draws, left)
    print(f"{q['draws']} draws of FFR, nine branches, five outlets: {q['cpu_s']:.3f} CPU-s, {q['wall_s']:.3f} s warm (compile {q['compile_cpu_s']:.1f} CPU-s), {q['failed']} failed")  # fmt: skip
    print(f"  P(FFR <= 0.80): {', '.join(f'{n} {v:.3f}' for n, v in q['probability'].items())}")
    if python:
        print(f"  svzerod, Solver kept: {q['peer_cpu_s']:.2f} CPU-s, {q['peer_wall_s']:.2f} s; two processes: {q['peer_two_cpu_s']:.2f} CPU-s, {q['peer_two_wall_s']:.2f} s")  # fmt: skip
        print(f"  largest difference of a draw: {q['difference']:.1e}")
        print(
            f"ratio: {q['peer_cpu_s'] / q['cpu_s']:.0f}x in CPU-seconds, {q['peer_two_wall_s'] / q['wall_s']:.0f}x in time against two processes"
        )
    else:
        print("ratio: not run (no svzerod)")
    if settings.json:
        settings.json.write_text(json.dumps({"accuracy": a, "pulsatile": p, "patients": v, "field": f, "posterior": q}, indent=1))


if __name__ == "__main__":
    main()
