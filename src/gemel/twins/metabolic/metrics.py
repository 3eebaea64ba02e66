"""Metrics of glucose traces (the 2019 consensus, risk and variability indices) and of glucose forecasts.

Times are ns UTC, values mg/dL. Shares are of readings, in per cent, as the consensus counts them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from gemel.core.errors import DataError, ValueRangeError
from gemel.core.record import PatientRecord
from gemel.core.time import DAY, HOUR, MINUTE, local_minutes_of_day
from gemel.core.time import zone as find_zone
from gemel.core.units import convert
from gemel.twins.metabolic.observe import glucose

__all__ = [
    "AGP",
    "PERCENTILES",
    "TARGETS",
    "Target",
    "agp",
    "cadence",
    "conga",
    "cv",
    "days_of_wear",
    "estimated_a1c",
    "extended_summary",
    "gmi",
    "gri",
    "grmse",
    "grmse_weight",
    "hbgi",
    "lbgi",
    "local_days",
    "mage",
    "mard",
    "modd",
    "readings",
    "risk_transform",
    "sensor_active",
    "summary",
    "times_in_ranges",
]

Trace = PatientRecord | tuple[np.ndarray, np.ndarray]
"""A record, or (time ns UTC, value mg/dL)."""

EDGES = (54.0, 70.0, 180.0, 250.0)
"""mg/dL between very low, low, in range, high and very high; 54 is low, 70 and 180 in range, 250 high (doi:10.2337/dci19-0028, table 2)."""


@dataclass(frozen=True)
class Target:
    """One target of the international consensus for adults with type 1 or type 2 diabetes.

    ``key`` is one of :func:`extended_summary`; ``limit`` is met when the value lies on the stated side of it.
    """

    key: str
    label: str
    side: Literal["above", "below", "at most", "at least"]
    limit: float
    unit: str = "%"

    def met(self, value: float) -> bool:
        """Say whether a value meets the target; compared unrounded."""
        return {"above": value > self.limit, "below": value < self.limit, "at most": value <= self.limit, "at least": value >= self.limit}[
            self.side
        ]


TARGETS = (
    Target("in_range_percent", "Time in range, 70 to 180 mg/dL", "above", 70.0),
    Target("below_70_percent", "Time below 70 mg/dL", "below", 4.0),
    Target("very_low_percent", "Time below 54 mg/dL", "below", 1.0),
    Target("above_180_percent", "Time above 180 mg/dL", "below", 25.0),
    Target("very_high_percent", "Time above 250 mg/dL", "below", 5.0),
    Target("cv_percent", "Coefficient of variation", "at most", 36.0),
    Target("days_of_wear", "Days of wear", "at least", 14.0, "d"),
    Target("sensor_active_percent", "Sensor active", "at least", 70.0),
)
"""Battelino et al. 2019, doi:10.2337/dci19-0028, tables 1 and 3 (adults; others are set for the old, the frail and in pregnancy)."""


def readings(trace: Trace) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return times (ns UTC, ascending, each once) and finite values (mg/dL) of a trace; of two readings at one time the first stays."""
    if isinstance(trace, PatientRecord):
        known = glucose(trace)
        time, value = known.time, known.value
    else:
        time, value = np.asarray(trace[0], np.int64), np.asarray(trace[1], float)
    if time.shape != value.shape or time.ndim != 1:
        raise DataError("times and values of a trace differ in length", seen=(time.shape, value.shape), expected="(n,) and (n,)")
    real = np.isfinite(value)
    time, first = np.unique(time[real], return_index=True)
    value = value[real][first]
    if len(value) and value.min() <= 1.0:
        raise ValueRangeError(
            "a glucose value is not possible",
            seen=f"{value.min():.3g} mg/dL",
            expected="> 1 mg/dL",
            fix="check the unit: values must be mg/dL",
        )
    return time, value


def cadence(time: Int[np.ndarray, " n"]) -> float:
    """Return the usual distance of readings in minutes: the median, to the whole minute, at least one."""
    return float(max(1, round(float(np.median(np.diff(time))) / MINUTE))) if len(time) > 1 else 5.0


def local_days(time: Int[np.ndarray, " n"], zone: str) -> Int[np.ndarray, " n"]:
    """Return the local calendar day of each time, as a day number."""
    info = find_zone(zone)
    quarters, place = np.unique(np.asarray(time, np.int64) // (15 * MINUTE), return_inverse=True)
    return np.array([dt.datetime.fromtimestamp(int(q) * 900, tz=info).date().toordinal() for q in quarters], np.int64)[place]


def times_in_ranges(value: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Return the share of readings (%) in the five ranges of the consensus; they do not overlap and sum to 100.

    References
    ----------
    Battelino et al. 2019, doi:10.2337/dci19-0028, table 2: below 54, 54 to 69, 70 to 180, 181 to 250, above 250 mg/dL.
    """
    v = np.asarray(value, float)
    place = (v >= EDGES[0]).astype(int) + (v >= EDGES[1]) + (v > EDGES[2]) + (v > EDGES[3])
    counts = np.bincount(place, minlength=5)
    names = ("very_low_percent", "low_percent", "in_range_percent", "high_percent", "very_high_percent")
    return {name: float(100.0 * c / len(v)) for name, c in zip(names, counts, strict=True)}


def cv(value: Float[np.ndarray, " n"]) -> float:
    """Return the coefficient of variation, %: standard deviation (n - 1) over mean. Target at most 36 (doi:10.2337/dci19-0028)."""
    return float(100.0 * np.std(value, ddof=1) / np.mean(value)) if len(value) > 1 else float("nan")


def gmi(mean: float) -> float:
    """Return the glucose management indicator, %: ``3.31 + 0.02392 mean``. Bergenstal et al. 2018, doi:10.2337/dc18-1581."""
    return 3.31 + 0.02392 * mean


def estimated_a1c(mean: float) -> float:
    """Return HbA1c by the ADAG line, %: ``(mean + 46.7) / 28.7``. Nathan et al. 2008, doi:10.2337/dc08-0545."""
    return (mean + 46.7) / 28.7


def days_of_wear(time: Int[np.ndarray, " n"], zone: str) -> int:
    """Return the number of local calendar days with at least one reading (consensus: 14 advised, doi:10.2337/dci19-0028)."""
    return len(np.unique(local_days(time, zone)))


def sensor_active(time: Int[np.ndarray, " n"]) -> float:
    """Return the share (%) of expected readings that are there, from the first to the last at their usual distance (doi:10.2337/dci19-0028: 70 advised)."""
    if not len(time):
        return 0.0
    slot = int(cadence(time) * MINUTE)
    expected = round((int(time[-1]) - int(time[0])) / slot) + 1
    seen = len(np.unique(np.floor((time - time[0]) / slot + 0.5)))
    return min(100.0, 100.0 * seen / expected)


def risk_transform(value: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return f, which makes the glucose scale symmetric: ``1.509 ((ln G)^1.084 - 5.381)``, zero at 112.5 mg/dL.

    References
    ----------
    Kovatchev et al. 1997, doi:10.2337/diacare.20.11.1655.
    """
    return 1.509 * (np.log(np.asarray(value, float)) ** 1.084 - 5.381)


def lbgi(value: Float[np.ndarray, " n"]) -> float:
    """Return the low blood glucose index: mean of ``10 f^2`` where f < 0. Kovatchev et al. 1998, doi:10.2337/diacare.21.11.1870."""
    return float(np.mean(10.0 * np.minimum(risk_transform(value), 0.0) ** 2))


def hbgi(value: Float[np.ndarray, " n"]) -> float:
    """Return the high blood glucose index: mean of ``10 f^2`` where f > 0. Kovatchev et al. 1997, doi:10.2337/diacare.20.11.1655."""
    return float(np.mean(10.0 * np.maximum(risk_transform(value), 0.0) ** 2))


def gri(shares: Mapping[str, float]) -> float:
    """Return the glycemia risk index of shares from :func:`times_in_ranges`: ``3 very low + 2.4 low + 1.6 very high + 0.8 high``, at most 100.

    References
    ----------
    Klonoff et al. 2023, doi:10.1177/19322968221085273.
    """
    weights = {"very_low_percent": 3.0, "low_percent": 2.4, "very_high_percent": 1.6, "high_percent": 0.8}
    return float(min(100.0, sum(w * shares[k] for k, w in weights.items())))


def _turning_points(value: Float[np.ndarray, " n"], threshold: float) -> Float[np.ndarray, " turn"]:
    """Return values at which the trace turns by more than a threshold; where it begins and ends to move so counts as a turn."""
    points: list[float] = []
    way, low, high = 0, value[0], value[0]
    for v in value[1:]:
        if way == 0:
            low, high = min(low, v), max(high, v)
            if v - low > threshold or high - v > threshold:
                way = 1 if v - low > threshold else -1
                points.append(low if way > 0 else high)
                low = high = v
        elif way > 0:
            high = max(high, v)
            if high - v > threshold:
                points.append(high)
                way, low = -1, v
        else:
            low = min(low, v)
            if v - low > threshold:
                points.append(low)
                way, high = 1, v
    return np.asarray([*points, high if way > 0 else low] if way else points)


def mage(trace: Trace, zone: str = "UTC") -> float:
    """Return the mean amplitude of glycaemic excursions, mg/dL.

    Within each local day with 70 % of its readings: excursions between turning points that exceed one standard deviation of that day, those in the
    direction of the day's first one; the mean over days. A record without such a day counts as one day. Excursions cut off by the ends count as seen.

    References
    ----------
    Service et al. 1970, doi:10.2337/diab.19.9.644. Programs differ in how they find turning points (doi:10.1177/19322968211061165): compare within one only.
    """
    time, value = readings(trace)
    if len(value) < 3:
        return float("nan")
    day, full = local_days(time, zone), 0.7 * 1440.0 / cadence(time)
    parts = [value[day == d] for d in np.unique(day)]
    parts = [p for p in parts if len(p) >= full] or [value]
    found = []
    for part in parts:
        spread = float(np.std(part, ddof=1))
        steps = np.diff(_turning_points(part, spread)) if spread > 0 else np.zeros(0)
        if len(steps):
            found.append(float(np.mean(np.abs(steps[np.sign(steps) == np.sign(steps[0])]))))
    return float(np.mean(found)) if found else 0.0


def _lagged(time: np.ndarray, value: np.ndarray, lag: int) -> np.ndarray:
    """Return differences of readings a lag apart, paired with the nearest reading within half their usual distance."""
    wanted = time - lag
    i = np.clip(np.searchsorted(time, wanted), 1, len(time) - 1) if len(time) > 1 else np.zeros(len(time), int)
    i = np.where((i > 0) & (np.abs(time[i - 1] - wanted) <= np.abs(time[i] - wanted)), i - 1, i)
    near = np.abs(time[i] - wanted) <= 0.5 * cadence(time) * MINUTE
    return (value - value[i])[near]


def modd(trace: Trace) -> float:
    """Return the mean of daily differences, mg/dL: of readings 24 h apart, without sign. Molnar et al. 1972, doi:10.1007/BF01218495."""
    difference = _lagged(*readings(trace), DAY)
    return float(np.mean(np.abs(difference))) if len(difference) else float("nan")


def conga(trace: Trace, hours: float = 1.0) -> float:
    """Return CONGA-n, mg/dL: the standard deviation of differences of readings n hours apart. McDonnell et al. 2005, doi:10.1089/dia.2005.7.253."""
    difference = _lagged(*readings(trace), round(hours * HOUR))
    return float(np.std(difference, ddof=1)) if len(difference) > 1 else float("nan")


PERCENTILES = (5.0, 25.0, 50.0, 75.0, 95.0)


@dataclass(frozen=True)
class AGP:
    """Ambulatory glucose profile: middle of each bin (minutes after local midnight), ``PERCENTILES`` (percentile, bin) in mg/dL, readings per bin."""

    minute: Float[np.ndarray, " bin"]
    percentile: Float[np.ndarray, "percentile bin"]
    count: Int[np.ndarray, " bin"]


def agp(trace: Trace, zone: str = "UTC", *, bin_minutes: int = 15) -> AGP:
    """Return percentiles of glucose by local time of day, all days together; NaN where a bin is empty.

    References
    ----------
    Bergenstal et al. 2013, doi:10.1089/dia.2013.0051; percentiles as in Battelino et al. 2019, doi:10.2337/dci19-0028.
    """
    time, value = readings(trace)
    place = (local_minutes_of_day(time, zone) // bin_minutes).astype(int)
    bins = 1440 // bin_minutes
    table = np.full((len(PERCENTILES), bins), np.nan)
    for b in np.unique(place):
        table[:, b] = np.percentile(value[place == b], PERCENTILES)
    return AGP((np.arange(bins) + 0.5) * bin_minutes, table, np.bincount(place, minlength=bins))


def _zone(trace: Trace, zone: str | None) -> str:
    if zone is not None:
        return zone
    return trace.demographics.zone if isinstance(trace, PatientRecord) else "UTC"


def summary(trace: Trace, zone: str | None = None) -> dict[str, float]:
    """Return the summary that leaves as FHIR: only what is known, under the keys of the CGM guide's members.

    Parameters
    ----------
    trace : record, or times and values.
    zone : IANA zone of the person's days; left out, the record's, else UTC.

    Returns
    -------
    dict
        ``mean_mg_dl mean_mmol_l gmi_percent cv_percent days_of_wear sensor_active_percent very_low_percent low_percent in_range_percent high_percent
        very_high_percent start end``. *low* is 54 to 69 and *high* 181 to 250 mg/dL: the five shares do not overlap. Empty without readings.

    Examples
    --------
    >>> found = summary((np.arange(4) * 300_000_000_000, np.array([50.0, 60.0, 120.0, 200.0])))
    >>> found["mean_mg_dl"], found["very_low_percent"], found["in_range_percent"]
    (107.5, 25.0, 25.0)
    """
    time, value = readings(trace)
    if not len(value):
        return {}
    mean = float(value.mean())
    found = {
        "mean_mg_dl": mean,
        "mean_mmol_l": float(convert(mean, "mg/dL", "mmol/L", analyte="glucose")),
        "gmi_percent": gmi(mean),
        "cv_percent": cv(value),
        "days_of_wear": days_of_wear(time, _zone(trace, zone)),
        "sensor_active_percent": sensor_active(time),
        **times_in_ranges(value),
        "start": int(time[0]),
        "end": int(time[-1]),
    }
    return {k: v for k, v in found.items() if np.isfinite(v)}


def extended_summary(trace: Trace, zone: str | None = None) -> dict[str, float]:
    """Return :func:`summary` and all other metrics of this module that describe a trace; what cannot be had is left out."""
    found = summary(trace, zone)
    if not found:
        return {}
    time, value = readings(trace)
    more = {
        "readings": len(value),
        "sd_mg_dl": float(np.std(value, ddof=1)) if len(value) > 1 else float("nan"),
        "estimated_a1c_percent": estimated_a1c(found["mean_mg_dl"]),
        "below_70_percent": found["very_low_percent"] + found["low_percent"],
        "above_180_percent": found["high_percent"] + found["very_high_percent"],
        "gri": gri(found),
        "lbgi": lbgi(value),
        "hbgi": hbgi(value),
        "mage_mg_dl": mage((time, value), _zone(trace, zone)),
        "modd_mg_dl": modd((time, value)),
        **{f"conga{n}_mg_dl": conga((time, value), n) for n in (1, 2, 4)},
    }
    return found | {k: v for k, v in more.items() if np.isfinite(v)}


def mard(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> float:
    """Return the mean absolute relative difference, % of the reference. Heinemann et al. 2020, J Diabetes Sci Technol 14:135."""
    r, p = np.asarray(reference, float), np.asarray(prediction, float)
    return float(100.0 * np.mean(np.abs(p - r) / r))


def _rise(x: np.ndarray, start: np.ndarray | float, width: float) -> np.ndarray:
    """Return a twice differentiable step from 0 at ``start`` to 1 at ``start + width``."""
    t = np.clip(2.0 / width * (x - start) - 1.0, -1.0, 1.0)
    return 0.5 + t - t**3 + np.where(t > 0, 0.5, -0.5) * t**4


def grmse_weight(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return how much more than its square an error weighs: up to 2.5 when low glucose is overestimated, up to 2 when high glucose is underestimated.

    References
    ----------
    Del Favero et al. 2012, doi:10.1109/TBME.2012.2185234: T_L 85, T_H 155, alpha 1.5 and 1, beta 30 and 100, gamma 10 and 20 (second-hand: table as two
    programs transcribe it; AGATA, of the same first author, has its thresholds at 80 and 250).
    """
    r, p = np.asarray(reference, float), np.asarray(prediction, float)
    low = _rise(-r, -85.0, 30.0) * _rise(p, r, 10.0)
    high = _rise(r, 155.0, 100.0) * _rise(-p, -r, 20.0)
    return 1.0 + 1.5 * low + 1.0 * high


def grmse(reference: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> float:
    """Return the glucose-specific root mean square error, mg/dL: squared errors weighed by :func:`grmse_weight`."""
    error = (np.asarray(prediction, float) - np.asarray(reference, float)) ** 2
    return float(np.sqrt(np.mean(grmse_weight(reference, prediction) * error)))
