"""What comes in is checked; one entry answers by every method; a prognosis is learnt from martingale residuals."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

import gemel.trials.survival
from _survival import columns, freireich_columns, made
from _trials import estimand
from gemel.core.errors import DataError, EvidenceError
from gemel.trials.survival import METHODS, adjusted_logrank, analyse_survival, calibrate, martingale_residuals, survival_data
from gemel.trials.survival.analysis import SUMMARIES

SAID = {method: estimand("arm0", "arm1", summary.value) for method, summary in SUMMARIES.items()}


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ({"t": [-1.0] + [1.0, 2.0] * 29 + [1.0]}, {}, DataError, "negative"),
        ({"t": ["soon"] * 60}, {}, DataError, "words"),
        ({"t": [""] + ["1.5", "2"] * 29 + ["1"]}, {}, DataError, "no rule"),
        ({"d": [2] * 60}, {}, DataError, "no meaning"),
        ({"d": [0.5] * 60}, {}, DataError, "no meaning"),
        ({"d": ["yes"] * 60}, {}, DataError, "not known"),
        ({"d": [""] + [1] * 59}, {}, DataError, "not known"),
        ({"id": ["s"] * 60}, {}, DataError, "subject comes twice"),
        ({"arm": ["a"] * 60}, {}, EvidenceError, "two arms"),
        ({"arm": ["a"] * 52 + ["b"] * 8}, {}, EvidenceError, "too small"),
        ({}, {"censor": "d"}, DataError, "one column"),
        ({}, {"baseline": ("t",)}, EvidenceError, "after randomisation"),
        ({}, {"baseline": ("d",)}, EvidenceError, "after randomisation"),
    ],
)
def test_what_cannot_be_analysed_is_refused(change, options, error, words):
    call = {"time": "t", "event": "d", "arm": "arm", "subject": "id"} | options
    with pytest.raises(error, match=words) as caught:
        survival_data(columns(60) | change, **call)
    assert "s0" not in str(caught.value)  # no subject in a message


def test_rows_without_a_time_take_their_events_along():
    source = columns(60)
    source["t"] = ["", *source["t"][1:-1], ""]
    data = made(source, missing_outcome="complete")
    assert data.n == 58
    assert data.event.tolist() == [bool(d) for d in source["d"][1:-1]]
    assert any("2 of 60" in note for note in data.notes)
    order = np.random.default_rng(0).permutation(60)
    assert made({k: [v[i] for i in order] for k, v in source.items()}, missing_outcome="complete").hash == data.hash
    flipped = source | {"d": [1 - source["d"][1] if i == 1 else d for i, d in enumerate(source["d"])]}
    assert made(flipped, missing_outcome="complete").hash != data.hash


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers(method):
    data = made(columns(300, log_ratio=-0.7), "x", "site")
    found = analyse_survival(data, SAID[method], method, tau=1.0 if method == "rmst" else None)
    plain = analyse_survival(made(columns(300, log_ratio=-0.7)), SAID[method], method, tau=1.0 if method == "rmst" else None)
    assert found.variance_ratio > 1.1
    assert plain.variance_ratio == 1
    assert found.p_value < 0.01
    assert found.lineage.record == data.pair("arm0", "arm1").hash
    assert (found.ratio is None) == (method == "rmst")
    if method != "rmst":
        assert found.interval[0] < found.ratio < found.interval[1] < 1
    assert any("events: arm0" in flag for flag in found.status)
    assert any("conditional" in flag or "Cox" in flag for flag in found.status) == (method == "hazard")


def test_the_test_and_its_result_say_the_same():
    data = made(columns(200), "x", strata=("site",))
    test = adjusted_logrank(data.pair("arm0", "arm1"), strata=("site",))
    found = analyse_survival(data, SAID["logrank"], "logrank", strata=("site",))
    assert found.estimate / found.standard_error == pytest.approx(test.z)
    assert found.p_value == pytest.approx(test.p_value)
    assert "strata(site)" in found.method


def test_three_arms_are_compared_two_by_two():
    source = columns(240)
    source["arm"] = [f"arm{i % 3}" for i in range(240)]
    two = {k: [v for v, a in zip(vs, source["arm"], strict=True) if a != "arm1"] for k, vs in source.items()}
    pair = estimand("arm0", "arm2", "hazard ratio")
    both = analyse_survival(made(source, "x"), pair, "hazard"), analyse_survival(made(two, "x"), pair, "hazard")
    assert both[0].estimate == both[1].estimate


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("magic", {}, "no such method"),
        ("rmst", {"tau": 99.0}, "not known at this time"),
        ("logrank", {"level": 1.0}, "level"),
        ("logrank", {"strata": ("centre",)}, "stratification factor"),
    ],
)
def test_what_is_not_known_is_refused(method, options, words):
    with pytest.raises(DataError, match=words):
        analyse_survival(made(columns(60)), SAID.get(method, SAID["logrank"]), method, **options)


def test_a_summary_that_the_method_does_not_give_is_refused():
    with pytest.raises(EvidenceError, match="does not give"):
        analyse_survival(made(columns(60)), SAID["rmst"], "hazard")
    with pytest.raises(EvidenceError, match="estimand"):
        analyse_survival(made(columns(60)), None, "hazard")


def test_a_horizon_from_the_data_is_said():
    assert any("horizon was taken" in flag for flag in analyse_survival(made(columns(60)), SAID["rmst"], "rmst").status)


def test_martingale_residuals_sum_to_nothing_and_are_those_of_the_definition():
    data = made(columns(80, digits=1))
    found = martingale_residuals(data.time, data.event, data.trial.arm)
    for a in (0, 1):
        own = data.trial.arm == a
        assert found[own].sum() == pytest.approx(0, abs=1e-12)
    t, d = data.time[own], data.event[own]
    i = 11
    hazard = sum(d[t == s].sum() / (t >= s).sum() for s in np.unique(t[d]) if s <= t[i])
    assert found[own][i] == pytest.approx(d[i] - hazard)


def test_a_prognosis_from_history_saves_events():
    """Calibrated on other patients; the share it saves is about its squared correlation with the residuals."""
    bundle = calibrate(columns(600, seed=5), time="t", event="d", inputs=("x", "noise"), subject="id").lock(
        name="km", today=date(2020, 1, 1)
    )
    assert bundle.r_squared > 0.2
    data = made(columns(500, seed=6), prognosis_inputs=("x", "noise"), first_patient_in="2021-01-01")
    found = analyse_survival(data, SAID["logrank"], "logrank", prognosis=bundle)
    assert found.lineage.parents == (bundle.hash[:16],)
    assert 1 - 1 / found.variance_ratio == pytest.approx(bundle.r_squared, abs=0.12)  # both are estimates: SE of R² about 0.035 each
    early = made(columns(500, seed=6), prognosis_inputs=("x", "noise"), first_patient_in="2019-01-01")
    with pytest.raises(EvidenceError, match="locked after first patient in"):
        analyse_survival(early, SAID["logrank"], "logrank", prognosis=bundle)


def test_a_prognosis_of_something_else_is_refused():
    from gemel.trials import calibrate as of_numbers

    bundle = of_numbers(columns(100), outcome="noise", inputs=("x",)).lock(name="n", today=date(2020, 1, 1))
    with pytest.raises(EvidenceError, match="not one of times"):
        analyse_survival(made(columns(60), prognosis_inputs=("x",)), SAID["logrank"], "logrank", prognosis=bundle)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"d": [0] * 100}, {}, "no events"),
        ({}, {"inputs": ("t",)}, "after randomisation"),
        ({}, {"censor": "d"}, "one column"),
        ({}, {"time": "nothing"}, "column is missing"),
        ({"t": ["x"] * 100}, {}, "words"),
    ],
)
def test_a_history_that_teaches_nothing_is_refused(change, options, words):
    with pytest.raises((DataError, EvidenceError), match=words):
        calibrate(columns(100) | change, **({"time": "t", "event": "d", "inputs": ("x",)} | options))


def test_fewer_than_ten_are_not_analysed():
    source = freireich_columns()
    short = {k: v[:21] + v[21:30] for k, v in source.items()}
    with pytest.raises(EvidenceError, match="too small"):
        survival_data(short, time="weeks", event="event", arm="arm")


def test_exported_members():
    for name in gemel.trials.survival.__all__:
        thing = getattr(gemel.trials.survival, name)
        assert name == "METHODS" or thing.__doc__
        assert name == "METHODS" or thing.__module__.startswith("gemel.trials.survival.")


def test_slopes_that_were_estimated_may_be_paid_for():
    data = made(
        columns(100) | {f"n{k}": np.random.default_rng(100 + k).normal(size=100).tolist() for k in range(4)}, "x", "n0", "n1", "n2", "n3"
    )
    plain, safe = (analyse_survival(data, SAID["logrank"], "logrank", small_sample=s) for s in (False, True))
    assert (safe.standard_error / plain.standard_error) ** 2 == pytest.approx(98 / 88)
    assert any("11% too small" in flag for flag in plain.status)
    assert not any("too small" in flag for flag in safe.status)
    assert "small sample" in safe.method
    hazards = [analyse_survival(data, SAID["hazard"], "hazard", small_sample=s) for s in (False, True)]
    assert (hazards[1].standard_error / hazards[0].standard_error) ** 2 == pytest.approx(98 / 88)
    one = made(columns(100), "x")
    assert not any("too small" in flag for flag in analyse_survival(one, SAID["logrank"], "logrank").status)
