"""T0: exact conditionals, marginals and dependence that come back, missing values, the file."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from _virtual import controls, normal_panel
from gemel.core.errors import EvidenceError, FormatError, InferenceError
from gemel.trials.generate import Gaussian, Kind, Variable, calibrate_copula, constrained, from_bytes, to_bytes, violations
from gemel.trials.generate.marginal import marginal

COVARIANCE = np.array([[1.0, 0.8, 0.6], [0.8, 1.3, 0.9], [0.6, 0.9, 1.6]])


def test_a_conditional_is_that_of_the_partitioned_normal():
    """V1: against the precision matrix, which the code does not use."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(7, 9))
    law, known = Gaussian(rng.normal(size=7), a @ a.T), np.array([1, 0, 1, 1, 0, 0, 1], bool)
    values = rng.normal(size=(5, 7))
    mean, covariance = law.given(values, known)
    q = np.linalg.inv(law.covariance)
    quu, quk = q[np.ix_(~known, ~known)], q[np.ix_(~known, known)]
    expected = law.mean[~known] - (values[:, known] - law.mean[known]) @ np.linalg.solve(quu, quk).T
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(covariance, np.linalg.inv(quu), rtol=0, atol=1e-8)


def test_a_density_is_the_product_of_its_conditionals():
    rng = np.random.default_rng(1)
    a, values = rng.normal(size=(4, 6)), rng.normal(size=(3, 4))
    law = Gaussian(np.ones(4), a @ a.T)
    known = np.array([1, 1, 0, 0], bool)
    mean, covariance = law.given(values, known)
    first = Gaussian(law.mean[:2], law.covariance[:2, :2]).log_density(values[:, :2])
    rest = [Gaussian(m, covariance).log_density(v[None, 2:])[0] for m, v in zip(mean, values, strict=True)]
    np.testing.assert_allclose(law.log_density(values), first + rest, atol=1e-10)


def test_a_singular_covariance_is_an_error():
    with pytest.raises(InferenceError, match="positive definite"):
        Gaussian(np.zeros(3), np.ones((3, 3))).given(np.zeros((1, 3)), np.array([1, 1, 0], bool))


def test_normal_data_give_their_correlation_and_conditional_mean():
    panel = normal_panel(4000, COVARIANCE)
    copula = calibrate_copula(panel)
    sd = np.sqrt(np.diag(COVARIANCE))
    # standard error of a correlation at n = 4000 is at most 0.016; three of them
    np.testing.assert_allclose(copula.correlation, COVARIANCE / np.outer(sd, sd), atol=0.05)
    some = normal_panel(300, COVARIANCE, seed=9)
    found = np.mean([p.values[:, 2, 0] for p in copula.draw_given(some, 2, 200, rng=np.random.default_rng(3))], axis=0)
    gain = np.linalg.solve(COVARIANCE[:2, :2], COVARIANCE[:2, 2])
    exact = some.values[:, :2, 0] @ gain
    # residual SD is 1.0: 200 draws give 0.07 per patient, the estimated quantiles about as much again
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.15


def test_values_missing_at_random_do_not_bias_the_later_visits():
    """Who is low at the first visit leaves: complete cases are 0.6 too high, the copula is not."""
    panel = normal_panel(4000, COVARIANCE)
    leaves = panel.values[:, 0, 0] < 0
    values = panel.values.copy()
    values[leaves, 1:] = np.nan
    from dataclasses import replace

    seen = replace(panel, values=values, last=np.where(leaves, 0, 2))
    drawn = calibrate_copula(seen).draw(20000, rng=np.random.default_rng(0))
    # SE of the mean of visit 2 given visit 0: below 0.05 at n = 2000
    assert abs(drawn.values[:, 2, 0].mean()) < 0.15
    assert np.nanmean(seen.values[:, 2, 0]) > 0.4


def test_marginals_and_dependence_of_mixed_variables_come_back():
    panel = controls(1500, dropout=0.0, missing=0.02)
    drawn = constrained(calibrate_copula(panel).draw(4000, rng=np.random.default_rng(0)))
    assert not any(violations(drawn).values())
    for j, variable in enumerate(panel.variables):
        real, new = (x[~np.isnan(x)] for x in (panel.values[:, 0, j], drawn.values[:, 0, j]))
        if variable.kind is Kind.BINARY:
            assert abs(real.mean() - new.mean()) < 0.05  # three standard errors of a difference of shares
        else:
            assert stats.ks_2samp(real, new).statistic < 0.06  # the 99.9 % point for 1,500 and 4,000 is 0.058, before estimation
    carrier, change = (panel.values[:, 0, 1], panel.values[:, 3, 2] - panel.values[:, 0, 2])
    ours = drawn.values[:, 3, 2] - drawn.values[:, 0, 2]
    effect = np.nanmean(change[carrier == 1]) - np.nanmean(change[carrier == 0])
    again = np.nanmean(ours[drawn.values[:, 0, 1] == 1]) - np.nanmean(ours[drawn.values[:, 0, 1] == 0])
    assert effect == pytest.approx(2.2, abs=0.6)
    assert again == pytest.approx(effect, abs=0.6)  # SE of either about 0.2


def test_leaving_comes_back():
    panel = controls(1500, dropout=0.2)
    drawn = constrained(calibrate_copula(panel).draw(4000, rng=np.random.default_rng(0)))
    np.testing.assert_allclose(np.bincount(drawn.last, minlength=4) / 4000, np.bincount(panel.last, minlength=4) / 1500, atol=0.04)


def test_a_steep_marginal_and_its_interval():
    variable = Variable("x", Kind.ZERO_INFLATED, 0, 50, 0.1)
    rng = np.random.default_rng(0)
    values = np.where(rng.random(5000) < 0.4, 0.0, np.round(rng.lognormal(1, 0.5, 5000), 1))
    made = marginal(variable, values)
    low, high = made.interval(np.array([0.0, 3.0, np.nan]))
    assert low[0] == -8
    assert high[0] == pytest.approx(special.ndtri((values == 0).mean()))
    assert low[1] == high[1]
    assert (low[2], high[2]) == (-8, 8)
    assert made.quantile(low[1]) == pytest.approx(3.0, abs=0.02)
    assert (made.quantile(np.array([-8, high[0] - 1e-9])) == 0).all()
    assert made.quantile(np.array([7.9])) <= 50


def test_a_calibration_repeats_and_a_seed_changes_little():
    panel = controls(150)
    assert calibrate_copula(panel, seed=1).hash == calibrate_copula(panel, seed=1).hash
    a, b = (
        calibrate_copula(panel, seed=s).correlation[:-1, :-1] for s in (1, 2)
    )  # how leaving goes with later visits, the data hardly say
    assert 0 < np.abs(a - b).max() < 0.3  # 30 sweeps over intervals of 150 patients


def test_a_file_gives_back_the_generator_and_a_changed_one_is_refused():
    copula = calibrate_copula(controls(120, dropout=0.2))
    body = to_bytes(copula)
    again = from_bytes(body)
    assert again.hash == copula.hash
    np.testing.assert_array_equal(again.draw(5, rng=np.random.default_rng(0)).values, copula.draw(5, rng=np.random.default_rng(0)).values)
    assert to_bytes(again) == body
    import io
    import zipfile

    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as old, zipfile.ZipFile(sink, "w") as new:
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, member if name != "correlation.npy" else member[:-1] + bytes([member[-1] ^ 1]))
    with pytest.raises(FormatError, match="was changed"):
        from_bytes(sink.getvalue())
    for wrong in (b"", b"PK", b'{"a": 1}', body[:200]):
        with pytest.raises(FormatError, match="no generator"):
            from_bytes(wrong)


def test_too_few_values_are_refused():
    panel = controls(12, dropout=0.6)
    with pytest.raises(EvidenceError, match="fewer than 10"):
        calibrate_copula(panel)
