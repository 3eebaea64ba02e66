"""Pulsatile networks of the peer's files, with the drive that the files hold."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from gemel.interop.geometry import FlowModel, FlowTree, tree_of
from gemel.physics.flow0d.assemble import Assembly, assemble
from gemel.physics.flow0d.pulsatile import Drive, Scheme, contraction, interpolate_cycle, stage_times


def pulse_of(
    model: FlowModel, *, size: int | None = None, scheme: Scheme | None = None, steps: int | None = None
) -> tuple[FlowTree, Assembly, Drive]:
    """The tree of a file, its pulsatile network and its drive, with the file's own number of steps unless another is given."""
    tree = tree_of(model)
    count = int(model.settings["number_of_time_pts_per_cardiac_cycle"]) - 1 if steps is None else steps
    varying = [tree.inlet.values, *(b.values for b in tree.outlet if b and "t" in b.values)]
    period = float(model.settings.get("cardiac_period", max([float(v["t"][-1]) for v in varying if "t" in v] or [1.0])))
    at = stage_times(period, count, scheme or Scheme())

    def read(values, name):
        times = jnp.asarray(values.get("t", np.array([0.0, period])))
        return interpolate_cycle(times, jnp.broadcast_to(jnp.asarray(values[name]), times.shape), at)

    drive = {n: jnp.zeros(count) for n in ("root_pressure", "inflow", "external", "tone")}
    is_flow = "Q" in tree.inlet.values
    drive["inflow" if is_flow else "root_pressure"] = read(tree.inlet.values, "Q" if is_flow else "P")
    for outlet in tree.outlet:
        if outlet is not None and "Pim" in outlet.values:
            drive["external"] = read(outlet.values, "Pim")
        if outlet is not None and "T_vc" in outlet.values:
            drive["tone"] = contraction(at, outlet.values["T_vc"], outlet.values["T_vr"], period)
    outlets = [None if b is None else (b.kind, b.values) for b in tree.outlet]
    network = assemble(
        tree.parent, tree.resistance, outlets, quadratic=tree.quadratic, inertance=tree.inertance, capacitance=tree.capacitance,
        is_flow_driven=is_flow, size=size,
    )  # fmt: skip
    return tree, network, Drive(**drive, period=jnp.asarray(period))
