"""Run lengths: published tables, simulation, and what the wrong rounding does."""

from __future__ import annotations

import csv
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _data import require_dataset
from gemel.core.errors import EvidenceError
from gemel.evidence.surveillance import arl
from gemel.evidence.surveillance.arl import chain_run_length, chart_increments, normal_increments, run_length, threshold
from gemel.evidence.surveillance.risk import fit_risk


@pytest.fixture(scope="module")
def phase_one():
    """Parsonnet score, death within 30 days and surgeon of 1,766 operations."""
    with require_dataset("cardiac-surveillance").open() as source:
        rows = list(csv.DictReader(source))
    score = np.array([float(r["Parsonnet"]) for r in rows])
    died = np.array([float(r["status"] == "1" and float(r["time"]) <= 30) for r in rows])
    return score, died, np.array([r["surgeon"] for r in rows])


@pytest.fixture(scope="module")
def mix(phase_one):
    score, died, _ = phase_one
    return fit_risk(score, died).probability(score)


@pytest.mark.data
def test_the_risk_model_of_phase_one(phase_one):
    score, died, _ = phase_one
    model = fit_risk(score, died)
    assert (model.n, model.events) == (1766, 108)
    assert model.coefficients == pytest.approx((-3.79049, 0.0798445), abs=1e-5)  # recomputed by a second program
    assert model.standard_errors == pytest.approx((0.164426, 0.0072493), abs=1e-5)


@pytest.mark.data
@pytest.mark.parametrize(("h", "in_control", "doubled"), [(4.5, 7838.6, 225.3), (4.655, 9208.2, 234.4), (2.9, 1373.5, 132.1)])
def test_run_lengths_of_two_other_programs(mix, h, in_control, doubled):
    assert run_length(mix, h) == pytest.approx(in_control, rel=1e-3)  # 0.1 %: digits that were printed
    assert run_length(mix, h, true_ratio=2) == pytest.approx(doubled, rel=1e-3)


@pytest.mark.data
def test_the_threshold_that_another_package_tests_for(mix):
    assert threshold(mix, 370) == pytest.approx(1.8592, abs=1e-3)  # its chain gives 370.5 there
    assert run_length(mix, threshold(mix, 370)) == pytest.approx(370, rel=1e-6)


@pytest.mark.data
def test_rounding_one_way_is_wrong_by_up_to_sixteen_per_cent(mix, monkeypatch):
    def nearest(increments, cell, states):
        at = np.clip(np.round(increments.value / cell), -states, states).astype(int) + states
        return np.bincount(at, increments.probability, 2 * states + 2)

    honest = run_length(mix, 4.5, states=300)
    assert honest == pytest.approx(7838.6, rel=5e-3)  # 300 states already
    monkeypatch.setattr(arl, "_moves", nearest)
    assert run_length(mix, 4.5, states=300) == pytest.approx(6555, rel=0.01)
    assert run_length(mix, 4.5, states=600) == pytest.approx(8032, rel=0.01)


@pytest.mark.data
def test_a_run_length_without_its_uncertainty_is_theatre(phase_one):
    score, died, _ = phase_one
    low, middle, high = np.quantile(arl.refitted_run_lengths(score, died, 4.5), [0.025, 0.5, 0.975])
    # 1,490 / 8,100 / 54,600 by another program's resamples: the order of magnitude
    assert 700 < low < 3000
    assert 6000 < middle < 11_000
    assert 25_000 < high < 110_000


@pytest.mark.data
def test_six_hundred_states_take_less_than_a_second(mix):
    begin = time.process_time()
    run_length(mix, 4.5)
    assert time.process_time() - begin < 1.0  # measured 0.002


@pytest.mark.parametrize(("h", "in_control", "shifted"), [(4.0, 335.37, 8.38), (5.0, 930.89, 10.38)])
def test_the_table_of_the_normal_cusum(h, in_control, shifted):
    """Montgomery, Introduction to Statistical Quality Control, table of two-sided run lengths 168 and 465 at k = 0.5: half of one side's."""
    assert chain_run_length(normal_increments(0.5), h) == pytest.approx(in_control, rel=1e-3)
    assert chain_run_length(normal_increments(0.5, shift=1.0), h) == pytest.approx(shifted, rel=2e-3)


@pytest.mark.parametrize(("weight", "width"), [(0.05, 2.615), (0.1, 2.814), (0.25, 2.998), (0.4, 3.054)])
def test_the_table_of_the_ewma_with_run_length_500(weight, width):
    """Lucas and Saccucci 1990, doi:10.1080/00401706.1990.10484583, table 3."""
    limit = width * np.sqrt(weight / (2 - weight))
    assert arl.ewma_run_length(normal_increments(0.0), limit, weight) == pytest.approx(500, rel=5e-3)  # widths have four digits


def test_the_limit_of_an_ewma_has_its_run_length():
    increments = normal_increments(0.0, points=801)
    limit = arl.ewma_limit(increments, 500, 0.1)
    assert limit == pytest.approx(2.814 * np.sqrt(0.1 / 1.9), rel=5e-3)
    with pytest.raises(EvidenceError, match="between"):
        arl.ewma_limit(increments, 1.0, 0.1)


def test_levinson_equals_a_dense_solution():
    increments = chart_increments(np.array([0.02, 0.1, 0.3]))
    states, h = 80, 3.0
    move = arl._moves(increments, 2 * h / (2 * states - 1), states)
    q = np.zeros((states, states))
    for i in range(states):
        for k in range(-states, states + 1):
            if i + k < states:
                q[i, max(i + k, 0)] += move[states + k]
    assert chain_run_length(increments, h, states=states) == pytest.approx(
        np.linalg.solve(np.eye(states) - q, np.ones(states))[0], rel=1e-9
    )


@pytest.mark.parametrize(("ratio", "true_ratio"), [(2.0, 1.0), (2.0, 2.0), (0.5, 1.0), (0.5, 0.5)])
def test_the_chain_agrees_with_simulation(ratio, true_ratio):
    rng = np.random.default_rng(3)
    p = 1 / (1 + np.exp(-rng.normal(-2, 1, 300)))
    h = threshold(p, 150, ratio)
    q = true_ratio * p / (1 - p + true_ratio * p)
    alive = -np.log(1 - p + ratio * p)
    runs = 4000
    value, length, on = np.zeros(runs), np.zeros(runs), np.ones(runs, bool)
    while on.any():
        who = rng.integers(0, len(p), on.sum())
        step = alive[who] + np.log(ratio) * (rng.random(on.sum()) < q[who])
        value[on] = np.maximum(0, value[on] + step)
        length[on] += 1
        on &= value <= h
    error = length.std() / np.sqrt(runs)
    expected = run_length(p, h, ratio, true_ratio)
    assert abs(length.mean() - expected) < 4 * error  # one in 16,000 by chance for each of four cases


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.4), st.floats(1.2, 4.0), st.floats(50, 20_000))
def test_a_threshold_has_the_run_length_that_was_asked_for(p, ratio, wanted):
    mix = np.clip(p * np.array([0.5, 1.0, 2.0]), 0.005, 0.8)
    increments = chart_increments(mix, ratio=ratio)
    if wanted > 1.2 / increments.probability[increments.value > 0].sum():
        h = threshold(mix, wanted, ratio)
        assert run_length(mix, h, ratio) == pytest.approx(wanted, rel=1e-6)
        assert run_length(mix, 1.1 * h, ratio) > 0.999 * wanted
        assert run_length(mix, h, ratio, true_ratio=ratio) < wanted


def test_a_general_null_moves_the_chart():
    p = np.array([0.05, 0.2])
    shifted = 1.5 * p / (1 - p + 1.5 * p)
    # odds 3 against 1.5 on p are odds 2 against 1 on p moved by 1.5
    assert run_length(p, 3.0, 3.0, 1.5, null_ratio=1.5) == pytest.approx(run_length(shifted, 3.0, 2.0, 1.0), rel=1e-9)
    assert run_length(p, threshold(p, 400, 3.0, null_ratio=1.5), 3.0, 1.5, null_ratio=1.5) == pytest.approx(400, rel=1e-6)


def test_a_likelihood_ratio_of_odds_is_the_risk_adjusted_chart():
    p = np.array([0.05, 0.2, 0.6])
    doubled = 2 * p / (1 + p)
    same = arl.likelihood_increments(p, doubled)
    assert chain_run_length(same, 3.0) == pytest.approx(run_length(p, 3.0), rel=1e-9)


def test_flattened_risks_keep_their_mean():
    p = 1 / (1 + np.exp(-np.random.default_rng(0).normal(-2, 1, 500)))
    flat = arl.flattened(p, p, 0.5)
    assert flat.mean() == pytest.approx(p.mean())
    assert np.ptp(np.log(flat / (1 - flat))) == pytest.approx(0.5 * np.ptp(np.log(p / (1 - p))))
    increments = arl.likelihood_increments(p, flat)
    h = arl.chain_threshold(increments, 500)
    assert chain_run_length(increments, h) == pytest.approx(500, rel=1e-6)
    assert chain_run_length(arl.likelihood_increments(p, flat, true_mix=flat), h) < 250


def test_what_cannot_be_is_named():
    with pytest.raises(EvidenceError, match=r"1 in row 1 .*strictly|0 < p < 1"):
        run_length([0.1, 1.0], 2.0)
    with pytest.raises(EvidenceError, match="row 0"):
        threshold([0.0], 300)
    with pytest.raises(EvidenceError, match="row 1"):
        threshold([0.5, float("nan")], 300)
    with pytest.raises(EvidenceError, match=r"more than 20 .*at most 1e\+08"):
        threshold([0.05], 10)
    with pytest.raises(EvidenceError, match="at most"):
        threshold([0.05], 1e9)
    with pytest.raises(EvidenceError, match="positive threshold"):
        run_length([0.05], 0.0)
    with pytest.raises(EvidenceError, match="R_A another than R_0"):
        run_length([0.05], 2.0, 1.0)
    with pytest.raises(EvidenceError, match="both outcomes"):
        fit_risk(np.arange(5.0), np.zeros(5))
    with pytest.raises(EvidenceError, match="separated"):
        fit_risk(np.arange(6.0), np.array([0, 0, 0, 1, 1, 1.0]))
