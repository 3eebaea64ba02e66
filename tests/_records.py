"""Records with every kind of fact, for tests of what keeps them."""

from __future__ import annotations

import numpy as np

from gemel.core import Code, Demographics, Document, Exposure, Finding, PatientRecord, Quantity, Series, Surface, Tree, Volume
from gemel.core.series import ENTERED_IN_ERROR
from gemel.core.time import DAY, HOUR, MINUTE
from gemel.platform.store import Store

GLUCOSE, MEAL = Code.parse("loinc:99504-3"), Code.parse("loinc:9059-7")
START = 1_768_000_000_000_000_000


def readings(n: int, *, start: int = START, seed: int = 0, source: str = "sensor") -> Series:
    draw = np.random.default_rng(seed)
    time = start + np.arange(n) * 5 * MINUTE
    return Series(
        code=GLUCOSE, unit="mg/dL", time=time, value=draw.normal(120, 30, n), recorded=time + draw.integers(0, 3 * HOUR, n), source=source
    )


def meal(hours: float, grams: float, *, recorded: int | None = None, **rest: object) -> Exposure:
    start = START + int(hours * HOUR)
    return Exposure(
        code=MEAL, quantity=Quantity(value=grams, unit="g"), start=start, recorded=start if recorded is None else recorded, **rest
    )


def everything() -> PatientRecord:
    """A record with every kind of fact, late ones, corrections and retractions."""
    first = readings(600)
    again = first.take(np.arange(100, 110)).model_copy(
        update={"value": first.value[100:110] + 1.0, "recorded": first.recorded[100:110] + DAY}
    )
    wrong = first.take(np.arange(5)).model_copy(
        update={"status": np.full(5, ENTERED_IN_ERROR, np.uint8), "recorded": first.recorded[:5] + DAY}
    )
    frame = {"time": START, "recorded": START + HOUR, "source": "scan"}
    return PatientRecord(id="p1", demographics=Demographics(sex="female", age=41.5, zone="Europe/Berlin", traits={"weight": Quantity(value=70.1, unit="kg")})).with_facts(
        first, again, wrong, readings(50, seed=1, source="other"), meal(3, 30.1, id="m1"), meal(3, 45.0, recorded=START + DAY, id="m1"), meal(9, 12.3, uncertainty=0.2),
        Finding(code=GLUCOSE, value=Quantity(value=5.1, unit="mmol/L"), time=START, site="finger"), Finding(code=GLUCOSE, value="seen", time=START + 1),
        Document(title="letter", media_type="text/plain", sha256="0" * 64, time=START, recorded=START + 2 * DAY),
        Volume(name="v", values=np.arange(24, dtype=np.float32).reshape(2, 3, 4), affine=np.eye(4), unit="1", **frame),
        Surface(name="s", vertices=np.random.default_rng(0).normal(size=(4, 3)), triangles=[[0, 1, 2], [1, 2, 3]], **frame),
        Tree(name="t", points=np.zeros((2, 3)), radius=[1e-3, 0.1 + 0.2], parent=[-1, 0], **frame),
    )  # fmt: skip


def fill(store: Store, record: PatientRecord, recorded: int = START + 9 * DAY) -> int:
    return store.append(record.id, record.facts(), recorded=recorded, demographics=record.demographics)
