"""Trees of flow elements for tests and benchmarks: made at random, or read; and the peer that solves the same ones in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gemel.interop.geometry import FlowBoundary, FlowTree, write_svzerod
from gemel.physics.flow0d import Network, make_network

MMHG = 133.322  # Pa; the value of the shipped networks
PEER = """
import json, sys, svzerod
answers = []
for case in json.load(open(sys.argv[1])):
    try:
        frame = svzerod.simulate(case)
        last = frame.groupby("name").last()
        answers.append({n: [float(r.flow_in), float(r.flow_out), float(r.pressure_in), float(r.pressure_out)] for n, r in last.iterrows()})
    except Exception as error:
        answers.append({"error": repr(error)[:200]})
json.dump(answers, open(sys.argv[2], "w"))
"""


def random_tree(seed: int, *, outlets: int | None = None, losses: str = "positive", occluded: bool = False) -> FlowTree:
    """A binary tree of 2 to 60 outlets with resistances over four decades: Murray-like radii, stenoses of 0 to 95 % in every third branch."""
    rng = np.random.default_rng(seed)
    ends = int(rng.integers(2, 61)) if outlets is None else outlets
    parent, radius, leaves = [-1], [2.0e-3], [0]
    while len(leaves) < ends:
        at = leaves.pop(int(rng.integers(len(leaves))))
        for share in rng.dirichlet((4.0, 4.0)):
            leaves.append(len(parent))
            parent.append(at)
            radius.append(max(radius[at] * share ** (1 / 2.55), 0.3e-3))
    above, r, count = np.array(parent), np.array(radius), len(parent)
    length = rng.uniform(3e-3, 40e-3, count)
    resistance = 8 * 4e-3 * length / (np.pi * r**4)
    degree = np.where(rng.random(count) < 1 / 3, rng.uniform(0, 0.95, count), 0.0)
    area = np.pi * r**2
    quadratic = 1.52 * 1060 / (2 * area**2) * (1 / (1 - degree) ** 2 - 1) ** 2
    if losses == "signed":  # in the peer's units: +-1e6 dyn s^2/cm^8
        quadratic = rng.uniform(-1e6, 1e6, count) * 1e11
    is_leaf = ~np.isin(np.arange(count), above)
    weight = np.where(is_leaf, r**2.55, 0.0)
    outlet = np.where(is_leaf, 0.24 * 90 * MMHG / (2.25e-6 * weight / weight.sum() + 1e-300), 0.0)
    if occluded:
        resistance[int(rng.integers(1, count))] = np.inf
    pressures = {"Pd": 5 * MMHG}
    return FlowTree(
        tuple(f"branch{i}_seg0" for i in range(count)), above, resistance, np.zeros(count), np.zeros(count), quadratic,
        tuple(FlowBoundary(f"O{i}", "RESISTANCE", {"R": outlet[i], **pressures}) if is_leaf[i] else None for i in range(count)),
        FlowBoundary("IN", "PRESSURE", {"P": np.full(2, 95 * MMHG), "t": np.array([0.0, 1.0])}),
    )  # fmt: skip


def network_of(tree: FlowTree, **changes) -> Network:
    """The steady network of a tree with outlets of type RESISTANCE and a steady inlet pressure or flow."""
    conductance = np.array([0.0 if b is None else 1.0 / b.values["R"] for b in tree.outlet])
    pressure = np.array([0.0 if b is None else b.values["Pd"] for b in tree.outlet])
    steady = {k: float(np.mean(v)) for k, v in tree.inlet.values.items() if k != "t"}
    inlet = {"inflow": steady["Q"]} if "Q" in steady else {"root_pressure": steady["P"]}
    columns = {"quadratic": tree.quadratic, "outlet_conductance": conductance, "outlet_pressure": pressure, **inlet, **changes}
    return make_network(tree.parent, columns.pop("resistance", tree.resistance), **columns)


def peer_python() -> str:
    """The Python that has svzerod; skips by name where there is none."""
    python = os.environ.get("GEMEL_PEER_PYTHON", "")
    if not python or subprocess.run([python, "-c", "import svzerod"], capture_output=True, check=False).returncode:
        pytest.skip("no svzerod: GEMEL_PEER_PYTHON names no Python that has it")
    return python


def peer_solve(python: str, cases: list[dict], folder: Path) -> list[dict]:
    """Let svzerod solve cases; per vessel name flow in, flow out, pressure in, pressure out at the last time, cgs."""
    given, answer = folder / "cases.json", folder / "answers.json"
    given.write_text(json.dumps(cases))
    subprocess.run([python, "-c", PEER, str(given), str(answer)], check=True, capture_output=True)
    return json.loads(answer.read_text())


def peer_case(tree: FlowTree, **settings) -> dict:
    """The peer's table of a tree; an occlusion becomes a resistance of 1e20 dyn s/cm^5, the largest that its solver takes without loss."""
    from dataclasses import replace

    return write_svzerod(replace(tree, resistance=np.where(np.isinf(tree.resistance), 1e25, tree.resistance)), **settings)
