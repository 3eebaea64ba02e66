"""The in-silico trial: criteria are met, assumptions move what they should, nothing is fitted, and luck is shared between programmes."""

from dataclasses import replace

import numpy as np
import pytest

import gemel.engine  # noqa: F401  sets the numerics
from gemel.core.lineage import Lineage
from gemel.engine.keys import make_key
from gemel.twins.metabolic.slow import trial
from gemel.twins.metabolic.slow._external import Check, External
from gemel.twins.metabolic.slow.trial_report import trial_view
from gemel.web import render_html


@pytest.fixture(scope="module")
def people():
    return trial.enrolled(300, key=make_key(1))


@pytest.mark.slow
def test_everyone_meets_the_criteria(people):
    hba1c, who = np.asarray(people.hba1c), people.person
    drugs = (np.asarray(people.shares) > 0).any(axis=1) | (np.asarray(people.insulin) > 0)
    assert people.size == 300
    assert ((hba1c >= 7.5) | drugs).all()
    assert hba1c.max() <= 11.0
    assert np.asarray(who.age).min() >= 18
    assert np.asarray(who.age).max() <= 75
    assert np.asarray(who.duration).max() <= 15
    assert (np.asarray(who.weight) / np.asarray(who.height) ** 2).min() >= 27 - 1e-9


@pytest.mark.slow
def test_more_is_asked_and_kept_and_more_reach_the_endpoint(people):
    def reached(programme):
        return trial.outcomes(people, programme, key=make_key(2))

    none = reached(replace(trial.COACHED, deficit=0.0, deficit_sd=0.0, activity=0.0))
    some, more = reached(trial.COACHED), reached(replace(trial.COACHED, deficit=900.0))
    assert none.reached.mean() <= some.reached.mean() < more.reached.mean()
    assert abs(none.weight.mean()) < 0.01
    assert more.weight.mean() < some.weight.mean() < -0.03
    same = more.drug_free == some.drug_free  # a drug that is withdrawn gives back the weight it took
    assert (more.weight[same] <= some.weight[same] + 1e-9).all(), "the same luck in both programmes"


@pytest.mark.slow
def test_who_keeps_other_drugs_is_not_counted(people):
    out = trial.outcomes(people, replace(trial.COACHED, withdrawal=None), key=make_key(3))
    others = (np.delete(np.asarray(people.shares), trial._METFORMIN, axis=1) > 0).any(axis=1) | (np.asarray(people.insulin) > 0)
    assert not out.reached[others].any()
    assert (out.drug_free == ~others).all()


@pytest.mark.slow
def test_the_prediction_is_wider_with_what_is_unknown_of_everyone(people):
    first, second = trial.arms(people, sizes=(60, 30), replicas=12, key=make_key(4))
    assert first.share[0] <= first.share[1] <= first.share[2]
    assert first.share[1] > second.share[1]
    sampling = np.sqrt(first.share[1] * (1 - first.share[1]) / 60)
    assert first.shares.std() > sampling


@pytest.mark.slow
def test_withdrawing_drugs_raises_hba1c_of_those_who_took_them(people):
    told = trial.deprescribing(people, key=make_key(5))
    assert told["everything withdrawn"]["change"] > told["nothing withdrawn"]["change"]
    assert told["insulin withdrawn"]["people"] == int((np.asarray(people.insulin) > 0).sum())
    assert told["nothing withdrawn"]["people"] == people.size


def test_the_page_says_fail_where_the_check_fails():
    good, bad = Check("a", 0.5, 0.4, 0.5, 0.6), Check("b", 0.9, 0.1, 0.2, 0.3)
    arm = trial.Arm("coached", (0.1, 0.2, 0.3), (-0.12, -0.1, -0.08), np.array([0.1, 0.2]))
    lineage = Lineage(record="r", model="m", model_version="1", code_version="0", method="forward", seed=1)
    shares = {"people": 3, "hba1c": 7.0, "change": 0.1, "below 6.5": 0.2, "below 7": 0.5}

    def page(informed):
        external = External((good,), (good,), informed, 100.0)
        view = trial_view(
            external=external, arms=(arm, replace(arm, name="usual care")), people=300, power=(0.9, 0.01), difference=(0.1, 0.2, 0.3),
            grid=np.full((1, 2, 2), 0.4), deficits=(250.0, 500.0), kept=(0.5, 1.0), reserve=(1.0,), withdrawals={"nothing": shares}, lineage=lineage,
        )  # fmt: skip
        return render_html(view)

    assert "External check: PASS" in page((good,))
    failed = page((good, bad))
    assert "External check: FAIL" in failed
    assert "SIMULATED" in failed
    assert "OUTSIDE" not in failed
    assert "NO" in failed, "the published share lies outside what is predicted, and the table says so"
