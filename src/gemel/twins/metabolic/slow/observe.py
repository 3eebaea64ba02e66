"""From a record to data of the slow axis: weighings, HbA1c, fasting and mean glucose, drugs by class; and when to abstain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from gemel.core.advice import AbstentionReason
from gemel.core.code import Code
from gemel.core.errors import UnitError
from gemel.core.record import Exposure, Finding, PatientRecord, Quantity
from gemel.core.series import EXACT
from gemel.core.time import DAY, iso
from gemel.core.units import is_convertible
from gemel.engine.data import Dataset
from gemel.engine.model import Domain, Observed
from gemel.engine.plan import Plan
from gemel.twins.metabolic._daily_dose import DAILY_DOSE
from gemel.twins.metabolic.slow.priors import DRUGS, fixed

if TYPE_CHECKING:
    from gemel.twins.metabolic.slow.model import SlowModel

__all__ = [
    "ACTIVITY", "CHANNEL", "DAYS", "ENERGY", "FASTING", "HBA1C", "INSULIN", "MEAN", "WEIGHT", "Person", "domain", "events", "measured", "observe", "person",
]  # fmt: skip

HBA1C, WEIGHT, FASTING, MEAN = (Code.parse(c) for c in ("loinc:4548-4", "loinc:29463-7", "loinc:1558-6", "loinc:97507-8"))
CGM = (Code.parse("loinc:99504-3"), Code.parse("loinc:105272-9"))
HEIGHT = Code.parse("loinc:8302-2")
ENERGY, ACTIVITY = Code.parse("gemel:energy-change"), Code.parse("gemel:activity-change")
INSULIN = tuple(Code.parse(f"atc:A10A{letter}") for letter in "BCDE")
TYPE_2 = Code.parse("snomed:44054006")

CHANNEL = {name: i for i, name in enumerate(("energy", "activity", "insulin", *DRUGS))}
"""Channels of the plan: kcal, activity level times days, [iU], and days of the defined daily dose of each class."""

HISTORY_DAYS = 730.0
"""How much of the record before *now* is read."""
DAYS = 1460
"""Days that every path spans from the epoch on; beyond them there is no forecast."""
OLDEST_DAYS = 365.0
FORTNIGHT, WORN = 14.0, 0.5
"""Raw CGM enters as means of fortnights in which the sensor was worn at least this share of the time."""

RANGES = {HBA1C: (4.0, 15.0), WEIGHT: (40.0, 250.0), FASTING: (50.0, 400.0), MEAN: (60.0, 400.0)}
MOST_ENERGY, MOST_INSULIN = 1500.0, 300.0


class Person(eqx.Module):
    """What the model needs beside data and plan: sex (1 male), age (years), height (m), duration of diabetes (years), first weighing (kg), and the grid."""

    is_male: Array
    age: Array
    height: Array
    duration: Array
    weight: Array
    day: Float[Array, " day"]


def _percent(value: float, unit: str) -> float:
    """Return HbA1c in % (NGSP); mmol/mol (IFCC) by the master equation, doi:10.1373/clinchem.2003.024802."""
    plain = unit.split("{")[0]
    if plain == "mmol/mol":
        return 0.09148 * value + 2.152
    if plain == "%":
        return value
    raise UnitError("HbA1c in a unit that is not known", seen=unit, expected="% or mmol/mol", fix="correct the unit at the source")


def measured(record: PatientRecord, code: Code) -> tuple[np.ndarray, np.ndarray]:
    """Return times (ns UTC) and values of one kind of measurement, from series and findings, in %, kg or mg/dL; censored ones are left out."""
    found: list[tuple[int, float]] = []
    for series in record.find_series(code):
        part = series.current()
        part = part.take(part.censored == EXACT)
        if code == HBA1C:
            found += [(int(t), _percent(float(v), part.unit)) for t, v in zip(part.time, part.value, strict=True)]
        else:
            unit, analyte = ("kg", None) if code == WEIGHT else ("m", None) if code == HEIGHT else ("mg/dL", "glucose")
            values = part.values_in(unit, analyte=analyte)
            found += [(int(t), float(v)) for t, v in zip(part.time, values, strict=True)]
    for finding in record.findings:
        if finding.code == code and isinstance(finding.value, Quantity):
            found.append((finding.time, _value(finding, code)))
    found.sort()
    return np.array([t for t, _ in found], np.int64), np.array([v for _, v in found], float)


def _value(finding: Finding, code: Code) -> float:
    assert isinstance(finding.value, Quantity)
    if code == HBA1C:
        return _percent(finding.value.value, finding.value.unit)
    if code in (WEIGHT, HEIGHT):
        return finding.value.in_unit("kg" if code == WEIGHT else "m")
    return finding.value.in_unit("mg/dL", analyte="glucose")


def fortnights(record: PatientRecord) -> tuple[np.ndarray, np.ndarray]:
    """Return the means (mg/dL) of fortnights of raw CGM, each at its middle (ns UTC)."""
    parts = [s.current() for s in record.find_series(*CGM)]
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0)
    time = np.concatenate([p.time for p in parts])
    value = np.concatenate([p.values_in("mg/dL", analyte="glucose") for p in parts])
    order = np.argsort(time, kind="stable")
    time, value = time[order], value[order]
    if len(time) < 2:
        return np.zeros(0, np.int64), np.zeros(0)
    cadence = float(np.median(np.diff(time)))
    width = round(FORTNIGHT * DAY)
    index = (time - time[0]) // width
    enough = [k for k in np.unique(index) if (index == k).sum() * cadence >= WORN * width]
    return (
        np.array([int(time[0] + k * width + width // 2) for k in enough], np.int64),
        np.array([value[index == k].mean() for k in enough]),
    )


def _class_of(code: Code) -> str | None:
    return next((name for name, drug in DRUGS.items() if code.system == "atc" and code.code.startswith(drug.codes)), None)


def _days_of_dose(exposure: Exposure, length: float) -> float | None:
    """Return how many defined daily doses an exposure is; one a day where no amount is told, ``None`` when its dose is not known."""
    if exposure.quantity is None:
        return max(length, 1.0)
    dose = DAILY_DOSE.get(exposure.code.code)
    if dose is None:
        return None
    if is_convertible(exposure.quantity.unit, "mg/d"):
        return exposure.quantity.in_unit("mg/d") * length / dose
    if is_convertible(exposure.quantity.unit, "mg"):
        return exposure.quantity.in_unit("mg") / dose
    return None


def events(record: PatientRecord, epoch: int) -> tuple[list[tuple[float, float, float, int]], list[str]]:
    """Return plan events ``(start, duration, amount, channel)``, days since the epoch, and what could not be used."""
    found: list[tuple[float, float, float, int]] = []
    notes: list[str] = []
    for exposure in sorted(record.exposures, key=lambda e: (e.start, str(e.code))):
        start, length = (exposure.start - epoch) / DAY, (exposure.end - exposure.start) / DAY
        if exposure.code in (ENERGY, ACTIVITY):
            unit, channel = ("kcal/d", "energy") if exposure.code == ENERGY else ("1", "activity")
            if exposure.quantity is not None and length > 0:
                found.append((start, length, exposure.quantity.in_unit(unit) * length, CHANNEL[channel]))
            continue
        if exposure.code in INSULIN:
            amount = _insulin(exposure, length)
            if amount is not None:
                found.append((start, max(length, 1.0), amount, CHANNEL["insulin"]))
            continue
        if exposure.code.system != "atc" or not exposure.code.code.startswith("A10B"):
            continue
        name = _class_of(exposure.code)
        amount = None if name is None else _days_of_dose(exposure, length)
        if name is None or amount is None:
            notes.append(f"{exposure.code}: a drug or dose without a mapping; the model takes it for none")
            continue
        found.append((start, max(length, 1.0), amount, CHANNEL[name]))
    return found, sorted(set(notes))


def _insulin(exposure: Exposure, length: float) -> float | None:
    if exposure.quantity is None:
        return None
    if is_convertible(exposure.quantity.unit, "[iU]/d"):
        return exposure.quantity.in_unit("[iU]/d") * length
    return exposure.quantity.in_unit("[iU]")


def _trait(record: PatientRecord, name: str, unit: str) -> float | None:
    value = record.demographics.traits.get(name)
    return value.in_unit(unit) if isinstance(value, Quantity) else None


def person(record: PatientRecord, epoch: int, weight: float, notes: list[str]) -> Person:
    """Return who somebody is, from demographics, traits and findings; what is assumed is added to ``notes``."""
    sex = {"male": 1.0, "female": 0.0}.get(record.demographics.sex, 0.5)
    height = _trait(record, "height", "m")
    if height is None:
        _, heights = measured(record, HEIGHT)
        height = float(heights[-1]) if len(heights) else None
    if height is None:
        height = sex * fixed("height_male") + (1.0 - sex) * fixed("height_female")
        notes.append(f"no height is known: {height:.2f} m ({'ASSUMED'})")
    age = record.demographics.age
    if age is None:
        notes.append(f"no age is known: {fixed('age'):.0f} years (ASSUMED)")
    duration = _trait(record, "diabetes duration", "a")
    if duration is None:
        first = [f.time for f in record.findings if f.code == TYPE_2]
        duration = max((epoch - min(first)) / DAY / 365.25, 0.0) if first else None
    if duration is None:
        notes.append(f"the duration of diabetes is not known: {fixed('duration'):.0f} years (ASSUMED)")
    values = (sex, fixed("age") if age is None else age, height, fixed("duration") if duration is None else duration, weight)
    is_male, years, tall, lasted, heavy = (np.asarray(float(v)) for v in values)
    return Person(is_male, years, tall, lasted, heavy, 1.0 + np.arange(DAYS, dtype=float))


def observe(model: SlowModel, record: PatientRecord, now: int, *, epoch: int | None = None) -> Observed:
    """Turn a record into data: the two years before ``now``; time zero is the first weighing in them."""
    del model
    notes: list[str] = []
    begin = now - round(HISTORY_DAYS * DAY)
    time, weight = measured(record, WEIGHT)
    use = (time <= now) & (time >= begin)
    time, weight = time[use], weight[use]
    if epoch is None:
        epoch = int(time[0]) if len(time) else begin
    known = time >= epoch
    first = float(weight[known][0]) if known.any() else 85.0
    who = person(record, epoch, first, notes)
    gathered: list[tuple[int, float, int]] = []
    for channel, code in enumerate((HBA1C, WEIGHT, FASTING, MEAN)):
        when, value = measured(record, code)
        if code == MEAN:
            more = fortnights(record)
            when, value = np.concatenate([when, more[0]]), np.concatenate([value, more[1]])
        inside = (when >= epoch) & (when <= now)
        if code == WEIGHT:
            inside &= when > (
                int(time[known][0]) if known.any() else epoch
            )  # the weighing from which the path starts is not scored as well
        gathered += [(int(t), float(v), channel) for t, v in zip(when[inside], value[inside], strict=True) if v > 0]
    given, unmapped = events(record, epoch)
    notes += unmapped
    when = np.array([t for t, _, _ in gathered], np.int64)
    data = Dataset.of(
        (when - epoch) / DAY, np.array([v for _, v, _ in gathered], float), np.array([c for *_, c in gathered], int), smallest=128
    )
    hba1c = [(t, v) for t, v, c in gathered if c == 0]
    counts = {name: sum(c == i for *_, c in gathered) for i, name in enumerate(("HbA1c", "weighings", "fasting glucose", "mean glucose"))}
    latest = max((t for t, _, _ in gathered), default=int(time[known][0]) if known.any() else None)
    return Observed(epoch, data, Plan.of(given, smallest=32), who, latest, tuple(notes), counts, max(hba1c)[1] if hba1c else None)


def domain(record: PatientRecord, now: int) -> Domain:
    """Abstain when weighings or HbA1c are few or old, a value impossible, or the person outside the room's context of use."""
    begin = now - round(HISTORY_DAYS * DAY)
    last = 0
    for code, (low, high) in RANGES.items():
        time, value = measured(record, code)
        use = (time <= now) & (time >= begin)
        if code in (HBA1C, WEIGHT):
            name, fewest = ("HbA1c", 1) if code == HBA1C else ("weighings", 2)
            if use.sum() < fewest:
                return Domain(AbstentionReason.OUT_OF_DOMAIN, f"{int(use.sum())} {name} in two years are known; at least {fewest} needed")
            last = int(time[use][-1])
            if now - last > OLDEST_DAYS * DAY:
                return Domain(
                    AbstentionReason.DATA_TOO_OLD, f"the last of the {name} is {(now - last) / DAY:.0f} d old; at most {OLDEST_DAYS:.0f}"
                )
        wrong = value[use & ~((value >= low) & (value <= high))]
        if wrong.size:
            return Domain(AbstentionReason.OUT_OF_DOMAIN, f"{code.display or code} of {wrong[0]:g} lies outside {low:g} to {high:g}")
    age = record.demographics.age
    if age is not None and not 18 <= age <= 85:
        return Domain(AbstentionReason.OUT_OF_DOMAIN, f"age {age:.0f} years; the room is for 18 to 85")
    for finding in record.findings:
        if finding.code in _EXCLUDED and finding.time <= now:
            return Domain(AbstentionReason.OUT_OF_DOMAIN, f"{_EXCLUDED[finding.code]} is outside the room's context of use")
    return _excess(record, begin)


def _excess(record: PatientRecord, begin: int) -> Domain:
    for exposure in record.exposures:
        if exposure.quantity is None or exposure.end < begin:
            continue
        if exposure.code == ENERGY and abs(exposure.quantity.in_unit("kcal/d")) > MOST_ENERGY:
            return Domain(
                AbstentionReason.OUT_OF_DOMAIN,
                f"a change of {exposure.quantity.value:.0f} kcal/d at {iso(exposure.start)}; at most {MOST_ENERGY:.0f}",
            )
        if (
            exposure.code in INSULIN
            and is_convertible(exposure.quantity.unit, "[iU]/d")
            and exposure.quantity.in_unit("[iU]/d") > MOST_INSULIN
        ):
            return Domain(AbstentionReason.OUT_OF_DOMAIN, f"{exposure.quantity.value:.0f} [iU]/d of insulin; at most {MOST_INSULIN:.0f}")
    return Domain()


_EXCLUDED = {
    Code(system="snomed", code="77386006"): "pregnancy",
    Code(system="snomed", code="46635009"): "type 1 diabetes",
    Code(system="snomed", code="265764009"): "dialysis",
    Code(system="snomed", code="442338001"): "bariatric surgery",
}
