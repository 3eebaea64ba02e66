"""How people live with a deployed model: how often it rings, how often they decide otherwise, how soon they act, how often it says nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from gemel.core.time import DAY, MINUTE
from gemel.evidence.surveillance.prediction_log import UNKNOWN, PredictionLog

__all__ = ["Rate", "people_rates"]


@dataclass(frozen=True)
class Rate:
    """One figure with its interval; ``value`` is NaN where the log does not hold what it needs, and ``note`` says what.

    Intervals treat rows as independent; people are not, so they are too narrow where few people have many rows.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    n: int
    note: str = ""


def _nothing(name: str, unit: str, column: str) -> Rate:
    return Rate(name, float("nan"), unit, float("nan"), float("nan"), 0, f"no column {column!r}")


def _share(name: str, hits: int, n: int) -> Rate:
    if not n:
        return Rate(name, float("nan"), "%", float("nan"), float("nan"), 0, "none")
    found = stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
    return Rate(name, 100 * hits / n, "%", 100 * found.low, 100 * found.high, n)


def people_rates(log: PredictionLog) -> tuple[Rate, ...]:
    """Return alarm burden per 100 patient-days, override rate, time to act and abstention rate, each with a 95 % interval.

    A patient-day is a day (UTC) on which there is a prediction for a patient.
    """
    alarmed, overridden, abstained = (log.numbers.get(k) for k in ("alarmed", "overridden", "abstained"))
    names = "alarm burden", "override rate", "time to act", "abstention rate"
    days = len(set(zip(log.patient.tolist(), (log.time // DAY).tolist(), strict=True)))
    if alarmed is None:
        found = [_nothing(names[0], "alarms per 100 patient-days", "alarmed"), _nothing(names[1], "%", "alarmed"), _nothing(names[2], "min", "alarmed")]  # fmt: skip
    else:
        rang = alarmed == 1
        count = int(rang.sum())
        low, high = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0, stats.chi2.ppf(0.975, 2 * count + 2) / 2
        scale = 100 / max(days, 1)
        found = [
            Rate(names[0], count * scale, "alarms per 100 patient-days", float(low) * scale, float(high) * scale, days, f"{count} alarms")
        ]
        if overridden is None:
            found.append(_nothing(names[1], "%", "overridden"))
        else:
            answered = rang & np.isfinite(overridden)
            found.append(_share(names[1], int((overridden[answered] == 1).sum()), int(answered.sum())))
        found.append(_time_to_act(log, rang))
    found.append(_nothing(names[3], "%", "abstained") if abstained is None else _share(names[3], int((abstained == 1).sum()), len(log)))
    return tuple(found)


def _time_to_act(log: PredictionLog, rang: np.ndarray) -> Rate:
    acted = rang & (log.acted < UNKNOWN)
    n = int(acted.sum())
    if not n:
        return Rate("time to act", float("nan"), "min", float("nan"), float("nan"), 0, "no column 'acted', or nobody acted")
    minutes = np.sort((log.acted[acted] - log.time[acted]) / MINUTE)
    low, high = stats.binom.ppf([0.025, 0.975], n, 0.5).astype(int)
    note = f"median; {int(rang.sum()) - n} alarms without an act"
    return Rate("time to act", float(np.median(minutes)), "min", float(minutes[max(low - 1, 0)]), float(minutes[min(high, n - 1)]), n, note)
