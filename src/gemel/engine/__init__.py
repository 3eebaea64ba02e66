"""A model becomes a twin: priors, posteriors, inference, forecast, plans."""

from gemel.core.numerics import configure

configure()
