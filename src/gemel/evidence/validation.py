"""The protocol behind ``gemel validate``: a twin's forecasts beside the honest naive baselines, person-clustered intervals on everything."""

from __future__ import annotations

import time as _time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.core.advice import ShownOn
from gemel.core.errors import DataError
from gemel.core.protocols import Progress
from gemel.engine.bands import LEVELS, crps_of_quantiles
from gemel.engine.discrepancy import Ridge
from gemel.evidence.alarms import AlarmCurve, alarm_curve
from gemel.evidence.bootstrap import clustered_interval
from gemel.evidence.stream_protocol import Forecasts, StreamProtocol, Windows, windows

__all__ = ["Row", "Validation", "baselines", "validate"]

BASE = "ridge"
UNSEEN = ", unseen"
UNSEEN_FOLDS = 10


@dataclass(frozen=True)
class Row:
    """One forecaster at one horizon. Gains are relative to ridge, in per cent of its RMSE, with a 95 % person-clustered interval."""

    forecaster: str
    horizon: int
    n: int
    rmse: float
    rmse_median_person: float
    mae: float
    crps: float
    coverage50: float
    coverage90: float
    coverage90_interval: tuple[float, float]
    coverage90_median_person: float
    coverage90_bands: tuple[float | None, ...]
    width50: float
    width90: float
    gain_rmse: float
    gain_rmse_interval: tuple[float, float]
    gain_crps: float
    people_better: float
    zones: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; an interval that cannot be had is ``None``."""
        out = dict(self.__dict__)
        for k in ("gain_rmse_interval", "coverage90_interval"):
            out[k] = [None if not np.isfinite(v) else round(float(v), 4) for v in out[k]]
        return {k: (round(v, 4) if isinstance(v, float) else v) for k, v in out.items()}


@dataclass(frozen=True)
class Validation:
    """The result of a protocol on one collection of people."""

    question: str
    output: str
    unit: str
    shown_on: ShownOn
    people: int
    recordings: int
    windows: dict[str, int]
    rows: tuple[Row, ...]
    alarms: dict[str, AlarmCurve]
    bands: tuple[float, ...]
    bands_n: tuple[int, ...]
    notes: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "question": self.question, "output": self.output, "unit": self.unit, "shown_on": self.shown_on.model_dump(), "people": self.people,
            "recordings": self.recordings, "windows": self.windows, "bands": list(self.bands), "bands_n": list(self.bands_n),
            "rows": [r.to_dict() for r in self.rows], "alarms": {k: v.to_dict() for k, v in self.alarms.items()}, "notes": list(self.notes),
            "seconds": {k: round(v, 2) for k, v in self.seconds.items()},
        }  # fmt: skip

    def row(self, forecaster: str, horizon: int) -> Row:
        """Return one row."""
        return next(r for r in self.rows if r.forecaster == forecaster and r.horizon == horizon)


def _conformal(mean: Sequence[np.ndarray], parts: Sequence[Windows]) -> list[Forecasts]:
    """Give point forecasts the distribution of their residuals on the calibration parts (split conformal, pooled)."""
    residual = np.concatenate([(w.outcome - m)[w.part == 1] for m, w in zip(mean, parts, strict=True)])
    if not len(residual):
        residual = np.concatenate([(w.outcome - m)[w.part == 0] for m, w in zip(mean, parts, strict=True)])
    n = len(residual)
    level = np.clip(np.where(LEVELS < 0.5, np.floor(LEVELS * (n + 1)) / n, np.ceil(LEVELS * (n + 1)) / n), 0.0, 1.0)
    table = np.quantile(residual, level, axis=0).T
    return [Forecasts(m, m[:, :, None] + table[None]) for m in mean]


def baselines(parts: Sequence[Windows]) -> dict[str, list[Forecasts]]:
    """Return last value and pooled ridge (last hour, penalty 1), each with split-conformal bands."""
    hold = [np.repeat(w.lags[:, :1], w.outcome.shape[1], axis=1) for w in parts]
    x = np.concatenate([w.lags[w.part == 0] for w in parts])
    y = np.concatenate([w.outcome[w.part == 0] for w in parts])
    ridge = Ridge.of(x, y)
    return {"last value": _conformal(hold, parts), BASE: _conformal([ridge(w.lags) for w in parts], parts)}


def _lstm(parts: Sequence[Windows], seed: int) -> list[Forecasts]:
    import jax

    from gemel.learn.recurrent import train_forecaster

    x = np.concatenate([w.lags[w.part == 0][:, ::-1] for w in parts])[:, :, None]
    y = np.concatenate([(w.outcome - w.lags[:, :1])[w.part == 0] for w in parts])
    network = train_forecaster(x, y, key=jax.random.key(seed))
    return _conformal([w.lags[:, :1] + network(w.lags[:, ::-1][:, :, None]) for w in parts], parts)


def _row(
    name: str, j: int, horizon: int, forecasts: Sequence[Forecasts], base: Sequence[Forecasts], parts: Sequence[Windows], cluster: np.ndarray,
    protocol: StreamProtocol,
) -> Row:  # fmt: skip
    test = [w.part == 2 for w in parts]
    y = [w.outcome[t, j] for w, t in zip(parts, test, strict=True)]
    mean = [f.mean[t, j] for f, t in zip(forecasts, test, strict=True)]
    reference = [f.mean[t, j] for f, t in zip(base, test, strict=True)]
    q = [f.quantiles[t, j] for f, t in zip(forecasts, test, strict=True)]
    base_q = [f.quantiles[t, j] for f, t in zip(base, test, strict=True)]
    count = np.array([len(v) for v in y])
    people = int(cluster.max()) + 1

    def per_person(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.bincount(cluster, [float(np.sum(v)) for v in values], people)

    squared = per_person([(a - b) ** 2 for a, b in zip(y, mean, strict=True)])
    base_squared = per_person([(a - b) ** 2 for a, b in zip(y, reference, strict=True)])
    inside = [(a >= v[:, 4]) & (a <= v[:, 94]) for a, v in zip(y, q, strict=True)]
    inside_person, n_person = per_person(inside), np.bincount(cluster, count, people)
    crps, base_crps = (
        per_person([crps_of_quantiles(a, v) for a, v in zip(y, q, strict=True)]),
        per_person([crps_of_quantiles(a, v) for a, v in zip(y, base_q, strict=True)]),
    )
    has = n_person > 0
    Y, M, Q = np.concatenate(y), np.concatenate(mean), np.concatenate(q)
    now = np.concatenate([w.lags[t, 0] for w, t in zip(parts, test, strict=True)])
    group = np.digitize(now, protocol.bands)
    covered = np.concatenate(inside)
    bands = tuple(float(covered[group == g].mean()) if (group == g).any() else None for g in range(len(protocol.bands) + 1))
    rmse_each = [float(np.sqrt(np.mean((a - b) ** 2))) for a, b in zip(y, mean, strict=True) if len(a)]
    enough = n_person >= 30
    per = inside_person[enough] / n_person[enough] if enough.any() else inside_person[has] / n_person[has]
    return Row(
        forecaster=name, horizon=horizon, n=len(Y), rmse=float(np.sqrt(np.mean((Y - M) ** 2))), rmse_median_person=float(np.median(rmse_each)),
        mae=float(np.mean(np.abs(Y - Q[:, 49]))), crps=float(crps.sum() / len(Y)), coverage50=float(np.mean((Y >= Q[:, 24]) & (Y <= Q[:, 74]))),
        coverage90=float(covered.mean()), coverage90_interval=clustered_interval(lambda w: float(w @ inside_person / max(w @ n_person, 1)), people),
        coverage90_median_person=float(np.median(per)), coverage90_bands=bands, width50=float(np.mean(Q[:, 74] - Q[:, 24])), width90=float(np.mean(Q[:, 94] - Q[:, 4])),
        gain_rmse=100 * (1 - float(np.sqrt(squared.sum() / base_squared.sum()))),
        gain_rmse_interval=clustered_interval(lambda w: 100 * (1 - float(np.sqrt((w @ squared) / max(w @ base_squared, 1e-9)))), people),
        gain_crps=100 * (1 - float(crps.sum() / base_crps.sum())), people_better=float(np.mean(squared[has] < base_squared[has])),
        zones={grid: _shares(zone(Y, M)) for grid, zone in protocol.zones.items()},
    )  # fmt: skip


def _shares(labels: np.ndarray) -> dict[str, float]:
    names, counts = np.unique(labels, return_counts=True)
    return {str(n): round(float(c / len(labels)), 5) for n, c in zip(names, counts, strict=True)}


def _left_out(
    parts: Sequence[Windows], cluster: np.ndarray, make: Callable[[Sequence[Windows], Sequence[int]], dict[str, list[Forecasts]]],
    step: Callable[[str], None],
) -> dict[str, list[Forecasts]]:  # fmt: skip
    """Forecast every person by what was learnt from the others: one by one up to ten people, else in ten groups of people.

    Nothing of a person who is left out trains or calibrates; a streaming forecaster still sees that person's own past at each origin.
    """
    from dataclasses import replace

    people = int(cluster.max()) + 1
    folds = np.random.default_rng(0).permutation(people) % min(people, UNSEEN_FOLDS)
    found: dict[str, list[Forecasts]] = {}
    for fold in range(int(folds.max()) + 1):
        out = folds[cluster] == fold
        seen = [replace(w, part=np.full_like(w.part, 2)) if left else w for w, left in zip(parts, out, strict=True)]
        for name, forecasts in make(seen, np.flatnonzero(out).tolist()).items():
            rows = found.setdefault(name, list(forecasts))
            for i in np.flatnonzero(out):
                rows[i] = forecasts[i]
        step(f"unseen people {fold + 1}")
    return found


def validate(
    protocol: StreamProtocol, records: Sequence[Any], *, horizons: tuple[int, ...] | None = None, peers: bool = True, ablations: bool = True, seed: int = 0,
    unseen: bool = False, shown_on: str = "replayed", progress: Progress | None = None, options: Mapping[str, Any] | None = None,
    clock: Callable[[], float] = _time.process_time,
) -> Validation:  # fmt: skip
    """Run a room's declared protocol on people.

    Parameters
    ----------
    protocol : as the room's ``evidence.py`` declares it.
    records : patient records.
    horizons : minutes; left out, the protocol's.
    peers : also train the small LSTM.
    ablations : also run the twin without each of the things that are logged beside the readings.
    seed : of the peers.
    unseen : also forecast each person by what was learnt from the others only (rows *..., unseen*; their gains are over ridge, unseen).
    shown_on : *replayed* for records of real people, *simulated* for virtual ones.
    options : handed to the room's forecaster.

    Raises
    ------
    DataError
        When no recording is long enough for one test window.
    """
    from dataclasses import replace

    horizons = tuple(protocol.horizons if horizons is None else horizons)
    protocol = replace(protocol, horizons=horizons)
    recordings, notes = protocol.recordings(records)
    bad = [h for h in horizons if h <= 0 or any(h % r.step for r in recordings)]
    if bad:
        raise DataError(
            "a horizon is not a multiple of the slot length",
            seen=bad,
            expected=f"multiples of {recordings[0].step} min" if recordings else "positive minutes",
        )
    parts = [windows(r, protocol) for r in recordings]
    counts = {name: int(sum((w.part == k).sum() for w in parts)) for k, name in enumerate(("train", "calibrate", "test"))}
    if not counts["train"] or not counts["test"]:
        raise DataError(
            "no recording is long enough to be split into training and test windows", seen=f"{len(recordings)} recording(s), windows {counts}",
            expected="readings that follow one another for a day or more", fix="give longer recordings, or check for gaps with `gemel import`",
        )  # fmt: skip
    seconds: dict[str, float] = {}

    def timed(name: str, make: Callable[[], Any]) -> Any:
        begin = clock()
        made = make()
        seconds[name] = clock() - begin
        if progress is not None:
            progress.update(len(seconds), name)
        return made

    logged = sorted(set().union(*(r.logged for r in recordings))) if ablations else []
    if progress is not None:
        progress.start("validate", 2 + int(peers) + len(logged) + UNSEEN_FOLDS * int(unseen))
    found: dict[str, list[Forecasts]] = timed("baselines", lambda: baselines(parts))
    chosen = dict(options or {})
    found["twin"] = timed("twin", lambda: protocol.forecaster(recordings, parts, horizons, chosen))
    for what in logged:
        name = f"twin without {what}"
        found[name] = timed(name, lambda what=what: protocol.forecaster(recordings, parts, horizons, chosen | {"without": (what,)}))
    if peers:
        found["LSTM"] = timed("LSTM", lambda: _lstm(parts, seed))
    _, cluster = np.unique([r.cluster for r in recordings], return_inverse=True)
    if unseen and cluster.max() > 0:

        def others(seen: Sequence[Windows], only: Sequence[int]) -> dict[str, list[Forecasts]]:
            return {
                BASE + UNSEEN: baselines(seen)[BASE],
                "twin" + UNSEEN: protocol.forecaster(recordings, seen, horizons, chosen | {"only": only}),
            }

        found |= timed("unseen people", lambda: _left_out(parts, cluster, others, lambda name: timed(name, lambda: None)))
    elif unseen:
        notes = [*notes, "one person only: nobody can be left out"]
    rows = tuple(
        _row(name, j, h, forecasts, found[BASE + UNSEEN if name.endswith(UNSEEN) else BASE], parts, cluster, protocol)
        for j, h in enumerate(horizons)
        for name, forecasts in found.items()
    )
    alarms = {}
    if protocol.alarm is not None and protocol.alarm.within in horizons:
        j = horizons.index(protocol.alarm.within)
        alarms = {
            name: alarm_curve(protocol.alarm, recordings, parts, [f.quantiles[:, j] for f in forecasts])
            for name, forecasts in found.items()
        }
    if progress is not None:
        progress.finish()
    people = int(cluster.max()) + 1
    now = np.concatenate([w.lags[w.part == 2, 0] for w in parts])
    sizes = tuple(int(c) for c in np.bincount(np.digitize(now, protocol.bands), minlength=len(protocol.bands) + 1))
    return Validation(
        protocol.question, protocol.output, protocol.unit, ShownOn(kind=shown_on, n=people, what=f"{len(recordings)} recordings"), people, len(recordings), counts,  # type: ignore[arg-type]
        rows, alarms, protocol.bands, sizes, tuple(notes), seconds,
    )  # fmt: skip


def coverage_at(levels: Sequence[float], observed: Float[np.ndarray, " n"], quantiles: Float[np.ndarray, "n level"]) -> dict[str, float]:
    """Return the share of observations inside the central interval of each level."""
    out = {}
    for level in levels:
        low, high = round((1 - level) / 2 * 100) - 1, round((1 + level) / 2 * 100) - 1
        out[f"{level:g}"] = float(np.mean((observed >= quantiles[:, low]) & (observed <= quantiles[:, high])))
    return out
