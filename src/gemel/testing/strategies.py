"""Hypothesis strategies for records: times in any order, late and duplicate facts, corrections, gaps. Needs hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gemel.core.code import Code
from gemel.core.record import Demographics, Exposure, Finding, PatientRecord, Quantity
from gemel.core.series import ENTERED_IN_ERROR, FINAL, Series
from gemel.core.time import MINUTE, to_ns

__all__ = ["START", "exposures", "findings", "instants", "orders", "records", "series"]

START = to_ns("2026-01-05T00:00:00Z")
_DAYS = 3


def instants(*, start: int = START, days: float = _DAYS, grid: int = 1) -> SearchStrategy[int]:
    """Times (ns UTC) on a grid of minutes."""
    return st.integers(0, round(days * 1440 / grid)).map(lambda k: start + k * grid * MINUTE)


@st.composite
def series(
    draw: st.DrawFn, *, code: str = "gemel:toy-signal", unit: str = "[arb'U]", low: float = 0.0, high: float = 100.0, least: int = 1, most: int = 30,
    start: int = START, days: float = _DAYS, grid: int = 1, latest: int = 600, errors: bool = True,
) -> Series:  # fmt: skip
    """Measurements of one code in any order, recorded when true or up to ``latest`` minutes later; some times twice, some entered in error."""
    times = draw(st.lists(instants(start=start, days=days, grid=grid), min_size=least, max_size=most))
    n = len(times)
    value = draw(st.lists(st.floats(low, high, allow_nan=False, width=32), min_size=n, max_size=n))
    delay = draw(st.lists(st.integers(0, latest), min_size=n, max_size=n))
    status = draw(st.lists(st.sampled_from([FINAL, FINAL, FINAL, ENTERED_IN_ERROR] if errors else [FINAL]), min_size=n, max_size=n))
    time = np.array(times, np.int64)
    return Series(
        code=Code.parse(code),
        unit=unit,
        time=time,
        value=value,
        recorded=time + np.array(delay, np.int64) * MINUTE,
        status=status,
        source="drawn",
    )


@st.composite
def exposures(
    draw: st.DrawFn,
    *,
    code: str = "gemel:toy-dose",
    unit: str = "mg",
    most: float = 10.0,
    start: int = START,
    days: float = _DAYS,
    latest: int = 600,
) -> Exposure:
    """One dose, recorded when given or later."""
    begin = draw(instants(start=start, days=days))
    length = draw(st.sampled_from([0, 5, 60])) * MINUTE
    amount = draw(st.floats(0.0, most, allow_nan=False, width=32))
    recorded = begin + draw(st.integers(0, latest)) * MINUTE
    return Exposure(
        code=Code.parse(code),
        quantity=Quantity(value=amount, unit=unit),
        start=begin,
        end=begin + length,
        recorded=recorded,
        source="drawn",
    )


@st.composite
def findings(draw: st.DrawFn, *, codes: tuple[str, ...] = ("gemel:toy-signal",), start: int = START, days: float = _DAYS) -> Finding:
    """One finding without a value."""
    time = draw(instants(start=start, days=days))
    return Finding(
        code=Code.parse(draw(st.sampled_from(codes))), time=time, recorded=time + draw(st.integers(0, 600)) * MINUTE, source="drawn"
    )


@st.composite
def records(
    draw: st.DrawFn, *, measured: SearchStrategy[Series] | None = None, given: SearchStrategy[Exposure] | None = None, most_given: int = 5
) -> PatientRecord:
    """A record of one series and some doses, under a pseudonym."""
    person = Demographics(age=draw(st.integers(18, 90)), sex=draw(st.sampled_from(["female", "male", "unknown"])))
    doses = draw(st.lists(exposures() if given is None else given, max_size=most_given))
    return PatientRecord(id=f"drawn-{draw(st.integers(0, 999)):03d}", demographics=person).with_facts(
        draw(series() if measured is None else measured), *doses
    )


@st.composite
def orders(draw: st.DrawFn, n: int) -> list[np.ndarray]:
    """A random order of arrival of ``n`` facts, cut into batches: index arrays that together hold each fact once."""
    order = np.array(draw(st.permutations(range(n))), int)
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    return [part for part in np.split(order, cuts) if len(part)]
