"""What is measured of virtual patients: known answers for each figure, and both generators on patients they never saw."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from _virtual import controls, normal_panel
from gemel.core.errors import DataError, EvidenceError
from gemel.trials.generate import calibrate_copula, constrained
from gemel.trials.generate.calibration import (
    area_under_curve,
    assess_calibration,
    classifier_area,
    energy_scores,
    leave_one_study_out,
    trained_ratio,
)
from gemel.trials.generate.privacy import assess_privacy, closest, membership_area

COVARIANCE = np.array([[1.0, 0.8, 0.6], [0.8, 1.3, 0.9], [0.6, 0.9, 1.6]])


class Truth:
    """The world itself as a generator: its figures are those of chance."""

    def __init__(self, shift: float = 0.0, widen: float = 1.0) -> None:
        self.shift, self.widen = shift, widen
        self.variables = normal_panel(20, COVARIANCE).variables

    def draw(self, n, *, rng):
        return normal_panel(n, COVARIANCE, seed=int(rng.integers(2**31)))

    def draw_given(self, panel, visits, draws, *, rng):
        from dataclasses import replace

        gain = np.linalg.solve(COVARIANCE[:visits, :visits], COVARIANCE[:visits, visits:]).T
        rest = COVARIANCE[visits:, visits:] - gain @ COVARIANCE[:visits, visits:]
        mean = panel.values[:, :visits, 0] @ gain.T + self.shift
        made = []
        for _ in range(draws):
            values = panel.values.copy()
            values[:, visits:, 0] = mean + self.widen * rng.multivariate_normal(np.zeros(3 - visits), rest, panel.n)
            made.append(replace(panel, values=values))
        return made


def measured(generator, n=800):
    real = normal_panel(2 * n, COVARIANCE, seed=11)
    return assess_calibration(
        generator, real.take(np.arange(n)), real.take(np.arange(n, 2 * n)), outcome="y", draws=400, rng=np.random.default_rng(0)
    )


def test_the_truth_has_the_figures_of_chance():
    found = measured(Truth())
    for level, share in found.coverage.items():
        assert share == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 800))
    assert found.pit_p > 0.001
    assert found.classifier < 0.56  # SE of an area at 800 against 800: 0.014; the better of two is taken
    assert found.ratio == pytest.approx(1.0, abs=0.1)
    assert found.note == "synthetic is not anonymous"


def test_what_is_wrong_is_seen():
    assert measured(Truth(shift=0.5)).pit_p < 1e-6
    narrow = measured(Truth(widen=0.5))
    assert narrow.coverage[0.95] < 0.8
    assert narrow.energy > measured(Truth()).energy


def test_the_energy_score_is_the_crps_in_one_dimension():
    draws = np.random.default_rng(0).normal(size=(4000, 3, 1))
    truth = np.array([[0.0], [1.0], [-2.0]])
    exact = [y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi) for y in truth[:, 0]]
    np.testing.assert_allclose(energy_scores(draws, truth), exact, atol=0.05)  # Monte-Carlo error of 4,000 draws and 2,000 pairs: 0.015


def test_a_classifier_sees_dependence_and_shift():
    real = normal_panel(700, COVARIANCE, seed=1)
    assert classifier_area(real, normal_panel(700, COVARIANCE, seed=2)) < 0.57
    assert classifier_area(real, normal_panel(700, np.diag(np.diag(COVARIANCE)), seed=2)) > 0.7


def test_the_area_under_the_curve():
    assert area_under_curve(np.array([1.0, 2, 3, 4]), np.array([0, 0, 1, 1])) == 1.0
    assert area_under_curve(np.array([1.0, 1, 1, 1]), np.array([0, 1, 0, 1])) == 0.5
    with pytest.raises(DataError, match="both kinds"):
        area_under_curve(np.ones(3), np.ones(3, int))


def test_training_on_noise_is_worth_nothing():
    real, test = normal_panel(500, COVARIANCE, seed=3), normal_panel(500, COVARIANCE, seed=4)
    assert trained_ratio(real, normal_panel(500, np.diag([1, 1.3, 1.6]), seed=5), test, outcome="y") < 0.3
    with pytest.raises(EvidenceError, match="explains nothing"):
        trained_ratio(
            normal_panel(500, np.diag([1, 1.3, 1.6]), seed=6), real, normal_panel(500, np.diag([1, 1.3, 1.6]), seed=8), outcome="y"
        )


def test_copies_are_caught_and_honest_draws_are_not():
    everyone = controls(800, dropout=0.0, missing=0.0)
    members, others = everyone.take(np.arange(400)), everyone.take(np.arange(400, 800))
    leaked = assess_privacy(members, others, members)
    assert leaked.copies == 400
    assert leaked.membership > 0.95
    assert leaked.near_share > 0.95
    honest = assess_privacy(members, others, constrained(calibrate_copula(members).draw(400, rng=np.random.default_rng(0))))
    assert honest.copies == 0
    assert honest.membership == pytest.approx(0.5, abs=0.1)  # SE 0.02
    assert honest.near_share < 0.12
    assert max(map(abs, honest.attribute.values())) < 0.15
    assert "no epsilon" in honest.differential_privacy
    with pytest.raises(DataError, match="too few"):
        assess_privacy(members.take(np.arange(5)), others, members)


def test_distances_against_all_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 4)), rng.normal(size=(50, 4))
    np.testing.assert_allclose(closest(a, b), np.sqrt(((a[:, None] - b) ** 2).sum(axis=2)).min(axis=1))
    pairs = np.sqrt(((a[:, None] - a) ** 2).sum(axis=2)) + np.diag(np.full(30, np.inf))
    np.testing.assert_allclose(closest(a, a, is_same=True), pairs.min(axis=1), atol=1e-7)
    assert membership_area(a, b, a) == 1.0


def test_the_copula_on_patients_it_never_saw():
    everyone = controls(1200, seed=3)
    train, held = everyone.take(np.arange(600)), everyone.take(np.arange(600, 1200))
    found = assess_calibration(calibrate_copula(train), held, train, outcome="adas", draws=200, rng=np.random.default_rng(0))
    for level, share in found.coverage.items():
        assert share == pytest.approx(level, abs=0.06)  # 600 patients with correlated visits: SE 0.012; as much from calibration
    assert found.classifier < 0.62
    assert found.ratio > 0.9
    assert set(found.by_visit[0.5]) == {90.0, 180.0, 360.0}


def test_a_study_is_left_out_as_a_whole():
    from dataclasses import replace

    panel = replace(controls(60), study=np.arange(60) % 3, studies=("a", "b", "c"))
    found = list(leave_one_study_out(panel))
    assert [name for name, _, _ in found] == ["a", "b", "c"]
    for _, train, held in found:
        assert (train.n, held.n) == (40, 20)
        assert not set(train.subjects) & set(held.subjects)
    with pytest.raises(EvidenceError, match="one study"):
        next(leave_one_study_out(controls(30)))
