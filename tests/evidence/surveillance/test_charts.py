"""Charts: weights and paths that were printed elsewhere, error rates of the sequential test."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from _data import require_dataset
from gemel.core.errors import EvidenceError
from gemel.evidence.surveillance.charts import cusum, ewma, rolling_share, sprt, vlad, weights
from gemel.evidence.surveillance.risk import fit_risk


def risk(parsonnet, intercept=-3.68):
    return 1 / (1 + np.exp(-(intercept + 0.077 * parsonnet)))


@pytest.mark.parametrize(("ratio", "expected"), [(2.0, (-0.0243, 0.6688, -0.4333, 0.2598)), (0.5, (0.0124, -0.6808, 0.3164, -0.3768))])
def test_weights_of_steiner_2000(ratio, expected):
    p = risk(np.array([0, 0, 50, 50.0]))
    assert weights(p, [0, 1, 0, 1], ratio) == pytest.approx(expected, abs=1e-4)


def test_a_weight_of_rigdon_and_fricker():
    p = risk(np.array([19.0]), -3.67)
    # quoted second-hand as -0.0954: two digits change places, since 0.05083 of the same p = 0.0991 gives -ln(1 + p) = -0.0945
    assert weights(p, [0], 2.0) == pytest.approx([-0.0945], abs=1e-4)
    assert weights(p, [0], 0.5) == pytest.approx([0.05083], abs=1e-4)


def test_a_null_other_than_one():
    p = np.array([0.1, 0.3])
    assert weights(p, [1, 0], 3.0, null_ratio=1.5) == pytest.approx(weights(p, [1, 0], 3.0) - weights(p, [1, 0], 1.5))


@pytest.mark.data
def test_the_chart_of_each_surgeon():
    with require_dataset("cardiac-surveillance").open() as source:
        rows = list(csv.DictReader(source))
    score = np.array([float(r["Parsonnet"]) for r in rows])
    died = np.array([float(r["status"] == "1" and float(r["time"]) <= 30) for r in rows])
    surgeon = np.array([r["surgeon"] for r in rows])
    p = fit_risk(score, died).probability(score)
    known = {
        "1": (454, 44, 35.47, 4.733), "2": (229, 15, 18.04, 1.177), "3": (249, 11, 16.70, 1.172), "5": (244, 4, 8.87, 0.728),
        "6": (380, 19, 15.92, 2.369), "7": (210, 15, 12.99, 1.952),
    }  # fmt: skip
    assert set(surgeon) == set(known)
    for name, (n, deaths, expected, largest) in known.items():
        mine = surgeon == name
        chart = cusum(weights(p[mine], died[mine]), 4.5)
        assert (mine.sum(), died[mine].sum(), len(chart.alarms)) == (n, deaths, int(name == "1"))
        assert p[mine].sum() == pytest.approx(expected, abs=5e-3)
        assert chart.largest == pytest.approx(largest, abs=1e-3)
    first = surgeon == "1"
    going_on = cusum(weights(p[first], died[first]), 4.5, reset=False)
    assert going_on.largest == pytest.approx(5.521, abs=1e-3)
    assert len(going_on.alarms) == 1


def test_reset_or_not_changes_what_follows():
    steps = [1.0, 1.5, 1.0, -3.0, 2.5]
    again = cusum(steps, 2.0)
    assert again.value.tolist() == [1.0, 2.5, 1.0, 0.0, 2.5]
    assert again.alarms.tolist() == [1, 4]
    on = cusum(steps, 2.0, reset=False)
    assert on.value.tolist() == [1.0, 2.5, 3.5, 0.5, 3.0]
    assert on.alarms.tolist() == [1, 4]
    assert cusum([3.0, 3.0], 2.0, reset=False).alarms.tolist() == [0]


def test_the_sequential_test_keeps_its_error_rates():
    rng = np.random.default_rng(5)
    p = 1 / (1 + np.exp(-rng.normal(-1.5, 1, (400, 1500))))
    wrong = {}
    for name, ratio in (("worse", 1.0), ("as promised", 2.0)):
        q = ratio * p / (1 - p + ratio * p)
        said = [sprt(row, rng.random(1500) < chance, alpha=0.05, beta=0.05).decision for row, chance in zip(p, q, strict=True)]
        assert "open" not in said
        wrong[name] = said.count(name) / len(said)
    # nominal 0.05 (Wald: at most alpha / (1 - beta) = 0.053), and 400 runs: 0.053 + 3 x 0.011
    assert max(wrong.values()) < 0.086


def test_vlad_ewma_and_rolling_shares():
    assert vlad([0.2, 0.5], [1, 0]) == pytest.approx([-0.8, -0.3])
    path = ewma([1.0, 0.0], 0.4, weight=0.5)
    assert path.value.tolist() == [0.5, 0.25]
    assert path.outside.tolist() == [True, False]
    rolled = rolling_share([1, 1, 0, 0], 0.9, window=2)
    assert rolled.share.tolist() == [1.0, 1.0, 0.5, 0.0]
    assert not rolled.outside  # two cases tell nothing
    assert rolling_share(np.r_[np.ones(50), np.zeros(12)], 0.9, window=40).outside
    rng = np.random.default_rng(1)
    shares = rolling_share(rng.random(20_000) < 0.9, 0.9, window=100)
    out = (shares.share < shares.low) | (shares.share > shares.high)
    assert out[99:].mean() < 0.02  # 99 % limits of a discrete count


def test_bad_input_is_named():
    with pytest.raises(EvidenceError, match="row 1"):
        weights([0.5, 1.0], [0, 1])
    with pytest.raises(EvidenceError, match="outcome must be 0 or 1"):
        weights([0.5, 0.5], [0, float("nan")])
    with pytest.raises(EvidenceError, match="one probability and one outcome"):
        weights([0.5], [0, 1])
    with pytest.raises(EvidenceError, match="positive threshold"):
        cusum([1.0], 0.0)
    with pytest.raises(EvidenceError, match="error rates"):
        sprt([0.5], [1], alpha=0.6, beta=0.6)
