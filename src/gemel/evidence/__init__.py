"""How far to trust it: runs of evidence, calibration, and what they say."""

from gemel.core.numerics import configure

configure()
