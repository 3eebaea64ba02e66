"""A prognosis for times to an event: learnt from the martingale residuals of historical controls.

A patient's residual is 1 or 0 for the event, less the hazard they had lived through: above 0 for an event earlier than usual. A prediction of
it is used as any other covariate; the events that it saves are about its squared correlation with the residual.

References
----------
Therneau, Grambsch and Fleming 1990, doi:10.1093/biomet/77.1.147 (martingale residuals); arXiv:2605.27711 (as a prognosis).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from gemel.core.errors import DataError, EvidenceError, ValueRangeError
from gemel.trials.analysis import with_prognosis as with_prognosis_
from gemel.trials.data import Column, numbers
from gemel.trials.learners import Learner
from gemel.trials.prognosis import Prognosis, PrognosisBundle
from gemel.trials.prognosis import calibrate as calibrate_
from gemel.trials.survival.data import SurvivalData, events_of, risk_table

__all__ = ["calibrate", "martingale_residuals", "with_prognosis"]


def martingale_residuals(
    time: Float[np.ndarray, " subject"], event: Bool[np.ndarray, " subject"], group: Int[np.ndarray, " subject"] | None = None
) -> Float[np.ndarray, " subject"]:
    """Return event minus the Nelson-Aalen cumulative hazard of the subject's group at the subject's time; they sum to nothing in each group."""
    group = np.zeros(len(time), int) if group is None else group
    out = np.empty(len(time))
    for g in np.unique(group):
        own = group == g
        risk = risk_table(time[own], event[own])
        hazard = np.concatenate([[0.0], np.cumsum(risk.events[:, 0] / risk.at_risk[:, 0])])
        out[own] = event[own] - hazard[risk.place]
    return out


def calibrate(
    history: Mapping[str, Column],
    *,
    time: str,
    inputs: Sequence[str],
    event: str = "",
    censor: str = "",
    learners: Sequence[Learner | str] = ("ridge", "spline"),
    subject: str = "",
    categories: Iterable[str] = (),
    later: Iterable[str] = (),
    missing: str = "refuse",
    folds: int = 10,
    seed: int = 0,
) -> Prognosis:
    """Learn a prognosis of an event from historical controls: their martingale residuals, regressed on what was known at baseline.

    Parameters
    ----------
    time, event, censor : as for :func:`gemel.trials.survival.data.survival_data`; rows without a time are left out.
    others : as for :func:`gemel.trials.prognosis.calibrate`.

    Raises
    ------
    DataError
        For missing columns or values, or an event indicator that has no meaning.
    EvidenceError
        When there are no events, an input was measured later, or the history is too small.
    """
    if bool(event) == bool(censor):
        raise DataError(
            "who had the event must be said by one column", seen=f"event {event!r}, censor {censor!r}", expected="one of the two"
        )
    name = event or censor
    for column in (time, name):
        if column not in history:
            raise DataError("a column is missing", seen=column, expected=sorted(history))
    times = numbers(history[time])
    if times is None:
        raise DataError("the times are words", seen=time, expected="numbers")
    keep = ~np.isnan(times)
    rows = {k: [v for v, kept in zip(values, keep, strict=True) if kept] for k, values in history.items() if len(values) == len(keep)}
    seen = events_of(rows[name], name, is_censor=bool(censor))
    if len(seen) and (times[keep] < 0).any():
        raise ValueRangeError("a time is negative", seen=f"{time}: {times[keep].min():g}", expected="0 or more")
    if not seen.any():
        raise EvidenceError("the history has no events", seen=f"0 events in {len(seen)}", expected="events among historical controls")
    outcome = f"martingale residual of {time}"
    return calibrate_(
        rows | {outcome: martingale_residuals(times[keep], seen).tolist()},
        outcome=outcome,
        inputs=inputs,
        learners=learners,
        subject=subject,
        categories=categories,
        later=(*later, time, name),
        missing=missing,
        folds=folds,
        seed=seed,
    )


def with_prognosis(
    data: SurvivalData, bundle: PrognosisBundle, *, planned_r_squared: float | None = None
) -> tuple[SurvivalData, tuple[str, ...]]:
    """Return the trial with the prognosis as first covariate, and what is to be said about it.

    What it is worth is its squared correlation with the trial's own martingale residuals within arm: about the share of the events that it saves.

    Raises
    ------
    EvidenceError
        As :func:`gemel.trials.analysis.with_prognosis`; when the prognosis was not learnt from times to an event.
    """
    if not bundle.outcome.startswith("martingale residual"):
        raise EvidenceError(
            "the prognosis is not one of times to an event",
            seen=f"learnt from {bundle.outcome}",
            expected="martingale residuals of historical controls",
            fix="calibrate it with gemel.trials.survival.calibrate, or give its value as a baseline column",
        )
    residual = martingale_residuals(data.time, data.event, data.trial.arm)
    trial, flags = with_prognosis_(replace(data.trial, outcome=residual), bundle, planned_r_squared=planned_r_squared)
    return SurvivalData(replace(trial, outcome=data.trial.outcome), data.event), flags
