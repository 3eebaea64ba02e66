"""Many twins at once: each stage of ``assimilate`` and ``forecast`` as one program over lanes, so that a thousand readings are not a thousand dispatches.

Lanes are run by ``lax.map`` and not by ``vmap``: a lane's arithmetic is then that of the single program, and the result is that of :func:`gemel.engine.twin.assimilate`
bit for bit (a vectorised program rounds differently by about 1e-14, and differently for another number of lanes). An ensemble fills the vector units by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from gemel.core.errors import GemelError
from gemel.core.record import PatientRecord
from gemel.engine import stream as streams
from gemel.engine.data import Slots
from gemel.engine.forecast import Forecast, draw_lane, forecast, future_lane, on_times
from gemel.engine.keys import stream
from gemel.engine.model import AbstractStateModel
from gemel.engine.plan import Plan
from gemel.engine.stream import Stream
from gemel.engine.twin import Twin, assimilate, corrected, landed, next_lineage, restart, slot_of, stops, with_stream

__all__ = ["LANES", "Question", "Step", "assimilate_many", "forecast_many", "run_lanes"]

LANES, FEW = 64, 8
"""Lanes of a wide program and of a narrow one; a batch is cut into them, and the last padded with lanes that are thrown away."""


@dataclass(frozen=True)
class Step:
    """One twin, its record with what is new, and the time to which it is carried, ns UTC."""

    twin: Twin
    record: PatientRecord
    now: int


@dataclass
class _Lane:
    place: int
    twin: Twin
    known: PatientRecord
    state: Stream
    slots: Slots
    stops: list[int]


def run_lanes(
    function: Callable[..., PyTree], lanes: Sequence[tuple[Any, ...]], *, idle: Callable[[tuple], tuple] | None = None
) -> list[PyTree]:
    """Run a function on many arguments in as few dispatches as there are kinds of arguments; return what it gave each, host side.

    Parameters
    ----------
    function : of arrays, keys and modules; the same object every time, for it names the program.
    lanes : arguments of each; those of one structure, with the same shapes and the same static parts, share a program.
    idle : makes of a lane one that costs nothing, for padding; left out, the last lane is repeated.
    """
    found: list[PyTree] = [None] * len(lanes)
    groups: dict[Any, list[int]] = {}
    split: list[tuple[list[np.ndarray], Any]] = []
    for i, lane in enumerate(lanes):
        leaves, structure = jax.tree.flatten(lane)
        is_array = tuple(map(_is_array, leaves))
        arrays = [_plain(x) for x, one in zip(leaves, is_array, strict=True) if one]
        static = _Static(
            structure, is_array, tuple(None if one else x for x, one in zip(leaves, is_array, strict=True)), tuple(map(_is_key, leaves))
        )
        split.append((arrays, static))
        groups.setdefault((static, tuple((x.shape, x.dtype.str) for x in arrays)), []).append(i)
    for (static, _), members in groups.items():
        for chosen, width in _cut(members):
            rows = [split[i][0] for i in chosen]
            if len(chosen) < width:
                rows += [rows[-1] if idle is None else _arrays(idle(lanes[chosen[-1]]))] * (width - len(chosen))
            out = jax.tree.map(np.asarray, _program(function, static)(*(np.stack(column) for column in zip(*rows, strict=True))))
            for k, i in enumerate(chosen):
                found[i] = jax.tree.map(lambda x, k=k: x[k], out)
    return found


def _cut(members: list[int]) -> Iterator[tuple[list[int], int]]:
    """Yield the members of each dispatch and its lanes: wide ones while they are at least half full, then narrow ones."""
    start = 0
    while start < len(members):
        width = LANES if len(members) - start > LANES // 2 else FEW
        yield members[start : start + width], width
        start += width


@dataclass(frozen=True)
class _Static:
    structure: Any
    is_array: tuple[bool, ...]
    others: tuple[Any, ...]
    is_key: tuple[bool, ...]


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, np.generic)


def _arrays(lane: PyTree) -> list[np.ndarray]:
    return [_plain(x) for x in jax.tree.leaves(lane) if _is_array(x)]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


@lru_cache(maxsize=256)
def _program(function: Callable[..., PyTree], static: _Static) -> Callable[..., PyTree]:
    def one(arrays: tuple) -> PyTree:
        rest = iter(arrays)
        leaves = [
            (jax.random.wrap_key_data(next(rest)) if key else next(rest)) if is_array else other
            for is_array, key, other in zip(static.is_array, static.is_key, static.others, strict=True)
        ]
        return function(*jax.tree.unflatten(static.structure, leaves))

    return jax.jit(lambda *columns: jax.lax.map(one, columns))


def _filter(model, settings, rows, window, context, first, count, learn_from, key):
    noise = stream(stream(key, "stream"), "process")
    rows, _, squared = streams._run.__wrapped__(model, settings, rows, window, context, first, count, learn_from, noise)
    return rows, squared


def _idle(lane: tuple) -> tuple:
    return (*lane[:6], np.int64(0), *lane[7:])


def assimilate_many(steps: Sequence[Step]) -> list[Twin | GemelError]:
    """Assimilate many twins; return for each what :func:`gemel.engine.twin.assimilate` returns, or the error that it raises.

    Twins without a state, and those that must be recalibrated, take their turn one by one.
    """
    found: list[Twin | GemelError] = []
    lanes: list[_Lane] = []
    for place, step in enumerate(steps):
        try:
            prepared = _prepare(place, step)
            if prepared is None:
                found.append(assimilate(step.twin, step.record, step.now))
            else:
                lanes.append(prepared)
                found.append(step.twin)
        except GemelError as error:
            found.append(error)
    while waiting := [lane for lane in lanes if lane.stops]:
        moving = [lane for lane in waiting if lane.stops[0] > lane.state.done]
        given = run_lanes(_filter, [_arguments(lane) for lane in moving], idle=_idle)
        moved = {lane.place: rows for lane, rows in zip(moving, given, strict=True)}
        for lane in waiting:
            end = lane.stops.pop(0)
            if lane.place in moved:
                rows, squared = moved[lane.place]
                lane.state = landed(lane.state, lane.slots, end, rows, squared[: end - lane.state.done])
            else:
                lane.state = landed(lane.state, lane.slots, end)
    for lane in lanes:
        try:
            moved_twin = corrected(with_stream(lane.twin, lane.state), lane.known)
            found[lane.place] = replace(moved_twin, lineage=next_lineage(steps[lane.place].twin, lane.known.hash))
        except GemelError as error:
            found[lane.place] = error
    return found


def _prepare(place: int, step: Step) -> _Lane | None:
    twin = step.twin
    if step.now < twin.now or not isinstance(twin.model, AbstractStateModel):
        return None
    known = step.record.as_of(step.now)
    begun = restart(twin, known, step.now)
    if begun is None:
        return None
    moved, state, slots = begun
    return _Lane(place, moved, known, state, slots, list(stops(state.done, slot_of(twin, step.now))))


def _arguments(lane: _Lane) -> tuple:
    model, state, end = lane.twin.model, lane.state, lane.stops[0]
    assert isinstance(model, AbstractStateModel)
    window = lane.slots.window(state.done + 1, end + 1, lags=model.lags)
    context = jax.tree.map(np.asarray, model.slot_context(lane.twin.observed, state.done + 1, window.count))
    return (
        model, lane.twin.filter, state.rows, window, context, np.int64(state.done + 1), np.int64(end - state.done), np.int64(state.learn_from), lane.twin.key,
    )  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One forecast that is asked for, as :func:`gemel.engine.forecast.forecast` takes it."""

    twin: Twin
    times: np.ndarray
    key: PRNGKeyArray
    plan: Plan | None = None
    n: int = 256
    name: str = "as known"


def forecast_many(questions: Sequence[Question]) -> list[Forecast | GemelError]:
    """Forecast for many twins; return for each what :func:`gemel.engine.forecast.forecast` returns, or the error that it raises.

    What a discrepancy layer corrects, a model without a state, and what abstains take their turn one by one.
    """
    found: list[Forecast | GemelError] = []
    drawn: dict[int, tuple] = {}
    for place, question in enumerate(questions):
        twin = question.twin
        plain = (
            isinstance(twin.model, AbstractStateModel)
            and twin.domain.reason is None
            and np.ndim(question.times) == 1
            and len(question.times) > 0
            and (question.plan is None or twin.correction is None)
        )
        if plain:
            drawn[place] = future_lane(
                twin,
                twin.observed.plan if question.plan is None else question.plan,
                twin.model_time(question.times),
                question.n,
                question.key,
            )
    given = dict(zip(drawn, run_lanes(draw_lane, [lane for lane, _ in drawn.values()]), strict=True))
    for place, question in enumerate(questions):
        try:
            draws = None if place not in given else on_times(given[place], drawn[place][1])
            found.append(
                forecast(question.twin, question.plan, question.times, n=question.n, key=question.key, name=question.name, draws=draws)
            )
        except GemelError as error:
            found.append(error)
    return found
