"""The streaming part of the demonstration: reading by reading, and how each forecast did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gemel.core.advice import Score
from gemel.core.protocols import Progress
from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE
from gemel.engine.forecast import Forecast, forecast
from gemel.engine.scoring import score
from gemel.engine.twin import Twin, assimilate

__all__ = ["Streamed", "scores_beside_baselines", "stream"]

HORIZONS = (15.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True)
class Streamed:
    """One step: when, the forecast, and how it did; the last value and the plain regression's forecasts stand beside."""

    issued: int
    forecast: Forecast
    score: Score | None
    last: float
    plain: np.ndarray | None


def stream(
    twin: Twin, record: PatientRecord, times: Sequence[int], *, answers: dict[int, Any], plain: Callable[[int], np.ndarray | None], key: Any,
    progress: Progress | None = None,
) -> tuple[Twin, list[Streamed]]:  # fmt: skip
    """Assimilate and forecast at each reading; score at the end, when the outcomes are known.

    Parameters
    ----------
    answers : what the discrepancy layer says at each reading (ns UTC), from what was known at it.
    plain : the plain regression at a reading, per horizon.
    """
    steps = []
    if progress is not None:
        progress.start("stream", len(times))
    for i, now in enumerate(times):
        twin = replace(assimilate(twin, record, now, ask=False), correction=answers.get(now))
        steps.append((now, forecast(twin, None, twin.times(*HORIZONS), n=256, key=key), twin.observed.last, plain(now)))
        if progress is not None:
            progress.update(i + 1)
    end = times[-1] + 3 * 60 * MINUTE
    cadence = float(np.median(np.diff(times))) / MINUTE if len(times) > 1 else 5.0
    done = [
        Streamed(
            now, f, score(f, record, end, tolerance=cadence / 2) if len(f.draws) else None, float(last) if last is not None else np.nan, p
        )
        for now, f, last, p in steps
    ]
    return twin, done


def scores_beside_baselines(steps: Sequence[Streamed]) -> list[dict[str, Any]]:
    """Return one row per horizon: the twin beside last value and the plain regression, on the same forecasts."""
    rows = []
    for j, horizon in enumerate(HORIZONS):
        found = [
            (s, r) for s in steps if s.score is not None and s.plain is not None for r in s.score.rows if abs(r.horizon - horizon) < 1e-6
        ]
        if not found:
            continue
        y = np.array([r.observed for _, r in found])
        median = np.array([r.median for _, r in found])
        mean = np.array([r.mean for _, r in found])
        last = np.array([s.last for s, _ in found])
        ridge = np.array([s.plain[j] for s, _ in found if s.plain is not None])
        rmse = {name: float(np.sqrt(np.mean((y - v) ** 2))) for name, v in (("twin", mean), ("last value", last), ("ridge", ridge))}
        rows.append(
            {
                "horizon": horizon, "n": len(found), "rmse": rmse["twin"], "rmse_last_value": rmse["last value"], "rmse_ridge": rmse["ridge"],
                "mae": float(np.mean(np.abs(y - median))), "mae_last_value": float(np.mean(np.abs(y - last))), "crps": float(np.mean([r.crps for _, r in found])),
                "coverage50": float(np.mean([r.inside["0.50"] for _, r in found])), "coverage90": float(np.mean([r.inside["0.90"] for _, r in found])),
                "width90": float(np.mean([r.width["0.90"] for _, r in found])), "gain_over_ridge_percent": 100 * (1 - rmse["twin"] / rmse["ridge"]),
            }
        )  # fmt: skip
    return rows
