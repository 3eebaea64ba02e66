"""Promise: the same key gives the same result, another key another."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np

from gemel.engine.keys import stream
from gemel.testing.report import require
from gemel.testing.subject import Subject, fingerprint

__all__ = ["check_keys"]


def check_keys(subject: Subject) -> str:
    """Simulate, measure, calibrate and forecast twice with one key, and once with another."""
    model, room = subject.model, subject.room
    key, other = subject.key("keys"), subject.key("other keys")
    first, again, second = (room.simulate_record(k) for k in (key, key, other))
    require(first[0].hash == again[0].hash and first[1:] == again[1:], "simulate_record: the same key gave another person")
    require(first[0].hash != second[0].hash, "simulate_record: another key gave the same person", fix="draw from the key that is passed in")
    z = model.prior.mean
    params = model.prior.constrain(z)
    observed = subject.observed
    times = np.asarray(observed.data.time)

    def simulated(k: jax.Array) -> np.ndarray:
        traced = eqx.filter_jit(lambda p, plan, t, c, kk: model.simulate(p, plan, t, c, key=kk))  # a new program each time
        return np.asarray(traced(params, observed.plan, times, jax.tree.map(np.asarray, observed.context), k))

    clean = simulated(key)
    require(np.array_equal(clean, simulated(key), equal_nan=True), "simulate: the same key gave another path", fix="draw only from the key")
    shown = [np.asarray(model.measure(params, clean, key=stream(k, "measure"))) for k in (key, key, other)]
    require(np.array_equal(shown[0], shown[1]), "measure: the same key gave another reading", fix="draw only from the key")
    require(not np.array_equal(shown[0], shown[2]), "measure: another key gave the same reading", fix="draw from the key that is passed in")
    twin, same = subject.twin, subject.calibrate(subject.record, subject.now)
    equal = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(fingerprint(twin), fingerprint(same), strict=True))
    require(equal, "calibrate: the same key gave another posterior")
    draws = [subject.forecast(t, name=n).draws for t, n in ((twin, "forecast"), (same, "forecast"), (twin, "another forecast"))]
    require(np.array_equal(draws[0], draws[1]), "forecast: the same key gave other draws")
    require(draws[0].size == 0 or not np.array_equal(draws[0], draws[2]), "forecast: another key gave the same draws")
    return "simulate, measure, calibrate and forecast follow their key"
