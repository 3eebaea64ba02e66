"""Tests of uniform ranks: honest ones pass, planted faults do not, and the arithmetic is that of SciPy and the binomial law."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import stats

import gemel
from gemel.core.errors import ModelError
from gemel.evidence.calibration import (
    Calibration,
    chi_square,
    coverage,
    distance_from_centre,
    ecdf_p_value,
    holm,
    sbc,
    uniformity,
)


def ranks(scale: float, shift: float, n: int, rng, draws: int = 99) -> np.ndarray:
    """Ranks of a truth whose posterior is too narrow by ``scale`` and off by ``shift`` of its standard deviations."""
    truth = rng.normal(size=n) / scale + shift
    return (rng.normal(size=(n, draws)) < truth[:, None]).sum(axis=1)


@pytest.mark.parametrize("test", [chi_square, ecdf_p_value])
def test_honest_ranks_have_uniform_p_values(test):
    rng = np.random.default_rng(1)
    p = np.array([test(rng.integers(0, 100, 100), 99) for _ in range(300)])
    assert np.mean(p < 0.05) < 0.09  # binomial 99.9 % limit of 300 at 5 %
    assert np.mean(p < 0.001) < 0.02


@pytest.mark.parametrize(("scale", "shift", "n"), [(0.8, 0.0, 600), (1.25, 0.0, 900), (1.0, 0.4, 150), (0.5, 0.0, 60)])
def test_faults_are_found(scale, shift, n):
    rng = np.random.default_rng(2)
    found = [ecdf_p_value(ranks(scale, shift, n, rng), 99) for _ in range(20)]
    assert np.mean(np.array(found) < 1e-3) >= 0.8


def test_beyond_the_simulations_the_bound_is_used():
    assert ecdf_p_value(np.full(100, 99), 99) < 1e-30
    assert ecdf_p_value(np.tile(np.arange(100), 2), 99) > 0.9


def test_holm():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert holm(p) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert max(holm({"a": 0.9, "b": 0.8}).values()) <= 1.0


def test_coverage_has_binomial_limits():
    honest = Calibration({"x": np.random.default_rng(3).integers(0, 100, 1000)}, 99)
    found = coverage(honest, "x")
    assert [c.level for c in found] == [0.5, 0.8, 0.9, 0.95]
    assert all(c.within for c in found)
    low, high = stats.binom.interval(0.99, 1000, 0.9)
    assert (found[2].low, found[2].high) == (low / 1000, high / 1000)
    narrow = Calibration({"x": ranks(0.6, 0.0, 1000, np.random.default_rng(4))}, 99)
    assert not any(c.within for c in coverage(narrow, "x"))


def test_uniformity_names_the_worst():
    rng = np.random.default_rng(5)
    found = uniformity(Calibration({"good": rng.integers(0, 100, 100), "bad": rng.integers(0, 30, 100)}, 99))
    assert found.worst[0] == "bad"
    assert found.p_value < 1e-6
    assert found.adjusted["good", "chi-square"] > 0.01


def test_sbc_of_the_linear_toy():
    room = gemel.room("toy-linear")
    found = sbc(room, 16, key=jax.random.key(0))
    assert found.replicas == 16
    assert set(found.ranks) == {"level", "rhythm", "response", "log likelihood", "distance from the centre"}
    assert all((r >= 0).all() and (r <= 99).all() for r in found.ranks.values())
    assert not found.refused
    again = sbc(room, 16, key=jax.random.key(0))
    assert all(np.array_equal(found.ranks[q], again.ranks[q]) for q in found.ranks)


def test_the_truth_of_every_parameter_is_needed():
    room = gemel.room("toy-linear")

    def person(key):
        record, now, truth = room.simulate_record(key)
        return record, now, {"level": truth["level"]}

    with pytest.raises(ModelError, match="truth of every parameter"):
        sbc(replace(room, simulate_record=person), 2, key=jax.random.key(0))


def test_the_distance_from_the_centre_does_not_flatter_few_draws():
    """An exact posterior known by 80 draws in 15 dimensions: its own covariance would put the truth too far out; standard deviations do not."""
    rng = np.random.default_rng(0)
    ranks = {"all correlations": [], "standard deviations": []}
    for _ in range(400):
        z = rng.normal(size=(81, 15))  # the truth first, then draws of the very same law
        mean, covariance = z[1:].mean(axis=0), np.cov(z[1:], rowvar=False)
        white = np.linalg.solve(np.linalg.cholesky(covariance), (z - mean).T)
        for name, distance in (
            ("all correlations", np.square(white).sum(axis=0)),
            ("standard deviations", distance_from_centre(z, mean, covariance)),
        ):
            ranks[name].append(int((distance[1:] < distance[0]).sum()))
    assert chi_square(np.array(ranks["all correlations"]), 80) < 1e-6
    assert np.mean(np.array(ranks["standard deviations"]) / 80) < np.mean(np.array(ranks["all correlations"]) / 80) - 0.08
    assert chi_square(np.array(ranks["standard deviations"]), 80) > 1e-3
