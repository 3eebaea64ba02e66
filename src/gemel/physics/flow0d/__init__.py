"""Lumped flow in trees of vessels: steady and pulsatile, padded to size buckets, differentiable, with a status instead of a wrong number."""

from gemel.physics.flow0d.assemble import Assembly, assemble
from gemel.physics.flow0d.base import FlowStatus, SteadyFlow
from gemel.physics.flow0d.boundary import distal_conductance, leak_weights, mean_aortic_pressure, outflow_by_weight, prescribed_pressure
from gemel.physics.flow0d.friction import static_pressure, taper_resistance, viscosity_of_haematocrit
from gemel.physics.flow0d.network import BUCKETS, Network, bucket_size, make_network
from gemel.physics.flow0d.paths import path_incidence, solve_paths
from gemel.physics.flow0d.pulsatile import (
    CycleState,
    Drive,
    PulsatileFlow,
    PulsatileNetwork,
    Scheme,
    contraction,
    interpolate_cycle,
    simulate_cycles,
    solve_periodic,
    stage_times,
)
from gemel.physics.flow0d.steady import solve_steady
from gemel.physics.flow0d.stenosis import LossCoefficients, expansion_loss, itu_loss, quadratic_loss, young_tsai_loss
from gemel.physics.flow0d.vessels import Vessels, make_vessels

__all__ = [
    "BUCKETS",
    "Assembly",
    "CycleState",
    "Drive",
    "FlowStatus",
    "LossCoefficients",
    "Network",
    "PulsatileFlow",
    "PulsatileNetwork",
    "Scheme",
    "SteadyFlow",
    "Vessels",
    "assemble",
    "bucket_size",
    "contraction",
    "distal_conductance",
    "expansion_loss",
    "interpolate_cycle",
    "itu_loss",
    "leak_weights",
    "make_network",
    "make_vessels",
    "mean_aortic_pressure",
    "outflow_by_weight",
    "path_incidence",
    "prescribed_pressure",
    "quadratic_loss",
    "simulate_cycles",
    "solve_paths",
    "solve_periodic",
    "solve_steady",
    "stage_times",
    "static_pressure",
    "taper_resistance",
    "viscosity_of_haematocrit",
    "young_tsai_loss",
]
