"""The prognosis: what a model locked before the trial says each patient's outcome would be under control, used as a baseline covariate.

The literature calls it a prognostic score; the word is taken here. Its concurrent controls stay: the type-I error holds whatever the model is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from gemel import __version__
from gemel.core.errors import DataError, EvidenceError
from gemel.core.lineage import digest
from gemel.trials.data import Column, numbers
from gemel.trials.learners import LEARNERS, Learner, LinearRule, Rule
from gemel.trials.sizing import Assumptions

__all__ = ["Input", "Prognosis", "PrognosisBundle", "calibrate", "r_squared_interval"]

BINS = 10


class Input(BaseModel):
    """One baseline column of a prognosis: its kind, its range or levels in the history, and the deciles that drift is measured by."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    levels: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    edges: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()

    def encode(self, values: Sequence[object], *, missing: str = "refuse") -> tuple[np.ndarray, np.ndarray]:
        """Return the design columns (row, column) and which rows lie outside what the history held.

        Raises
        ------
        DataError
            When a value is missing and no rule says what to do, or a number is a word.
        """
        if self.levels:
            words = np.array([_word(v) for v in values])
            return np.stack([words == level for level in self.levels[1:]], axis=1).astype(float), ~np.isin(words, self.levels)
        found = numbers(values)
        if found is None:
            raise DataError("an input of the prognosis holds words", seen=self.name, expected="numbers, as in the history")
        gaps = np.isnan(found)
        if gaps.any() and missing == "refuse":
            raise DataError(
                "an input of the prognosis is missing",
                seen=f"{self.name}: {int(gaps.sum())} of {len(gaps)}",
                expected="a value for each patient, or the rule missing = mean (of the history)",
                fix="state the rule that the analysis plan names",
            )
        found = np.where(gaps, self.mean, found)
        return found[:, None], (found < self.low) | (found > self.high) | gaps

    def stability(self, values: Sequence[object]) -> float:
        """Return the population stability index against the history: sum (p - q) log(p / q) over deciles or levels; 0.25 is a large shift."""
        if self.levels:
            words = np.array([_word(v) for v in values])
            counts = np.array([(words == level).sum() for level in self.levels], float)
        else:
            found = numbers(values)
            counts = np.bincount(np.searchsorted(self.edges, found[~np.isnan(found)]), minlength=len(self.shares)).astype(float)  # type: ignore[index]
        p = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
        q = np.maximum(np.array(self.shares), 1e-6)
        return float(((p - q) * np.log(p / q)).sum())


def _word(value: object) -> str:
    try:
        return f"{float(value):g}"  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value)


def _input(name: str, values: Sequence[object], is_category: bool, missing: str) -> Input:
    found = None if is_category else numbers(values)
    if found is None:
        words = [_word(v) for v in values]
        levels, counts = np.unique(words, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        if len(levels) > max(20, len(words) // 5):
            raise EvidenceError(
                "a category has too many levels", seen=f"{name}: {len(levels)}", expected="few", fix="group them, or leave it out"
            )
        return Input(name=name, levels=tuple(map(str, levels[order])), shares=tuple((counts[order] / counts.sum()).tolist()))
    gaps = np.isnan(found)
    if gaps.all() or (gaps.any() and missing == "refuse"):
        raise DataError(
            "the history lacks values", seen=f"{name}: {int(gaps.sum())} of {len(gaps)}", expected="a value each, or missing = mean"
        )
    kept = found[~gaps]
    edges = np.unique(np.quantile(kept, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = np.bincount(np.searchsorted(edges, kept), minlength=len(edges) + 1) / len(kept)
    return Input(
        name=name,
        low=float(kept.min()),
        high=float(kept.max()),
        mean=float(kept.mean()),
        edges=tuple(edges.tolist()),
        shares=tuple(shares.tolist()),
    )


def r_squared_interval(correlation: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of R² from Fisher's z of the correlation; it begins at nothing where the correlation may be negative, and never ends there."""
    if n <= 4:
        return 0.0, 1.0
    half = special.ndtri(0.5 + level / 2) / math.sqrt(n - 3)
    z = math.atanh(max(min(correlation, 1 - 1e-12), -1 + 1e-12))
    return max(math.tanh(z - half), 0.0) ** 2, math.tanh(max(z, 0.0) + half) ** 2


class PrognosisBundle(BaseModel):
    """A locked prognosis: all it takes to compute it, what it was worth in the history, when it was locked, and a hash over everything.

    Parameters
    ----------
    correlation, r_squared, r_squared_interval : of cross-validated prediction and outcome in the history; folds by subject, the choice among
        learners and penalties inside each fold. A broad history overstates a narrow trial (:func:`gemel.trials.sizing.restricted_correlation`).
    calibration : intercept and slope of the outcome on the cross-validated prediction.
    sd : of the outcome in the history.
    history : hash of the history.
    locked : ISO date.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    outcome: str
    inputs: tuple[Input, ...]
    learner: str
    knots: tuple[tuple[float, ...], ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    prognosis: Input
    n: int
    sd: float = Field(gt=0)
    correlation: float
    r_squared: float
    r_squared_interval: tuple[float, float]
    calibration: tuple[float, float]
    missing: str
    seed: int
    history: str
    locked: str
    code_version: str
    hash: str = ""

    def sealed(self) -> str:
        """Return the hash of everything but the hash."""
        return digest(self.model_copy(update={"hash": ""}))

    def check(self) -> None:
        """Refuse a bundle that was changed after it was locked.

        Raises
        ------
        EvidenceError
            When its hash does not fit.
        """
        if self.hash != self.sealed():
            raise EvidenceError(
                "a locked prognosis was changed",
                seen=self.hash[:16] or "no hash",
                expected=self.sealed()[:16],
                fix="take the file as it was locked",
            )

    def of(self, columns: Mapping[str, Sequence[object]]) -> tuple[Float[np.ndarray, " row"], np.ndarray]:
        """Return the prognosis of each row, unit of the outcome, and which rows lie outside the history's support."""
        absent = [i.name for i in self.inputs if i.name not in columns]
        if absent:
            raise DataError("an input of the prognosis is not among the columns", seen=absent, expected=[i.name for i in self.inputs])
        encoded = [i.encode(columns[i.name], missing=self.missing) for i in self.inputs]
        rule = LinearRule(self.knots, self.centre, self.scale, self.coefficients, self.intercept)
        return rule(np.column_stack([x for x, _ in encoded])), np.any([out for _, out in encoded], axis=0)

    def assumptions(self, **more: float) -> Assumptions:
        """Return what a trial may be planned on: SD and correlation of the history; deflations and allocation by name."""
        return Assumptions(sd=self.sd, correlation=max(self.correlation, 0.0), **more)


@dataclass(frozen=True)
class Prognosis:
    """A prognosis that is not locked yet: it may be looked at, but no trial is analysed with it."""

    inputs: tuple[Input, ...]
    outcome: str
    learner: str
    rule: Rule
    predicted: Float[np.ndarray, " row"]
    observed: Float[np.ndarray, " row"]
    fold: Int[np.ndarray, " row"]
    candidates: Mapping[str, float]
    n: int
    missing: str
    seed: int
    history: str

    @property
    def correlation(self) -> float:
        """Of cross-validated prediction and outcome, around the means of their folds: a rule that knows the mean only runs against the fold it left out."""
        p, y = self._around()
        bottom = math.sqrt(float(p @ p) * float(y @ y))
        return float(p @ y) / bottom if p @ p > 1e-18 * (self.predicted @ self.predicted) else 0.0

    def _around(self) -> tuple[np.ndarray, np.ndarray]:
        counts = np.maximum(np.bincount(self.fold), 1)
        p, y = (v - (np.bincount(self.fold, v) / counts)[self.fold] for v in (self.predicted, self.observed))
        return p, y

    @property
    def r_squared(self) -> float:
        """Squared correlation of cross-validated prediction and outcome; nothing when the correlation is negative."""
        return max(self.correlation, 0.0) ** 2

    def lock(self, *, name: str, today: date) -> PrognosisBundle:
        """Return the bundle that may enter a trial.

        Parameters
        ----------
        today : the date of locking, an argument like all times.

        Raises
        ------
        EvidenceError
            When the rule is not plain numbers (a learner of another library).
        """
        if not isinstance(self.rule, LinearRule):
            raise EvidenceError(
                "only a rule of plain numbers can be locked",
                seen=self.learner,
                expected=sorted(LEARNERS),
                fix="take ridge or spline, or AIPW",
            )
        p, y = self._around()
        slope = float(p @ y / (p @ p)) if self.correlation != 0 else 0.0
        bundle = PrognosisBundle(
            name=name,
            outcome=self.outcome,
            inputs=self.inputs,
            learner=self.learner,
            knots=self.rule.knots,
            centre=self.rule.centre,
            scale=self.rule.scale,
            coefficients=self.rule.coefficients,
            intercept=self.rule.intercept,
            prognosis=_input("prognosis", self.predicted.tolist(), False, "refuse"),
            n=self.n,
            sd=float(np.std(self.observed, ddof=1)),
            correlation=self.correlation,
            r_squared=self.r_squared,
            r_squared_interval=r_squared_interval(self.correlation, self.n - int(self.fold.max())),
            calibration=(float(self.observed.mean() - slope * self.predicted.mean()), slope),
            missing=self.missing,
            seed=self.seed,
            history=self.history,
            locked=today.isoformat(),
            code_version=__version__,
        )
        return bundle.model_copy(update={"hash": bundle.sealed()})


def calibrate(
    history: Mapping[str, Column],
    *,
    outcome: str,
    inputs: Sequence[str],
    learners: Sequence[Learner | str] = ("ridge", "spline"),
    subject: str = "",
    categories: Iterable[str] = (),
    later: Iterable[str] = (),
    missing: str = "refuse",
    folds: int = 10,
    seed: int = 0,
) -> Prognosis:
    """Learn a prognosis from historical controls: the best of the learners by cross-validation, and what that choice is worth.

    Parameters
    ----------
    history : name -> values of historical controls; rows without an outcome are left out.
    inputs : baseline columns. Words and ``categories`` become indicators.
    learners : names in :data:`gemel.trials.learners.LEARNERS`, or objects of the same protocol.
    subject : folds keep a subject's rows together.
    later : columns known to be measured after the start of treatment.
    missing : ``refuse``, or ``mean`` (of the history), which also holds for the trial.
    seed : of the folds.

    Raises
    ------
    EvidenceError
        When an input was measured after randomisation, or the history is too small.
    DataError
        For missing columns or values.
    """
    wrong = sorted({*later, outcome} & set(inputs))
    if wrong:
        raise EvidenceError(
            "a prognosis may not use a column from after randomisation", seen=wrong, expected="baseline columns", fix="leave it out"
        )
    absent = [c for c in (outcome, *inputs, *([subject] if subject else [])) if c not in history]
    if absent or not inputs:
        raise DataError("a column is missing", seen=absent or "no inputs", expected=sorted(history))
    y = numbers(history[outcome])
    if y is None:
        raise DataError("the outcome holds words", seen=outcome, expected="numbers")
    keep = ~np.isnan(y)
    rows = {c: [v for v, k in zip(history[c], keep, strict=True) if k] for c in inputs}
    y = y[keep]
    groups = [str(v) for v, k in zip(history[subject], keep, strict=True) if k] if subject else [str(i) for i in range(len(y))]
    people = sorted(set(groups))
    if len(people) < 2 * folds or np.ptp(y) == 0:
        raise EvidenceError(
            "the history is too small", seen=f"{len(people)} people", expected=f"{2 * folds} or more, with outcomes that vary"
        )
    made = tuple(_input(c, rows[c], c in set(categories), missing) for c in inputs)
    x = np.column_stack([i.encode(rows[i.name], missing=missing)[0] for i in made])
    order = np.random.default_rng(seed).permutation(len(people))
    place = {person: int(order[k]) % folds for k, person in enumerate(people)}
    fold = np.array([place[g] for g in groups])
    chosen: tuple[Learner, ...] = tuple(LEARNERS[item] if isinstance(item, str) else item for item in learners)

    def losses(inside: np.ndarray) -> list[float]:
        out = []
        for learner in chosen:
            total = 0.0
            for k in np.unique(fold[inside]):
                train, test = inside & (fold != k), inside & (fold == k)
                total += float(np.square(y[test] - learner.calibrate(x[train], y[train])(x[test])).sum())
            out.append(total / inside.sum())
        return out

    predicted = np.empty(len(y))
    for k in range(folds):
        train = fold != k
        best = chosen[int(np.argmin(losses(train))) if len(chosen) > 1 else 0]
        predicted[~train] = best.calibrate(x[train], y[train])(x[~train])
    everything = losses(np.ones(len(y), bool))
    learner = chosen[int(np.argmin(everything))]
    return Prognosis(
        inputs=made,
        outcome=outcome,
        learner=learner.name,
        rule=learner.calibrate(x, y),
        predicted=predicted,
        observed=y,
        fold=fold,
        candidates={c.name: loss for c, loss in zip(chosen, everything, strict=True)},
        n=len(people),
        missing=missing,
        seed=seed,
        history=digest([outcome, list(inputs), x, y]),
    )
