"""Control patients drawn from the model: the truth is a prior draw, the readings come from the likelihood."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.record import Demographics, PatientRecord
from gemel.core.series import Series
from gemel.core.time import DAY, to_ns
from gemel.engine.keys import stream
from gemel.engine.plan import Plan
from gemel.twins.virtual_control.model import ControlModel
from gemel.twins.virtual_control.observe import SCORE, UNIT, Anchor

__all__ = ["START", "VISITS", "simulate_control"]

START = to_ns("2026-01-05T09:00:00Z")
VISITS = (0, 28, 56, 91, 119, 147, 182)
"""Days of the visits, counted from the first."""


@eqx.filter_jit
def _drawn(model: ControlModel, times, context, key):
    params = model.prior.constrain(model.prior.draw(1, key=stream(key, "truth"))[0])
    clean = model.simulate(params, Plan.of(()), times, context, key=stream(key, "simulate"))
    return params, model.measure(params, clean, key=stream(key, "measure"))[:, 0]


def simulate_control(key: PRNGKeyArray) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Return half a year of visits, *now*, and the truth."""
    days = np.array(VISITS, float)
    params, value = _drawn(ControlModel(), days, Anchor(np.asarray(days[-1])), key)
    time = START + days.astype(np.int64) * DAY
    number = int(np.asarray(jax.random.key_data(key)).astype(np.uint32)[-1])
    record = PatientRecord(id=f"simulated-{number:08x}", demographics=Demographics(age=73.0)).with_facts(
        Series(code=SCORE, unit=UNIT, time=time, value=np.asarray(value), source="simulated")
    )
    return record, int(time[-1]) + DAY, {name: float(x) for name, x in params.items()}
