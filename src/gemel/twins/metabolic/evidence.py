"""Evidence of the room: the validation protocol it declares, its verification problems, and what is conserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE, local_minutes_of_day
from gemel.engine.discrepancy import Discrepancy, Member
from gemel.evidence.stream_protocol import Alarm, Forecasts, StreamProtocol, Windows
from gemel.twins.metabolic import discrepancy as features
from gemel.twins.metabolic import observe
from gemel.twins.metabolic.discrepancy import PersonSeries
from gemel.twins.metabolic.error_grids import clarke, parkes

__all__ = ["PROTOCOL", "forecaster", "recording", "recordings"]

SHORTEST = 50
"""Readings below which a recording is left out."""


def _step(times: Sequence[np.ndarray]) -> int:
    """Slot length of a whole collection: five minutes, or fifteen when any recording is slower than nine."""
    spacing = [np.median(np.diff(t)) / MINUTE for t in times if len(t) > 5]
    return 15 if spacing and max(spacing) > 9 else 5


def recording(record: PatientRecord, step: int) -> PersonSeries:
    """Put one record on slots: the nearest reading wins; an input is known from the first slot at or after its time."""
    known = observe.glucose(record)
    slot = step * MINUTE
    k = np.floor(known.time / slot + 0.5).astype(np.int64)
    first = int(k[0])
    n = int(k[-1]) - first + 1
    value = np.full(n, np.nan)
    distance = np.abs(known.time - k * slot)
    for j in np.argsort(-distance, kind="stable"):
        value[k[j] - first] = known.value[j]
    found, _ = observe.events(record, 0)
    carbohydrate, meal, insulin = np.zeros(n), np.zeros(n), np.zeros(n)

    def place(time: float) -> int:
        return int(np.ceil((time - 1000.0) / slot)) - first

    for exposure in record.find_exposures(observe.CARBOHYDRATE, observe.ENERGY, observe.UNQUANTIFIED):
        j = place(exposure.start)
        if 0 <= j < n:
            meal[j] = 1.0
    for start, length, amount, channel in found:
        if channel > 0:
            j = place(start * MINUTE)
            if 0 <= j < n:
                carbohydrate[j] += amount
        elif length < 60.0:
            j = place((start - observe.fixed("tau")) * MINUTE)
            if 0 <= j < n:
                insulin[j] += amount
    hour = local_minutes_of_day((first + np.arange(n)) * slot, record.demographics.zone) / 60.0
    person = record.demographics.traits.get("patient", record.id)
    return PersonSeries(record.id, str(person), step, value, hour, carbohydrate, meal, insulin, first * slot)


def recordings(records: Sequence[PatientRecord]) -> tuple[list[PersonSeries], list[str]]:
    """Return recordings on a common slot length, and what was left out."""
    known = [(r, observe.glucose(r)) for r in records]
    notes = [f"{r.id}: {len(g.time)} readings, left out (fewer than {SHORTEST})" for r, g in known if len(g.time) < SHORTEST]
    kept = [(r, g) for r, g in known if len(g.time) >= SHORTEST]
    step = _step([g.time for _, g in kept])
    return [recording(r, step) for r, _ in kept], notes


def forecaster(people: Sequence[PersonSeries], parts: Sequence[Windows], horizons: tuple[int, ...], options: Mapping[str, Any]) -> list[Forecasts]:
    """Forecast every window of every recording, each from what was known at its origin.

    Options
    -------
    inputs : ``False`` leaves meals and insulin out.
    """
    if not options.get("inputs", True):
        people = [replace(p, carbohydrate=p.carbohydrate * 0, meal=p.meal * 0, insulin=p.insulin * 0) for p in people]
    step = people[0].step
    train = np.concatenate([w.lags[w.part == 0] for w in parts])
    target = np.concatenate([w.outcome[w.part == 0] for w in parts])
    from gemel.engine.discrepancy import Ridge

    ridge = Ridge.of(train, target)
    plain = [ridge(w.lags) for w in parts]
    mu = float(train[:, 0].mean())
    means = [np.zeros((len(w.origin), len(horizons))) for w in parts]
    quantiles = [np.zeros((len(w.origin), len(horizons), 99)) for w in parts]
    for j, h in enumerate(horizons):
        members = []
        for p, w, r in zip(people, parts, plain, strict=True):
            table = features.blocks(p, mu, h, j if p.physics is not None else None)
            at = {k: v[w.origin] for k, v in table.items()}
            scale = at.pop("scale")
            if not options.get("inputs", True):
                at = {k: v for k, v in at.items() if k not in features.INPUTS}
            members.append(Member(w.origin, at, scale, w.lags[:, 0], r[:, j], w.outcome[:, j], w.part, features.groups(w.lags[:, 0])))
        learnt = Discrepancy.of(members, overlap=h // step, step=step, groups=3, settings=features.settings(step))
        for i, m in enumerate(members):
            if len(m.origin):
                made = learnt.distribution(m)
                means[i][:, j], quantiles[i][:, j] = made.mean, made.quantiles
    return [Forecasts(m, q) for m, q in zip(means, quantiles, strict=True)]


PROTOCOL = StreamProtocol(
    output="glucose",
    unit="mg/dL",
    horizons=(15, 30, 60, 120),
    recordings=recordings,
    forecaster=forecaster,
    bands=(70.0, 180.0 + 1e-9),
    zones={"Clarke": clarke, "Parkes": parkes},
    alarm=Alarm("glucose below 70 mg/dL within 30 min", 70.0, 30, 15),
    question="Given this person's CGM (and meals and insulin where logged), where will glucose be in 15 to 120 minutes, and with what certainty?",
)
