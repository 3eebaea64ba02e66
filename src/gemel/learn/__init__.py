"""Networks that a room may use, and the small peers that a benchmark trains."""

from gemel.core.numerics import configure

configure()
