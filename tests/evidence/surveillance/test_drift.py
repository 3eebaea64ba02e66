"""Drift of inputs: what is planted is found, and what is not rings as often as it should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gemel.evidence.comparisons import holm
from gemel.evidence.surveillance.drift import Reference, check_category, check_input, mmd, mmd_test, psi, suspect_unit


def test_psi_is_the_symmetric_divergence():
    a, b = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    assert psi(a, b) == pytest.approx(stats.entropy(a, b) + stats.entropy(b, a))
    assert psi(a, a) == 0
    assert np.isfinite(psi([0, 1], [0.5, 0.5]))


def test_ks_against_quantiles_is_near_the_test_on_the_values():
    rng = np.random.default_rng(0)
    then, now = rng.normal(size=3000), rng.normal(0.3, 1, 400)
    found = {f.statistic: f for f in check_input("x", now, Reference.of(then))}
    real = stats.ks_2samp(now, then)
    assert found["KS"].value == pytest.approx(real.statistic, abs=0.006)  # the grid of 201 quantiles: 1/200
    assert np.log10(found["KS"].p_value) == pytest.approx(np.log10(real.pvalue), abs=1.0)


@pytest.mark.parametrize("law", ["normal", "skewed", "counts"])
def test_inputs_that_did_not_change_ring_at_their_rate(law):
    rng = np.random.default_rng(4)
    draw = {
        "normal": lambda n: rng.normal(size=n),
        "skewed": lambda n: rng.gamma(1, 1, n),
        "counts": lambda n: rng.poisson(3, n).astype(float),
    }[law]
    smallest = []
    for _ in range(300):
        then, now = draw(1000), draw(200)
        now[rng.random(200) < 0.05] = np.nan
        then[rng.random(1000) < 0.05] = np.nan
        found = check_input("x", now, Reference.of(then))
        smallest.append(min(holm({f.statistic: f.p_value for f in found}).values()))
    # level 5 %: at most 5 % + 3 standard errors; correction and discreteness keep it below
    assert np.mean(np.array(smallest) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_missing_values_and_new_devices_are_found():
    rng = np.random.default_rng(1)
    then, now = rng.normal(size=1000), rng.normal(size=200)
    now[:40] = np.nan
    missing = next(f for f in check_input("x", now, Reference.of(then)) if f.statistic == "missing")
    assert missing.value == 0.2
    assert missing.p_value < 1e-10
    same = check_category("device", np.array(["a"] * 150 + ["b"] * 50), {"a": 750, "b": 250})
    assert same.p_value > 0.9
    new = check_category("device", np.array(["a"] * 150 + ["c"] * 50), {"a": 1000})
    assert new.p_value < 1e-10
    assert new.note == "not seen at release: 1 kinds"


@pytest.mark.parametrize(
    ("factor", "word"), [(18.016, "glucose"), (1 / 18.016, "the other way round"), (88.42, "creatinine"), (1000, "thousand")]
)
def test_a_change_of_unit_is_named(factor, word):
    rng = np.random.default_rng(2)
    then, now = np.exp(rng.normal(1.7, 0.25, (2, 500)))
    named = suspect_unit(now * factor, Reference.of(then))
    assert named is not None
    assert word in named[0]
    assert named[1] == pytest.approx(factor)
    assert suspect_unit(now, Reference.of(then)) is None
    assert suspect_unit(now * 1.3, Reference.of(then)) is None  # a real change


def test_fahrenheit():
    rng = np.random.default_rng(3)
    then, now = rng.normal(37, 0.6, (2, 300))
    named = suspect_unit(1.8 * now + 32, Reference.of(then))
    assert named is not None
    assert "Fahrenheit" in named[0]


def test_mmd_sees_how_inputs_hang_together():
    rng = np.random.default_rng(5)
    then = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 400)
    now = rng.normal(size=(200, 2))  # the same margins, not correlated
    margins = [f for j in range(2) for f in check_input(str(j), now[:, j], Reference.of(then[:, j]))]
    assert min(f.p_value for f in margins) > 0.01
    assert mmd_test(now, then).p_value < 1e-4
    assert mmd(then[:200], then[200:]) == pytest.approx(0, abs=0.02)
    null = [mmd_test(rng.normal(size=(60, 2)), rng.normal(size=(80, 2)), permutations=100, seed=i).p_value for i in range(150)]
    assert np.mean(np.array(null) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert mmd_test(now[:5], then).note == "too few complete rows"
