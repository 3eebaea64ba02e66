"""What the room's forecast learns beside its equations: features at a forecast's origin, for :mod:`gemel.engine.discrepancy`.

Blocks: the last hour of readings; coarser history; the person's mean; the local time of day and the person's own profile of it; mild curvature;
what is left in stomach and under the skin (transit chains of the logged amounts); what a watch says. The mechanistic forecast as one more block was tried and
changed the error by less than 0.2 % on Shanghai T1 and D1NAMO: it is left out.
A feature row at slot *o* uses slots up to *o* only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.engine.discrepancy import Settings
from gemel.twins.metabolic import wearables

__all__ = ["PersonSeries", "blocks", "groups", "held", "origins", "settings"]

TAU_GUT, TAU_INSULIN, STAGES = 25.0, 45.0, 4
"""Minutes per stage of the transit chains (stomach and gut; under the skin to action), and stages. ASSUMED."""
UNIT_CARBOHYDRATE, UNIT_INSULIN = 50.0, 5.0
"""Grams and units of one typical event, so that input features are of order one."""
BANDS = (70.0, 180.0)
INPUTS = ("gut", "ins", "insg", "gutg", "guts", "is15", "ms60", "is60", "mt")
WEARABLES = ("watch",)


def settings(step: int) -> Settings:
    """Return how strongly blocks are shrunk, for slots of so many minutes. ASSUMED; chosen on the training and calibration parts only."""
    lags = 60 // step
    free = tuple((k, (), 200.0) for k in ("mean", "plev", "prof", "gut", "ins"))
    held_back = tuple((k, (), 600.0) for k in ("tod", "st", "nl"))
    rare = tuple((k, (), 2000.0) for k in ("insg", "gutg", "guts", "is15", "ms60", "is60", "mt"))
    return Settings(
        rare=INPUTS + WEARABLES,
        personal=(("lag", (0, 15 // step, lags), 200.0), ("lag", tuple(range(1, lags + 1)), 600.0), *free, *held_back, *rare),
    )


@dataclass(frozen=True)
class PersonSeries:
    """One recording on its slots.

    Parameters
    ----------
    id, cluster : recording, and the person it belongs to.
    step : minutes per slot, 5 or 15.
    value : (n,) mg/dL, NaN where no real reading fell.
    hour : (n,) local hour of day.
    carbohydrate, meal, insulin : (n,) grams, entries of any meal, fast-acting units, known at the slot.
    start : ns UTC of slot 0.
    watch : (n, column) heart rate, movement, exercise and sleep (see ``wearables.py``), or ``None``.
    """

    id: str
    cluster: str
    step: int
    value: Float[np.ndarray, " n"]
    hour: Float[np.ndarray, " n"]
    carbohydrate: Float[np.ndarray, " n"]
    meal: Float[np.ndarray, " n"]
    insulin: Float[np.ndarray, " n"]
    start: int
    watch: Float[np.ndarray, "n column"] | None = None

    @property
    def logged(self) -> frozenset[str]:
        """What is known beside glucose: ``inputs`` (any meal or fast insulin), ``wearables``."""
        found = {"inputs": bool(self.meal.any() or self.insulin.any()), "wearables": self.watch is not None}
        return frozenset(name for name, there in found.items() if there)


def held(value: np.ndarray, slots: int) -> np.ndarray:
    """Return the last real value, at most so many slots old."""
    out = value.copy()
    for j in range(1, slots + 1):
        empty = np.isnan(out[j:]) & ~np.isnan(value[:-j])
        out[j:][empty] = value[:-j][empty]
    return out


def groups(now: np.ndarray) -> np.ndarray:
    """Return the band of the reading at the origin: 0 below 70, 1 up to 180, 2 above."""
    return np.digitize(now, [BANDS[0], BANDS[1] + 1e-9])


def _shift(x: np.ndarray, j: int) -> np.ndarray:
    return np.concatenate([np.full(min(j, len(x)), np.nan), x[: len(x) - j]]) if j else x


def _window_sum(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum and count of the real entries among the last ``k``."""
    real = ~np.isnan(x)
    total = np.concatenate([[0.0], np.cumsum(np.where(real, x, 0.0))])
    count = np.concatenate([[0.0], np.cumsum(real)])
    i = np.arange(1, len(x) + 1)
    j = np.maximum(i - k, 0)
    return total[i] - total[j], count[i] - count[j]


def _chain(amount: np.ndarray, tau: float, step: int) -> np.ndarray:
    """Contents of a transit chain fed by what was logged, one column per stage."""
    n = len(amount)
    out = np.zeros((n, STAGES))
    if amount.any():
        a = np.arange(480 // step) * step / tau
        kernel = np.exp(-a)
        for j in range(STAGES):
            out[:, j] = np.convolve(amount, kernel)[:n]
            kernel = kernel * a / (j + 1)
    return out


def _profile(x: np.ndarray, step: int, width: int, shrink: float = 2.0, days: int = 14) -> np.ndarray:
    """Shrunk mean of ``x`` at this time of day over the previous days (never the current one)."""
    n, day, bandwidth = len(x), 1440 // step, max(1, width // step)
    kernel = np.exp(-0.5 * (np.arange(-2 * bandwidth, 2 * bandwidth + 1) / bandwidth) ** 2)
    kernel /= kernel.sum()
    total, weight = np.zeros(n), np.zeros(n)
    if n <= day + len(kernel):
        return total
    values = np.convolve(np.where(np.isnan(x), 0.0, x), kernel, "same")
    counts = np.convolve((~np.isnan(x)).astype(float), kernel, "same")
    for d in range(day, min(days * day, n - 1) + 1, day):
        total[d:] += values[: n - d]
        weight[d:] += counts[: n - d]
    return total / (weight + shrink)


def blocks(p: PersonSeries, population_mean: float, horizon: int) -> dict[str, np.ndarray]:
    """Return features at every slot, block by block; ``scale`` holds those of the spread.

    Parameters
    ----------
    p : the recording.
    population_mean : mean glucose of the training parts, mg/dL.
    horizon : minutes.
    """
    s, g = p.step, held(p.value, 15 // p.step)
    n, back, ahead, day = len(g), 60 // p.step, horizon // p.step, 1440 // p.step
    now = np.where(np.isnan(g), held(p.value, day), g)
    f: dict[str, np.ndarray] = {}
    lag = np.stack([now] + [_shift(g, j) - now for j in range(1, back + 1)], axis=1)
    f["lag"] = lag
    coarse, before = [], lag[:, back]
    for a, b in ((60, 90), (90, 120), (120, 180), (180, 240), (240, 360)):
        total, count = _window_sum(_shift(g, a // s + 1), (b - a) // s)
        v = np.where(count > 0, total / np.maximum(count, 1) - now, before)
        before = np.where(np.isnan(v), before, v)
        coarse.append(before)
    f["long"] = np.stack(coarse, axis=1)
    total, count = _window_sum(g, 10**9)
    mean = (total + day / 2 * population_mean) / (count + day / 2)
    total, count = _window_sum(g, day)
    recent = (total + day / 4 * mean) / (count + day / 4)
    f["mean"] = np.stack([mean, recent], axis=1)
    w = 2 * np.pi * p.hour / 24
    f["tod"] = np.concatenate([np.stack([np.sin(j * w), np.cos(j * w)], axis=1) for j in range(1, 5)], axis=1)
    change, deviation = np.full(n, np.nan), np.full(n, np.nan)
    change[: n - ahead] = g[ahead:] - g[: n - ahead]
    deviation[: n - ahead] = (g - mean)[ahead:]
    f["prof"] = _profile(change, s, 15)[:, None]
    f["plev"] = np.stack([_profile(deviation, s, 30), _profile(g - mean, s, 30)], axis=1)
    s15, s30, s60 = (-np.nan_to_num(lag[:, k // s]) / q for k, q in ((15, 20), (30, 30), (60, 40)))
    x, above = (now - 150) / 50, (now - mean) / 50
    f["nl"] = np.stack(
        [x**2, np.maximum(x - 1, 0), np.maximum(-x - 1, 0), x * s15, s15 * np.abs(s15), np.maximum(s15, 0), x * np.abs(s15), (x > 0) * s15],
        axis=1,
    )
    first = f["tod"][:, :4]
    f["st"] = np.concatenate([first * s30[:, None], first * above[:, None]], axis=1)
    meal, gut, skin = (
        _chain(p.meal, TAU_GUT, s),
        _chain(p.carbohydrate / UNIT_CARBOHYDRATE, TAU_GUT, s),
        _chain(p.insulin / UNIT_INSULIN, TAU_INSULIN, s),
    )

    def by(table: np.ndarray, v: np.ndarray) -> np.ndarray:
        return table * v[:, None]

    f |= {
        "gut": np.concatenate([meal, gut], axis=1), "ins": skin, "gutg": by(meal, x), "guts": by(meal, s15), "ms60": by(meal, s60),
        "mt": np.concatenate([by(meal, first[:, 0]), by(meal, first[:, 1])], axis=1), "insg": by(skin, x), "is15": by(skin, s15), "is60": by(skin, s60),
    }  # fmt: skip
    f["watch"] = np.zeros((n, wearables.COUNT)) if p.watch is None else wearables.features(p.watch, s)
    total, count = _window_sum(g, day)
    square, _ = _window_sum(g * g, day)
    mean_day = total / np.maximum(count, 1)
    sd = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean_day**2, 0.0))
    sd = (sd * count + 40.0 * day / 4) / (count + day / 4)
    f["scale"] = np.stack(
        [
            x, np.maximum((now - 180) / 50, 0), np.maximum((80 - now) / 20, 0), np.abs(s15), np.abs(s60), np.maximum(s60, 0), s15, *first.T, meal.sum(axis=1),
            gut.sum(axis=1), skin.sum(axis=1), np.log(np.maximum(sd, 5.0)),
        ], axis=1,
    )  # fmt: skip
    return {k: np.nan_to_num(v) for k, v in f.items()}


def origins(p: PersonSeries) -> np.ndarray:
    """Return the slots at which a forecast can be made: a real reading, and the last hour known (held at most 15 min)."""
    g, back = held(p.value, 15 // p.step), 60 // p.step
    o = np.arange(back, len(g))
    full = ~np.isnan(np.stack([g[o - j] for j in range(back + 1)], axis=1)).any(axis=1)
    return o[full & ~np.isnan(p.value[o])]
