"""Virtual people: who is drawn, whether they have the HbA1c that was asked for, what phases do, and the checks against trials."""

import jax
import numpy as np
import pytest

from gemel.core.errors import ModelError
from gemel.twins.metabolic.slow import _external
from gemel.twins.metabolic.slow.evidence import DIRECT, LOOK_AHEAD
from gemel.twins.metabolic.slow.priors import DRUGS
from gemel.twins.metabolic.slow.virtual import Criteria, Phase, sample, simulate

DAYS = 380


@pytest.fixture(scope="module")
def people():
    return sample(300, key=jax.random.key(0), days=DAYS)


def test_people_keep_the_criteria(people):
    wanted = Criteria()
    assert people.size == 300
    for value, law in ((people.person.age, wanted.age), (people.person.duration, wanted.duration), (people.hba1c, wanted.hba1c)):
        assert (np.asarray(value) >= law[2]).all()
        assert (np.asarray(value) <= law[3]).all()
    index = np.asarray(people.person.weight) / np.asarray(people.person.height) ** 2
    assert (index >= 27.0 - 1e-9).all()
    share = np.asarray(people.shares)[:, list(DRUGS).index("metformin")].mean()
    assert abs(share - 0.8) < 4 * np.sqrt(
        0.8 * 0.2 / 300
    )  # four standard errors; who cannot have the HbA1c is drawn again, which moves it a little
    again = sample(300, key=jax.random.key(0), days=DAYS)
    assert np.array_equal(again.hba1c, people.hba1c)


def test_they_rest_at_the_hba1c_that_was_asked_for(people):
    year = simulate(people, days=(0, 100), chunk=300)
    np.testing.assert_allclose(year.hba1c[:, 0], people.hba1c, atol=0.01)  # a day of decline of beta cells
    np.testing.assert_allclose(year.weight[:, 1], people.person.weight, rtol=1e-9)  # in balance: nothing moves
    assert (year.hba1c[:, 1] > year.hba1c[:, 0]).all()  # beta-cell function declines


def test_phases_act_and_drugs_wash_out(people):
    none, n = np.zeros((300, len(DRUGS))), 300
    known = simulate(people, days=(364,), chunk=300)
    diet = simulate(people, [Phase(1, 365, energy=-500.0)], days=(364,), chunk=300)
    washed = simulate(people, [Phase(1, 365, shares=none, insulin=np.zeros(n))], days=(364,), chunk=300)
    assert (diet.weight < known.weight - 4.0).all()
    assert (diet.hba1c < known.hba1c).all()
    on = (np.asarray(people.shares).sum(axis=1) > 0) | (np.asarray(people.insulin) > 0)
    assert (washed.hba1c[on] > known.hba1c[on]).all()
    np.testing.assert_allclose(washed.hba1c[~on], known.hba1c[~on], rtol=1e-12)  # who took nothing has nothing to stop
    short = simulate(people, [Phase(1, 100, energy=-500.0)], days=(364,), chunk=300)
    assert (short.weight > diet.weight).all()
    assert (short.weight < known.weight).all()


def test_chunks_change_nothing(people):
    whole = simulate(people, [Phase(1, 365, energy=-300.0)], days=(364,), chunk=300)
    parts = simulate(people, [Phase(1, 365, energy=-300.0)], days=(364,), chunk=128)
    np.testing.assert_allclose(whole.hba1c, parts.hba1c, rtol=1e-12)  # sums in lanes of another width


def test_refuses_what_it_cannot_do(people):
    with pytest.raises(ModelError, match="beyond the grid"):
        simulate(people, days=(DAYS,))
    with pytest.raises(ModelError, match="follow each other"):
        simulate(people, [Phase(10, 50), Phase(40, 60)])
    with pytest.raises(ModelError, match="people whom the model does not know"):
        sample(10, key=jax.random.key(1), criteria=Criteria(hba1c=(14.9, 0.05, 14.8, 15.0), insulin=1.0, units=200.0), days=10)


def test_published_strata():
    assert [(s.people, s.remitted) for s in DIRECT] == [(76, 0), (89, 6), (56, 19), (28, 16), (36, 31)]  # Lean 2018, abstract
    assert (LOOK_AHEAD.loss, LOOK_AHEAD.change, LOOK_AHEAD.remission) == (0.086, -0.7, 0.115)


@pytest.mark.slow
def test_external_checks_decide_and_say_so():
    found = _external.external_checks(key=jax.random.key(0), draws=60)
    assert [c.published for c in found.informed] == [s.remitted / s.people for s in DIRECT]
    assert all(c.low <= c.median <= c.high for c in (*found.look_ahead, *found.uninformed, *found.informed))
    medians = [c.median for c in found.uninformed]
    assert medians == sorted(medians)  # more weight lost, more remission
    assert found.passed == all(c.passed for c in found.informed)
    told = "\n".join(found.lines())
    assert ("criterion (every stratum of DiRECT inside, informed): PASS" in told) == found.passed
    assert "Model consequence under stated assumptions" in told
    assert 1.0 <= found.effective <= 60.0
    lost = [_external.Check("x", v, 0.1, 0.2, 0.3).passed for v in (0.05, 0.1, 0.3, 0.31)]
    assert lost == [False, True, True, False]
