"""A prognosis is learnt on history, locked, and guarded: what it may not use, when it may not be used, and what is said of it."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest

from _trials import estimand, made, simulated
from gemel.core.errors import DataError, EvidenceError
from gemel.trials import PrognosisBundle, analyse, calibrate
from gemel.trials.learners import Foreign
from gemel.trials.prognosis import r_squared_interval

PAIR = estimand("arm0", "arm1")
TODAY = date(2026, 1, 5)


@pytest.fixture(scope="module")
def history():
    return simulated(600, seed=99, effect=0.0)


@pytest.fixture(scope="module")
def bundle(history):
    return calibrate(history, outcome="y", inputs=("x", "site"), subject="id").lock(name="test", today=TODAY)


def trial(n: int = 200, *, seed: int = 0, **more):
    return made(simulated(n, seed=seed), prognosis_inputs=("x", "site"), **{"first_patient_in": "2026-03-01"} | more)


def test_what_it_is_worth_is_measured_on_people_it_has_not_seen(history, bundle):
    assert bundle.r_squared == pytest.approx(0.36, abs=0.09)  # 3 SE of 600
    low, high = bundle.r_squared_interval
    assert low < bundle.r_squared < high
    assert bundle.calibration[1] == pytest.approx(1.0, abs=0.2)
    useless = calibrate(history, outcome="y", inputs=("noise",))
    assert useless.r_squared < 0.03
    low, high = r_squared_interval(-0.3, 100)
    assert low == 0 < high
    assert set(useless.candidates) == {"ridge", "spline"}


def test_a_rule_that_knows_only_the_mean_is_worth_nothing():
    """Rows against the mean of all others: prediction and outcome of a fold run against each other, which is no correlation."""
    for seed in range(20):
        useless = calibrate(simulated(60, seed=seed), outcome="y", inputs=("noise",), learners=("ridge",))
        assert abs(useless.correlation) < 0.45  # 3.4 SE of 60; without the folds' means it falls to -0.6


def test_intervals_of_r_squared_cover():
    rng, hits = np.random.default_rng(4), 0
    for _ in range(800):
        x, e = rng.normal(size=(2, 80))
        low, high = r_squared_interval(float(np.corrcoef(x, 0.5 * x + np.sqrt(0.75) * e)[0, 1]), 80)
        hits += low <= 0.25 <= high
    assert 0.925 < hits / 800 < 0.975  # 3 SE of 800 around 0.95


def test_a_locked_prognosis_is_the_same_from_a_file(bundle):
    again = PrognosisBundle.model_validate_json(bundle.model_dump_json())
    again.check()
    columns = simulated(50, seed=3)
    assert np.array_equal(again.of(columns)[0], bundle.of(columns)[0])
    told = json.loads(bundle.model_dump_json())
    told["coefficients"][0] += 1e-6
    with pytest.raises(EvidenceError, match="was changed"):
        PrognosisBundle.model_validate(told).check()


def test_it_becomes_the_first_covariate_and_stands_in_the_lineage(bundle):
    plain, found = (analyse(trial(), PAIR, m, prognosis=bundle) for m in ("unadjusted", "ancova2"))
    assert found.variance_ratio == pytest.approx(1 / (1 - 0.36), rel=0.25)
    assert found.standard_error < plain.standard_error
    assert found.lineage.parents == (bundle.hash[:16],)
    assert plain.lineage.parents == ()
    assert any("R² within arm" in note for note in found.status)
    assert found.lineage.id == analyse(trial(), PAIR, "ancova2", prognosis=bundle).lineage.id


def test_the_size_planned_on_it_is_the_size_it_needs(bundle):
    from gemel.trials import size

    found = size(bundle.assumptions(correlation_deflation=0.9), 0.4, prognosis=bundle.hash)
    assert found.r_squared == pytest.approx(0.81 * bundle.r_squared)
    assert found.n == pytest.approx(found.unadjusted * (1 - found.r_squared))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"first_patient_in": "2026-01-05"}, "locked after first patient in"),
        ({"first_patient_in": "2025-12-01"}, "locked after first patient in"),
        ({"unblinded": "2026-01-01"}, "locked after unblinding"),
        ({"later": ("x",)}, "after randomisation"),
    ],
)
def test_what_may_not_be_used_is_refused(bundle, more, words):
    with pytest.raises(EvidenceError, match=words):
        analyse(trial(**more), PAIR, "ancova1", prognosis=bundle)


def test_a_date_that_cannot_be_read_is_refused(bundle):
    with pytest.raises(DataError, match="date"):
        analyse(trial(first_patient_in="March"), PAIR, "ancova1", prognosis=bundle)


def test_an_unknown_date_is_said(bundle):
    assert any("was not checked" in flag for flag in analyse(trial(first_patient_in=""), PAIR, "ancova1", prognosis=bundle).status)


def test_inputs_from_after_randomisation_do_not_enter_the_history(history):
    for call in ({"inputs": ("y",)}, {"inputs": ("x", "noise"), "later": ("noise",)}):
        with pytest.raises(EvidenceError, match="after randomisation"):
            calibrate(history, outcome="y", **call)


def test_a_quiet_trial_has_no_flags_and_a_shifted_one_has(bundle):
    assert analyse(trial(), PAIR, "ancova1", prognosis=bundle).status[1:] == ()
    columns = simulated(200)
    columns["x"] = [x + 4 for x in columns["x"]]
    flags = " ".join(
        analyse(made(columns, prognosis_inputs=("x", "site"), first_patient_in="2026-03-01"), PAIR, "ancova1", prognosis=bundle).status
    )
    assert "outside what the prognosis was trained on" in flags
    assert "x has drifted" in flags
    columns = simulated(200)
    columns["site"] = ["d"] * 100 + columns["site"][100:]
    flags = " ".join(
        analyse(made(columns, prognosis_inputs=("x", "site"), first_patient_in="2026-03-01"), PAIR, "ancova1", prognosis=bundle).status
    )
    assert "50%" in flags or "50 %" in flags


def test_a_prognosis_that_does_not_hold_is_flagged(bundle):
    columns = simulated(300, slope=0.1)
    found = analyse(made(columns, prognosis_inputs=("x", "site"), first_patient_in="2026-03-01"), PAIR, "ancova1", prognosis=bundle)
    assert any("by more than chance" in flag for flag in found.status)
    assert found.variance_ratio < 1.1
    quiet = [analyse(trial(seed=seed), PAIR, "ancova1", prognosis=bundle).status for seed in range(60)]
    assert (
        sum(any("more than chance" in flag for flag in status) for status in quiet) <= 5
    )  # one in 40 by chance: more than 5 of 60 in 0.4 %
    planned = analyse(trial(), PAIR, "ancova1", prognosis=bundle, planned_r_squared=0.8)
    assert any("0.800 of the plan" in flag for flag in planned.status)


def test_a_covariate_that_moved_with_the_arm_is_flagged():
    columns = simulated(200)
    columns["noise"] = [v + 3 * (a == "arm1") for v, a in zip(columns["noise"], columns["arm"], strict=True)]
    found = analyse(made(columns, "x", "noise"), PAIR, "ancova1")
    assert next(f for f in found.status if "before randomisation" in f).startswith("noise")


def test_a_prognosis_beside_all_of_its_inputs_is_refused():
    line = calibrate(simulated(300, seed=1), outcome="y", inputs=("x",), learners=("ridge",)).lock(name="line", today=TODAY)
    with pytest.raises(EvidenceError, match="linearly dependent"):
        analyse(made(simulated(200), "x"), PAIR, "ancova1", prognosis=line)


def test_missing_inputs_need_a_rule(history):
    columns = simulated(60) | {"x": ["", *simulated(60)["x"][1:]]}
    strict = calibrate(history, outcome="y", inputs=("x",)).lock(name="strict", today=TODAY)
    with pytest.raises(DataError, match="is missing"):
        strict.of(columns)
    lenient = calibrate(history, outcome="y", inputs=("x",), missing="mean").lock(name="lenient", today=TODAY)
    values, outside = lenient.of(columns)
    assert np.isfinite(values).all()
    assert outside[0]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({"inputs": ()}, DataError),
        ({"inputs": ("height",)}, DataError),
        ({"inputs": ("x",), "folds": 400}, EvidenceError),
        ({"inputs": ("id",)}, EvidenceError),
    ],
)
def test_a_history_that_cannot_be_learnt_from_is_refused(history, call, error):
    with pytest.raises(error):
        calibrate(history, outcome="y", **call)


def test_only_numbers_can_be_locked(history):
    class Zero:
        def fit(self, x, y):
            return self

        def predict(self, x):
            return np.zeros(len(x))

    made_ = calibrate(history, outcome="y", inputs=("x",), learners=(Foreign(Zero()),))
    with pytest.raises(EvidenceError, match="plain numbers"):
        made_.lock(name="foreign", today=TODAY)


def test_folds_keep_a_subject_together():
    """Each person twice, noise that a learner with a memory finds again: rows apart would show an R² that is not there."""

    class Nearest:
        def fit(self, x, y):
            self.x, self.y = x, y
            return self

        def predict(self, x):
            return self.y[np.abs(x[:, [0]] - self.x[:, 0]).argmin(axis=1)]

    person = np.repeat(np.arange(80), 2)
    x, y = np.random.default_rng(2).normal(size=(2, 80))[:, person]
    columns = {"x": x.tolist(), "y": y.tolist(), "id": [str(p) for p in person]}
    memory = (Foreign(Nearest(), "nearest"),)
    together, apart = (calibrate(columns, outcome="y", inputs=("x",), subject=s, learners=memory) for s in ("id", ""))
    assert (together.n, apart.n) == (80, 160)
    assert apart.r_squared > 0.4
    assert together.r_squared < 0.15
