"""The toys' simulated people and twins, made once per session and shared: compiled programs are what costs."""

from functools import lru_cache

import jax
import numpy as np

import gemel
from gemel.core.time import MINUTE

KEY = jax.random.key(7)


@lru_cache(maxsize=8)
def person(twin: str):
    return gemel.room(twin).simulate_record(jax.random.key(3))


@lru_cache(maxsize=8)
def calibrated(twin: str):
    record, now, _ = person(twin)
    return gemel.calibrate(twin, record, now, key=1)


@lru_cache(maxsize=1)
def early():
    """The growth toy's record up to three quarters, the twin of that moment, what came later, and now."""
    record, now, _ = person("toy-growth")
    series = record.series[0]
    then = int(series.time[29]) + 10 * MINUTE
    base = record.model_copy(update={"series": (series.between(0, then),)})
    return base, gemel.calibrate("toy-growth", base, then, key=1), series.between(then, now + 1), now


def told(series, rows, recorded):
    part = series.take(np.asarray(rows))
    return part.model_copy(update={"recorded": np.full(len(part), recorded)})
