"""Pulsatile networks from vessels and their boundaries, as rows of the general tree: R-C-L vessels, windkessels, coronary microvessels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from gemel.core.errors import DataError
from gemel.physics.flow0d.network import bucket_size, make_network
from gemel.physics.flow0d.pulsatile import PulsatileNetwork

__all__ = ["Assembly", "assemble"]

_NAMES = (
    "resistance",
    "quadratic",
    "inertance",
    "capacitance",
    "outlet_conductance",
    "outlet_pressure",
    "external_share",
    "inflow_share",
    "swing",
)


@dataclass
class _Rows:
    parent: list[int] = field(default_factory=list)
    columns: dict[str, list[float]] = field(default_factory=lambda: {n: [] for n in _NAMES})

    def add(self, parent: int, **values: float) -> int:
        self.parent.append(parent)
        for name, column in self.columns.items():
            column.append(values.get(name, 0.0))
        return len(self.parent) - 1


@dataclass(frozen=True)
class Assembly:
    """A padded pulsatile network and where each vessel is in it: ``first`` carries its inflow, ``last`` its outflow and outlet pressure."""

    network: PulsatileNetwork
    first: np.ndarray
    last: np.ndarray


def _outlet(rows: _Rows, at: int, kind: str, v: Mapping[str, Any]) -> None:
    """Close the end of row ``at``. Kim et al. 2010, doi:10.1007/s10439-010-0083-6, for the coronary one."""
    if kind == "RESISTANCE":
        rows.columns["outlet_conductance"][at] += 1.0 / v["R"]
        rows.columns["outlet_pressure"][at] = v["Pd"]
    elif kind == "RCR":
        rows.add(at, resistance=v["Rp"], capacitance=v["C"], outlet_conductance=1.0 / v["Rd"], outlet_pressure=v["Pd"])
    elif kind == "FLOW":
        rows.columns["inflow_share"][at] -= 1.0
    elif kind in ("CORONARY", "CORONARY_VAR_RES"):
        swing = 0.0
        if kind == "CORONARY_VAR_RES":
            swing = float(np.sqrt(v["Ra2_max"]) - np.sqrt(v["Ra2_min"]))
            v = {**v, "Ra2": v["Ra2_min"]}
        middle = rows.add(at, resistance=v["Ra1"], capacitance=v["Ca"])
        rows.add(
            middle,
            resistance=v["Ra2"],
            swing=swing,
            capacitance=v["Cc"],
            outlet_conductance=1.0 / v["Rv1"],
            outlet_pressure=v["P_v"],
            external_share=1.0,
        )
    elif kind == "PRESSURE":  # a pressure given at an outlet: through a resistance too small to be seen
        rows.columns["outlet_conductance"][at] += 1.0 / v["R_small"]
        rows.columns["outlet_pressure"][at] = float(np.mean(v["P"]))
    else:
        raise DataError(
            "an outlet of a kind that a tree cannot have",
            seen=kind,
            expected="RESISTANCE, RCR, CORONARY, CORONARY_VAR_RES, PRESSURE or FLOW",
        )


def assemble(
    parent: Sequence[int] | np.ndarray, resistance: Any, outlets: Sequence[tuple[str, Mapping[str, Any]] | None], *, quadratic: Any = 0.0,
    inertance: Any = 0.0, capacitance: Any = 0.0, is_flow_driven: bool = False, size: int | None = None,
) -> Assembly:  # fmt: skip
    """Build a pulsatile network. Each vessel is R (with its loss), then C to ground, then L: the order of svZeroDSolver.

    Parameters
    ----------
    parent : vessel upstream, before its children; -1 at the root. resistance, quadratic, inertance, capacitance : SI, one or one per vessel.
    outlets : for each vessel ``None`` or (kind, values in SI), kinds RESISTANCE (R, Pd), RCR (Rp, C, Rd, Pd), CORONARY (Ra1, Ra2, Rv1, Ca, Cc, P_v)
        CORONARY_VAR_RES (Ra2_min and Ra2_max, by the drive's tone, for Ra2), PRESSURE (P constant) and FLOW (the drive's inflow leaves there).
    is_flow_driven : whether the drive gives the flow at the inlet, not the pressure.
    size : padded size; default the bucket of the number of rows.
    """
    count = len(parent)
    given = [np.broadcast_to(np.asarray(x, dtype=np.float64), (count,)) for x in (resistance, quadratic, inertance, capacitance)]
    typical = float(np.max(given[0], initial=0.0)) or 1.0
    rows, first, last = _Rows(), [], []
    start = rows.add(-1, resistance=np.inf, inflow_share=1.0) if is_flow_driven else -1
    for i, (above, r, s, inert, c) in enumerate(zip(parent, *given, strict=True)):
        upstream = start if above < 0 else last[above]
        first.append(rows.add(upstream, resistance=r, quadratic=s, capacitance=c))
        last.append(rows.add(first[-1], inertance=inert) if inert > 0 else first[-1])
        end = outlets[i]
        if end is not None:
            _outlet(rows, last[-1], end[0], {"R_small": 1e-9 * typical, **end[1]})
    total = len(rows.parent)
    width = bucket_size(total) if size is None else size
    columns = {n: np.asarray(c) for n, c in rows.columns.items()}
    steady = {n: columns[n] for n in ("quadratic", "outlet_conductance", "outlet_pressure")}
    network = make_network(rows.parent, columns["resistance"], **steady, root_pressure=0.0, size=width)
    padded = {
        n: jnp.asarray(np.concatenate([columns[n], np.zeros(width - total)]))
        for n in ("inertance", "capacitance", "external_share", "inflow_share", "swing")
    }
    return Assembly(PulsatileNetwork(network, **padded), np.asarray(first), np.asarray(last))
