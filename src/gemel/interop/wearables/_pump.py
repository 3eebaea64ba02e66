"""What a pump delivered: a schedule by time of day, with temporary rates laid over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemel.core.errors import TimeError
from gemel.core.time import DAY, SECOND, iso, local_to_utc

__all__ = ["Delivered", "Schedule", "Temporary", "deliver", "deliver_steps"]

_LONGEST = 20 * 366 * DAY  # of a schedule laid out day by day; longer is a wrong date


@dataclass(frozen=True)
class Schedule:
    """Rates by time of day, from ``start`` until the next schedule.

    Parameters
    ----------
    start : ns UTC.
    seconds : (n,) of the local day, increasing, the first at 0.
    rates : (n,) U/h.
    tz : IANA zone of the day.
    """

    start: int
    seconds: tuple[int, ...]
    rates: tuple[float, ...]
    tz: str


@dataclass(frozen=True)
class Temporary:
    """A rate that replaces the schedule from ``start`` to ``end``: ``rate`` in U/h, or ``factor`` of the scheduled one."""

    start: int
    end: int
    row: int
    rate: float | None = None
    factor: float | None = None
    recorded: int | None = None


@dataclass(frozen=True)
class Delivered:
    """One stretch at one rate."""

    start: int
    end: int
    rate: float
    row: int
    recorded: int | None = None
    temporary: bool = False


def _lay_out(schedules: Sequence[Schedule], start: int, stop: int) -> list[Delivered]:
    """Lay schedules out between two moments, day by day."""
    out: list[Delivered] = []
    ordered = sorted(schedules, key=lambda s: s.start)
    for index, schedule in enumerate(ordered):
        begin = max(schedule.start, start)
        end = min(ordered[index + 1].start if index + 1 < len(ordered) else stop, stop)
        if end <= begin:
            continue
        if end - begin > _LONGEST:
            raise TimeError(
                "a basal schedule would be laid out over more than 20 years",
                seen=f"{iso(begin)} to {iso(end)}",
                expected="the dates of one person's export",
                fix="correct the entry whose date is wrong",
            )
        days = np.arange(begin // DAY - 1, end // DAY + 2, dtype=np.int64) * DAY
        walls = (days[:, None] + np.array(schedule.seconds, np.int64)[None, :] * SECOND).ravel()
        starts, _ = local_to_utc(walls, schedule.tz)
        rates = np.tile(np.array(schedule.rates), len(days))
        order = np.argsort(starts, kind="stable")
        starts, rates = starts[order], rates[order]
        ends = np.append(starts[1:], starts[-1] + DAY)
        for s, e, rate in zip(np.maximum(starts, begin).tolist(), np.minimum(ends, end).tolist(), rates.tolist(), strict=True):
            if e > s:
                if out and out[-1].end == s and out[-1].rate == rate:
                    out[-1] = Delivered(out[-1].start, e, rate, 0)
                else:
                    out.append(Delivered(s, e, rate, 0))
    return out


def deliver(schedules: Sequence[Schedule], temporaries: Sequence[Temporary], start: int, stop: int) -> tuple[list[Delivered], int]:
    """Lay temporary rates over schedules.

    Parameters
    ----------
    schedules : may be empty: then only absolute temporary rates are known.
    temporaries : each ends where the next begins.
    start, stop : ns UTC, the stretch that the export covers.

    Returns
    -------
    Stretches in order of time; how many relative rates had no schedule to relate to.
    """
    return _overlay(_lay_out(schedules, start, stop), temporaries)


def _overlay(planned: Sequence[Delivered], temporaries: Sequence[Temporary]) -> tuple[list[Delivered], int]:
    """Cut the planned stretches where a temporary rate runs; each temporary rate ends where the next begins."""
    ordered = sorted(temporaries, key=lambda t: (t.start, t.row))
    cut = [(t, min(t.end, ordered[i + 1].start) if i + 1 < len(ordered) else t.end) for i, t in enumerate(ordered)]
    out: list[Delivered] = []
    unknown = 0
    for temporary, end in cut:
        if end <= temporary.start:
            continue
        if temporary.rate is not None:
            out.append(Delivered(temporary.start, end, temporary.rate, temporary.row, temporary.recorded, True))
            continue
        under = [p for p in planned if p.start < end and p.end > temporary.start]
        unknown += not under
        out += [
            Delivered(
                max(p.start, temporary.start), min(p.end, end), p.rate * (temporary.factor or 0.0), temporary.row, temporary.recorded, True
            )
            for p in under
        ]
    covered = [(t.start, end) for t, end in cut if end > t.start]
    position = 0
    for stretch in planned:
        at = stretch.start
        while position < len(covered) and covered[position][1] <= at:
            position += 1
        look = position
        while at < stretch.end:
            begin, end = covered[look] if look < len(covered) else (stretch.end, stretch.end)
            if min(begin, stretch.end) > at:
                out.append(Delivered(at, min(begin, stretch.end), stretch.rate, stretch.row))
            at = max(at, end) if begin < stretch.end else stretch.end
            look += 1
    return sorted(out, key=lambda d: d.start), unknown


def deliver_steps(steps: Sequence[tuple[int, float, int]], temporaries: Sequence[Temporary], stop: int) -> list[Delivered]:
    """Lay temporary rates over rates that each hold until the next.

    Parameters
    ----------
    steps : (ns UTC, U/h, row), in any order.
    temporaries : with absolute rates.
    stop : ns UTC, when the last rate ends.
    """
    ordered = sorted(steps)
    ends = [begin for begin, _, _ in ordered[1:]] + [max(stop, ordered[-1][0])] if ordered else []
    planned = [Delivered(s, e, rate, row) for (s, rate, row), e in zip(ordered, ends, strict=True) if e > s]
    return _overlay(planned, temporaries)[0]
