"""The discrepancy of the room: learnt from a cohort's recordings or from one person's own past, asked at one origin."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from gemel.core.record import PatientRecord
from gemel.core.time import HOUR, MINUTE, local_minutes_of_day
from gemel.engine.correction import Correction, DiscrepancySet
from gemel.engine.discrepancy import Discrepancy, Member, Ridge
from gemel.twins.metabolic import discrepancy as features
from gemel.twins.metabolic import observe, wearables
from gemel.twins.metabolic.discrepancy import PersonSeries, held

__all__ = ["HORIZONS", "correction", "corrections", "learn", "learn_alone", "member", "plain_forecasts", "recording", "slot_minutes"]

_Answer = TypeVar("_Answer")
HORIZONS = (15, 30, 60, 120)
MEMORY_DAYS = 15
"""How far back a single person's features look."""


def slot_minutes(times: Sequence[np.ndarray]) -> int:
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
    order = np.argsort(-np.abs(known.time - k * slot), kind="stable")
    value[k[order] - first] = known.value[order]
    found, _ = observe.events(record, 0)
    carbohydrate, meal, insulin = np.zeros(n), np.zeros(n), np.zeros(n)

    def add(column: np.ndarray, time: float, amount: float) -> None:
        j = int(np.ceil((time - 1000.0) / slot)) - first
        if 0 <= j < n:
            column[j] += amount

    for exposure in record.find_exposures(observe.CARBOHYDRATE, observe.ENERGY, observe.UNQUANTIFIED):
        add(meal, exposure.start, 1.0)
    meal = np.minimum(meal, 1.0)
    for start, length, amount, channel in found:
        if channel > 0:
            add(carbohydrate, start * MINUTE, amount)
        elif length < 60.0:
            add(insulin, (start - observe.fixed("tau")) * MINUTE, amount)
    hour = local_minutes_of_day((first + np.arange(n)) * slot, record.demographics.zone) / 60.0
    person = record.demographics.traits.get("patient", record.id)
    watch = wearables.on_slots(record, first, n, step)
    return PersonSeries(record.id, str(person), step, value, hour, carbohydrate, meal, insulin, first * slot, watch)


def member(
    p: PersonSeries, origin: Int[np.ndarray, " w"], lags: Float[np.ndarray, "w lag"], outcome: Float[np.ndarray, " w"], plain: Float[np.ndarray, " w"],
    part: Int[np.ndarray, " w"], *, level: float, horizon: int, left_out: Collection[str] = (),
) -> Member:  # fmt: skip
    """Return one person's origins for one horizon, in the form of the discrepancy, without the blocks ``left_out``."""
    table = features.blocks(p, level, horizon)
    at = {k: v[origin] for k, v in table.items()}
    scale = at.pop("scale")
    at = {k: v for k, v in at.items() if k not in left_out}
    return Member(origin, at, scale, lags[:, 0], plain, outcome, part, features.groups(lags[:, 0]))


def learn(
    people: Sequence[PersonSeries], origins: Sequence[np.ndarray], lags: Sequence[np.ndarray], outcomes: Sequence[np.ndarray], parts: Sequence[np.ndarray],
    horizons: tuple[int, ...], *, without: Collection[str] = (), until: int = 0, source: str = "",
) -> tuple[DiscrepancySet, list[list[Member]]]:  # fmt: skip
    """Learn every horizon from windows; return it with the members, horizon by horizon.

    ``without`` names what is not to be used: ``inputs``, ``wearables``. Wearables that nobody wore are left out of themselves.

    Raises
    ------
    InferenceError
        When there is no training window.
    """
    step = people[0].step
    training = [(q == 0) & np.isfinite(y).all(axis=1) for q, y in zip(parts, outcomes, strict=True)]
    x = np.concatenate([v[t] for v, t in zip(lags, training, strict=True)])
    y = np.concatenate([v[t] for v, t in zip(outcomes, training, strict=True)])
    plain = Ridge.of(x, y)
    level = float(x[:, 0].mean())
    made, members = [], []
    left_out = features.INPUTS * ("inputs" in without)
    left_out += features.WEARABLES * ("wearables" in without or all(p.watch is None for p in people))
    for j, h in enumerate(horizons):
        group = [
            member(p, o, v, w[:, j], plain(v)[:, j], q, level=level, horizon=h, left_out=left_out)
            for p, o, v, w, q in zip(people, origins, lags, outcomes, parts, strict=True)
        ]
        made.append(Discrepancy.of(group, overlap=h // step, step=step, groups=3, settings=features.settings(step)))
        members.append(group)
    return DiscrepancySet(horizons, step, level, plain, tuple(made), until, source), members


def _own(p: PersonSeries, horizons: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origins, lags and outcomes (NaN where not known yet) of one recording."""
    step, back = p.step, 60 // p.step
    value, full = held(p.value, 15 // step), features.origins(p)
    lags = np.stack([value[full - j] for j in range(back + 1)], axis=1) if len(full) else np.zeros((0, back + 1))
    later = np.concatenate([p.value, np.full(max(horizons) // step, np.nan)])
    return full, lags, np.stack([later[full + h // step] for h in horizons], axis=1) if len(full) else np.zeros((0, len(horizons)))


def learn_alone(record: PatientRecord, now: int, horizons: tuple[int, ...] = HORIZONS) -> DiscrepancySet | None:
    """Learn from one person's own past: three quarters for the weights, the last quarter for the bands. ``None`` with less than 36 h of readings."""
    known = observe.glucose(record)
    past = known.time <= now
    if past.sum() < 50 or known.time[past][-1] - known.time[past][0] < 36 * HOUR:
        return None
    p = recording(record, slot_minutes([known.time[past]]))
    origin, lags, outcome = _own(p, horizons)
    settled = np.isfinite(outcome).all(axis=1)
    cut = round(0.75 * len(p.value))
    if (settled & (origin < cut)).sum() < 100 or (settled & (origin >= cut)).sum() < 30:
        return None
    part = (origin >= cut).astype(int)
    return learn(
        [p], [origin], [lags], [outcome], [part], horizons, until=p.start + cut * p.step * MINUTE, source="this person's own past"
    )[0]


def _ask(record: PatientRecord, learnt: DiscrepancySet) -> tuple[PersonSeries, np.ndarray, np.ndarray]:
    """Return a recording, its origins and the quantiles (origin, horizon, 99) said at each, from what was known at it."""
    p = recording(record, learnt.step)
    origin, lags, outcome = _own(p, learnt.horizons)
    part = (p.start + origin * p.step * MINUTE >= learnt.until).astype(int)
    said = np.zeros((len(origin), len(learnt.horizons), 99))
    if len(origin):
        for j, (h, d) in enumerate(zip(learnt.horizons, learnt.parts, strict=True)):
            missing = [k for k in (*features.INPUTS, *features.WEARABLES) if k not in d.ridge.names]
            m = member(p, origin, lags, outcome[:, j], learnt.plain(lags)[:, j], part, level=learnt.level, horizon=h, left_out=missing)
            said[:, j] = d.distribution(m).quantiles
    return p, origin, said


def correction(record: PatientRecord, now: int, learnt: DiscrepancySet) -> Correction | None:
    """Return the calibrated distribution at the last reading, or ``None`` when it cannot be had there (a gap in the last hour)."""
    start = now - MEMORY_DAYS * 24 * HOUR
    recent = record.model_copy(update={"series": tuple(s.between(start, now + 1) for s in record.find_series(*observe.CGM))})
    if sum(len(s) for s in recent.series) < 2:
        return None
    p, origin, said = _ask(recent, learnt)
    slot = p.step * MINUTE
    if not len(origin) or origin[-1] != len(p.value) - 1 or now - (p.start + (len(p.value) - 1) * slot) > slot:
        return None
    return Correction(np.asarray(learnt.horizons, float), said[-1])


def corrections(record: PatientRecord, learnt: DiscrepancySet) -> dict[int, Correction]:
    """Return what the layer says at every reading of a recording of at most 15 days, by its time: the same as asking at each in turn.

    Every feature and every personal weight looks back only, so that one pass over the whole gives what each origin would have said (tested).
    """
    p, origin, said = _ask(record, learnt)
    answers = {int(o): Correction(np.asarray(learnt.horizons, float), q) for o, q in zip(origin, said, strict=True)}
    return _by_reading(record, p, answers)


def _by_reading(record: PatientRecord, p: PersonSeries, answers: dict[int, _Answer]) -> dict[int, _Answer]:
    """Turn slots into the times of the readings that fill them."""
    times = observe.glucose(record).time
    slot = p.step * MINUTE
    index = np.floor(times / slot + 0.5).astype(np.int64) - p.start // slot
    return {int(t): answers[int(i)] for t, i in zip(times, index, strict=True) if int(i) in answers}


def plain_forecasts(record: PatientRecord, learnt: DiscrepancySet) -> dict[int, np.ndarray]:
    """Return what the plain regression says at every reading (horizon,), by its time: the naive baseline of the same training part."""
    p = recording(record, learnt.step)
    origin, lags, _ = _own(p, learnt.horizons)
    said = learnt.plain(lags) if len(origin) else np.zeros((0, len(learnt.horizons)))
    return _by_reading(record, p, {int(o): y for o, y in zip(origin, said, strict=True)})
