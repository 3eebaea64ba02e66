"""What the pulse twin is held against. Nothing is conserved; a record of yesterday is outside its domain."""

from gemel.core.time import DAY


def a_day_later(record, now):
    """Ask a day after the last reading."""
    return record, now + DAY


OUTSIDE = (a_day_later,)
