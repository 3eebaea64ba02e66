"""Conformance: four lives with known labels, and every way to fall short of one."""

import pytest

from gemel.core.advice import ShownOn
from gemel.core.manifest import manifest_of
from gemel.evidence.life import LifeEvent
from gemel.evidence.nasem import LEAST, ROWS, check_nasem
from gemel.evidence.run import EvidenceRun, Measured

SIMULATED = ShownOn(kind="simulated", n=5)


def a_run(kind="loop", life=(), value=0.9, met=True, name="coverage of 90 % intervals", shown_on=SIMULATED, model="h", time=1):
    figure = Measured(name=name, value=value, met=met, shown_on=shown_on)
    return EvidenceRun(kind=kind, twin="toy-linear", model_version="1", model_hash=model, time=time, figures=(figure,), life=tuple(life))


def a_life(who, *, calibrated=True, updates=3, acted=True, facts=1.0, abstained=False, population=2.0, order=True):
    def e(kind, time, **more):
        return LifeEvent(patient=who, kind=kind, time=time, recorded=more.pop("recorded", time), **more)

    events = []
    if calibrated:
        events.append(e("calibrated", 0, values={"parameters": 3.0, "divergence": 2.0}))
    events.append(e("forecast", 1 if order else 9, id=f"f-{who}"))
    events += [e("assimilated", 2 + i, values={"divergence": 0.1}) for i in range(min(updates, 2))]
    events.append(e("scored", 5, of=f"f-{who}", values={"n": 4.0, "crps": 1.0, "population": population, "inside90": 1.0}))
    if abstained:
        events.append(e("proposal", 5, id=f"p-{who}", values={"plans": 0.0, "abstained": 1.0}, note="no feasible plan"))
        return events
    events.append(e("proposal", 5, id=f"p-{who}", values={"plans": 2.0, "abstained": 0.0, "utility": 1.0}))
    if acted:
        events += [e("delivered", 5, of=f"p-{who}"), e("decision", 5, of=f"p-{who}", note="accepted")]
        events.append(e("act", 5, of=f"p-{who}", values={"facts": facts}))
        events += [e("assimilated", 6, values={"divergence": 0.1})] * (updates > 2)
    return events


def lives(n=4, **changes):
    return [event for i in range(n) for event in a_life(f"p{i}", **changes)] + a_life("q", abstained=True)


def found(life, *more, runs=None):
    others = [a_run("verification", name="error"), a_run("calibration"), a_run("surveillance", name="alarms")] if runs is None else runs
    return check_nasem(manifest_of("toy-linear"), [a_run(life=life), *others, *more], "h")


def row(conformance, id_):
    return next(r for r in conformance.rows if r.id == id_)


def test_four_lives_get_their_labels():
    whole = found(lives())
    assert whole.label == "twin (simulated loop)"
    assert whole.is_twin
    assert [r.id for r in whole.rows] == list(ROWS)
    assert all(r.status == "shown" and r.runs for r in whole.rows)
    assert found(lives(acted=False)).label == "shadow"
    assert found(lives(updates=0, acted=False)).label == "model"
    assert found(lives(calibrated=False, updates=0, acted=False)).label in ("model", "virtual cohort")
    cohort = check_nasem(manifest_of("toy-linear"), [a_run("verification", name="error")], "h")
    assert cohort.label == "virtual cohort"


def test_the_live_label_needs_real_people():
    real = a_run(life=lives(), shown_on=ShownOn(kind="real", n=5))
    others = [a_run("verification", name="error"), a_run("calibration"), a_run("surveillance", name="alarms")]
    assert check_nasem(manifest_of("toy-linear"), [real, *others], "h").label == "twin (live loop)"
    replayed = a_run(life=lives(), shown_on=ShownOn(kind="replayed", n=5))
    assert check_nasem(manifest_of("toy-linear"), [replayed, *others], "h").label == "twin (simulated loop)"


@pytest.mark.parametrize(
    ("broken", "id_"),
    [
        ({"n": LEAST - 2}, "N2"),
        ({"order": False}, "N3"),
        ({"facts": 0.0}, "N5"),
        ({"updates": 2}, "N5"),
        ({"population": 0.9}, "N6"),
    ],
)
def test_what_is_missing_is_named(broken, id_):
    conformance = found(lives(**broken))
    assert row(conformance, id_).status == "not shown"
    assert not conformance.is_twin


def test_advice_needs_a_path_to_abstain():
    never = [event for i in range(4) for event in a_life(f"p{i}")]
    assert row(found(never), "N4").status == "not shown"
    assert row(found(lives()), "N4").status == "shown"


def test_coverage_outside_its_limits_and_missing_runs_are_not_shown():
    assert row(found(lives(), a_run("calibration", value=0.6, met=False)), "N7").status == "not shown"
    lacking = found(lives(), runs=[a_run("verification", name="error"), a_run("calibration")])
    assert row(lacking, "N8").status == "not shown"
    assert "surveillance" in row(lacking, "N8").said
    failed = found(lives(), a_run("verification", name="error", met=False))
    assert row(failed, "N8").status == "not shown"


def test_runs_of_another_model_are_stale_and_of_another_twin_do_not_count():
    old = [a_run(life=lives(), model="old"), *(a_run(k, name="x", model="old") for k in ("verification", "calibration", "surveillance"))]
    conformance = check_nasem(manifest_of("toy-linear"), old, "h")
    assert {r.status for r in conformance.rows} <= {"stale", "not shown"}
    assert row(conformance, "N5").status == "stale"
    assert "another version" in row(conformance, "N5").said
    assert check_nasem(manifest_of("toy-growth"), old, "old").label == "virtual cohort"


def test_it_is_plain_values():
    told = found(lives()).to_dict()
    assert told["label"] == "twin (simulated loop)"
    assert told["rows"][0]["shown_on"]["kind"] == "simulated"
