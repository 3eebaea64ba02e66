"""The flags of the numeric stack must be set before a test imports equinox."""

import gemel.evidence  # noqa: F401
