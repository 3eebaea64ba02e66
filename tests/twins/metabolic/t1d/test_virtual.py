"""Virtual people: the thirty by name, new ones of their kind, what they eat, and batches of any size."""

import jax
import numpy as np
import pytest

from gemel.core.errors import DomainError
from gemel.twins.metabolic.t1d import virtual
from gemel.twins.metabolic.t1d.priors import (
    FREE,
    GROUPS,
    constant,
    group_of,
    joint,
    people,
    person_prior,
    shrunk_correlation,
    typical,
    unbounded,
)
from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, sample, simulate, solvable, virtual_person


@pytest.fixture(scope="module")
def drawn():
    return {g: sample(2000, g, key=jax.random.key(i)) for i, g in enumerate(GROUPS)}


def test_the_thirty_by_name():
    found = people()
    assert [sum(p.group == g for p in found.values()) for g in GROUPS] == [10, 10, 10]
    assert virtual_person("child#007").group == "child"
    with pytest.raises(DomainError, match="no virtual person"):
        virtual_person("adult#011")
    assert all(len(p.parameters) == len(FREE) == 25 for p in found.values())
    assert [group_of(a) for a in (None, 70, 18, 17.9, 12, 11.9)] == ["adult", "adult", "adult", "adolescent", "adolescent", "child"]


def test_what_is_typical_is_the_geometric_mean_of_the_group():
    adults = [p.parameters for p in people().values() if p.group == "adult"]
    like = typical("adult")
    assert like["kabs"] == pytest.approx(np.exp(np.mean([np.log(a["kabs"]) for a in adults])), rel=1e-12)
    odds = np.exp(np.mean([np.log(a["b"] / (1 - a["b"])) for a in adults]))
    assert like["b"] == pytest.approx(odds / (1 + odds), rel=1e-12)
    assert like["f"] == constant("f") == 0.9
    with pytest.raises(DomainError, match="no such group"):
        typical("infant")


def test_new_people_are_of_the_kind_of_the_thirty(drawn):
    for group, persons in drawn.items():
        mean, covariance = joint(group)
        z = unbounded(np.array([[p.parameters[n] for n in FREE] for p in persons]), tuple(FREE))
        sd = np.sqrt(np.diag(covariance))
        # 2,000 draws: standard error 0.022 SD of a mean, 1.6 % of an SD; rejection takes the odd corner away.
        np.testing.assert_allclose((z.mean(axis=0) - mean) / sd, 0.0, atol=0.1)
        np.testing.assert_allclose(z.std(axis=0) / sd, 1.0, atol=0.08)
        found = np.corrcoef(z.T)
        np.testing.assert_allclose(found, covariance / np.outer(sd, sd), atol=0.12)
        assert np.asarray(solvable(parameters_of(persons))).all()
        assert len({p.name for p in persons}) == len(persons)


def test_a_covariance_without_steady_states_is_refused(monkeypatch):
    monkeypatch.setattr(virtual, "solvable", lambda p: np.zeros(len(p["BW"]), bool))
    with pytest.raises(Exception, match="hardly any drawn person"):
        sample(10, "adult", key=jax.random.key(0))


def test_shrinkage_keeps_what_many_tell_and_drops_what_few_tell():
    rng = np.random.default_rng(1)
    true = 0.6 * np.ones((6, 6)) + 0.4 * np.eye(6)
    for n, least, most in ((20_000, 0.0, 0.01), (12, 0.05, 1.0)):
        x = rng.multivariate_normal(np.zeros(6), true, size=n)
        found, intensity = shrunk_correlation(x - x.mean(axis=0))
        assert least <= intensity <= most
        assert np.linalg.eigvalsh(found).min() > 0
    independent = rng.normal(size=(30, 25))
    assert shrunk_correlation(independent - independent.mean(axis=0))[1] > 0.8


def test_priors_are_of_the_table_and_say_where_they_are_not():
    anybody, adult = person_prior(), person_prior("adult")
    assert anybody.names == adult.names
    i = anybody.names.index("Vmx")
    values = np.log([p.parameters["Vmx"] for p in people().values()])
    assert anybody.parameters[i].location == pytest.approx(values.mean())
    assert anybody.parameters[i].scale == pytest.approx(values.std(ddof=1))
    assert {p.name for p in anybody.parameters if p.assumed} == {"Gb", "Ib"}
    daily = person_prior(time_of_day=True)
    assert {p.name for p in daily.parameters if p.assumed} - {"Gb", "Ib"} == {"Vmx_breakfast", "Vmx_dinner", "kp3_breakfast", "kp3_dinner"}
    assert all(p.location == 0.0 for p in daily.parameters if "_" in p.name)


def test_meals_are_eaten_at_five_grams_a_minute_and_all_of_them():
    food = eaten([(10, 12.0), (11, 9.0), (100, 45.0)], 200)
    assert food[10:16].tolist() == [5.0, 5.0, 5.0, 5.0, 1.0, 0.0]  # the second waits for the first
    assert food[100:109].tolist() == [5.0] * 9
    assert food.sum() == 66.0
    assert eaten([(198, 45.0), (500, 10.0)], 200).sum() == 10.0  # the day ends
    assert bolus([(3, 2.0), (3, 1.0), (500, 9.0)], 10).tolist() == [0, 0, 0, 3.0, 0, 0, 0, 0, 0, 0]


def test_a_batch_of_any_size_gives_everybody_the_same_day(drawn):
    persons = drawn["adult"][:7]
    p = parameters_of(persons)
    food = np.repeat(eaten([(30, 60.0)], 240)[:, None], 7, axis=1)
    insulin = np.broadcast_to(np.asarray(basal_rate(p)), food.shape)
    whole = simulate(p, insulin, food, chunk=3)
    backwards = simulate({k: np.asarray(v)[::-1] for k, v in p.items()}, insulin[:, ::-1], food, chunk=3)[:, ::-1]
    assert whole.shape == (48, 7)
    np.testing.assert_allclose(whole, backwards, rtol=1e-12)
    np.testing.assert_allclose(whole[:6], np.broadcast_to(p["Gb"], (6, 7)), atol=1e-6)  # nobody has eaten yet
    assert (whole[12:].max(axis=0) > np.asarray(p["Gb"]) + 10).all()
