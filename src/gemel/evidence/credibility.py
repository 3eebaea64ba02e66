"""The credibility factors of ASME V&V 40, graded from stored runs; what needs a person's judgement waits for one.

The standard is not free: the names of the thirteen factors are widely published, the gradations and the matrix of risk are **ours**, and a group that
submits anything must own the standard and may put its own matrix here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gemel.core.errors import EvidenceError
from gemel.core.manifest import Risk
from gemel.evidence.run import EvidenceRun

__all__ = ["FACTORS", "GRADES", "Factor", "Graded", "Judgement", "goal_of", "grade", "risk_of"]

GRADES = ("none", "low", "middle", "high")
Status = Literal["shown", "not shown", "stale", "human judgement needed", "judged"]


@dataclass(frozen=True)
class Factor:
    """One credibility factor: what is looked at, and what our gradations low, middle and high mean for it."""

    number: int
    group: str
    name: str
    low: str
    middle: str
    high: str
    is_judged: bool = False


FACTORS = (
    Factor(1, "code verification", "software quality assurance", "ad hoc", "tests and a contract", "traced to safety classes"),
    Factor(2, "code verification", "numerical code verification", "none", "known answers", "observed order within 0.1"),
    Factor(3, "calculation verification", "discretisation error", "none", "two steps", "three steps, error inside its budget"),
    Factor(
        4,
        "calculation verification",
        "numerical solver error",
        "default settings",
        "one change of settings",
        "below a tenth of the tolerance",
    ),
    Factor(5, "calculation verification", "use error", "none", "bad input refused, by the authors' tests", "an independent check", True),
    Factor(6, "model validation", "model form", "none", "argued", "rivals or a discrepancy quantified"),
    Factor(
        7, "model validation", "model inputs: sensitivity and uncertainty", "point values", "ranges", "a joint distribution, calibrated"
    ),
    Factor(8, "comparator", "test samples: number, range, measurement, uncertainty", "one", "some", "span the context, with error"),
    Factor(9, "comparator", "test conditions: number, range, measurement, uncertainty", "one", "several", "span the context"),
    Factor(10, "assessment", "equivalency of inputs", "unlike", "partly the same", "the same, with error"),
    Factor(11, "assessment", "output comparison: quantity, rigour, agreement", "visual", "point error", "both uncertainties"),
    Factor(12, "applicability", "relevance of the quantities of interest", "a proxy", "related", "identical", True),
    Factor(13, "applicability", "relevance of the validation to the context of use", "outside", "partly inside", "inside"),
)
"""Names as widely published; the three gradations of each are ours."""

SOME, MANY = 10, 100
"""People of a validation that count as *some*, and windows per person that count as *several* conditions. ASSUMED."""


@dataclass(frozen=True)
class Judgement:
    """A person's judgement of one factor, or the rationale for a gap: with a name and a date, or it does not count."""

    factor: int
    gradation: int
    rationale: str
    by: str
    date: str

    def __post_init__(self) -> None:
        if not 1 <= self.factor <= len(FACTORS) or not 0 <= self.gradation < len(GRADES):
            raise EvidenceError(
                "a judgement of no such factor or gradation",
                seen=(self.factor, self.gradation),
                expected="factor 1 to 13, gradation 0 to 3",
            )
        if not (self.rationale.strip() and self.by.strip() and self.date.strip()):
            raise EvidenceError(
                "a judgement needs a rationale, a name and a date", seen=f"factor {self.factor}", fix="fill in rationale, by and date"
            )


@dataclass(frozen=True)
class Graded:
    """One factor as it stands: the gradation reached (0 none to 3 high), the goal that the risk asks for, why, and by which runs."""

    factor: Factor
    gradation: int
    goal: int
    status: Status
    why: str
    runs: tuple[str, ...] = ()

    @property
    def is_adequate(self) -> bool:
        """Whether the goal is reached by what is still true."""
        return self.status in ("shown", "judged") and self.gradation >= self.goal

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "number": self.factor.number, "group": self.factor.group, "factor": self.factor.name, "gradation": GRADES[self.gradation],
            "goal": GRADES[self.goal], "status": self.status, "why": self.why, "runs": list(self.runs), "adequate": self.is_adequate,
        }  # fmt: skip


def risk_of(risk: Risk) -> int:
    """Return model risk 1 to 5 from model influence and decision consequence, 1 to 3 each: their sum less one. The matrix is ours.

    Examples
    --------
    >>> risk_of(Risk(influence=2, consequence=3, rationale="r", by="n", date="2026-01-01"))
    4
    """
    return risk.influence + risk.consequence - 1


def goal_of(risk: int) -> int:
    """Return the least gradation (1 to 3) that a model risk (1 to 5) asks for: ``ceil(3 risk / 5)``.

    Examples
    --------
    >>> [goal_of(r) for r in (1, 2, 3, 4, 5)]
    [1, 2, 2, 3, 3]
    """
    return math.ceil(3 * risk / 5)


def _by_study(runs: Iterable[EvidenceRun]) -> dict[str, EvidenceRun]:
    newest: dict[str, EvidenceRun] = {}
    for run in sorted(runs, key=lambda r: r.time):
        newest[run.study or run.kind] = run
    return newest


def _has_order(run: EvidenceRun) -> bool:
    return any("order" in f.name and f.met for f in run.figures)


def _level(number: int, runs: Mapping[str, EvidenceRun]) -> tuple[int, str, list[EvidenceRun]]:
    """Return the gradation that these runs show for a factor, why, and which of them."""
    mine = [r for r in runs.values() if number in r.factors]
    met = [r for r in mine if r.met]
    short = f"; limits not met in {', '.join(r.study or r.kind for r in mine if not r.met)}" if len(met) < len(mine) else ""

    def told(level: int, why: str, used: Sequence[EvidenceRun] = ()) -> tuple[int, str, list[EvidenceRun]]:
        return level, why + short, list(used) or met

    if not met:
        return 0, (f"no run speaks to it{short}" if not mine else short.lstrip("; ")), mine
    people = max((f.shown_on.n for r in met for f in r.figures if f.shown_on.kind in ("real", "replayed")), default=0)
    if number == 1:
        traced = any("trace" in r.study for r in met)
        return told(3 if traced else 2, "requirements traced to tests" if traced else "the contract of every twin is kept")
    if number == 2:
        ordered = any(_has_order(r) for r in met)
        return told(3 if ordered else 2, "the order of the method is observed" if ordered else "known answers are met")
    if number in (3, 4):
        return (
            told(3, "three steps; the change is inside its budget")
            if any(r.kind == "calculation" for r in met)
            else told(2, "finer steps agree")
        )
    if number == 6:
        rivals = any("rows" in r.tables and len(set(r.tables["rows"].get("forecaster", ()))) > 2 for r in met)
        return told(3 if rivals else 2, "beside rivals, and without its parts" if rivals else "beside a naive rival")
    if number == 7:
        both = {"ranks", "sensitivity"} <= {r.study for r in met}
        return told(
            3 if both else 2,
            "joint posterior with calibrated ranks, and sensitivity indices" if both else "one of sensitivity and calibrated ranks",
        )
    if number == 8:
        return told(2 if people >= SOME else 1, f"{people} people")
    if number == 9:
        windows = max((sum(r.tables["rows"].get("n", ())[:1]) for r in met if "rows" in r.tables), default=0)
        return told(2 if windows >= MANY * max(people, 1) else 1, f"{windows} forecasts of {people} people in daily life")
    if number == 10:
        return told(2, "the same inputs as recorded; their errors are not known one by one")
    if number == 11:
        covered = any(f.name.startswith("coverage") and f.met for r in met for f in r.figures)
        return told(
            3 if covered else 2, "predictive intervals hold the readings, whose own error is in them" if covered else "point error only"
        )
    if number == 13:
        inside = next((f.value for r in met for f in r.figures if f.name.startswith("share of the context of use")), None)
        if inside is None:
            return told(1, "the distance from the context of use was not measured")
        return told(
            3 if inside >= 0.95 else 2 if inside >= 0.5 else 1,
            f"{inside:.0%} of the context of use lies within the people of the validation",
        )
    return told(1, "runs speak to it")


def grade(
    runs: Iterable[EvidenceRun], *, risk: int, stale: Mapping[str, tuple[str, ...]] | None = None, judgements: Sequence[Judgement] = ()
) -> tuple[Graded, ...]:
    """Grade all thirteen factors.

    Parameters
    ----------
    runs : of one twin.
    risk : 1 to 5.
    stale : run id -> what has changed since (:meth:`EvidenceRun.stale`); such a run shows nothing.
    judgements : of people; they count where a factor asks for judgement, or as the rationale for a gap. Never an automatic pass.

    Raises
    ------
    EvidenceError
        When one factor is judged twice.
    """
    old = dict(stale or {})
    by_factor: dict[int, Judgement] = {}
    for j in judgements:
        if j.factor in by_factor:
            raise EvidenceError(
                "a factor was judged twice",
                seen=f"factor {j.factor}: {by_factor[j.factor].by}, {j.by}",
                fix="keep one judgement per factor",
            )
        by_factor[j.factor] = j
    everything = list(runs)
    fresh, outdated = _by_study(r for r in everything if not old.get(r.id)), _by_study(r for r in everything if old.get(r.id))
    out = []
    for factor in FACTORS:
        level, why, used = _level(factor.number, fresh)
        goal, status = goal_of(risk), "shown"
        if level == 0:
            before, _, gone = _level(factor.number, outdated)
            status = "stale" if before else "not shown"
            if before:
                why, used = (
                    f"was {GRADES[before]}; since then the {' and '.join(sorted({w for r in gone for w in old[r.id]}))} changed",
                    gone,
                )
        if factor.is_judged:
            status = "human judgement needed"
            why += "; whether that is enough is for a person to say"
        judged = by_factor.get(factor.number)
        if judged is not None:
            said = f"{judged.rationale} ({judged.by}, {judged.date})"
            if factor.is_judged:
                level, status, why = judged.gradation, "judged", said
            elif level < goal:
                why = f"{why}; gap accepted: {said}"
        out.append(Graded(factor, level, goal, status, why, tuple(r.id for r in used)))  # type: ignore[arg-type]
    return tuple(out)
