"""The patients of a trial and of controls from outside it, checked together and never changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError, EvidenceError
from gemel.core.lineage import digest
from gemel.trials.data import SMALLEST_ARM, Column, TrialData, numbers, trial_data

__all__ = ["EXTERNAL", "Aggregate", "ExternalData", "Patients", "aggregate_of", "external_data", "treated_data"]

EXTERNAL = "external"
"""Name of the arm that came from outside."""


@dataclass(frozen=True)
class Aggregate:
    """Controls from outside of whom only a summary is known.

    Parameters
    ----------
    n : patients.
    means, sds : (covariate,) in the order of ``names``; a standard deviation that is not known is NaN.
    outcome, error : mean or rate of the outcome, and its standard error.
    """

    names: tuple[str, ...]
    n: int
    means: Float[np.ndarray, " covariate"]
    sds: Float[np.ndarray, " covariate"]
    outcome: float
    error: float

    def __post_init__(self) -> None:
        self.means.setflags(write=False)
        self.sds.setflags(write=False)

    @property
    def hash(self) -> str:
        """Hash of all of it."""
        return digest([self.names, self.n, self.means, self.sds, self.outcome, self.error])


@dataclass(frozen=True)
class ExternalData:
    """An immutable view of a trial's treated patients, of controls from outside, and of the trial's own controls, if it has any.

    Parameters
    ----------
    trial : all of them together; those from outside are an arm named :data:`EXTERNAL`.
    treatment, reference : arms of the trial; the second is empty in a trial of one arm.
    """

    trial: TrialData
    treatment: str
    reference: str

    def rows(self, arm: str) -> np.ndarray:
        """Return the rows of an arm."""
        return np.flatnonzero(self.trial.arm == self.trial.index(arm))

    @property
    def y(self) -> tuple[np.ndarray, np.ndarray]:
        """Outcomes of the treated, and of those from outside."""
        return self.trial.outcome[self.rows(self.treatment)], self.trial.outcome[self.rows(EXTERNAL)]

    @property
    def x(self) -> tuple[np.ndarray, np.ndarray]:
        """Covariates of the treated, and of those from outside."""
        return self.trial.covariates[self.rows(self.treatment)], self.trial.covariates[self.rows(EXTERNAL)]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the covariates."""
        return self.trial.names

    @property
    def n(self) -> int:
        """Patients of the comparison: treated and from outside."""
        return sum(len(y) for y in self.y)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the rows."""
        return self.trial.notes

    @property
    def hash(self) -> str:
        """Hash of all that is analysed."""
        return self.trial.hash

    @property
    def is_binary(self) -> bool:
        """Whether the outcome is 0 or 1."""
        return bool(np.isin(self.trial.outcome, (0.0, 1.0)).all())

    @property
    def sd(self) -> float:
        """Standard deviation of one patient's outcome within arm, pooled over the treated and those from outside."""
        parts = [(len(y) - 1, float(np.var(y, ddof=1))) for y in self.y]
        return math.sqrt(sum(n * v for n, v in parts) / sum(n for n, _ in parts))

    def drawn(self, inside: np.ndarray, outside: np.ndarray) -> ExternalData:
        """Return a copy with these rows of the treated and of those from outside, for a bootstrap."""
        rows = np.concatenate([self.rows(EXTERNAL)[outside], self.rows(self.treatment)[inside]])
        old = self.trial
        trial = replace(
            old,
            subjects=tuple(map(str, range(len(rows)))),
            arms=(EXTERNAL, self.treatment),
            arm=np.repeat([0, 1], [len(outside), len(inside)]),
            outcome=old.outcome[rows],
            covariates=old.covariates[rows],
            raw={},
            strata={},
        )
        return ExternalData(trial, self.treatment, "")

    def aggregate(self) -> Aggregate:
        """Return the summary of those from outside, as a publication would give it."""
        (_, x), (_, y) = self.x, self.y
        error = math.sqrt(float(np.var(y, ddof=1)) / len(y))
        return Aggregate(self.names, len(y), x.mean(axis=0), x.std(axis=0, ddof=1), float(y.mean()), error)


@dataclass(frozen=True)
class Patients:
    """The treated patients of a trial alone, where those from outside are only a summary.

    Parameters
    ----------
    y : (patient,) outcomes.
    x : (patient, covariate) numbers.
    """

    subjects: tuple[str, ...]
    y: Float[np.ndarray, " patient"]
    x: Float[np.ndarray, "patient covariate"]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.y.setflags(write=False)
        self.x.setflags(write=False)

    @property
    def n(self) -> int:
        """Patients."""
        return len(self.y)

    @property
    def hash(self) -> str:
        """Hash of all that is analysed; rows may come in any order."""
        order = sorted(range(self.n), key=self.subjects.__getitem__)
        return digest([[self.subjects[i] for i in order], self.y[order], self.x[order], self.names])


def treated_data(
    columns: Mapping[str, Column], *, outcome: str, baseline: Sequence[str], arm: str = "", treatment: str = "", subject: str = ""
) -> Patients:
    """Check the treated patients of a trial, with numbers only: a summary has means, not categories.

    Raises
    ------
    DataError
        When a column is missing, a value is missing or a word, a subject comes twice, or the treated arm is not known.
    EvidenceError
        For fewer than ten patients, a constant outcome, or nothing to balance.
    """
    wanted = [outcome, *baseline, *([arm] if arm else []), *([subject] if subject else [])]
    absent = [c for c in wanted if c not in columns]
    if absent or not baseline:
        raise DataError("a column is missing", seen=absent or "no baseline columns", expected=sorted(columns))
    words = [str(v) for v in columns[arm]] if arm else [treatment] * len(columns[outcome])
    if treatment not in words and (treatment or len(set(words)) > 1):
        raise DataError("which arm is treated is not known", seen=sorted(set(words)), expected="treatment")
    rows = [i for i, w in enumerate(words) if w == (treatment or words[0])]
    found = {}
    for name in (outcome, *baseline):
        values = numbers([columns[name][i] for i in rows])
        if values is None or np.isnan(values).any():
            raise DataError("a value is missing or a word", seen=name, expected="numbers; 0 and 1 for a category, as in the summary")
        found[name] = values
    ids = [str(columns[subject][i]) if subject else str(i + 1) for i in rows]
    if len(set(ids)) < len(ids):
        raise DataError("a subject comes twice", seen=f"{len(ids) - len(set(ids))} identifiers", expected="one row per subject")
    if len(rows) < SMALLEST_ARM or np.ptp(found[outcome]) == 0:
        raise EvidenceError(
            "the treated arm is too small, or its outcome does not vary", seen=f"{len(rows)} patients", expected=f"{SMALLEST_ARM} or more"
        )
    return Patients(tuple(ids), found[outcome], np.column_stack([found[c] for c in baseline]), tuple(baseline))


def external_data(
    columns: Mapping[str, Column],
    external: Mapping[str, Column] | None,
    *,
    outcome: str,
    baseline: Sequence[str],
    arm: str = "",
    treatment: str = "",
    reference: str = "",
    subject: str = "",
    categories: Sequence[str] = (),
    later: Sequence[str] = (),
    missing: str = "refuse",
    missing_outcome: str = "refuse",
) -> ExternalData:
    """Check a trial and controls from outside, and return their view.

    Parameters
    ----------
    columns : of the trial: treated patients, and its own controls where it has any.
    external : of the controls from outside, the same names.
    baseline : what makes patients comparable; nothing that is not named is balanced.
    arm : of the trial; left out, all of it is treated.
    treatment, reference : arms of the trial; left out where there is only one, or two of which the other is named. Other arms are left out.
    others : as for :func:`gemel.trials.data.trial_data`.

    Raises
    ------
    DataError
        As :func:`gemel.trials.data.trial_data`; when a column is missing on either side, or the arms are not told apart.
    EvidenceError
        As :func:`gemel.trials.data.trial_data`; when there is nothing to balance.
    """
    if not baseline:
        raise EvidenceError(
            "patients from outside cannot be made comparable without baseline columns", seen="none", expected="what differs and matters"
        )
    if external is None or not external:
        raise DataError("there are no controls from outside", seen="nothing", expected="a table with the columns of the trial")
    wanted = [outcome, *baseline, *([subject] if subject else [])]
    for side, where in ((columns, "trial"), (external, "controls from outside")):
        absent = [c for c in (*wanted, *([arm] if arm and side is columns else [])) if c not in side]
        if absent:
            raise DataError(
                f"a column is missing in the {where}", seen=absent, expected=sorted(side), fix="use the same names on both sides"
            )
    words = [str(v) for v in columns[arm]] if arm else [treatment or "treated"] * len(columns[outcome])
    named = sorted(set(words))
    if not treatment:
        others = [a for a in named if a != reference]
        if len(others) != 1:
            raise DataError(
                "which arm is treated is not known", seen=named, expected="treatment, and reference if the trial has controls of its own"
            )
        treatment = others[0]
    if not reference and len(named) == 2:
        reference = next(a for a in named if a != treatment)
    for name in (treatment, *([reference] if reference else [])):
        if name not in named or name == EXTERNAL:
            raise DataError("the trial has no such arm", seen=name, expected=[a for a in named if a != EXTERNAL])
    keep = [w in (treatment, reference) for w in words]
    inside = {c: [v for v, k in zip(columns[c], keep, strict=True) if k] for c in wanted}
    together: dict[str, list[object]] = {c: [*inside[c], *external[c]] for c in wanted}
    size = len(inside[outcome])
    together["arm of the comparison"] = [*(w for w, k in zip(words, keep, strict=True) if k), *[EXTERNAL] * len(external[outcome])]
    if subject:
        together[subject] = [f"{'trial' if i < size else EXTERNAL}: {v}" for i, v in enumerate(together[subject])]
    trial = trial_data(
        together,  # type: ignore[arg-type]
        outcome=outcome,
        arm="arm of the comparison",
        baseline=baseline,
        subject=subject,
        reference=EXTERNAL,
        categories=categories,
        later=later,
        missing=missing,
        missing_outcome=missing_outcome,
    )
    left = len(words) - sum(keep)
    notes = (*trial.notes, f"{left} patients of other arms are left out") if left else trial.notes
    return ExternalData(replace(trial, notes=notes), treatment, reference)


def aggregate_of(columns: Mapping[str, Column], *, outcome: str, baseline: Sequence[str]) -> Aggregate:
    """Return the summary that a one-row table holds: ``n``, a mean for each baseline column, and the outcome with ``OUTCOME_se``.

    Parameters
    ----------
    columns : one value each: ``n``; the mean of each baseline column, and ``COLUMN_sd`` where it is known; the outcome's mean or rate, with
        ``OUTCOME_se``, or ``OUTCOME_sd`` of one patient; a rate needs neither.

    Raises
    ------
    DataError
        When a number is missing, a word, or there is not one row.
    """

    def of(name: str, default: float | None = None) -> float:
        if name not in columns:
            if default is None:
                raise DataError("a number of the summary is missing", seen=f"no column {name}", expected=f"one of {', '.join(columns)}")
            return default
        found = numbers(columns[name])
        if found is None or len(found) != 1 or math.isnan(found[0]):
            raise DataError("a summary is one row of numbers", seen=f"{name}: {len(columns[name])} rows", expected="one number")
        return float(found[0])

    n, value = of("n"), of(outcome)
    if n < SMALLEST_ARM or n != round(n):
        raise EvidenceError("the summary is of too few patients", seen=n, expected=f"{SMALLEST_ARM} or more")
    deviation = of(f"{outcome}_sd", math.sqrt(value * (1 - value)) if 0 < value < 1 else math.nan)
    error = of(f"{outcome}_se", deviation / math.sqrt(n))
    if not error > 0:
        raise DataError("the outcome of the summary has no error", seen=error, expected=f"{outcome}_se, or {outcome}_sd of one patient")
    means = np.array([of(name) for name in baseline])
    return Aggregate(tuple(baseline), int(n), means, np.array([of(f"{name}_sd", math.nan) for name in baseline]), value, error)
