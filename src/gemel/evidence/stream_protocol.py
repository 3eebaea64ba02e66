"""Protocol P: forecasts on a stream, no look-ahead, each person split by time, the same origins for every horizon and every forecaster.

Readings lie in their nearest slot; a gap holds the last value for at most 15 minutes and is never interpolated; a target is a real reading; windows
never straddle a cut. A room declares one of these; :mod:`gemel.evidence.validation` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Alarm", "Forecasts", "Recording", "StreamProtocol", "Windows", "windows"]


class Recording(Protocol):
    """One recording on its slots, as a room makes it: readings as NaN where none fell."""

    @property
    def id(self) -> str:
        """Pseudonym of the recording."""
        ...

    @property
    def cluster(self) -> str:
        """The person it belongs to: intervals resample people."""
        ...

    @property
    def step(self) -> int:
        """Minutes per slot."""
        ...

    @property
    def value(self) -> Float[np.ndarray, " n"]:
        """Readings."""
        ...

    @property
    def logged(self) -> frozenset[str]:
        """What is known beside the readings, by name: the twin is also run without each."""
        ...


@dataclass(frozen=True)
class Windows:
    """Forecast origins of one recording: slot, last hour (newest first), outcomes per horizon, part (0 train, 1 calibrate, 2 test)."""

    origin: Int[np.ndarray, " w"]
    lags: Float[np.ndarray, "w lag"]
    outcome: Float[np.ndarray, "w horizon"]
    part: Int[np.ndarray, " w"]


@dataclass(frozen=True)
class Forecasts:
    """Forecasts at the origins of one recording: mean (w, horizon) and quantiles (w, horizon, 99)."""

    mean: Float[np.ndarray, "w horizon"]
    quantiles: Float[np.ndarray, "w horizon level"]


@dataclass(frozen=True)
class Alarm:
    """An event to be warned of: value below ``threshold`` within ``within`` minutes, after ``clear`` minutes above it."""

    name: str
    threshold: float
    within: int
    clear: int


@dataclass(frozen=True)
class StreamProtocol:
    """What a room declares: how records become recordings, who forecasts, what is looked at.

    Parameters
    ----------
    output, unit : what is forecast.
    recordings : records -> recordings on a common slot length; leaves out what is too short and says so.
    forecaster : ``(recordings, windows, horizons, options) -> forecasts per recording``; uses, at each origin, only what was known by then;
        ``options["without"]`` names what of ``Recording.logged`` it may not use, ``options["only"]`` the recordings whose forecasts are wanted.
    bands : edges of the groups of the reading at the origin in which coverage is shown.
    zones : error grids by name: ``(reference, prediction) -> zone labels``.
    """

    output: str
    unit: str
    horizons: tuple[int, ...]
    recordings: Callable[[Sequence[Any]], tuple[list[Any], list[str]]]
    forecaster: Callable[[Sequence[Any], Sequence[Windows], tuple[int, ...], Mapping[str, Any]], list[Forecasts]]
    bands: tuple[float, ...]
    zones: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = field(default_factory=dict)
    alarm: Alarm | None = None
    lag_minutes: int = 60
    hold_minutes: int = 15
    parts: tuple[float, float] = (0.6, 0.8)
    question: str = ""


def _held(value: np.ndarray, slots: int) -> np.ndarray:
    out = value.copy()
    for j in range(1, slots + 1):
        empty = np.isnan(out[j:]) & ~np.isnan(value[:-j])
        out[j:][empty] = value[:-j][empty]
    return out


def windows(recording: Recording, protocol: StreamProtocol) -> Windows:
    """Cut one recording into windows."""
    step, value = recording.step, np.asarray(recording.value, float)
    back, ahead, n = protocol.lag_minutes // step, [h // step for h in protocol.horizons], len(value)
    held = _held(value, protocol.hold_minutes // step)
    part = np.digitize(np.arange(n), [round(protocol.parts[0] * n), round(protocol.parts[1] * n)])
    o = np.arange(back, n - ahead[-1])
    if len(o) == 0:
        return Windows(o, np.zeros((0, back + 1)), np.zeros((0, len(ahead))), o)
    lags = np.stack([held[o - j] for j in range(back + 1)], axis=1)
    outcome = np.stack([value[o + k] for k in ahead], axis=1)
    good = ~np.isnan(lags).any(axis=1) & ~np.isnan(outcome).any(axis=1) & (part[o - back] == part[o + ahead[-1]]) & ~np.isnan(value[o])
    return Windows(o[good], lags[good], outcome[good], part[o[good]])
