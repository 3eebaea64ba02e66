"""``forecast`` and ``compare``: common draws, exact zeros, statuses, and what an abstention shows."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from _toys import calibrated, person

import gemel
from gemel.core.advice import AbstentionReason
from gemel.core.errors import ModelError
from gemel.core.time import DAY, MINUTE
from gemel.engine.model import Domain
from gemel.engine.status import Status
from gemel.twins.toys.model import exact_posterior


def test_the_linear_forecast_has_the_exact_moments():
    twin = calibrated("toy-linear")
    at = twin.times(240, 720)
    found = gemel.forecast(twin, None, at, n=4096, key=2)
    mean, covariance = exact_posterior(twin.model, twin.observed)
    design = np.asarray(twin.model.design(twin.observed.plan, twin.model_time(at), twin.observed.context))
    sd = np.sqrt(np.einsum("ti,ij,tj->t", design, covariance, design) + float(twin.model.noise) ** 2)
    assert np.abs(found.mean() - design @ mean).max() < 4 * sd.max() / 64  # four Monte Carlo standard errors
    assert np.abs(found.draws[:, :, 0].std(axis=0) / sd - 1).max() < 0.05  # four times 1/sqrt(2 n)
    low, high = found.quantiles([0.05, 0.95])
    assert np.abs((high - low) / (2 * 1.6449 * sd) - 1).max() < 0.1
    centre = float(design[0] @ mean)
    assert found.probability(below=centre)[0] == pytest.approx(0.5, abs=0.04)
    assert found.probability(above=centre)[0] == pytest.approx(1 - found.probability(below=centre)[0])


def test_same_key_same_draws_whatever_else_is_asked():
    for name in ("toy-linear", "toy-growth"):
        twin = calibrated(name)
        a = gemel.forecast(twin, None, twin.times(60, 120), n=32, key=2)
        b = gemel.forecast(twin, None, twin.times(60, 120), n=32, key=2)
        c = gemel.forecast(twin, None, twin.times(60, 120), n=32, key=3)
        assert np.array_equal(a.draws, b.draws)
        assert not np.array_equal(a.draws, c.draws)
        assert a.lineage.id == b.lineage.id != c.lineage.id
        assert a.lineage.parents == (twin.lineage.id,)


@pytest.mark.parametrize("name", ["toy-linear", "toy-growth"])
def test_a_plan_against_itself_differs_by_exactly_zero(name):
    twin = calibrated(name)
    room = gemel.room(name)
    plans = dict(room.plans(twin))
    first = list(plans)[1]
    found = gemel.compare(twin, {"a": plans[first], "b": plans[first], "known": None}, room.times(twin), n=64, key=4)
    assert (found.difference("a", "b") == 0).all()
    assert found.probability_better("a", "b", room.objective().utility) == 0.5
    assert (found.difference("a", "known") != 0).any()


def test_common_noise_makes_differences_the_plans_own():
    """In the linear toy the difference of two plans is dose times response: the noise of reading cancels."""
    twin = calibrated("toy-linear")
    plans = gemel.room("toy-linear").plans(twin)
    found = gemel.compare(twin, {"6": plans["6 mg"], "0": None}, twin.times(600), n=256, key=4)
    gap = found.difference("6", "0")[:, 0] / 6.0
    mean, covariance = exact_posterior(twin.model, twin.observed)
    assert gap.std() == pytest.approx(np.sqrt(covariance[2, 2]), rel=0.2)  # 4.5 standard errors of a standard deviation of 256 draws
    assert gap.mean() == pytest.approx(mean[2], abs=4 * np.sqrt(covariance[2, 2] / 256))


def test_growth_forecast_lies_between_its_slots():
    twin = calibrated("toy-growth")
    minutes = np.array([20.0, 40.0, 50.0, 80.0])
    one = gemel.forecast(twin, None, twin.times(*minutes), n=64, key=1).draws
    assert one.shape == (64, 4, 1)
    assert np.isfinite(one).all()


def test_abstention_has_a_reason_and_no_draws():
    twin = replace(calibrated("toy-linear"), domain=Domain(AbstentionReason.DATA_TOO_OLD, "nothing for a week"))
    found = gemel.forecast(twin, None, twin.times(60, 120), key=1)
    assert found.status == Status.ABSTAINED
    assert not found.usable
    assert found.draws.shape == (0, 2, 1)
    assert "nothing for a week" in found.reason
    table = found.table()
    assert table.status == "ABSTAINED"
    assert "nothing for a week" in table.sentence
    assert len(table.times) == 0


def test_a_stale_record_abstains():
    record, now, _ = person("toy-linear")
    twin = gemel.calibrate("toy-linear", record, now + 7 * DAY, key=1)
    assert twin.domain.reason == AbstentionReason.DATA_TOO_OLD
    assert gemel.forecast(twin, None, twin.times(60), key=1).status == Status.ABSTAINED


def test_a_posterior_that_is_not_finite_gives_no_numbers():
    twin = calibrated("toy-growth")
    broken = replace(twin, stream=replace(twin.stream, rows=np.full_like(twin.stream.rows, np.nan)))
    found = gemel.forecast(broken, None, twin.times(60), key=1)
    assert found.status == Status.NOT_FINITE
    assert found.draws.size == 0


def test_bad_questions_are_refused():
    twin = calibrated("toy-linear")
    with pytest.raises(ModelError, match="at or before"):
        gemel.forecast(twin, None, [twin.now], key=1)
    with pytest.raises(ModelError, match="at least one time"):
        gemel.forecast(twin, None, [], key=1)
    with pytest.raises(ModelError, match="no output"):
        gemel.forecast(twin, None, twin.times(60), n=8, key=1).mean(output="mood")


def test_table_and_units():
    twin = calibrated("toy-linear")
    found = gemel.forecast(twin, None, twin.times(60, 90), n=64, key=1)
    table = found.table(probabilities={"above 10": found.probability(above=10.0)})
    assert table.quantiles.shape == (9, 2, 1)
    assert np.allclose(table.quantiles[4, :, 0], found.quantiles([0.5])[0])
    assert table.units == ("[arb'U]",)
    assert table.probabilities["above 10"] == found.probability(above=10.0).tolist()
    assert found.horizons.tolist() == [60.0, 90.0]
    assert table.to_dict()["lineage"]["id"] == found.lineage.id
    assert twin.times(1)[0] - twin.now == MINUTE
    assert isinstance(jax.random.key(0), jax.Array)
