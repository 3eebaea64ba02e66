"""Watch a deployed model by the log of its predictions: what rings, since when, and how often it would ring for nothing.

The wanted run length is that of the whole watch: with k charts that ring, each is set to k times as long. So, while the model is as released and
cases are independent, the watch as a whole rings for nothing about once in that many outcomes, or less often. Readings of one person that follow each other
are not independent: thin the log to one row per person and day, or expect more false alarms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from gemel.core.errors import EvidenceError
from gemel.core.lineage import digest
from gemel.core.time import DAY, SECOND, iso
from gemel.evidence.surveillance.adaptive import AdaptiveReplay, replay_adaptive_log
from gemel.evidence.surveillance.arl import Increments, as_probabilities, ewma_limit
from gemel.evidence.surveillance.charts import Ewma, Rolling, Sprt, ewma, rolling_share, sprt, vlad
from gemel.evidence.surveillance.input_watch import Batch, watch_inputs
from gemel.evidence.surveillance.people import Rate, people_rates
from gemel.evidence.surveillance.prediction_log import PredictionLog
from gemel.evidence.surveillance.release import Release
from gemel.evidence.surveillance.scan import Scan, residual_scan, scan_limit
from gemel.evidence.surveillance.watched import (
    Planned,
    Watched,
    normal_scores,
    plan_coverage,
    plan_normal,
    plan_risk,
    plan_slope,
    run_chart,
)

__all__ = ["Alarm", "GroupRow", "Settings", "Watch", "moment", "surveil"]


@dataclass(frozen=True)
class Settings:
    """What was chosen before looking.

    Parameters
    ----------
    run_length : outcomes between false alarms of the whole watch, wanted.
    ratio : odds ratio that the charts of events and of coverage look for.
    slope : of true on predicted logits that the chart of extreme predictions looks for.
    allowance : half the shift, in standard deviations, that the charts of scores look for.
    level : of the interval in the log; that of the release when left out.
    window, batch : outcomes of a rolling share; predictions of a batch of inputs.
    reset : whether a chart starts again after an alarm.
    due_days : days after which an outcome counts as missing; at once when left out.
    smallest : fewer outcomes than this and a subgroup is not shown.
    seed : of the simulated limit of the scan and of permutations.
    """

    run_length: float = 2000.0
    ratio: float = 2.0
    slope: float = 0.5
    allowance: float = 0.25
    level: float | None = None
    window: int = 100
    batch: int = 200
    reset: bool = True
    due_days: float | None = None
    smallest: int = 20
    adaptive_rate: float = 0.02
    seed: int = 0


@dataclass(frozen=True)
class Alarm:
    """One alarm: which chart rang, in whom, when the outcome that made it ring became known, and when the chart by time of prediction rang first.

    ``key`` names it across runs on a longer log.
    """

    key: str
    chart: str
    group: str
    time: int
    row: int
    severity: Literal["major", "minor"]
    run_length: float
    sentence: str


@dataclass(frozen=True)
class GroupRow:
    """Performance in one subgroup: only counts of at least ``smallest`` outcomes are shown."""

    group: str
    n: int
    observed: float
    expected: float
    brier: float
    coverage: float
    note: str = ""


@dataclass(frozen=True)
class Watch:
    """Everything that was seen, as of one moment.

    ``known``, ``pending`` and ``missing`` count predictions whose outcome is known, not yet due, and overdue; above 10 % missing the watch is *incomplete*.
    """

    as_of: int
    settings: Settings
    log: PredictionLog
    release: Release | None
    known: int
    pending: int
    missing: int
    abstained: int
    delay_days: tuple[float, float]
    charts: tuple[Watched, ...]
    scan: tuple[np.ndarray, Scan, float] | None
    batches: tuple[Batch, ...]
    batch_level: float
    alarms: tuple[Alarm, ...]
    rolling: dict[str, tuple[np.ndarray, Rolling]]
    adaptive: tuple[np.ndarray, AdaptiveReplay] | None
    vlad: tuple[np.ndarray, np.ndarray] | None
    ewma: tuple[np.ndarray, Ewma] | None
    sprt: Sprt | None
    innovation: dict[str, tuple[float, float, float]]
    groups: tuple[GroupRow, ...]
    people: tuple[Rate, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def is_incomplete(self) -> bool:
        """Whether more than 10 % of the outcomes that are due are missing."""
        due = self.known + self.missing
        return due > 0 and self.missing > 0.1 * due

    @property
    def ringing_charts(self) -> int:
        """How many charts can ring."""
        return len(self.charts) + (self.scan is not None) + bool(self.batch_level)

    @property
    def lineage(self) -> str:
        """16 hexadecimal digits: log, release, settings and moment."""
        return digest([self.log.hash, self.release and self.release.id, vars(self.settings), self.as_of])[:16]


def _level(settings: Settings, release: Release | None) -> float:
    return settings.level if settings.level is not None else (release.level if release else 0.9)


def _plan_events(log: PredictionLog, settings: Settings, release: Release | None) -> tuple[list[Planned], np.ndarray, np.ndarray]:
    """Plan the charts of events. Returns them with the known rows and the mix of risks."""
    p, y, known = log.numbers["prediction"], log.numbers["outcome"], np.flatnonzero(log.known)
    sure = np.flatnonzero((p <= 0) | (p >= 1))
    if len(sure):
        raise EvidenceError(
            "a predicted probability is exactly 0 or 1, to which no risk-adjusted chart can be set",
            seen=f"{p[sure[0]]:g} in row {sure[0] + 1} ({len(sure)} such rows)",
            expected="strictly between 0 and 1",
            fix="repair the model, or leave these rows out and say so; nothing is clipped here",
        )
    mix = as_probabilities(release.mix if release and release.mix else p[np.isfinite(p)])
    plans = [plan_risk(p, y, known, mix, settings.ratio), plan_risk(p, y, known, mix, settings.ratio, worse=False)]
    if np.ptp(mix) > 0:
        plans.append(plan_slope(p, y, known, mix, settings.slope))
    for group in _groups(log):
        rows = known[log.group[known] == group]
        if len(rows) >= settings.smallest:
            own = release.group_mix.get(group) if release else None
            plans.append(plan_risk(p, y, rows, np.asarray(own or p[np.isfinite(p) & (log.group == group)]), settings.ratio, group=group))
    return plans, known, mix


def _plan_forecasts(log: PredictionLog, settings: Settings, release: Release | None, notes: list[str]) -> list[Planned]:
    plans: list[Planned] = []
    n, known, y = log.numbers, np.flatnonzero(log.known), log.numbers["outcome"]
    if "lower" in n and log.kind == "value":
        rows = known[np.isfinite(n["lower"][known]) & np.isfinite(n["upper"][known])]
        missed = ((y < n["lower"]) | (y > n["upper"])).astype(float)
        level = _level(settings, release)
        plans += [plan_coverage(missed, rows, level, settings.ratio), plan_coverage(missed, rows, level, settings.ratio, narrow=False)]
        for group in _groups(log):
            mine = rows[log.group[rows] == group]
            if len(mine) >= settings.smallest:
                plans.append(plan_coverage(missed, mine, level, settings.ratio, group=group))
    a = settings.allowance
    if "pit" in n and log.kind == "value":
        rows = np.flatnonzero(np.isfinite(n["pit"]))
        z = normal_scores(n["pit"], 1000)
        plans += [
            plan_normal("outcomes above their forecasts", z, rows, a, sign=1, looks_for=f"PIT shifted up by {2 * a:g} standard deviations"),
            plan_normal(
                "outcomes below their forecasts", z, rows, a, sign=-1, looks_for=f"PIT shifted down by {2 * a:g} standard deviations"
            ),
        ]
    if "crps" in n and release is not None and release.crps_n >= 50:
        rows = np.flatnonzero(np.isfinite(n["crps"]))
        base = np.sort(np.asarray(release.crps))
        rank = (np.searchsorted(base, n["crps"], "left") + np.searchsorted(base, n["crps"], "right")) / (2 * len(base))
        z = normal_scores(rank, release.crps_n)
        plans.append(
            plan_normal("CRPS above release", z, rows, a, sign=1, looks_for=f"CRPS higher by {2 * a:g} standard deviations of ranks")
        )
    elif "crps" in n:
        notes.append("no CRPS at release to compare with: freeze a release from its validation (gemel surveil --freeze)")
    if "innovation" in n:
        rows = np.flatnonzero(np.isfinite(n["innovation"]))
        for sign, word in ((1, "up"), (-1, "down")):
            plans.append(
                plan_normal(f"innovations drift {word}", n["innovation"], rows, a, sign=sign, looks_for=f"mean innovation {sign * 2 * a:+g}", severity="minor")
            )  # fmt: skip
    return plans


def _groups(log: PredictionLog) -> list[str]:
    return sorted({g for g in log.group.tolist() if g})


def moment(time: int) -> str:
    """Write a time to the second."""
    return iso(time - time % SECOND)


def _key(log: PredictionLog, release: Release | None, chart: str, group: str, row: int) -> str:
    model = (release.model, release.version) if release else ("", "")
    return digest([model, chart, group, str(log.patient[row]), int(log.time[row]), int(log.recorded[row])])[:16]


def _alarms_of(chart: Watched, log: PredictionLog, release: Release | None) -> list[Alarm]:
    began = log.time[chart.rows_by_time[chart.by_time.alarms]].tolist()
    found = []
    for row in chart.alarm_rows.tolist():
        earlier = [t for t in began if t <= log.recorded[row]]
        began = began[len(earlier) :]
        late = f"; had outcomes been known at once, {moment(earlier[0])}" if earlier else ""
        where = f" in {chart.group}" if chart.group else ""
        words = (
            f"{chart.name}{where}: above {chart.path.threshold:.4g}, as once in {chart.run_length:,.0f} outcomes while all is well{late}"
        )
        found.append(Alarm(_key(log, release, chart.name, chart.group, row), chart.name, chart.group, int(log.recorded[row]), row, chart.severity, chart.run_length, words))  # fmt: skip
    return found


def _scan_alarms(scan: tuple[np.ndarray, Scan, float], log: PredictionLog, release: Release | None) -> list[Alarm]:
    rows, s, length = scan
    found = []
    for i in s.alarms.tolist():
        row, side = int(rows[i]), "more" if s.sign[i] > 0 else "fewer"
        words = f"residuals of the last {s.lag[i]} outcomes: {side} events than predicted, score {s.value[i]:.2f} above {s.limit:.2f}, as once in {length:,.0f} outcomes while all is well"
        found.append(Alarm(_key(log, release, "residuals, adaptive window", "", row), "residuals, adaptive window", "", int(log.recorded[row]), row, "major", length, words))  # fmt: skip
    return found


def _group_rows(log: PredictionLog, level_columns: bool, smallest: int) -> list[GroupRow]:
    p, y, known = log.numbers["prediction"], log.numbers["outcome"], log.known
    found = []
    for group in ["", *_groups(log)]:
        rows = np.flatnonzero(known & ((log.group == group) if group else True))
        if len(rows) < smallest:
            found.append(
                GroupRow(
                    group or "everybody",
                    len(rows) if not group else 0,
                    *([float("nan")] * 4),
                    note=f"fewer than {smallest} outcomes: not shown",
                )
            )
            continue
        inside = (
            float(np.mean((y[rows] >= log.numbers["lower"][rows]) & (y[rows] <= log.numbers["upper"][rows])))
            if level_columns
            else float("nan")
        )
        found.append(
            GroupRow(
                group or "everybody",
                len(rows),
                float(y[rows].sum()),
                float(p[rows].sum()),
                float(np.mean((y[rows] - p[rows]) ** 2)),
                inside,
            )
        )
    return found


def _innovation(z: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """Return mean, mean square and lag-one correlation, each with the 99 % limits of white noise: (value, low, high)."""
    from scipy import stats

    z, n = z[np.isfinite(z)], int(np.isfinite(z).sum())
    if n < 20:
        return {}
    a = float(2.5758 / np.sqrt(n))
    low, high = stats.chi2.ppf([0.005, 0.995], n) / n
    centred = z - z.mean()
    return {
        "mean": (float(z.mean()), -a, a), "mean square": (float(np.mean(z**2)), float(low), float(high)),
        "lag-one correlation": (float((centred[1:] @ centred[:-1]) / (centred @ centred)), -a, a),
    }  # fmt: skip


def surveil(
    log: PredictionLog, *, now: int, release: Release | None = None, reference: PredictionLog | None = None, settings: Settings | None = None
) -> Watch:  # fmt: skip
    """Run every chart that a log allows, as of a moment.

    Parameters
    ----------
    log : of predictions; later rows and later outcomes than ``now`` are not looked at.
    now : ns UTC.
    release : the baseline. Without one thresholds come from the log's own mix of risks, and scores and inputs have nothing to be compared with.
    reference : rows of the baseline, for the joint test of all inputs (MMD); quantiles cannot tell how inputs hang together.
    settings : run length, and what the charts look for.

    Raises
    ------
    EvidenceError
        When nothing is there to be watched, a probability is exactly 0 or 1, or a chart cannot reach its share of the run length.
    """
    settings = settings or Settings()
    log = log.as_of(now)
    if not len(log):
        raise EvidenceError("no prediction was made by that time", seen=iso(now), fix="--as-of later, or another log")
    if release is not None and release.kind != log.kind:
        raise EvidenceError("log and release are of different kinds", seen=log.kind, expected=release.kind, fix="name it with --kind")
    notes = list(log.notes)
    known, predicted = log.known, np.isfinite(log.numbers["prediction"])
    due = log.time + (0 if settings.due_days is None else int(settings.due_days * DAY)) <= now
    plans, mix = _plan_forecasts(log, settings, release, notes), None
    if log.kind == "event":
        events, _, mix = _plan_events(log, settings, release)
        plans = events + plans
        if release is None:
            notes.append("no release: thresholds come from this log's own mix of risks and move as it grows")
    if not plans:
        raise EvidenceError(
            "the log holds nothing that a chart could watch", expected="probabilities, or columns lower and upper, pit, crps or innovation"
        )
    has_inputs = release is not None and bool(set(log.inputs) & set(release.inputs) or set(log.categories) & set(release.categories))
    count = len(plans) + (mix is not None) + has_inputs
    share = settings.run_length * count
    charts = tuple(run_chart(plan, share, log.time, log.recorded, reset=settings.reset) for plan in plans)
    alarms: list[Alarm] = [a for chart in charts for a in _alarms_of(chart, log, release)]
    p, y, rows = log.numbers["prediction"], log.numbers["outcome"], np.flatnonzero(known)
    arrived = rows[np.lexsort((rows, log.time[rows], log.recorded[rows]))]
    scan = shown_vlad = shown_ewma = test = None
    if mix is not None:
        scan = (arrived, residual_scan(p[arrived], y[arrived], scan_limit(mix, share, seed=settings.seed)), share) if len(arrived) else None
        if scan is not None:
            alarms += _scan_alarms(scan, log, release)
            shown_vlad = arrived, vlad(p[arrived], y[arrived])
            shown_ewma = arrived, ewma(y[arrived] - p[arrived], ewma_limit(_residuals(mix), share, 0.02), weight=0.02)
            test = sprt(p[arrived], y[arrived], settings.ratio)
    batches: tuple[Batch, ...] = ()
    batch_level = 0.0
    if has_inputs and release is not None:
        batch_level = min(settings.batch / share, 0.5)
        batches = watch_inputs(log, release, reference, size=settings.batch, level=batch_level, seed=settings.seed)
        alarms += [
            Alarm(_key(log, release, "inputs", "", b.last), "inputs", "", int(log.time[b.last]), b.last, "minor", share, b.sentence)
            for b in batches
            if b.rings
        ]
    level, rolling, adaptive = _level(settings, release), {}, None
    if "lower" in log.numbers and log.kind == "value":
        real = rows[np.isfinite(log.numbers["lower"][rows]) & np.isfinite(log.numbers["upper"][rows])]
        real = real[np.lexsort((real, log.time[real], log.recorded[real]))]
        inside = (y >= log.numbers["lower"]) & (y <= log.numbers["upper"])
        for group in ["", *_groups(log)]:
            mine = real if not group else real[log.group[real] == group]
            if len(mine) >= settings.smallest:
                rolling[group or "everybody"] = mine, rolling_share(inside[mine], level, window=settings.window)
        if len(real):
            made = np.sort(real)
            adaptive = made, replay_adaptive_log(
                log.numbers["lower"][made], log.numbers["upper"][made], y[made], log.time[made], log.recorded[made], target=1 - level,
                rate=settings.adaptive_rate,
            )  # fmt: skip
    delays = (log.recorded[rows] - log.time[rows]) / DAY
    return Watch(
        as_of=now, settings=settings, log=log, release=release, known=len(rows), pending=int((predicted & ~known & ~due).sum()),
        missing=int((predicted & ~known & due).sum()), abstained=int((~predicted).sum()),
        delay_days=(float(np.median(delays)), float(np.quantile(delays, 0.9))) if len(rows) else (float("nan"), float("nan")),
        charts=charts, scan=scan, batches=batches, batch_level=batch_level, alarms=tuple(sorted(alarms, key=lambda a: (a.time, a.chart, a.group))),
        rolling=rolling, adaptive=adaptive, vlad=shown_vlad, ewma=shown_ewma, sprt=test,
        innovation=_innovation(log.numbers["innovation"][arrived]) if "innovation" in log.numbers else {},
        groups=tuple(_group_rows(log, "lower" in log.numbers, settings.smallest)), people=people_rates(log), notes=tuple(notes),
    )  # fmt: skip


def _residuals(mix: np.ndarray) -> Increments:
    """Return the distribution of ``y - p`` while the predictions are right, from at most 200 risks of the mix."""
    some = np.sort(mix)[np.unique(np.linspace(0, len(mix) - 1, 200).round().astype(int))]
    return Increments(np.concatenate([1 - some, -some]), np.concatenate([some, 1 - some]) / len(some))
