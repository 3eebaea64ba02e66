"""Flow networks in the JSON of svZeroDSolver, read as plain SI tables and written back. The files are in cgs units: the conversion happens here, once.

Format: https://simvascular.github.io/documentation/rom_simulation.html and the solver's own test cases (BSD-3).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core.errors import DataError, FormatError

__all__ = ["FlowBoundary", "FlowJunction", "FlowModel", "FlowTree", "FlowVessel", "read_svzerod", "tree_of", "write_svzerod"]

# cgs to SI: 1 dyn/cm^2 = 0.1 Pa, 1 cm^3 = 1e-6 m^3
PRESSURE, FLOW = 1e-1, 1e-6
RESISTANCE = INERTANCE = 1e5  # Pa s/m^3 per dyn s/cm^5, Pa s^2/m^3 per dyn s^2/cm^5
CAPACITANCE = 1e-5  # m^3/Pa per cm^5/dyn
QUADRATIC = 1e11  # Pa s^2/m^6 per dyn s^2/cm^8
_BOUNDARY_UNITS = {
    "P": PRESSURE,
    "Pd": PRESSURE,
    "Pim": PRESSURE,
    "P_v": PRESSURE,
    "Pv": PRESSURE,
    "Q": FLOW,
    "R": RESISTANCE,
    "Rp": RESISTANCE,
    "Rd": RESISTANCE,
    "C": CAPACITANCE,
    "Ra1": RESISTANCE,
    "Ra2": RESISTANCE,
    "Rv1": RESISTANCE,
    "Ca": CAPACITANCE,
    "Cc": CAPACITANCE,
    "t": 1.0,
    "Ra": RESISTANCE,
    "Ram": RESISTANCE,
    "Ram_min": RESISTANCE,
    "Ram_max": RESISTANCE,
    "Ra2_min": RESISTANCE,
    "Ra2_max": RESISTANCE,
    "Rv": RESISTANCE,
    "Cim": CAPACITANCE,
    "T_vc": 1.0,
    "T_vr": 1.0,
}
_VESSEL_UNITS = {"R_poiseuille": RESISTANCE, "C": CAPACITANCE, "L": INERTANCE, "stenosis_coefficient": QUADRATIC}


@dataclass(frozen=True)
class FlowVessel:
    """One element: ``resistance`` Pa s/m^3, ``capacitance`` m^3/Pa, ``inertance`` Pa s^2/m^3, ``quadratic`` Pa s^2/m^6, names of boundaries or none."""

    name: str
    number: int
    resistance: float
    capacitance: float
    inertance: float
    quadratic: float
    inlet: str | None = None
    outlet: str | None = None
    kind: str = "BloodVessel"


@dataclass(frozen=True)
class FlowJunction:
    """Where vessels meet, by number. ``values`` are the elements of a ``BloodVesselJunction``, SI, one per outlet vessel; empty for an ordinary one."""

    name: str
    kind: str
    inlets: tuple[int, ...]
    outlets: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class FlowBoundary:
    """A boundary: ``kind`` as in the file, ``values`` SI; what changes in time is an array over ``values["t"]``, s."""

    name: str
    kind: str
    values: Mapping[str, float | np.ndarray]


@dataclass(frozen=True)
class FlowModel:
    """A network as the file has it. ``others`` names the parts that are not read (chambers, valves, closed loops, couplings)."""

    vessels: tuple[FlowVessel, ...]
    junctions: tuple[FlowJunction, ...]
    boundaries: Mapping[str, FlowBoundary]
    settings: Mapping[str, Any]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class FlowTree:
    """A network that is a tree, parents first: one row per vessel (and per element of a ``BloodVesselJunction``), SI.

    ``outlet`` names the boundary at the downstream end, ``None`` where there is none. ``inlet`` is the boundary at the root.
    """

    names: tuple[str, ...]
    parent: np.ndarray
    resistance: np.ndarray
    capacitance: np.ndarray
    inertance: np.ndarray
    quadratic: np.ndarray
    outlet: tuple[FlowBoundary | None, ...]
    inlet: FlowBoundary


def _value(value: Any, factor: float) -> float | np.ndarray:
    if isinstance(value, list):
        return np.asarray(value, dtype=np.float64) * factor
    return float(value) * factor


def read_svzerod(source: str | bytes | Path | Mapping[str, Any]) -> FlowModel:
    """Read a network from JSON text, bytes, a path or an already parsed table.

    Raises
    ------
    FormatError
        If it is not JSON, lacks what a network needs, or names a boundary that is not there.
    """
    try:
        if isinstance(source, Mapping):
            table = source
        else:
            table = json.loads(Path(source).read_bytes() if isinstance(source, Path) else source)
        boundaries = {}
        for entry in table["boundary_conditions"]:
            values = {k: _value(v, _BOUNDARY_UNITS[k]) for k, v in entry["bc_values"].items() if k in _BOUNDARY_UNITS}
            boundaries[entry["bc_name"]] = FlowBoundary(entry["bc_name"], entry["bc_type"], values)
        vessels = []
        for entry in table["vessels"]:
            found = {k: float(entry.get("zero_d_element_values", {}).get(k, 0.0)) * f for k, f in _VESSEL_UNITS.items()}
            ends = entry.get("boundary_conditions", {})
            vessels.append(
                FlowVessel(
                    entry["vessel_name"],
                    int(entry["vessel_id"]),
                    found["R_poiseuille"],
                    found["C"],
                    found["L"],
                    found["stenosis_coefficient"],
                    ends.get("inlet"),
                    ends.get("outlet"),
                    entry.get("zero_d_element_type", "BloodVessel"),
                )
            )
        junctions = []
        for entry in table.get("junctions", []):
            given = entry.get("junction_values", {})
            values = {k: tuple(float(x) * f for x in given[k]) for k, f in _VESSEL_UNITS.items() if k in given}
            if entry["junction_type"] == "NORMAL_JUNCTION":
                values = {}
            names = {v.name: v.number for v in vessels}
            into = tuple(entry["inlet_vessels"] if "inlet_vessels" in entry else (names[n] for n in entry["inlet_blocks"]))
            out = tuple(entry["outlet_vessels"] if "outlet_vessels" in entry else (names[n] for n in entry["outlet_blocks"]))
            junctions.append(FlowJunction(entry["junction_name"], entry["junction_type"], into, out, values))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FormatError(
            "not a network of svZeroDSolver that can be read", seen=type(error).__name__ + ": " + str(error)[:80],
            expected="vessels, boundary_conditions and junctions as svZeroDSolver writes them",
        ) from None  # fmt: skip
    missing = sorted({n for v in vessels for n in (v.inlet, v.outlet) if n is not None} - set(boundaries))
    if missing:
        raise FormatError("a vessel names a boundary that the file does not hold", seen=missing[:5], expected=sorted(boundaries)[:10])
    others = tuple(k for k in ("chambers", "valves", "closed_loop_blocks", "external_solver_coupling_blocks") if table.get(k))
    return FlowModel(tuple(vessels), tuple(junctions), boundaries, dict(table.get("simulation_parameters") or {}), others)


def tree_of(model: FlowModel) -> FlowTree:
    """Put the vessels of a network in the order of a tree, the elements of ``BloodVesselJunction`` as vessels of their own.

    Raises
    ------
    DataError
        If the network is not one tree from one inlet: a confluence, a cycle, several inlets, or parts that are not vessels.
    """
    if model.others:
        raise DataError("the network holds more than vessels and boundaries", seen=list(model.others), expected="a tree of vessels")
    by_number = {v.number: v for v in model.vessels}
    strange = [v.kind for v in model.vessels if v.kind != "BloodVessel"]
    if strange:
        raise DataError("a vessel of another kind", seen=strange[0], expected="BloodVessel (resistance, then capacitance, then inertance)")
    roots = [v for v in model.vessels if v.inlet is not None]
    if len(roots) != 1:
        raise DataError("a tree has one inlet", seen=[v.name for v in roots][:5], expected="one vessel with an inlet boundary")
    meeting: dict[int, FlowJunction] = {}
    for junction in model.junctions:
        if len(junction.inlets) != 1 or junction.inlets[0] in meeting:
            raise DataError("a junction with several inlets is not part of a tree", seen=junction.name, expected="one inlet vessel")
        meeting[junction.inlets[0]] = junction
    rows: list[tuple[str, int, float, float, float, float, FlowBoundary | None]] = []
    waiting, seen = [(roots[0].number, -1)], set()
    while waiting:
        number, above = waiting.pop()
        if number in seen or number not in by_number:
            raise DataError("a vessel is reached twice or does not exist", seen=number, expected="a tree")
        seen.add(number)
        v = by_number[number]
        end = model.boundaries[v.outlet] if v.outlet is not None else None
        here = len(rows)
        rows.append((v.name, above, v.resistance, v.capacitance, v.inertance, v.quadratic, end))
        junction, ahead = meeting.get(number), []
        for k, below in enumerate(junction.outlets if junction is not None else ()):
            start = here
            if junction is not None and junction.values:
                r, c, i, s = (junction.values.get(name, (0.0,) * (k + 1))[k] for name in _VESSEL_UNITS)
                start = len(rows)
                rows.append((f"{junction.name}:{k}", here, r, c, i, s, None))
            ahead.append((below, start))
        waiting += reversed(ahead)
    if len(seen) != len(by_number):
        raise DataError("vessels that no junction leads to", seen=[by_number[n].name for n in sorted(set(by_number) - seen)][:5])
    columns = list(zip(*rows, strict=True))
    numbers = [np.asarray(c, dtype=np.float64) for c in columns[2:6]]
    inlet = model.boundaries[str(roots[0].inlet)]
    return FlowTree(tuple(columns[0]), np.asarray(columns[1], dtype=np.int64), *numbers, outlet=tuple(columns[6]), inlet=inlet)


def write_svzerod(
    tree: FlowTree, *, cycles: int = 2, points: int = 3, tolerance: float = 1e-8, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write a tree as a table for svZeroDSolver (cgs); ``json.dumps`` makes the file.

    Parameters
    ----------
    cycles, points : what the peer is to run: cardiac cycles and points per cycle. tolerance : its absolute tolerance.
    settings : further ``simulation_parameters``.
    """
    boundaries, vessels = [_written(tree.inlet)], []
    children: dict[int, list[int]] = {}
    for i, above in enumerate(tree.parent):
        children.setdefault(int(above), []).append(i)
        values = dict(zip(_VESSEL_UNITS, (tree.resistance[i], tree.capacitance[i], tree.inertance[i], tree.quadratic[i]), strict=True))
        ends, end = {}, tree.outlet[i]
        if above < 0:
            ends["inlet"] = tree.inlet.name
        if end is not None:
            ends["outlet"] = end.name
            boundaries.append(_written(end))
        vessels.append(
            {
                "vessel_id": i,
                "vessel_name": tree.names[i],
                "vessel_length": 1.0,
                "zero_d_element_type": "BloodVessel",
                "zero_d_element_values": {k: float(v) / _VESSEL_UNITS[k] for k, v in values.items()},
                **({"boundary_conditions": ends} if ends else {}),
            }
        )
    junctions = [
        {"junction_name": f"J{i}", "junction_type": "NORMAL_JUNCTION", "inlet_vessels": [i], "outlet_vessels": below}
        for i, below in sorted(children.items()) if i >= 0
    ]  # fmt: skip
    run = {"number_of_cardiac_cycles": cycles, "number_of_time_pts_per_cardiac_cycle": points, "absolute_tolerance": tolerance}
    return {
        "boundary_conditions": boundaries,
        "junctions": junctions,
        "vessels": vessels,
        "simulation_parameters": {**run, "steady_initial": True, "output_all_cycles": False, **(settings or {})},
    }


def _written(boundary: FlowBoundary) -> dict[str, Any]:
    def plain(name: str, value: float | np.ndarray | Sequence[float]) -> Any:
        return (np.asarray(value) / _BOUNDARY_UNITS[name]).tolist()

    return {"bc_name": boundary.name, "bc_type": boundary.kind, "bc_values": {k: plain(k, v) for k, v in boundary.values.items()}}
