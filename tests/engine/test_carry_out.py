"""What carrying out a plan puts into a record: new facts, changed announcements, and a refusal of everything else."""

import jax
import numpy as np
import pytest

import gemel
from gemel.core.errors import DomainError
from gemel.core.record import Exposure, Quantity
from gemel.core.time import HOUR
from gemel.engine.carry_out import carried_out
from gemel.engine.twin import calibrate
from gemel.twins.toys.observe import DOSE


@pytest.fixture(scope="module")
def person():
    room = gemel.room("toy-linear")
    record, now, _ = room.simulate_record(jax.random.key(3))
    ahead = Exposure(code=DOSE, quantity=Quantity(value=4.0, unit="mg"), start=now + HOUR, recorded=now - HOUR, source="ward")
    record = record.with_facts(ahead)
    return room, record, now, calibrate(room.model(), record, now, method=room.method(), key=jax.random.key(1))


def test_what_a_plan_adds_is_a_fact_and_the_model_reads_it_back(person):
    room, record, now, twin = person
    assert carried_out(twin, None, room.written, recorded=now) == ()
    (dose,) = carried_out(twin, room.plans(twin)["6 mg"], room.written, recorded=now)
    assert (dose.code, dose.quantity.value, dose.quantity.unit, dose.recorded) == (DOSE, 6.0, "mg", now)
    seen = room.model().observe(record.with_facts(dose), now, epoch=twin.epoch).plan
    np.testing.assert_allclose(sorted(seen.events), sorted(room.plans(twin)["6 mg"].events), atol=1e-9)


def test_a_changed_announcement_is_superseded(person):
    room, record, now, twin = person
    late = float(twin.model_time(np.asarray([now]))[0])
    half = twin.observed.plan.scaled(0, 0.5, after=late)
    (dose,) = carried_out(twin, half, room.written, recorded=now, record=record)
    assert dose.quantity.value == pytest.approx(2.0)
    mine = [e for e in record.with_facts(dose).as_of(now).exposures if e.start == now + HOUR]
    assert [e.quantity.value for e in mine] == [pytest.approx(2.0)]


def test_what_was_given_already_cannot_be_changed(person):
    room, record, now, twin = person
    with pytest.raises(DomainError, match="changes what runs already"):
        carried_out(twin, twin.observed.plan.scaled(0, 0.5), room.written, recorded=now, record=record)
    with pytest.raises(DomainError, match="changes what runs already"):
        carried_out(twin, twin.observed.plan.scaled(0, 0.5), room.written, recorded=now)
    with pytest.raises(DomainError, match="cannot be written"):
        carried_out(twin, room.plans(twin)["6 mg"], {}, recorded=now)
