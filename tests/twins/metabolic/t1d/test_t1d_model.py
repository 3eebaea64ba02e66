"""The twin: what it reads of a record, how it starts, that its stream is its trajectory, its plans, its page, and that it learns a virtual person."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemel.core.code import Code
from gemel.core.errors import DomainError
from gemel.core.record import Demographics, Exposure, PatientRecord, Quantity
from gemel.core.time import DAY, HOUR, MINUTE
from gemel.engine.forecast import compare, forecast
from gemel.engine.infer.adaptive import Adaptive
from gemel.engine.recommend import recommend
from gemel.engine.twin import assimilate, calibrate
from gemel.twins.metabolic.t1d import evidence, plans, report
from gemel.twins.metabolic.t1d._uva_padova import completed, derivative
from gemel.twins.metabolic.t1d.model import T1DModel, T1DState
from gemel.twins.metabolic.t1d.observe import CARBOHYDRATE, INSULIN, events
from gemel.twins.metabolic.t1d.priors import FREE, people, person_prior, typical
from gemel.twins.metabolic.t1d.simulate import START, simulate_person, simulate_record

FAST, CARBS = Code.parse("atc:A10AB"), Code.parse("loinc:9059-7")


@pytest.fixture(scope="module")
def person():
    """Two days of an adult behind a sensor, with the bolus of a coming meal announced."""
    record, now, glucose = simulate_person(jax.random.key(2), who="adult#004", days=2.0)
    meal = Exposure(code=CARBS, quantity=Quantity(value=60.0, unit="g"), start=now, recorded=now - MINUTE, source="simulated")
    dose = Exposure(code=FAST, quantity=Quantity(value=4.0, unit="[iU]"), start=now, recorded=now - MINUTE, source="simulated")
    return record.with_facts(meal, dose), now, glucose


@pytest.fixture(scope="module")
def twin(person):
    record, now, _ = person
    return calibrate(T1DModel(), record, now, method=Adaptive(starts=2, draws=256, rounds=3, enough=100, kept=200), key=jax.random.key(0))


def test_insulin_acts_when_it_is_injected_and_meals_have_one_channel(person):
    record, now, _ = person
    found = events(record, now)
    (dose,) = [e for e in found if e[3] == INSULIN and e[2] == 4.0]
    assert dose[0] == 0.0  # the room's other twin delays it by eight minutes
    assert {e[3] for e in found} == {INSULIN, CARBOHYDRATE}
    assert [e[2] for e in found if e[3] == CARBOHYDRATE and e[0] == 0.0] == [60.0]


def test_what_the_record_does_not_say_is_told(person):
    record, now, _ = person
    bare = PatientRecord(id="x", demographics=Demographics(age=10.0)).with_facts(*(s for s in record.series if s.unit == "mg/dL"))
    seen = T1DModel().observe(bare, now)
    assert float(seen.context.weight) == pytest.approx(typical("child")["BW"])
    assert float(seen.context.basal) == 0.0
    told = " ".join(seen.notes)
    assert "no basal insulin" in told
    assert "no body weight" in told
    grown = T1DModel().observe(record, now).context
    assert float(grown.weight) == pytest.approx(63.0, abs=60.0)
    np.testing.assert_allclose(grown.typical, [typical("adult")[n] for n in FREE])


def test_the_start_is_in_balance():
    model = T1DModel()

    @jax.jit
    def slopes(glucose, factor):
        p = completed({k: jnp.asarray(v) for k, v in typical("adult").items()})
        rate = factor * p["u2ss"] * p["BW"] / 6000.0
        s = model.begin(p, glucose, rate)
        return derivative(jnp.zeros(()), s, (factor * p["u2ss"], jnp.zeros(()), jnp.zeros(())), p), s, p["Gtb"]

    for glucose, factor in ((90.0, 1.0), (250.0, 1.0), (142.0, 1.6), (180.0, 0.4)):
        d, s, _ = slopes(glucose, factor)
        for name in ("Gt", "Gs", "Ip", "Il", "X", "I1", "Id", "Isc1", "Isc2"):
            assert abs(float(getattr(d, name))) < 1e-9 * (1 + abs(float(getattr(s, name)))), (name, glucose, factor)
        assert float(s.Gt) > 0


@pytest.fixture(scope="module")
def seen(person):
    record, now, _ = person
    model = T1DModel()
    return model, model.observe(record, now)


def test_streaming_agrees_with_the_whole_trajectory(seen):
    model, o = seen
    context = jax.tree.map(np.asarray, o.context)
    n = len(context.window)
    rates = np.asarray(jax.jit(lambda p: p.rates(0.0, model.slot, n, 2))(o.plan))
    padded = np.concatenate([np.zeros((1, 2)), rates])
    windows = np.stack([padded[k : k + 2] for k in range(n)])
    slots = model.slot_context(o, 1, n)

    @jax.jit
    def both(z):
        params = model.prior.constrain(z)
        whole = model.trajectory(params, o.plan, context)
        p = model.person(params, context)
        like = model.initial(params, jnp.asarray([100.0]), jnp.zeros(2))
        start = T1DState(model.begin(p, context.first, context.basal), like.meal, jnp.zeros(()), like.shown)

        def step(state, item):
            u, here = item
            state = model.advance(params, state, u, here, jnp.zeros(2))
            return state, model.emit(params, state)[0]

        return whole, jax.lax.scan(step, start, (windows, slots))[1]

    whole, streamed = both(model.prior.mean + 0.3)
    np.testing.assert_allclose(streamed, whole, rtol=1e-9)  # the same steps in the same order


def test_with_a_virtual_persons_own_parameters_the_twin_is_that_person():
    record, now, glucose = simulate_person(jax.random.key(0), who="adult#004", days=1.0)
    model, own = T1DModel(), people()["adult#004"].parameters
    o = model.observe(record, now, epoch=START)
    context = replace_context(o.context, np.asarray(own["Gb"]), np.array([own[n] for n in FREE]))
    path = np.asarray(jax.jit(lambda p: model.trajectory(p, o.plan, context))({n: jnp.asarray(own[n]) for n in model.prior.names}))
    truth = glucose[4::5]
    # Boluses of a minute and meals of nine are spread over slots of five and a meal of a quarter of an hour: 1.2 mg/dL was measured.
    assert np.sqrt(np.mean((path[: len(truth)] - truth) ** 2)) < 2.0


def replace_context(context, first, own):
    return type(context)(context.window, first, context.basal, context.weight, own)


def test_time_of_day_moves_glucose_only_when_it_is_asked_for(seen):
    plain, o = seen
    daily = T1DModel(prior=person_prior(time_of_day=True))
    context = jax.tree.map(np.asarray, o.context)
    run = jax.jit(lambda z: daily.trajectory(daily.prior.constrain(z), o.plan, context))
    centre = np.asarray(daily.prior.mean)
    same = np.asarray(jax.jit(lambda z: plain.trajectory(plain.prior.constrain(z), o.plan, context))(plain.prior.mean))
    np.testing.assert_allclose(run(centre), same, rtol=1e-10)
    moved = np.asarray(run(centre + np.where(np.array(daily.prior.names) == "Vmx_dinner", 0.3, 0.0)))
    dinner = context.window[:, 2] > 0
    assert np.abs(moved - same)[dinner].max() > 5.0


@pytest.mark.slow
def test_it_learns_a_virtual_person(person, twin):
    _, _, glucose = person
    path = np.asarray(
        jax.jit(lambda z: twin.model.trajectory(twin.model.prior.constrain(z), twin.observed.plan, twin.observed.context))(
            twin.inference.posterior.moments()[0]
        )
    )
    begin = np.asarray(
        jax.jit(lambda z: twin.model.trajectory(twin.model.prior.constrain(z), twin.observed.plan, twin.observed.context))(
            twin.model.prior.mean
        )
    )
    offset = round((twin.epoch - START) / MINUTE)
    truth = glucose[offset + 4 :: 5][: len(path)]
    n = min(len(truth), len(path))
    error, before = (np.sqrt(np.mean((x[:n] - truth[:n]) ** 2)) for x in (path, begin))
    assert error < 0.75 * before  # most of what is wrong about a typical person is learnt in two days
    assert error < 30.0  # mg/dL, of two days without any reading in between


@pytest.mark.slow
def test_the_six_verbs(person, twin):
    record, now, _ = person
    key = jax.random.key(1)
    made = forecast(twin, None, twin.times(30, 60, 120), n=64, key=key)
    assert made.usable
    assert np.isfinite(made.draws).all()
    options = plans.named_plans(twin)
    assert list(options) == ["as logged", "bolus 30 % less", "bolus 30 % more"]
    found = compare(twin, options, twin.times(60, 120, 180), n=64, key=key)
    assert (found.difference("bolus 30 % more", "bolus 30 % less")[:, -1] < 0).all()  # more insulin, less glucose, draw by draw
    outcome = recommend(twin, options, plans.objective(), plans.limits(), times=twin.times(30, 60, 90, 120), n=64, key=key)
    assert outcome.sentence
    page = report.view(twin, record, made, outcome, simulated=True)
    assert "twin metabolic-t1d" in page.subtitle
    assert all("metabolic RECORD" not in getattr(s, "body", "") for s in page.sections)
    later = assimilate(twin, record, now + 10 * MINUTE)
    assert later.now == now + 10 * MINUTE


@pytest.mark.slow
def test_plans_change_what_they_say_and_nothing_else(twin):
    def amounts(plan, channel, slow):
        return sum(a for _, d, a, c in plan.events if c == channel and (d >= 60.0) == slow)

    known = twin.observed.plan
    lean = plans.scaled_basal(twin, 0.5)
    assert amounts(lean, INSULIN, False) == pytest.approx(amounts(known, INSULIN, False))
    assert amounts(lean, INSULIN, True) < amounts(known, INSULIN, True)
    now = float(twin.model_time(np.array([twin.now]))[0])
    rate = {e[0] < now - 1: e[2] / e[1] for e in lean.events if e[3] == INSULIN and e[1] >= 60.0}
    assert rate[False] == pytest.approx(0.5 * rate[True])  # from now on, half
    same = plans.scaled_basal(twin, 1.0)
    assert amounts(same, INSULIN, True) == pytest.approx(amounts(known, INSULIN, True))
    assert amounts(plans.scaled_carbohydrate(twin, 0.0), CARBOHYDRATE, False) == pytest.approx(amounts(known, CARBOHYDRATE, False) - 60.0)
    assert amounts(plans.scaled_bolus(twin, 2.0), INSULIN, False) == pytest.approx(amounts(known, INSULIN, False) + 4.0)
    assert amounts(plans.meal(twin, 20.0), CARBOHYDRATE, False) == pytest.approx(amounts(known, CARBOHYDRATE, False) + 20.0)
    assert amounts(plans.with_bolus(twin, 1.5), INSULIN, False) == pytest.approx(amounts(known, INSULIN, False) + 1.5)
    for bad in (lambda: plans.scaled_basal(twin, 3.5), lambda: plans.scaled_bolus(twin, -0.1), lambda: plans.meal(twin, 201.0)):
        with pytest.raises(DomainError):
            bad()


@pytest.mark.slow
def test_without_anything_ahead_other_plans_are_offered(twin):
    seen = replace(twin.observed, plan=type(twin.observed.plan).of([e for e in twin.observed.plan.events if e[1] >= 60.0]))
    quiet = replace(twin, observed=seen)
    assert list(plans.named_plans(quiet)) == ["as known", "15 g carbohydrate now", "30 g carbohydrate now", "basal 30 % less"]


def test_it_abstains_outside_its_domain(person):
    record, now, _ = person
    model = T1DModel()
    assert model.domain(record.as_of(now), now).reason is None
    for case in evidence.OUTSIDE:
        asked, moment = case(record, now)
        assert model.domain(asked.as_of(moment), moment).reason is not None, case.__name__


def test_people_for_calibration_checks_come_from_the_prior():
    record, now, truth = simulate_record(jax.random.key(5))
    again = simulate_record(jax.random.key(5))
    assert record.hash == again[0].hash
    assert set(truth) == set(person_prior().names)
    assert now - START == 2 * DAY
    assert T1DModel().domain(record.as_of(now), now).reason is None
    basal = [e for e in record.exposures if e.end - e.start > HOUR]
    other = [e for e in simulate_record(jax.random.key(6))[0].exposures if e.end - e.start > HOUR]
    assert basal[0].quantity.value != other[0].quantity.value or truth == again[2]  # by weight only: the truth stays hidden
