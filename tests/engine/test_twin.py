"""``calibrate`` and ``assimilate``: what they promise about time, order and duplicates."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _toys import calibrated, early, person, told
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gemel
import gemel.engine.twin as engine_twin
from gemel.core.errors import InferenceError, TimeError
from gemel.core.record import PatientRecord
from gemel.core.time import HOUR, MINUTE
from gemel.engine.prior import Prior
from gemel.engine.status import Status
from gemel.engine.twin import prior_dominated, with_prior
from gemel.testing.lookahead import with_late_facts
from gemel.testing.strategies import orders
from gemel.testing.subject import fingerprint
from gemel.twins.toys.evidence import closed_form_error
from gemel.twins.toys.model import LinearModel
from gemel.twins.toys.priors import linear_prior


def equal(a, b) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(fingerprint(a), fingerprint(b), strict=True))


def test_calibrate_meets_the_closed_form():
    twin = calibrated("toy-linear")
    assert twin.status == Status.OK
    assert closed_form_error(twin.model, twin.observed, twin.inference.posterior) < 1e-8  # Newton's last step is exact on a quadratic


def test_calibrate_recovers_the_truth():
    twin, (_, _, truth) = calibrated("toy-growth"), person("toy-growth")
    mean, covariance = (np.asarray(x) for x in twin.inference.posterior.moments())
    z = np.asarray(twin.model.prior.unconstrain(truth))
    distance = (z - mean) @ np.linalg.solve(covariance, z - mean)
    assert distance < 18.5  # chi-square, 4 degrees, 99.9 %


def test_calibrate_knows_no_future():
    record, now, _ = person("toy-linear")
    twin = calibrated("toy-linear")
    full = with_late_facts(record, now)
    assert equal(twin, gemel.calibrate("toy-linear", full, now, key=1))
    assert not equal(twin, gemel.calibrate("toy-linear", full, now + 2 * HOUR, key=1))


def test_nothing_observed_is_the_prior_and_says_so():
    twin = gemel.calibrate("toy-linear", PatientRecord(id="nobody"), 0, key=1)
    assert twin.status == Status.PRIOR_ONLY
    assert "prior" in twin.sentence
    assert twin.domain.reason is not None


def test_the_prior_of_a_population_replaces_the_rooms():
    record, now, _ = person("toy-linear")
    usual = linear_prior()
    moved = Prior(usual.parameters, np.asarray(usual.mean) + 1.0, np.asarray(usual.cholesky) * 1e-3)
    twin = gemel.calibrate("toy-linear", record, now, prior=moved, key=1)
    assert isinstance(twin.model.prior.mean, jax.Array)  # arrays of the host would be lost on save
    assert np.allclose(twin.inference.posterior.moments()[0], np.asarray(moved.mean), atol=0.2)
    other = Prior(usual.parameters[:2], usual.mean[:2], usual.cholesky[:2, :2])
    with pytest.raises(InferenceError, match="other parameters"):
        with_prior(LinearModel(), other)


def test_prior_dominated_names_what_the_data_do_not_say():
    model = LinearModel()
    posterior = calibrated("toy-linear").inference.posterior
    assert prior_dominated(model.prior, posterior) == {}
    assert set(prior_dominated(model.prior, posterior, limit=0.0)) == set(model.prior.names)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=orders(11), seed=st.integers(0, 3))
def test_any_permutation_of_arrivals_gives_the_same_twin(batches, seed):
    base, twin, new, now = early()
    assert len(new) == 11
    whole = gemel.assimilate(twin, base.with_facts(told(new, range(11), now)), now + HOUR)
    record = base
    for step, rows in enumerate(batches):
        moment = now + step * MINUTE
        record = record.with_facts(told(new, rows, moment))
        twin = gemel.assimilate(twin, record, moment)
        assert twin.status != Status.RECALIBRATED
    twin = gemel.assimilate(twin, record, now + HOUR)
    assert equal(whole, twin)
    assert whole.status == twin.status
    at = twin.times(60, 120)
    assert np.array_equal(gemel.forecast(whole, None, at, n=32, key=seed).draws, gemel.forecast(twin, None, at, n=32, key=seed).draws)


def test_one_by_one_is_the_same_as_at_once():
    base, twin, new, now = early()
    step = twin
    for i in range(len(new)):
        step = gemel.assimilate(step, base.with_facts(new.take(np.arange(i + 1))), int(new.time[i]) + MINUTE)
    step = gemel.assimilate(step, base.with_facts(new), now + HOUR)
    assert equal(step, gemel.assimilate(twin, base.with_facts(new), now + HOUR))
    assert len(step.stream.checkpoints) <= 32


def test_a_restart_stays_short_when_the_last_reading_is_always_corrected(monkeypatch):
    """Each reading is wrong at first and put right at the next: what has to be run again must not grow with the length of the record."""
    base, step, new, now = early()
    ran, run = [], engine_twin.run
    monkeypatch.setattr(engine_twin, "run", lambda *a, **k: ran.append(k["count"]) or run(*a, **k))
    record, most = base, []
    for i in range(len(new)):
        wrong = new.take(np.array([i]))
        right = [told(new, [i - 1], int(new.time[i]))] if i else []
        record = record.with_facts(wrong.model_copy(update={"value": wrong.value + 0.5}), *right)
        ran.clear()
        step = gemel.assimilate(step, record, int(new.time[i]) + MINUTE)
        most.append(sum(ran))
    gap = np.diff([engine_twin.slot_of(step, int(t)) for t in new.time]).max()
    assert max(most[2:]) <= engine_twin.RECENT_SLOTS + 2 * gap
    record = record.with_facts(told(new, [len(new) - 1], now))
    assert equal(gemel.assimilate(step, record, now + HOUR), gemel.assimilate(early()[1], base.with_facts(new), now + HOUR))


def test_assimilating_twice_is_once():
    base, twin, new, now = early()
    record = base.with_facts(new)
    once = gemel.assimilate(twin, record, now)
    assert equal(once, gemel.assimilate(once, record, now))
    assert equal(once, gemel.assimilate(once, record.with_facts(told(new, range(len(new)), now)), now))
    assert equal(once, gemel.assimilate(twin, record.with_facts(new), now))


def test_a_correction_supersedes():
    base, twin, new, now = early()
    wrong = new.model_copy(update={"value": np.where(np.arange(len(new)) == 2, 5.0, new.value)})
    before = gemel.assimilate(twin, base.with_facts(wrong), now)
    corrected = gemel.assimilate(before, base.with_facts(wrong, told(new, [2], now + MINUTE)), now + HOUR)
    assert not equal(before, corrected)
    assert equal(corrected, gemel.assimilate(twin, base.with_facts(new), now + HOUR))


def test_a_fact_older_than_the_oldest_checkpoint_means_recalibration():
    base, twin, new, now = early()
    late = told(base.series[0], [3], now)
    late = late.model_copy(update={"value": late.value + 1.0})
    moved = gemel.assimilate(twin, base.with_facts(new, late), now)
    assert moved.status == Status.RECALIBRATED
    assert "recalibrated" in moved.sentence
    assert moved.calibrated == twin.calibrated
    assert not np.array_equal(moved.inference.posterior.moments()[0], twin.inference.posterior.moments()[0])
    again = gemel.assimilate(moved, base.with_facts(new, late), now + MINUTE)
    assert again.status == Status.OK


def test_first_reading_after_an_empty_calibration():
    """The first reading falls into the slot at which the stream began: no checkpoint lies before it, and recalibrating then gives none either."""
    base, _, new, now = early()
    start = int(new.time[0])
    empty = gemel.calibrate("toy-growth", PatientRecord(id=base.id), start, key=1)
    assert empty.status == Status.PRIOR_ONLY
    twin = gemel.assimilate(empty, PatientRecord(id=base.id).with_facts(new), now)
    assert twin.status == Status.RECALIBRATED
    assert twin.observed.data.count == len(new)


def test_time_does_not_run_backwards():
    base, twin, _, _ = early()
    with pytest.raises(TimeError, match="backwards"):
        gemel.assimilate(twin, base, twin.now - 1)


def test_a_model_without_a_state_is_calibrated_again():
    record, now, _ = person("toy-linear")
    half = record.model_copy(update={"series": (record.series[0].between(0, int(record.series[0].time[15])),)})
    then = int(record.series[0].time[15])
    twin = gemel.calibrate("toy-linear", half, then, key=1)
    moved = gemel.assimilate(twin, record, now)
    assert np.array_equal(moved.inference.posterior.moments()[0], calibrated("toy-linear").inference.posterior.moments()[0])
    assert moved.calibrated == then
    assert moved.now == now
    assert moved.lineage.note == "assimilate"


def test_surprise_is_kept_by_slot_and_raises_the_alarm():
    base, twin, new, now = early()
    jumped = new.model_copy(update={"value": new.value + np.where(np.arange(len(new)) % 2, 60.0, -60.0)})
    found = gemel.assimilate(twin, base.with_facts(jumped), now)
    assert found.stream.surprise.shape == (found.stream.done - found.stream.first, 1)
    assert found.status == Status.INNOVATIONS_INCONSISTENT
    quiet = replace(found.stream, surprise=np.where(np.isfinite(found.stream.surprise), 1.0, np.nan))
    assert quiet.consistent == Status.OK


def test_readings_narrow_the_state():
    base, twin, new, now = early()
    silent = gemel.assimilate(twin, base, now)
    heard = gemel.assimilate(twin, base.with_facts(new), now)
    d = twin.model.prior.size
    assert heard.stream.rows[:, d].std() < silent.stream.rows[:, d].std()
    assert jnp.all(
        jnp.asarray(heard.stream.rows[:, d + 1]) == jnp.asarray(silent.stream.rows[:, d + 1])
    )  # the drug follows from the doses alone
