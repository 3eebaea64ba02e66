"""The data of a trial with times to an event: the checked view of :mod:`gemel.trials.data`, and who had the event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from gemel.core.errors import DataError, ValueRangeError
from gemel.core.lineage import digest
from gemel.trials.data import Column, TrialData, numbers, trial_data

__all__ = ["Risk", "SurvivalData", "events_of", "risk_table", "survival_data"]


@dataclass(frozen=True)
class SurvivalData:
    """An immutable, checked view of one trial with times to an event. Made by :func:`survival_data`.

    Parameters
    ----------
    trial : subjects, arms, covariates, strata; its outcome is the time.
    event : (subject,) whether the event was seen at that time; otherwise the subject was censored there.
    """

    trial: TrialData
    event: Bool[np.ndarray, " subject"]

    def __post_init__(self) -> None:
        self.event.setflags(write=False)

    @property
    def time(self) -> Float[np.ndarray, " subject"]:
        """Time to the event or to censoring, unit as the estimand's variable states."""
        return self.trial.outcome

    @property
    def n(self) -> int:
        """Subjects that are analysed."""
        return self.trial.n

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the rows."""
        return self.trial.notes

    @property
    def hash(self) -> str:
        """Hash of all that is analysed; rows may come in any order."""
        order = sorted(range(self.n), key=self.trial.subjects.__getitem__)
        return digest([self.trial.hash, self.event[order]])

    def pair(self, reference: str, treatment: str) -> SurvivalData:
        """Return the two arms that are compared, reference first; covariates that do not vary among them are left out.

        Raises
        ------
        DataError
            When the trial has no such arm.
        """
        old = self.trial
        places = [old.index(reference), old.index(treatment)]
        keep = np.isin(old.arm, places)
        rows = np.flatnonzero(keep)
        varies = np.ptp(old.covariates[keep], axis=0) > 0 if old.names else np.zeros(0, bool)
        trial = replace(
            old,
            subjects=tuple(old.subjects[i] for i in rows),
            arms=(reference, treatment),
            arm=(old.arm[keep] == places[1]).astype(int),
            outcome=old.outcome[keep],
            covariates=old.covariates[keep][:, varies],
            names=tuple(name for name, kept in zip(old.names, varies, strict=True) if kept),
            raw={name: tuple(values[i] for i in rows) for name, values in old.raw.items()},
            strata={name: values[keep] for name, values in old.strata.items()},
        )
        return SurvivalData(trial, self.event[keep])


def events_of(values: Sequence[object], name: str, *, is_censor: bool = False) -> Bool[np.ndarray, " row"]:
    """Return who had the event.

    Parameters
    ----------
    values : 1 event, 0 censored; or ADaM's CNSR with ``is_censor``: 0 event, any other whole number the reason of censoring.

    Raises
    ------
    DataError
        When a value is missing, a word, or no such number.
    """
    found = numbers(values)
    allowed = "0 for an event, 1, 2, ... for reasons of censoring" if is_censor else "1 for an event, 0 for censoring"
    if found is None or np.isnan(found).any():
        seen = "words" if found is None else f"{int(np.isnan(found).sum())} of {len(found)} missing"
        raise DataError("whether there was an event is not known", seen=f"{name}: {seen}", expected=allowed, fix="complete the column")
    wrong = (found < 0) | (found != np.round(found)) | (False if is_censor else found > 1)
    if wrong.any():
        raise DataError(
            "an event indicator has no meaning", seen=f"{name}: {found[wrong][0]:g}", expected=allowed, fix="ADaM's CNSR is --censor"
        )
    return found == 0 if is_censor else found == 1


def survival_data(
    columns: Mapping[str, Column],
    *,
    time: str,
    arm: str,
    event: str = "",
    censor: str = "",
    baseline: Sequence[str] = (),
    subject: str = "",
    reference: str = "",
    strata: Sequence[str] = (),
    categories: Sequence[str] = (),
    prognosis_inputs: Sequence[str] = (),
    later: Iterable[str] = (),
    missing: str = "refuse",
    missing_outcome: str = "refuse",
    first_patient_in: str = "",
    unblinded: str = "",
) -> SurvivalData:
    """Check the columns of a trial with times to an event and return its view.

    Parameters
    ----------
    columns : name -> values, all of one length.
    time : of the event or of censoring, not negative.
    event, censor : one of the two: a column with 1 for an event, or ADaM's CNSR with 0 for an event.
    others : as for :func:`gemel.trials.data.trial_data`; rows without a time follow ``missing_outcome``.

    Raises
    ------
    DataError
        As :func:`gemel.trials.data.trial_data`; when neither or both of ``event`` and ``censor`` are named, or they hold something else.
    ValueRangeError
        When a time is negative.
    EvidenceError
        As :func:`gemel.trials.data.trial_data`.
    """
    if bool(event) == bool(censor):
        raise DataError(
            "who had the event must be said by one column", seen=f"event {event!r}, censor {censor!r}", expected="one of the two"
        )
    name = event or censor
    trial = trial_data(
        columns,
        outcome=time,
        arm=arm,
        baseline=baseline,
        subject=subject,
        reference=reference,
        strata=strata,
        categories=categories,
        prognosis_inputs=(*prognosis_inputs, name),
        later=(*later, name),
        missing=missing,
        missing_outcome=missing_outcome,
        first_patient_in=first_patient_in,
        unblinded=unblinded,
    )
    if (trial.outcome < 0).any():
        raise ValueRangeError(
            "a time is negative", seen=f"{time}: {trial.outcome.min():g}", expected="0 or more", fix="count from randomisation"
        )
    seen = events_of(trial.raw[name], name, is_censor=bool(censor))
    return SurvivalData(replace(trial, raw={k: v for k, v in trial.raw.items() if k != name}), seen)


@dataclass(frozen=True)
class Risk:
    """Numbers at risk and events at the distinct times of events.

    Parameters
    ----------
    times : (time,) rising.
    at_risk, events : (time, group).
    place : (subject,) how many of the times are not after the subject's own: a subject is at risk at ``times[:place]``.
    """

    times: Float[np.ndarray, " time"]
    at_risk: Int[np.ndarray, "time group"]
    events: Int[np.ndarray, "time group"]
    place: Int[np.ndarray, " subject"]


def risk_table(
    time: Float[np.ndarray, " subject"],
    event: Bool[np.ndarray, " subject"],
    group: Int[np.ndarray, " subject"] | None = None,
    groups: int = 1,
) -> Risk:
    """Count who is at risk and who has the event; at equal times, events come before censoring.

    Parameters
    ----------
    group : (subject,) index below ``groups``; left out, all are one.
    """
    group = np.zeros(len(time), int) if group is None else group
    times = np.unique(time[event])
    place = np.searchsorted(times, time, side="right")
    at_risk, events = np.zeros((len(times), groups), int), np.zeros((len(times), groups), int)
    for g in range(groups):
        own = group == g
        ended = np.bincount(place[own], minlength=len(times) + 1)
        at_risk[:, g] = own.sum() - np.cumsum(ended)[:-1] if len(times) else 0
        events[:, g] = np.bincount(place[own & event] - 1, minlength=len(times))[: len(times)]
    return Risk(times, at_risk, events, place)
