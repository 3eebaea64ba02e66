"""Target populations: means reached, extrapolation flagged, groups counted, the impossible refused."""

from __future__ import annotations

import numpy as np
import pytest

from _virtual import controls
from gemel.core.errors import DataError, EvidenceError
from gemel.trials.generate import Tilt, calibrate_copula, constrained, coverage_by_group, tilted_to


@pytest.fixture(scope="module")
def pool():
    return constrained(calibrate_copula(controls(300)).draw(30000, rng=np.random.default_rng(0)))


def accepted(pool, tilt, seed=1):
    chance = tilt.chance({n: pool.values[:, 0, pool.index(n)] for n in tilt.names})
    return pool.take(np.random.default_rng(seed).random(pool.n) < chance)


def test_means_are_reached_and_the_effective_size_is_that_of_normal_tilting(pool):
    mean, sd = pool.values[:, 0, 0].mean(), pool.values[:, 0, 0].std()
    tilt = tilted_to({"age": mean + 0.5 * sd}, pool)
    assert accepted(pool, tilt).values[:, 0, 0].mean() == pytest.approx(mean + 0.5 * sd, abs=0.3)
    assert tilt.slope[0] == pytest.approx(0.5, abs=0.05)  # a normal variable: the tilt is the shift in standard deviations
    assert tilt.effective == pytest.approx(np.exp(-0.25), abs=0.05)  # exp(-shift^2) for a normal
    assert tilt.flags == ()
    assert Tilt.of(tilt.told()) == tilt


def test_the_same_population_needs_no_weights(pool):
    tilt = tilted_to({"age": float(np.nanmean(pool.values[:, 0, 0]))}, pool)
    assert tilt.kept == pytest.approx(1.0)
    assert tilt.effective == pytest.approx(1.0)


def test_extrapolation_is_flagged_and_thin_groups_are_counted(pool):
    history = controls(40)
    tilt = tilted_to({"age": 85.5}, pool, seen={"age": (61.0, 85.0)})
    assert any("extrapolation" in f for f in tilt.flags)
    assert any("outside the middle 90 %" in f for f in tilt.flags)
    rows = coverage_by_group(history, accepted(pool, tilt), ("age", "carrier"))
    assert [r["variable"] for r in rows] == ["age"] * 3 + ["carrier"] * 2
    assert any(r["thin"] for r in rows)
    assert sum(r["real"] for r in rows[3:]) == 40
    assert sum(r["share"] for r in rows[3:]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("described", "error", "match"),
    [
        ({}, DataError, "says nothing"),
        ({"height": 1.7}, DataError, "no such variable"),
        ({"age": 300.0}, DataError, "impossible"),
        ({"age": float("nan")}, DataError, "impossible"),
        ({"age": 50.2}, EvidenceError, r"no weights|too far"),
    ],
)
def test_the_impossible_is_refused(described, error, match, pool):
    with pytest.raises(error, match=match):
        tilted_to(described, pool)
