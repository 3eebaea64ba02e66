"""From a record to data: readings of ADAS-Cog in days since the first, and when to abstain."""

from __future__ import annotations

import equinox as eqx
import numpy as np
from jaxtyping import Array

from gemel.core.advice import AbstentionReason
from gemel.core.code import Code
from gemel.core.record import PatientRecord
from gemel.core.time import DAY
from gemel.engine.data import Dataset
from gemel.engine.model import Domain, Observed
from gemel.engine.plan import Plan

__all__ = ["HIGHEST", "OLDEST", "SCORE", "UNIT", "Anchor", "domain", "observe", "readings"]

SCORE = Code.parse("gemel:adas-cog")
UNIT = "{score}"
OLDEST = 280 * DAY
"""A last reading older than this says too little about now."""
HIGHEST = 70.0


class Anchor(eqx.Module):
    """Context: the time, in days since the epoch, at which the parameter ``deviation`` holds."""

    time: Array


def readings(record: PatientRecord) -> tuple[np.ndarray, np.ndarray, int]:
    """Return times (ns UTC) and values of the exact readings, and how many censored ones were left out."""
    return record.exact_readings(SCORE, unit=UNIT)


def observe(record: PatientRecord, now: int, *, epoch: int | None) -> Observed:
    """Turn a record into data; time zero is the first reading."""
    time, value, censored = readings(record)
    notes = [f"{censored} reading(s) beyond a limit were left out"] if censored else []
    if (time > now).any():
        notes.append(f"{int((time > now).sum())} reading(s) later than now were ignored")
    if epoch is None:
        epoch = int(time[0]) if len(time) and time[0] <= now else now
    use = (time <= now) & (time >= epoch)
    time, value = time[use], value[use]
    latest = int(time[-1]) if len(time) else None
    anchor = Anchor(np.asarray(((latest if latest is not None else epoch) - epoch) / DAY))
    return Observed(epoch, Dataset.of((time - epoch) / DAY, value), Plan.of(()), anchor, latest, tuple(notes), {"readings": len(time)})


def domain(record: PatientRecord, now: int) -> Domain:
    """Abstain without a reading, with an old one, or beyond the scale."""
    time, value, _ = readings(record)
    time, value = time[time <= now], value[time <= now]
    if not len(time):
        return Domain(AbstentionReason.OUT_OF_DOMAIN, "no reading of ADAS-Cog is known; at least one is needed")
    if now - time[-1] > OLDEST:
        old, limit = (now - time[-1]) / DAY, OLDEST / DAY
        return Domain(AbstentionReason.DATA_TOO_OLD, f"the last reading is {old:.0f} d old; at most {limit:.0f} d is accepted")
    if not 0.0 <= value[-1] <= HIGHEST:
        return Domain(AbstentionReason.OUT_OF_DOMAIN, f"the last reading is {value[-1]:.1f}, outside 0 to {HIGHEST:g}")
    return Domain()
