"""The six verbs, at the top of the package. A model may be named by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.advice import Score
from gemel.core.errors import ManifestError
from gemel.core.manifest import entry_point
from gemel.core.record import PatientRecord
from gemel.core.time import Instant, to_ns
from gemel.engine import forecast as _forecast
from gemel.engine import recommend as _recommend
from gemel.engine import scoring as _scoring
from gemel.engine import twin as _twin
from gemel.engine.forecast import Comparison, Forecast
from gemel.engine.infer.base import AbstractMethod
from gemel.engine.model import AbstractModel
from gemel.engine.plan import ContinuousPlans, GridPlans, Plan
from gemel.engine.prior import Prior
from gemel.engine.recommend import Abstained, Choice, Limit, Objective
from gemel.engine.room import Room
from gemel.engine.twin import Twin

__all__ = ["assimilate", "calibrate", "compare", "forecast", "model", "recommend", "room", "score"]


def room(twin: str) -> Room:
    """Return the room of an installed twin.

    Raises
    ------
    TwinNotFoundError
        With the ids that are installed.
    """
    found = entry_point(twin).load()
    if not isinstance(found, Room) or found.id != twin:
        raise ManifestError(
            f"the entry point of {twin!r} must name a gemel.engine.room.Room of that id", seen=getattr(found, "id", type(found).__name__)
        )
    return found


def model(twin: str) -> AbstractModel:
    """Return the model of an installed twin."""
    return room(twin).model()


def _key(key: PRNGKeyArray | int) -> PRNGKeyArray:
    return jax.random.key(key) if isinstance(key, int) else key


def calibrate(
    model_: AbstractModel | str, record: PatientRecord, now: Instant, *, method: AbstractMethod | None = None, prior: Prior | None = None,
    key: PRNGKeyArray | int, **settings: Any,
) -> Twin:  # fmt: skip
    """Infer one patient's parameters from what was known at ``now``; see :func:`gemel.engine.twin.calibrate`."""
    if isinstance(model_, str):
        here = room(model_)
        return _twin.calibrate(here.model(), record, to_ns(now), method=method or here.method(), prior=prior, key=_key(key), **settings)
    return _twin.calibrate(model_, record, to_ns(now), method=method, prior=prior, key=_key(key), **settings)


def assimilate(twin: Twin, record: PatientRecord, now: Instant, *, key: PRNGKeyArray | int | None = None) -> Twin:
    """Return the twin that also knows what has become known up to ``now``; see :func:`gemel.engine.twin.assimilate`."""
    return _twin.assimilate(twin, record, to_ns(now), key=None if key is None else _key(key))


def _times(times: Sequence[Instant] | np.ndarray) -> np.ndarray:
    return np.asarray([to_ns(t) for t in times], np.int64)


def forecast(twin: Twin, plan: Plan | None, times: Sequence[Instant] | np.ndarray, *, n: int = 256, key: PRNGKeyArray | int) -> Forecast:
    """Draw the future under a plan; see :func:`gemel.engine.forecast.forecast`."""
    return _forecast.forecast(twin, plan, _times(times), n=n, key=_key(key))


def compare(
    twin: Twin, plans: Mapping[str, Plan | None], times: Sequence[Instant] | np.ndarray, *, n: int = 256, key: PRNGKeyArray | int
) -> Comparison:
    """Forecast several plans under the same draws and noise; see :func:`gemel.engine.forecast.compare`."""
    return _forecast.compare(twin, plans, _times(times), n=n, key=_key(key))


def recommend(
    twin: Twin, plans: Mapping[str, Plan | None] | GridPlans | ContinuousPlans, objective: Objective, limits: tuple[Limit, ...] = (), *,
    times: Sequence[Instant] | np.ndarray, n: int = 512, key: PRNGKeyArray | int, **settings: Any,
) -> Choice | Abstained:  # fmt: skip
    """Choose under hard limits, or abstain; see :func:`gemel.engine.recommend.recommend`."""
    return _recommend.recommend(twin, plans, objective, limits, times=_times(times), n=n, key=_key(key), **settings)


def score(forecast_: Forecast, record: PatientRecord, now: Instant) -> Score:
    """Say how a forecast did against what really happened; see :func:`gemel.engine.scoring.score`."""
    return _scoring.score(forecast_, record, to_ns(now))
