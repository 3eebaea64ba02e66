"""Hand-made glucose records for tests of the metabolic room: a daily rhythm, three meals with boluses, and correlated noise."""

import numpy as np

import gemel.engine  # noqa: F401  sets the numerics before the room is imported
from gemel.core.record import Demographics, Exposure, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import to_ns
from gemel.twins.metabolic import observe

MINUTE = 60_000_000_000
START = to_ns("2026-03-02T00:00:00Z")
MEALS = ((7.5, 45.0), (12.5, 70.0), (19.0, 80.0))


def person(seed=0, *, days=4.0, step=15, name=None, age=40.0):
    """Return a record with CGM every ``step`` minutes."""
    rng = np.random.default_rng(seed)
    minute = np.arange(0, round(days * 1440), step, dtype=float)
    value = 125.0 + 20.0 * np.sin(2 * np.pi * (minute / 1440 - 0.3)) + 8.0 * rng.normal()
    facts = []
    for day in range(int(np.ceil(days))):
        for hour, grams in MEALS:
            at = day * 1440 + round((hour + rng.normal(0, 0.4)) * 60)
            if at >= minute[-1]:
                continue
            amount = float(np.round(grams * np.exp(rng.normal(0, 0.3))))
            since = np.maximum(minute - at, 0.0) / 50.0
            value = value + 1.6 * amount * since * np.exp(-since) - 2.2 * amount * (since / 3) ** 2 * np.exp(-since / 1.5)
            start = START + at * MINUTE
            facts.append(Exposure(code=observe.CARBOHYDRATE, quantity=Quantity(value=amount, unit="g"), start=start, source="diary"))
            facts.append(
                Exposure(code=observe.FAST, quantity=Quantity(value=round(amount / 12, 1), unit="[iU]"), start=start, source="diary")
            )
    noise = np.zeros(len(minute))
    for i in range(1, len(minute)):
        noise[i] = 0.9 * noise[i - 1] + rng.normal(0, 5.0)
    series = Series(
        code=observe.CGM[0],
        unit="mg/dL",
        time=START + minute.astype(np.int64) * MINUTE,
        value=np.clip(value + noise, 45, 380),
        source="sensor",
    )
    return PatientRecord(id=name or f"made-{seed}", demographics=Demographics(age=age)).with_facts(series, *facts)
