"""A writer of Apple Health exports of a made-up person, with the truth: there is no public one whose licence allows to use it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from gemel.core.time import HOUR, MINUTE, SECOND, iso, to_ns

__all__ = ["DOCUMENT_TYPE", "AppleTruth", "apple_record", "apple_stamp", "write_apple_health"]

DOCUMENT_TYPE = """<!DOCTYPE HealthData [
<!-- HealthKit Export Version: 12 -->
<!ELEMENT HealthData (ExportDate,Me,(Record|Correlation|Workout)*)>
<!ATTLIST HealthData
  locale CDATA #REQUIRED
>
<!ELEMENT Record ((MetadataEntry)*)>
<!ATTLIST Record
  type CDATA #REQUIRED
  unit CDATA #IMPLIED
  startDate CDATA #REQUIRED
]>
"""
"""Not well formed, as iOS 16 wrote it: an attribute list without an end."""

_QUANTITY = "HKQuantityTypeIdentifier"
_DEVICES = {
    "watch": "<<HKDevice: 0x1>, name:Apple Watch, manufacturer:Apple Inc., model:Watch, hardware:Watch6,1, software:9.1>",
    "phone": "<<HKDevice: 0x2>, name:iPhone, manufacturer:Apple Inc., model:iPhone, hardware:iPhone12,1, software:16.1>",
    "app": "",
}
_NAMES = {"watch": "SIMULATED Person\u2019s Apple Watch", "phone": "SIMULATED Person\u2019s iPhone", "app": "Scales & more"}
_OFFSET = 2 * HOUR


@dataclass(frozen=True)
class AppleTruth:
    """What a reader must find.

    Parameters
    ----------
    heart_rate, oxygen, weight, glucose : time in ns UTC -> /min, %, kg, mmol/L.
    steps : taken in all, each once.
    carbohydrates : time in ns UTC -> g.
    bolus, long_acting : U in all.
    sleep : h in all.
    records : of ``Record`` and ``Workout``, those inside a correlation too.
    duplicates : records that say what another says.
    """

    heart_rate: dict[int, float] = field(default_factory=dict)
    oxygen: dict[int, float] = field(default_factory=dict)
    weight: dict[int, float] = field(default_factory=dict)
    glucose: dict[int, float] = field(default_factory=dict)
    steps: float = 0.0
    carbohydrates: dict[int, float] = field(default_factory=dict)
    bolus: float = 0.0
    long_acting: float = 0.0
    sleep: float = 0.0
    records: int = 0
    duplicates: int = 0


def apple_stamp(time: int, offset: int = _OFFSET) -> str:
    """Write a time as Apple does.

    Examples
    --------
    >>> apple_stamp(0)
    '1970-01-01 02:00:00 +0200'
    """
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset) // MINUTE
    return f"{iso(time - time % SECOND + offset)[:19].replace('T', ' ')} {sign}{minutes // 60:02d}{minutes % 60:02d}"


def apple_record(
    name: str,
    value: object,
    unit: str | None,
    start: int,
    end: int | None = None,
    *,
    source: str = "watch",
    inside: str = "",
    known: int | None = None,
) -> str:
    """Write one ``Record``.

    Parameters
    ----------
    name : type without its prefix, or a whole one that begins with ``HK``.
    source : watch, phone or app.
    inside : elements inside it.
    known : ns UTC, its ``creationDate``; left out, a minute after its end.
    """
    end = start if end is None else end
    attributes = {"type": name if name.startswith("HK") else _QUANTITY + name, "sourceName": _NAMES[source], "sourceVersion": "9.1"}
    attributes |= {"device": _DEVICES[source]} if _DEVICES[source] else {}
    attributes |= {"unit": unit} if unit else {}
    attributes |= {
        "creationDate": apple_stamp(end + MINUTE if known is None else known),
        "startDate": apple_stamp(start),
        "endDate": apple_stamp(end),
    }
    attributes |= {"value": str(value)}
    text = " ".join(f"{key}={quoteattr(text)}" for key, text in attributes.items())
    return f" <Record {text}>{inside}</Record>\n" if inside else f" <Record {text}/>\n"


def write_apple_health(
    path: Path, *, days: int = 2, seed: int = 0, start: int = to_ns("2026-05-03T22:00:00Z"), per_hour: int = 12
) -> AppleTruth:
    """Write an export of some days: watch and telephone that count the same steps, food in a correlation, stages of sleep, a pen and a pump.

    Parameters
    ----------
    path : ``export.xml``; a name in ``.zip`` writes the archive as it is shared.
    days : each begins at midnight of +02:00.
    seed : of the values.
    start : ns UTC, midnight of +02:00.
    per_hour : heart rates an hour; the rest stays as it is.
    """
    draw = np.random.default_rng(seed)
    truth: dict[str, dict[int, float]] = {name: {} for name in ("heart_rate", "oxygen", "weight", "glucose", "carbohydrates")}
    sums = dict.fromkeys(("steps", "bolus", "long_acting", "sleep"), 0.0)
    lines: list[str] = []
    duplicates = 0
    for midnight in range(start, start + days * 24 * HOUR, 24 * HOUR):
        beats, saturations = draw.integers(45, 160, 24 * per_hour), draw.integers(88, 101, 24)
        for index, beat in enumerate(beats.tolist()):
            at = midnight + index * (HOUR // per_hour) // SECOND * SECOND
            truth["heart_rate"][at] = float(beat)
            lines.append(apple_record("HeartRate", beat, "count/min", at))
        for hour, percent in enumerate(saturations.tolist()):
            at = midnight + hour * HOUR + 7 * MINUTE
            truth["oxygen"][at] = float(percent)
            lines.append(apple_record("OxygenSaturation", percent / 100, "%", at))
        at = midnight + 7 * HOUR
        pounds = round(float(draw.uniform(120, 220)), 1)
        truth["weight"][at] = pounds * 0.45359237  # international pound, exactly
        lines += [apple_record("BodyMass", pounds, "lb", at, source="app")] * 2  # synchronised twice
        duplicates += 1
        for hour in (7, 12, 18):
            at, millimoles = midnight + hour * HOUR, round(float(draw.uniform(4, 12)), 1)
            truth["glucose"][at] = millimoles
            lines.append(apple_record("BloodGlucose", millimoles, "mmol<180.1558800000541>/L", at, source="app"))
        rate = int(draw.integers(5, 40))  # steps a minute, the same all day: what two devices count can be summed exactly
        worn = [(6 * 60, 12 * 60, 10), (13 * 60, 22 * 60, 10)]
        for device, periods in (("watch", worn), ("phone", [(8 * 60, 20 * 60, 7)])):
            for first, last, step in periods:
                for minute in range(first, last, step):
                    one, two = midnight + minute * MINUTE, midnight + min(minute + step, last) * MINUTE
                    lines.append(apple_record("StepCount", rate * (two - one) // MINUTE, "count", one, two, source=device))
        sums["steps"] += rate * 16 * 60  # 6 to 22 h: the hour without a watch is the telephone's
        at, grams = midnight + 12 * HOUR, float(draw.integers(20, 90))
        food = apple_record("DietaryCarbohydrates", grams, "g", at, source="app")
        more = apple_record("DietaryCarbohydrates", 5, "g", at, source="app")
        named = f'type="HKCorrelationTypeIdentifierFood" sourceName="app" startDate="{apple_stamp(at)}" endDate="{apple_stamp(at)}"'
        lines += [food, more, f" <Correlation {named}>\n{food}{more} </Correlation>\n"]
        duplicates += 2
        truth["carbohydrates"][at] = grams + 5
        units = float(draw.integers(1, 12))
        for reason, begun, amount in (("2", 12, units), ("1", 22, 18.0)):
            entry = (
                f'<MetadataEntry key="HKInsulinDeliveryReason" value="{reason}"/><MetadataEntry key="HKTimeZone" value="Europe/Berlin"/>'
            )
            lines.append(apple_record("InsulinDelivery", amount, "IU", midnight + begun * HOUR, source="app", inside=entry))
        sums["bolus"] += units
        sums["long_acting"] += 18.0
        for stage, one, two in (
            ("AsleepCore", 0, 90),
            ("AsleepDeep", 90, 180),
            ("Awake", 180, 200),
            ("AsleepREM", 200, 320),
            ("InBed", 0, 330),
        ):
            lines.append(
                apple_record(
                    "HKCategoryTypeIdentifierSleepAnalysis",
                    f"HKCategoryValueSleepAnalysis{stage}",
                    None,
                    midnight + one * MINUTE,
                    midnight + two * MINUTE,
                )
            )
        lines.append(
            apple_record(
                "HKCategoryTypeIdentifierSleepAnalysis",
                "HKCategoryValueSleepAnalysisAsleep",
                None,
                midnight,
                midnight + 170 * MINUTE,
                source="phone",
            )
        )
        sums["sleep"] += 5.0
        one, two = apple_stamp(midnight + 17 * HOUR), apple_stamp(midnight + 18 * HOUR)
        lines.append(
            f' <Workout workoutActivityType="HKWorkoutActivityTypeTraditionalStrengthTraining" duration="60" durationUnit="min" sourceName="w"'
            f' creationDate="{two}" startDate="{one}" endDate="{two}"/>\n'
        )
        lines.append(apple_record("FlightsClimbed", 3, "count", midnight + 9 * HOUR))
        lines.append(f' <ActivitySummary dateComponents="{iso(midnight + _OFFSET)[:10]}" activeEnergyBurned="0"/>\n')
    me = '<Me HKCharacteristicTypeIdentifierDateOfBirth="1980-06-01" HKCharacteristicTypeIdentifierBiologicalSex="HKBiologicalSexFemale"/>'
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n{DOCUMENT_TYPE}<HealthData locale="en_US">\n <ExportDate value="{apple_stamp(start)}"/>\n {me}\n'
    body = head + "".join(lines) + "</HealthData>\n"
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("apple_health_export/export.xml", body)
            archive.writestr("apple_health_export/export_cda.xml", "<ClinicalDocument/>")
    else:
        path.write_text(body, encoding="utf-8")
    return AppleTruth(**truth, **sums, records=body.count("<Record ") + body.count("<Workout "), duplicates=duplicates)  # pyright: ignore[reportArgumentType]
