"""People drawn from the slow model, SIMULATED wherever they show: two years of weighings and laboratory values, a diet and a drug on the way."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.code import Code
from gemel.core.record import Demographics, Exposure, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import DAY, MINUTE, to_ns
from gemel.engine.keys import stream
from gemel.engine.plan import Plan
from gemel.twins.metabolic.slow import observe
from gemel.twins.metabolic.slow.model import SlowModel

__all__ = ["START", "simulate_record"]

START = to_ns("2024-01-08T07:00:00Z")
METFORMIN = Code.parse("atc:A10BA02")
SPAN = 600


@eqx.filter_jit
def _drawn(model: SlowModel, plan: Plan, times, context, key):
    """Return a prior draw and what scales and laboratory show: the very process that the likelihood assumes."""
    params = model.prior.constrain(model.prior.draw(1, key=stream(key, "truth"))[0])
    clean = model.simulate(params, plan, times, context, key=key)
    return params, model.measure(params, clean, key=stream(key, "measure"))


def simulate_record(key: PRNGKeyArray) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Return a person drawn from the prior, *now* after twenty months, and the truth.

    The first weighing is given, the true weight lies about it; a person whose measurements would leave the validated ranges is drawn again.
    """
    model = SlowModel()
    for attempt in range(64):
        made = _person(model, jax.random.fold_in(key, attempt))
        if made is not None:
            return made
    raise AssertionError("no person of the prior lies inside the validated ranges")  # 64 draws, each inside with probability 0.9


def _person(model: SlowModel, key: PRNGKeyArray) -> tuple[PatientRecord, int, Mapping[str, float]] | None:
    rng = np.random.default_rng(int(np.asarray(jax.random.key_data(stream(key, "life"))).astype(np.uint32)[-1]))
    sex = "male" if rng.random() < 0.5 else "female"
    height = round(float(rng.normal(1.76 if sex == "male" else 1.63, 0.06)), 2)
    first = round(float(rng.uniform(28.0, 38.0)) * height**2, 1)
    person = Demographics(
        sex=sex,
        age=float(rng.integers(38, 68)),
        traits={"height": Quantity(value=height, unit="m"), "diabetes duration": Quantity(value=float(rng.integers(1, 10)), unit="a")},
    )
    diet, pill = float(rng.integers(60, 240)), float(rng.integers(100, 400))
    exposures = (
        Exposure(
            code=observe.ENERGY, quantity=Quantity(value=-float(rng.integers(10, 60)) * 10.0, unit="kcal/d"), start=START + round(diet * DAY),
            end=START + round((diet + 150) * DAY), source="simulated",
        ),
        Exposure(
            code=METFORMIN, quantity=Quantity(value=float(rng.choice([1000.0, 2000.0])), unit="mg/d"), start=START + round(pill * DAY),
            end=START + 1460 * DAY, source="simulated",
        ),
    )  # fmt: skip
    weighed, tested = np.arange(14.0, SPAN, 14.0), np.arange(5.0, SPAN, 85.0)
    fasted, worn = np.arange(6.0, SPAN, 85.0), np.array([40.0, 330.0, 560.0])
    times = np.concatenate([tested, weighed, fasted, worn])
    channel = np.repeat(np.arange(4), [len(tested), len(weighed), len(fasted), len(worn)])
    bare = PatientRecord(id="nobody", demographics=person)
    context = observe.person(bare, START, first, [])
    given, _ = observe.events(bare.with_facts(*exposures), START)
    params, shown = _drawn(model, Plan.of(given, smallest=32), times, context, key)
    value = np.asarray(shown)[np.arange(len(times)), channel]
    facts = []
    for i, (code, unit) in enumerate(((observe.HBA1C, "%"), (observe.WEIGHT, "kg"), (observe.FASTING, "mg/dL"), (observe.MEAN, "mg/dL"))):
        low, high = observe.RANGES[code]
        mine, at = value[channel == i], START + np.round(times[channel == i] * 1440).astype(np.int64) * MINUTE
        if i == 1:
            mine, at = np.concatenate([[first], mine]), np.concatenate([[START], at])
        if not ((mine > low) & (mine < high)).all():
            return None
        facts.append(Series(code=code, unit=unit, time=at, value=mine, source="simulated"))
    record = PatientRecord(id=f"simulated-{rng.integers(2**32):08x}", demographics=person).with_facts(*facts, *exposures)
    return record, START + SPAN * DAY, {name: float(x) for name, x in params.items()}
