"""The hierarchical prior: what EM on all says, and the prior of the others without a second fit."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gemel.core.errors import InferenceError
from gemel.core.record import Demographics, PatientRecord
from gemel.core.series import Series
from gemel.core.time import HOUR
from gemel.engine.hierarchy import FEWEST_PEOPLE, Expansions, enough_people, hierarchical_prior, person_of
from gemel.engine.infer.laplace import Laplace
from gemel.engine.population import population_prior
from gemel.engine.status import Status
from gemel.twins.toys.model import LinearModel
from gemel.twins.toys.observe import SIGNAL
from gemel.twins.toys.simulate import START

KEY = jax.random.key(0)
EXACT = {"key": KEY, "method": Laplace(starts=2, draws=0), "tolerance": 0.01, "rounds": 12}
"""Linear and Gaussian: Laplace's moments have no error."""


def _observed(model, z, rng, hours):
    value = z[0] + z[1] * np.sin(2 * np.pi * hours / 24.0) + float(model.noise) * rng.normal(size=len(hours))
    time = START - START % (24 * HOUR) + (hours * HOUR).astype(np.int64)
    record = PatientRecord(id="p").with_facts(Series(code=SIGNAL, unit="[arb'U]", time=time, value=value))
    return model.observe(record, int(time[-1]) if len(time) else START, epoch=int(START - START % (24 * HOUR)))


def _people(n, seed, hours=None, level=0.8, spread=0.4):
    model, rng = LinearModel(), np.random.default_rng(seed)
    sd = np.sqrt(np.diag(np.asarray(model.prior.covariance)))
    truth = np.asarray(model.prior.mean) + sd * (level + spread * rng.normal(size=(n, model.prior.size)))
    hours = np.arange(1.0, 25.0, 4.0) if hours is None else hours
    return model, [_observed(model, z, rng, hours) for z in truth], [f"p{i}" for i in range(n)], truth


def _close(a, b, tolerance):
    np.testing.assert_allclose(np.asarray(a.mean), np.asarray(b.mean), atol=tolerance)
    np.testing.assert_allclose(np.asarray(a.covariance), np.asarray(b.covariance), atol=tolerance)


def test_is_the_population_prior_where_the_model_is_linear():
    """The model is its own linearisation: ordinary EM, everybody's posterior anew in each round, ends at the same place."""
    model, observed, names, _ = _people(7, 1)
    fitted = hierarchical_prior(model, observed, names, **EXACT)
    slow = population_prior(model, observed, rounds=200, tolerance=1e-6, method=Laplace(starts=1, draws=20), key=KEY)
    assert fitted.rounds < 12
    assert fitted.change < 0.01
    _close(
        fitted.prior, slow.prior, 1e-4
    )  # both stop when a round moves by 1e-6 or less of a reference sd (2 at most), and the error shrinks by a tenth a round


def test_sampled_moments_lead_to_the_same_place():
    """By importance sampling, as by default, within the noise of some hundred effective draws: 5 % of an sd each, less over seven people."""
    model, observed, names, _ = _people(7, 1)
    exact, sampled = hierarchical_prior(model, observed, names, **EXACT), hierarchical_prior(model, observed, names, key=KEY)
    scale = np.sqrt(np.diag(np.asarray(model.prior.covariance)))
    np.testing.assert_allclose(np.asarray(sampled.prior.mean) / scale, np.asarray(exact.prior.mean) / scale, atol=0.05)
    spread = (np.diag(np.asarray(h.prior.covariance)) for h in (sampled, exact))
    np.testing.assert_allclose(*spread, rtol=0.15)


def test_the_prior_of_the_others_is_what_a_fit_without_the_person_gives():
    model, observed, names, _ = _people(7, 2)
    fitted = hierarchical_prior(model, observed, names, **EXACT)
    for out in (0, 5):
        rest = [i for i in range(7) if i != out]
        alone = hierarchical_prior(model, [observed[i] for i in rest], [names[i] for i in rest], **EXACT)
        _close(fitted.without(names[out]), alone.prior, 1e-4)
        assert np.abs(np.asarray(fitted.prior.mean) - np.asarray(alone.prior.mean)).max() > 2e-3  # leaving out matters: the test can fail
    assert fitted.without("somebody else") is fitted.prior


def test_nothing_of_a_person_enters_that_persons_prior():
    model, observed, names, _ = _people(6, 3)
    rng = np.random.default_rng(9)
    other = [_observed(model, np.asarray(model.prior.mean) - 3.0, rng, np.arange(1.0, 25.0, 4.0)), *observed[1:]]
    a, b = (hierarchical_prior(model, o, names, **EXACT) for o in (observed, other))
    _close(a.without("p0"), b.without("p0"), 1e-4)
    assert np.abs(np.asarray(a.without("p1").mean) - np.asarray(b.without("p1").mean)).max() > 0.1


def test_recordings_of_one_person_weigh_as_one_and_leave_together():
    model, observed, names, _ = _people(6, 4)
    once = hierarchical_prior(model, observed, names, **EXACT)
    thrice = hierarchical_prior(model, [*observed, observed[0], observed[0]], [*names, "p0", "p0"], **EXACT)
    assert (thrice.people, thrice.recordings) == (6, 8)
    _close(once.prior, thrice.prior, 1e-4)
    _close(once.without("p0"), thrice.without("p0"), 1e-4)


def test_recovers_mean_and_spread_of_many_people():
    model, observed, names, truth = _people(60, 5, hours=np.arange(1.0, 25.0))
    fitted = hierarchical_prior(model, observed, names, strength=0.5, **EXACT)
    sd = np.sqrt(np.diag(np.asarray(model.prior.covariance)))
    # half a person of prior pulls by 0.5/60.5 of 0.8 sd, and the readings of a day blur each truth by less than the spread of the people
    seen = slice(0, 2)  # nobody was given a dose: of the third parameter nothing can be known
    np.testing.assert_allclose(np.asarray(fitted.prior.mean)[seen], truth.mean(axis=0)[seen], atol=0.1 * sd.max())
    learnt = np.sqrt(np.diag(np.asarray(fitted.prior.covariance))) / sd
    assert (np.abs(np.log(learnt / (truth.std(axis=0) / sd)))[seen] < 0.3).all()  # the sd of 60 has an error of 9 %: three of them
    assert abs(float(fitted.prior.mean[2]) - float(model.prior.mean[2])) < 1e-6
    assert learnt[2] == pytest.approx(1.0, abs=1e-4)


def test_posteriors_given_expansions_are_conjugate():
    precision, linear = np.array([[[2.0]], [[0.0]]]), np.array([[3.0], [0.0]])
    mean, spread = Expansions(precision, linear, np.zeros((2, 1)), np.ones(2)).given(np.array([1.0]), np.array([[0.5]]))
    np.testing.assert_allclose(mean[:, 0], [(3.0 + 2.0) / 4.0, 1.0])
    np.testing.assert_allclose(spread[:, 0, 0], [0.25, 0.5])


def test_too_few_people_and_people_without_data():
    model, observed, names, _ = _people(FEWEST_PEOPLE, 6)
    with pytest.raises(InferenceError, match="too few people"):
        hierarchical_prior(model, observed[1:], names[1:], **EXACT)
    with pytest.raises(InferenceError, match="too few people"):
        enough_people(["a"] * 20)  # many recordings of one person are one person
    with pytest.raises(InferenceError, match="each recording needs the person"):
        hierarchical_prior(model, observed, names[1:], **EXACT)
    empty = _observed(model, np.zeros(2), np.random.default_rng(0), np.zeros(0))
    with pytest.raises(InferenceError, match="whose data could be used"):
        hierarchical_prior(model, [empty, *observed[1:]], names, **EXACT)
    fitted = hierarchical_prior(model, [*observed, empty], [*names, "silent"], **EXACT)
    assert fitted.left_out == ("silent",)
    assert fitted.without("silent") is fitted.prior


def test_whose_a_record_is():
    assert person_of(PatientRecord(id="a")) == "a"
    assert person_of(PatientRecord(id="1002-1", demographics=Demographics(traits={"patient": "1002"}))) == "1002"


def test_laplace_begins_at_modes_found_before():
    """Begun at the mode it stays there; without importance draws nothing is said of the tails, and that is no failure."""
    from gemel.engine.infer import lanes
    from gemel.engine.model import target_of

    model, observed, _, _ = _people(2, 7)
    targets, keys = lanes.stack([target_of(model, o) for o in observed]), jax.random.split(KEY, 2)
    cold = Laplace(starts=3, draws=50).run_batch(targets, keys=keys)
    modes = np.stack([np.asarray(i.posterior.moments()[0]) for i in cold])
    warm = Laplace(starts=3, draws=0).run_batch(targets, keys=keys, starts=modes[:, None])
    for a, b in zip(cold, warm, strict=True):
        np.testing.assert_allclose(np.asarray(b.posterior.moments()[0]), np.asarray(a.posterior.moments()[0]), atol=1e-8)
        assert b.status == Status.OK
        assert np.isnan(b.diagnostics["psis_k"])
