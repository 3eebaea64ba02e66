"""Verified solvers: ordinary differential equations first; flow, waves, diffusion and mechanics follow."""

from gemel.core.numerics import configure

configure()
