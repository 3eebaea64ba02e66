"""Scales and ticks: from values to pixels, with round numbers and round times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemel.core.time import zone as zone_of
from gemel.core.view.words import DAYS, MINUS, MONTHS, local

SECOND = 1_000_000_000
WITHIN_DAY = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)


@dataclass(frozen=True)
class Tick:
    """One tick: its value, what is written, and a second line (the day under a time) where it changes."""

    value: float
    text: str
    below: str = ""


@dataclass(frozen=True)
class Scale:
    """Map values of an axis to pixels.

    `kind` is linear, log, time, clock or category; `low` and `high` are the ends of the axis, `start` and `stop` their pixels.
    """

    kind: str
    low: float
    high: float
    start: float
    stop: float
    categories: tuple[str, ...] = ()
    zone: str = "UTC"

    def __call__(self, values: Any) -> NDArray[np.float64]:
        """Return pixels of values, any shape."""
        array = np.asarray(values)
        if self.kind == "log":
            with np.errstate(divide="ignore", invalid="ignore"):
                part = np.log(np.asarray(array, dtype=np.float64) / self.low) / math.log(self.high / self.low)
        elif self.kind == "time":
            part = np.asarray(array - np.int64(self.low), dtype=np.float64) / float(int(self.high) - int(self.low))
        else:
            part = (np.asarray(array, dtype=np.float64) - self.low) / (self.high - self.low)
        return self.start + part * (self.stop - self.start)

    @property
    def pixels(self) -> float:
        """Length of the axis."""
        return abs(self.stop - self.start)

    def ticks(self, spacing: float) -> list[Tick]:
        """Return ticks at least about `spacing` pixels apart."""
        if self.kind == "category":
            return [Tick(i, name) for i, name in enumerate(self.categories)]
        if self.kind == "time":
            return list(time_ticks(int(self.low), int(self.high), max(2, int(self.pixels / spacing)), self.zone))
        if self.kind == "clock":
            step = next(step for step in (60, 120, 180, 240, 360, 720, 1440) if self.pixels * step / (self.high - self.low) >= spacing)
            values = range(math.ceil(self.low / step) * step, int(self.high) + 1, step)
            return [Tick(value, f"{value // 60:02d}:{value % 60:02d}") for value in values]
        if self.kind == "log":
            return log_ticks(self.low, self.high, max(2, int(self.pixels / spacing)))
        step = nice_step(self.high - self.low, max(2, int(self.pixels / spacing)))
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [Tick((first + i) * step, tick_text((first + i) * step, step)) for i in range(count)]


def nice_step(span: float, count: int) -> float:
    """Return the smallest of 1, 2, 2.5, 5 times a power of ten that gives at most `count` steps.

    Examples
    --------
    >>> nice_step(100.0, 5), nice_step(7.0, 4)
    (20.0, 2.0)
    """
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    return next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= raw * (1 - 1e-9))


def tick_text(value: float, step: float) -> str:
    """Write a tick with just the decimals its step needs."""
    if value != 0 and (abs(value) >= 1e6 or abs(step) < 1e-4):
        return f"{value:.3g}".replace("e+0", "e").replace("e-0", "e-").replace("-", MINUS)
    decimals = next((places for places in range(7) if abs(round(step, places) - step) < 1e-9 * max(step, 1e-9)), 7)
    text = f"{value:,.{decimals}f}"
    return ("0" if float(text.replace(",", "")) == 0 else text).replace("-", MINUS)


def log_ticks(low: float, high: float, count: int) -> list[Tick]:
    """Return 1, 2 and 5 per decade, or decades alone where there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) * 3 <= count + 3 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    kept = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return [
        Tick(value, f"{value:,.10g}" if 1e-4 <= value < 1e6 else f"{value:.0e}".replace("e-0", f"e{MINUS}").replace("e+0", "e"))
        for value in kept
    ]


def time_ticks(low: int, high: int, count: int, zone: str) -> Iterator[Tick]:
    """Yield round local times between two instants (ns UTC), with the day or year below where it changes.

    Days of 23 or 25 hours keep their local hours.
    """
    raw = (high - low) / SECOND / count
    step = next((step for step in WITHIN_DAY if step >= raw), 0)
    day = ""
    for moment, value in _moments(low, high, step, raw, zone):
        if step:
            text = f"{moment:%H:%M:%S}" if step < 60 else f"{moment:%H:%M}"
            below = f"{DAYS[moment.weekday()]} {moment.day} {MONTHS[moment.month - 1]}"
        elif raw <= 14 * 86_400:
            text, below = f"{moment.day} {MONTHS[moment.month - 1]}", str(moment.year)
        elif raw <= 186 * 86_400:
            text, below = MONTHS[moment.month - 1], str(moment.year)
        else:
            text, below = str(moment.year), ""
        yield Tick(value, text, below if below != day else "")
        day = below


def _moments(low: int, high: int, step: int, raw: float, zone: str) -> Iterator[tuple[datetime, int]]:
    where = zone_of(zone)
    moment = local(low, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    days = next((days for days in (1, 2, 7, 14) if days * 86_400 >= raw), 0)
    months = 0 if days else next((months for months in (1, 3, 6) if months * 31 * 86_400 >= raw), 0)
    years = 0 if days or months else next((years for years in (1, 2, 5, 10, 20) if years * 366 * 86_400 >= raw), 50)
    if step:
        since = (local(low, zone).replace(tzinfo=None) - moment).total_seconds()
        moment += timedelta(seconds=since // step * step)
    elif days > 2:
        moment -= timedelta(days=moment.weekday())
    elif days == 2:
        moment -= timedelta(days=(moment.toordinal() % 2))
    elif months:
        moment = moment.replace(month=(moment.month - 1) // months * months + 1, day=1)
    elif years:
        moment = moment.replace(year=max(1, moment.year // years * years), month=1, day=1)
    for _ in range(4000):
        aware = moment.replace(tzinfo=where)
        value = round(aware.timestamp()) * SECOND
        if value > high:
            return
        if value >= low and local(value, zone).replace(tzinfo=None) == moment:
            yield moment, value
        if step:
            moment += timedelta(seconds=step)
        elif days:
            moment += timedelta(days=days)
        elif months:
            month = moment.month - 1 + months
            moment = moment.replace(year=moment.year + month // 12, month=month % 12 + 1)
        else:
            moment = moment.replace(year=moment.year + years)


def text_width(text: str, size: float = 12.0, *, is_strong: bool = False) -> float:
    """Estimate the width of words in pixels, for a system sans-serif font of a size in pixels."""
    narrow = sum(1 for letter in text if letter in " .,:;ijlt|'!()[]/f")
    wide = sum(1 for letter in text if letter in "MWmw%—" or letter.isupper())
    return size * (0.6 * len(text) - 0.25 * narrow + 0.16 * wide) * (1.1 if is_strong else 1.0)
