"""The data of one trial, checked once and never changed: who, which arm, what came of it, what was known before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from gemel.core.errors import DataError, EvidenceError
from gemel.core.lineage import digest
from gemel.interop.tables import columns_of

__all__ = ["MISSING", "SMALLEST_ARM", "Column", "TrialData", "columns_of", "numbers", "trial_data"]

Column = Sequence[str] | Sequence[float] | np.ndarray

SMALLEST_ARM = 10
"""Patients with an outcome below which an arm is not analysed: robust variances rest on large samples."""

MISSING = ("refuse", "mean", "indicator")
"""Rules for missing baseline values: refuse; the mean over all arms; the mean and a column that says where."""

_EMPTY = frozenset({"", "na", "nan", "n/a", ".", "null"})


@dataclass(frozen=True)
class TrialData:
    """An immutable, checked view of one trial. Made by :func:`trial_data`.

    Parameters
    ----------
    subjects : identifiers, one per row.
    arms : names; the first is the reference of the data.
    arm : (subject,) index into ``arms``.
    outcome : (subject,) in the unit that the estimand's variable states.
    covariates : (subject, covariate) numbers; indicators for categories, without their most frequent level.
    names : of the covariates.
    raw : baseline columns as they came, for a prognosis.
    strata : name -> (subject,) index of the level, of the factors used at randomisation.
    later : names of columns that were measured after randomisation; the outcome and the arm always are.
    first_patient_in, unblinded : ISO dates, or empty when not known.
    notes : what was done to the rows: dropped, imputed.
    """

    subjects: tuple[str, ...]
    arms: tuple[str, ...]
    arm: Int[np.ndarray, " subject"]
    outcome: Float[np.ndarray, " subject"]
    covariates: Float[np.ndarray, "subject covariate"]
    names: tuple[str, ...]
    raw: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    strata: Mapping[str, Int[np.ndarray, " subject"]] = field(default_factory=dict)
    later: frozenset[str] = frozenset()
    first_patient_in: str = ""
    unblinded: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in (self.arm, self.outcome, self.covariates, *self.strata.values()):
            array.setflags(write=False)

    @property
    def n(self) -> int:
        """Subjects that are analysed."""
        return len(self.subjects)

    @property
    def shares(self) -> Float[np.ndarray, " arm"]:
        """Share of the subjects in each arm."""
        return np.bincount(self.arm, minlength=len(self.arms)) / self.n

    @property
    def centred(self) -> Float[np.ndarray, "subject covariate"]:
        """Covariates minus their means over all arms."""
        return self.covariates - self.covariates.mean(axis=0) if len(self.names) else self.covariates

    @property
    def hash(self) -> str:
        """Hash of all that is analysed; rows may come in any order."""
        order = sorted(range(self.n), key=self.subjects.__getitem__)
        parts = {"subjects": [self.subjects[i] for i in order], "arms": self.arms, "names": self.names}
        parts |= {k: getattr(self, k)[order] for k in ("arm", "outcome", "covariates")}
        return digest(parts | {"strata": {k: v[order] for k, v in self.strata.items()}})

    def index(self, arm: str) -> int:
        """Return the index of an arm.

        Raises
        ------
        DataError
            When the trial has no such arm.
        """
        if arm not in self.arms:
            raise DataError("the trial has no such arm", seen=arm, expected=f"one of {', '.join(self.arms)}", fix="correct the estimand")
        return self.arms.index(arm)

    def joint_strata(self, factors: Sequence[str]) -> Int[np.ndarray, " subject"]:
        """Return the index of each subject's cell in the cross of the factors.

        Raises
        ------
        DataError
            When a factor is not among the strata.
        """
        missing = [f for f in factors if f not in self.strata]
        if missing:
            raise DataError("a stratification factor is missing", seen=missing, expected=sorted(self.strata), fix="pass it as strata")
        if not factors:
            return np.zeros(self.n, int)
        return np.unique(np.stack([self.strata[f] for f in factors], axis=1), axis=0, return_inverse=True)[1].reshape(-1)

    def with_covariate(self, name: str, values: Float[np.ndarray, " subject"], *, note: str = "") -> TrialData:
        """Return a copy with one more covariate, first among them."""
        return replace(
            self,
            covariates=np.column_stack([values, self.covariates]),
            names=(name, *self.names),
            notes=(*self.notes, note) if note else self.notes,
        )


def _column(columns: Mapping[str, Column], name: str) -> Column:
    if name not in columns:
        raise DataError("a column is missing", seen=name, expected=f"one of {', '.join(columns)}", fix="check the spelling")
    return columns[name]


def _is_missing(value: object) -> bool:
    if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in _EMPTY


def numbers(values: Iterable[object]) -> Float[np.ndarray, " row"] | None:
    """Return a column as numbers with NaN where it is missing, or None when it holds words.

    Raises
    ------
    DataError
        When a number is infinite.
    """
    out = []
    for value in values:
        try:
            out.append(math.nan if _is_missing(value) else float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
    found = np.array(out, float)
    if np.isinf(found).any():
        raise DataError("a number is infinite", seen=f"row {int(np.flatnonzero(np.isinf(found))[0]) + 1}", expected="finite numbers")
    return found


def _expand(name: str, values: Sequence[object], missing: str, is_category: bool) -> tuple[list[str], list[np.ndarray], str]:
    gaps = np.array([_is_missing(v) for v in values])
    if gaps.all():
        raise DataError("a baseline column is empty", seen=name, expected="values", fix="leave it out")
    if gaps.any() and missing == "refuse":
        raise DataError(
            "baseline values are missing and no rule says what to do",
            seen=f"{name}: {int(gaps.sum())} of {len(gaps)}",
            expected=f"missing = {' or '.join(MISSING[1:])}",
            fix="state the rule that the analysis plan names; never drop randomised subjects",
        )
    found = None if is_category else numbers(values)
    if found is not None:
        found = np.where(gaps, np.mean(found[~gaps]), found)
        names, columns = [name], [found]
    else:
        words = [str(v) for v in values]
        counts = Counter(w for w, g in zip(words, gaps, strict=True) if not g)
        levels = sorted(counts, key=lambda w: (-counts[w], w))
        indicators = [np.array([float(w == level) for w in words]) for level in levels]
        indicators = [np.where(gaps, counts[level] / (~gaps).sum(), i) for level, i in zip(levels, indicators, strict=True)]
        names, columns = [f"{name}={level}" for level in levels[1:]], indicators[1:]
    if gaps.any() and missing == "indicator":
        names, columns = [*names, f"{name} missing"], [*columns, gaps.astype(float)]
    kept = [(n, c) for n, c in zip(names, columns, strict=True) if np.ptp(c) > 0]
    note = f"{name}: {int(gaps.sum())} missing, {missing}" if gaps.any() else ""
    return [n for n, _ in kept], [c for _, c in kept], note


def trial_data(
    columns: Mapping[str, Column],
    *,
    outcome: str,
    arm: str,
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
) -> TrialData:
    """Check the columns of a trial and return its view.

    Parameters
    ----------
    columns : name -> values, all of one length; words or numbers.
    outcome, arm : their names. The outcome is a number, or 0 and 1.
    baseline : columns to adjust for. Words, and those in ``categories``, become indicators; the rest are numbers.
    subject : identifiers; left out, rows are numbered and duplicates cannot be seen.
    reference : the arm that others are compared with; left out, the first in the order of names.
    strata : factors used at randomisation.
    prognosis_inputs : columns that a prognosis needs, kept as they are.
    later : columns known to be measured after randomisation, which nothing may adjust for.
    missing : one of :data:`MISSING`, for baseline values.
    missing_outcome : ``refuse``, or ``complete``: rows without an outcome are left out and counted.
    first_patient_in, unblinded : ISO dates; a prognosis must have been locked before both.

    Raises
    ------
    DataError
        For a missing column, a duplicate subject, missing values without a rule, an outcome in words, unequal lengths.
    EvidenceError
        For fewer than two arms, an arm under :data:`SMALLEST_ARM`, a constant outcome, a baseline column from after randomisation.
    """
    if missing not in MISSING or missing_outcome not in ("refuse", "complete"):
        raise DataError("no such rule for missing values", seen=(missing, missing_outcome), expected=(MISSING, ("refuse", "complete")))
    named = [outcome, arm, *baseline, *strata, *prognosis_inputs, *([subject] if subject else [])]
    lengths = {name: len(_column(columns, name)) for name in named}
    if len(set(lengths.values())) > 1:
        raise DataError("columns differ in length", seen=lengths, expected="one value per subject")
    after = frozenset({*later, outcome, arm})
    wrong = sorted(after & {*baseline, *strata})
    if wrong:
        raise EvidenceError(
            "a column from after randomisation cannot be adjusted for", seen=wrong, expected="baseline columns", fix="leave it out"
        )
    y, keep, notes = *_outcome(columns[outcome], outcome, missing_outcome), []
    if not keep.all():
        notes.append(f"{int((~keep).sum())} of {len(keep)} subjects without {outcome} are left out")
    y = y[keep]

    def rows(name: str) -> list[object]:
        return [v for v, k in zip(columns[name], keep, strict=True) if k]

    ids = [str(v) for v in rows(subject)] if subject else [str(i + 1) for i in np.flatnonzero(keep)]
    double = [k for k, n in Counter(ids).items() if n > 1]
    if double:
        raise DataError(
            "a subject comes twice", seen=f"{len(double)} identifiers", expected="one row per subject", fix="choose one visit and parameter"
        )
    arms, code = _arms(rows(arm), reference)
    if np.ptp(y) == 0:
        raise EvidenceError("the outcome does not vary", seen=float(y[0]), expected="more than one value")
    names, parts = [], []
    for name in dict.fromkeys(baseline):
        more, found, note = _expand(name, rows(name), missing, name in categories)
        names += more
        parts += found
        notes += [note] if note else []
    levels = {}
    for name in strata:
        if any(_is_missing(v) for v in rows(name)):
            raise DataError("a stratification factor is missing for a subject", seen=name, expected="a value for each", fix="as randomised")
        levels[name] = np.unique([str(v) for v in rows(name)], return_inverse=True)[1]
    return TrialData(
        subjects=tuple(ids),
        arms=arms,
        arm=code,
        outcome=y,
        covariates=np.column_stack(parts) if parts else np.zeros((len(ids), 0)),
        names=tuple(names),
        raw={name: tuple(rows(name)) for name in dict.fromkeys((*baseline, *prognosis_inputs))},
        strata=levels,
        later=after,
        first_patient_in=first_patient_in,
        unblinded=unblinded,
        notes=tuple(notes),
    )


def _outcome(values: Column, name: str, rule: str) -> tuple[np.ndarray, np.ndarray]:
    found = numbers(values)
    if found is None:
        raise DataError("the outcome holds words", seen=name, expected="numbers, or 0 and 1")
    gaps = np.isnan(found)
    if gaps.any() and rule == "refuse":
        raise DataError(
            "outcomes are missing and no rule says what to do",
            seen=f"{name}: {int(gaps.sum())} of {len(found)}",
            expected="missing_outcome = complete",
            fix="state it only if the estimand allows it; a repeated-measures model may serve better",
        )
    return found, ~gaps


def _arms(values: Sequence[object], reference: str) -> tuple[tuple[str, ...], np.ndarray]:
    if any(_is_missing(v) for v in values):
        raise DataError("a subject has no arm", seen=f"{sum(_is_missing(v) for v in values)} subjects", expected="the arm as randomised")
    words = [str(v) for v in values]
    counts = Counter(words)
    if len(counts) < 2:
        raise EvidenceError("a comparison needs two arms", seen=dict(counts), expected="at least two")
    small = {k: n for k, n in counts.items() if n < SMALLEST_ARM}
    if small:
        raise EvidenceError(
            "an arm is too small", seen=small, expected=f"{SMALLEST_ARM} or more with an outcome", fix="leave the arm out of the data"
        )
    if reference and reference not in counts:
        raise DataError("the trial has no such arm", seen=reference, expected=sorted(counts), fix="correct the reference")
    arms = tuple(sorted(counts, key=lambda k: (k != reference, k)))
    return arms, np.array([arms.index(w) for w in words])
