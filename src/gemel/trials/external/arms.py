"""The arms of the trial itself, as a prior of its controls needs them: patients, and events or a mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.data import SMALLEST_ARM, Column, numbers

__all__ = ["Arm", "arms_of"]


@dataclass(frozen=True)
class Arm:
    """One arm of the trial.

    Parameters
    ----------
    n : patients.
    value : events for a rate, mean for a mean.
    """

    n: int
    value: float


def arms_of(
    columns: Mapping[str, Column],
    *,
    outcome: str,
    is_rate: bool,
    arm: str = "",
    treatment: str = "",
    reference: str = "",
    subject: str = "",
) -> tuple[Arm | None, Arm, tuple[str, str]]:
    """Return the trial's controls, None in a trial of one arm; its treated; and the names of both arms.

    Parameters
    ----------
    is_rate : whether the outcome is 0 or 1.
    arm : left out, all patients are treated.
    treatment, reference : left out where there are two arms of which the other is named, or one arm.

    Raises
    ------
    DataError
        When a column is missing, an outcome is missing or a word, a subject comes twice, or the arms are not told apart.
    EvidenceError
        When an arm is too small.
    """
    absent = [c for c in (outcome, arm, subject) if c and c not in columns]
    if absent:
        raise DataError("a column is missing", seen=absent, expected=sorted(columns))
    values = numbers(columns[outcome])
    if values is None or np.isnan(values).any():
        raise DataError("an outcome is missing or a word", seen=outcome, expected="a number for each patient")
    if is_rate and not np.isin(values, (0.0, 1.0)).all():
        raise DataError("the history is of a rate, the outcome is not", seen=f"{values.min():g} to {values.max():g}", expected="0 or 1")
    if subject and len({str(v) for v in columns[subject]}) < len(values):
        raise DataError("a subject comes twice", seen=f"{len(values)} rows", expected="one row per subject")
    words = [str(v) for v in columns[arm]] if arm else [treatment or "treated"] * len(values)
    named = sorted(set(words))
    treatment = treatment or next((a for a in named if a != reference), "") if len(named) == 1 or reference else treatment
    reference = reference or (next(a for a in named if a != treatment) if len(named) == 2 and treatment else "")
    if treatment not in named or (reference and reference not in named) or (len(named) > 1 and not reference):
        raise DataError("the arms are not told apart", seen=named, expected="treatment and reference, by these names")
    found = {}
    for name in (treatment, reference):
        if name:
            own = values[np.array([w == name for w in words])]
            if len(own) < SMALLEST_ARM:
                raise EvidenceError("an arm is too small", seen=f"{name}: {len(own)}", expected=f"{SMALLEST_ARM} or more")
            found[name] = Arm(len(own), float(own.sum() if is_rate else own.mean()))
    return found.get(reference), found[treatment], (reference, treatment)
