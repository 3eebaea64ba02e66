"""T1: the likelihood is that of the dense normal, forecasts are calibrated on patients it never saw, the file, the refusals."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from _virtual import controls, normal_panel
from gemel.core.errors import DataError, EvidenceError, InferenceError
from gemel.trials.generate import calibrate_state_space, constrained, from_bytes, to_bytes, violations
from gemel.trials.generate.joint import dynamics_of, initial, log_likelihood, start_of
from gemel.trials.generate.marginal import marginal
from gemel.trials.generate.state_space import StateSpace, rows_of
from gemel.trials.generate.state_space_calibration import check_settled

TIMES = jnp.array([0.0, 0.4, 1.0])


def parameters():
    p = initial(2, jnp.array([[0.8, 0.2], [0.2, 0.6]]), jnp.array([0.2, 0.1]), 4, key=jax.random.key(0))
    return p | {"out": 0.5 * jax.random.normal(jax.random.key(1), p["out"].shape), "straight": 0.3 * jnp.ones_like(p["straight"])}


def dense(p, x):
    """Mean and covariance of both variables at all times, from the continuous-time law."""
    dynamics, pace = dynamics_of(p, x)
    start, k = start_of(p, x), 2
    rate, t = np.asarray(dynamics.rate), np.asarray(TIMES) * float(pace)
    moves = [np.block([[np.diag(np.exp(-rate * s)), np.diag((1 - np.exp(-rate * s)) / rate)], [np.zeros((k, k)), np.eye(k)]]) for s in t]
    mean = [
        (m @ np.asarray(start.mean))[:k] + (1 - np.exp(-rate * s)) / rate * np.asarray(dynamics.drift)
        for m, s in zip(moves, t, strict=True)
    ]
    cov = np.zeros((6, 6))
    both = rate[:, None] + rate[None, :]
    for a in range(3):
        for b in range(3):
            early = min(t[a], t[b])
            gained = (
                np.asarray(dynamics.noise)
                * (np.exp(-rate[:, None] * (t[a] - early) - rate[None, :] * (t[b] - early)) * (1 - np.exp(-both * early)))
                / both
            )
            cov[2 * a : 2 * a + 2, 2 * b : 2 * b + 2] = (moves[a] @ np.asarray(start.covariance) @ moves[b].T)[:k, :k] + gained
    return np.concatenate(mean), cov + np.kron(np.eye(3), np.diag(np.exp(np.asarray(p["variance"])) + 1e-4))


def test_the_likelihood_is_the_dense_one_and_missing_is_dropping():
    """V17, networks included."""
    p, rng = parameters(), np.random.default_rng(0)
    x = rng.normal(size=(4, 2))
    value = np.zeros((4, 3, 4))
    mask = np.zeros((4, 3, 4), bool)
    mask[:, :, :2] = rng.random((4, 3, 2)) < 0.7
    value[:, :, :2] = rng.normal(size=(4, 3, 2))
    found = log_likelihood(
        p, TIMES, {"x": jnp.asarray(x), "low": jnp.asarray(value), "high": jnp.asarray(value), "mask": jnp.asarray(mask)}
    )
    for i in range(4):
        mean, cov = dense(p, jnp.asarray(x[i]))
        keep = mask[i, :, :2].reshape(-1)
        y = value[i, :, :2].reshape(-1)
        assert float(found[i]) == pytest.approx(stats.multivariate_normal(mean[keep], cov[np.ix_(keep, keep)]).logpdf(y[keep]), abs=1e-8)


def test_readings_say_what_a_panel_says():
    panel = controls(200, dropout=0.3, missing=0.2)
    marginals = [marginal(panel.variables[j], panel.values[:, :, j].reshape(-1)) for j in (2, 3, 4)]
    low, high, mask = rows_of(panel, (2, 3, 4), marginals)
    known = ~np.isnan(panel.values[:, :, 2:])
    np.testing.assert_array_equal(mask[:, :, :3], known)
    assert (low[:, :, :2][known[:, :, :2]] == high[:, :, :2][known[:, :, :2]]).all()
    floor = panel.values[:, :, 4] == 0
    assert np.isneginf(low[:, :, 2][floor]).all()
    left = panel.last < 3
    at = np.flatnonzero(left)
    assert (low[at, panel.last[at], 3] == 0).all()
    assert np.isposinf(high[at, panel.last[at], 3]).all()
    assert not mask[at, panel.last[at] + 1].any()
    assert not mask[:, 3, 3].any()  # leaving after the last visit is not seen


def built(**changes):
    """A state space of one variable with parameters made by hand."""
    panel = normal_panel(400, np.eye(4) * 0.5 + 0.5)
    p = initial(0, jnp.eye(1) * 0.5, jnp.array([0.5]), 2, key=jax.random.key(0))
    p = {k: np.asarray(v)[None] for k, v in (p | {k: jnp.asarray(v) for k, v in changes.items()}).items()}
    law = marginal(panel.variables[0], panel.values[:, :, 0].reshape(-1))
    return StateSpace(panel.variables, panel.times, "d", None, (law,), p, 1.5, 400, "by hand", (0.0,), True, "death")


def test_leaving_and_the_event_have_their_hazards():
    """Hazards that do not depend on the levels: the share left after each visit is a product of normal probabilities."""
    drawn = built(hazard=np.array([[-1.2, 0.0], [-0.8, 0.0]])).draw(20000, rng=np.random.default_rng(0))
    leave, die = stats.norm.cdf(-1.2), stats.norm.cdf(-0.8)
    np.testing.assert_allclose(
        [np.mean(drawn.last > t) for t in range(3)], (1 - leave) ** np.arange(1, 4), atol=0.015
    )  # four standard errors
    np.testing.assert_allclose([np.mean(drawn.event > t) for t in range(4)], (1 - die) ** np.arange(4), atol=0.015)
    whole = constrained(drawn)
    assert not any(violations(whole).values())
    assert ((whole.event <= whole.last) | (whole.event == 4)).all()


def test_an_event_shares_the_levels():
    """The worse have it earlier, and knowing that somebody is free of it lowers what is thought of the level."""
    generator = built(hazard=np.array([[-9.0, 0.0], [-0.5, 0.0]]), hazard_levels=np.array([[0.0], [1.5]]))
    drawn = generator.draw(5000, rng=np.random.default_rng(0))
    first = drawn.values[:, 0, 0]
    assert first[drawn.event == 1].mean() > first[drawn.event == 4].mean() + 0.5
    some = constrained(drawn).take(np.arange(100))
    unknown = replace(some, values=np.full_like(some.values, np.nan), event=np.full(100, 4), last=np.full(100, 3))
    free, _ = generator.forecast(unknown, 3, "y", 3)
    nothing, _ = generator.forecast(unknown, 0, "y", 3)
    assert (free < nothing - 0.2).all()


def test_the_start_without_jax_is_the_start():
    p = parameters()
    one = built(**p)
    generator = replace(one, variables=one.variables * 2, marginals=one.marginals * 2)
    x = np.random.default_rng(0).normal(size=(5, 2))
    mean, covariance = generator._starts(x)
    for i in range(5):
        belief = start_of(p, jnp.asarray(x[i]))
        np.testing.assert_allclose(mean[0, i], belief.mean, atol=1e-12)
        np.testing.assert_allclose(covariance[0, i], belief.covariance, atol=1e-12)


@pytest.fixture(scope="module")
def made():
    return calibrate_state_space(controls(500, dropout=0.1), members=2, steps=800)


@pytest.mark.slow
def test_forecasts_are_calibrated_on_patients_it_never_saw(made):
    new = controls(1000, seed=7, dropout=0.0, missing=0.0)
    y, previous = new.values[:, 3, 2], 0.0
    for visits in (1, 2, 3):
        mean, variance = made.forecast(new, visits, "adas", 3)
        covered = np.mean(np.abs(y - mean) < 1.96 * np.sqrt(variance))
        assert 0.91 < covered < 0.98  # SE 0.007 for the patients, and as much for the calibration
        r = np.corrcoef(mean, y)[0, 1] ** 2
        assert r > previous  # more visits, more known
        previous = r
    assert previous > 0.85  # what is left is noise of 2 points in an SD of 8: R^2 of at most 0.93


@pytest.mark.slow
def test_a_forecast_is_the_mean_of_its_draws(made):
    new = controls(200, seed=8, dropout=0.0, missing=0.0)
    mean, variance = made.forecast(new, 2, "adas", 3)
    drawn = np.stack([p.values[:, 3, 2] for p in made.draw_given(new, 2, 200, rng=np.random.default_rng(0))])
    # 200 draws: 0.07 SD per patient, 0.005 over 200 patients
    assert np.mean((drawn.mean(axis=0) - mean) / np.sqrt(variance)) == pytest.approx(0.0, abs=0.03)
    assert np.mean(drawn.var(axis=0) / variance) == pytest.approx(1.0, abs=0.05)
    known = made.draw_given(new, 2, 1, rng=np.random.default_rng(0))[0]
    np.testing.assert_array_equal(known.values[:, :2, 2:], new.values[:, :2, 2:])


@pytest.mark.slow
def test_virtual_patients_are_like_the_real_ones(made):
    real, drawn = controls(3000, seed=9), constrained(made.draw(3000, rng=np.random.default_rng(1)))
    assert not any(violations(drawn).values())
    for j in (2, 3, 4):
        for t in range(4):
            a, b = (q.values[:, t, j][~np.isnan(q.values[:, t, j])] for q in (real, drawn))
            assert stats.ks_2samp(a, b).statistic < 0.1  # calibrated on 500: 0.06 of their own
    np.testing.assert_allclose(np.bincount(drawn.last, minlength=4) / 3000, np.bincount(real.last, minlength=4) / 3000, atol=0.06)


@pytest.mark.slow
def test_a_file_gives_back_the_generator(made):
    again = from_bytes(to_bytes(made))
    assert again.hash == made.hash
    a, b = (constrained(g.draw(20, rng=np.random.default_rng(0))).hash for g in (made, again))
    assert a == b


@pytest.mark.slow
def test_any_executor_gives_the_same_shards(made, tmp_path):
    pytest.importorskip("pyarrow")
    from gemel.platform.executors import Processes, Serial
    from gemel.trials.generate import Order, generate

    order = Order(3000, shard=2000)
    assert generate(made, tmp_path / "a", order, executor=Serial()) == generate(made, tmp_path / "b", order, executor=Processes(2))


@pytest.mark.slow
def test_what_cannot_be_is_refused(made):
    with pytest.raises(EvidenceError, match="too small"):
        calibrate_state_space(controls(20))
    with pytest.raises(DataError, match="not ahead"):
        made.forecast(controls(20), 3, "adas", 2)
    with pytest.raises(DataError, match="not ahead"):
        made.forecast(controls(20), 1, "age", 2)
    with pytest.raises(DataError, match="another kind"):
        made.draw_given(normal_panel(10, np.eye(2)), 0, 1, rng=np.random.default_rng(0))


@pytest.mark.parametrize("looks", [[9, 8, 7, 6, 5, 4, 3, 2, 1], [9, 5, np.nan, 4, 4, 4, 4, 4, 4], [4, 5, 6, 7, 8, 9, 9, 9, 9]])
def test_what_does_not_settle_is_no_result(looks):
    with pytest.raises(InferenceError, match="did not settle"):
        check_settled(np.array(looks, float)[:, None], 100)
    check_settled(np.array([9, 6, 5, 4.2, 4.1, 4.05, 4.04, 4.05, 4.04])[:, None], 100)
