"""Credibility factors: risk, goals, grades from runs, and people's judgements."""

import pytest

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.core.manifest import Risk
from gemel.evidence.credibility import FACTORS, Judgement, goal_of, grade, risk_of
from gemel.evidence.run import EvidenceRun, Measured


def a_run(study, *factors, met=True, kind="verification", name="x", shown="proof", n=1, tables=None, time=1):
    figure = Measured(name=name, value=1.0, met=met, shown_on=ShownOn(kind=shown, n=n))
    return EvidenceRun(
        kind=kind,
        twin="t",
        study=study,
        model_version="1",
        model_hash="h",
        time=time,
        figures=(figure,),
        factors=factors,
        tables=tables or {},
    )


def of(graded, number):
    return next(g for g in graded if g.factor.number == number)


def test_risk_and_goals():
    def risk(i, c):
        return risk_of(Risk(influence=i, consequence=c, rationale="r", by="n", date="2026-01-01"))

    assert [risk(1, 1), risk(1, 3), risk(2, 2), risk(3, 3)] == [1, 3, 3, 5]
    assert [goal_of(r) for r in range(1, 6)] == [1, 2, 2, 3, 3]
    assert [f.number for f in FACTORS] == list(range(1, 14))


def test_nothing_measured_reaches_nothing():
    graded = grade((), risk=1)
    assert not any(g.is_adequate for g in graded)
    assert {g.status for g in graded} == {"not shown", "human judgement needed"}
    assert {g.factor.number for g in graded if g.status == "human judgement needed"} == {5, 12}


def test_grades_follow_the_runs():
    graded = grade([a_run("known-answers", 2), a_run("contract", 1)], risk=3)
    assert (of(graded, 2).gradation, of(graded, 1).gradation) == (2, 2)
    assert of(graded, 2).is_adequate
    with_order = grade([a_run("known-answers", 2, name="order of the method")], risk=5)
    assert of(with_order, 2).gradation == 3
    people = a_run(
        "validation",
        6,
        8,
        9,
        11,
        kind="validation",
        name="coverage",
        shown="replayed",
        n=12,
        tables={"rows": {"forecaster": ["a", "b", "c"], "n": [2000]}},
    )
    graded = grade([people], risk=3)
    assert (of(graded, 6).gradation, of(graded, 8).gradation, of(graded, 9).gradation, of(graded, 11).gradation) == (3, 2, 2, 3)
    assert (
        of(
            grade(
                [
                    people.model_copy(
                        update={"figures": (people.figures[0].model_copy(update={"shown_on": ShownOn(kind="replayed", n=3)}),)}
                    )
                ],
                risk=1,
            ),
            8,
        ).gradation
        == 1
    )
    assert of(grade([a_run("ranks", 7)], risk=1), 7).gradation == 2
    assert of(grade([a_run("ranks", 7), a_run("sensitivity", 7)], risk=1), 7).gradation == 3


def test_a_missed_limit_shows_nothing_and_is_named():
    graded = of(grade([a_run("known-answers", 2, met=False)], risk=1), 2)
    assert graded.gradation == 0
    assert "known-answers" in graded.why


def test_a_newer_run_of_the_same_study_counts():
    graded = grade([a_run("known-answers", 2, met=True, time=1), a_run("known-answers", 2, met=False, time=2)], risk=1)
    assert of(graded, 2).gradation == 0


def test_a_stale_run_shows_nothing_and_says_what_changed():
    run = a_run("known-answers", 2)
    graded = of(grade([run], risk=1, stale={run.id: ("model",)}), 2)
    assert (graded.status, graded.gradation) == ("stale", 0)
    assert "the model changed" in graded.why


def test_judgement_fills_what_asks_for_it_and_never_passes_a_gap():
    relevant = Judgement(12, 3, "the quantity is the decision's own", "A. Reviewer", "2026-11-01")
    gap = Judgement(8, 3, "no data exist", "A. Reviewer", "2026-11-01")
    graded = grade((), risk=1, judgements=[relevant, gap])
    assert of(graded, 12).status == "judged"
    assert of(graded, 12).is_adequate
    assert not of(graded, 8).is_adequate
    assert "gap accepted: no data exist (A. Reviewer, 2026-11-01)" in of(graded, 8).why


def test_a_judgement_has_a_name_a_date_and_one_factor():
    with pytest.raises(EvidenceError, match="a name and a date"):
        Judgement(12, 2, "because", " ", "2026-11-01")
    with pytest.raises(EvidenceError, match="no such factor"):
        Judgement(14, 2, "because", "n", "2026-11-01")
    twice = [Judgement(12, 2, "because", "n", "d"), Judgement(12, 3, "no", "m", "d")]
    with pytest.raises(EvidenceError, match="judged twice"):
        grade((), risk=1, judgements=twice)
