"""Virtual people with type 2 diabetes: drawn to the criteria of a trial, carried through a year and more, thousands at once.

People are drawn from the room's prior and given the HbA1c that the criteria ask for by solving for their beta-cell function: everything else about
them stays as drawn. Whoever cannot have that HbA1c with those drugs is drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.core.errors import ModelError
from gemel.engine.keys import stream
from gemel.engine.plan import Plan
from gemel.twins.metabolic.slow._glycation import glucose_of
from gemel.twins.metabolic.slow._link import multipliers
from gemel.twins.metabolic.slow.model import SlowModel
from gemel.twins.metabolic.slow.observe import CHANNEL, Person
from gemel.twins.metabolic.slow.priors import DRUGS, fixed

__all__ = ["Criteria", "Phase", "Population", "Year", "function_for", "sample", "simulate"]


@dataclass(frozen=True)
class Criteria:
    """Whom a trial takes: normal laws cut at bounds, ``(mean, sd, lowest, highest)``, and the share of people on each drug.

    Parameters
    ----------
    age, duration : years. mass_index : kg/m^2. hba1c : %, on the drugs taken.
    male : share of men. drugs : share of people on each class, at its defined daily dose. insulin : share of people on it; ``units`` a day for them.
    """

    age: tuple[float, float, float, float] = (57.0, 9.0, 18.0, 85.0)
    mass_index: tuple[float, float, float, float] = (33.0, 5.0, 27.0, 50.0)
    duration: tuple[float, float, float, float] = (6.0, 4.0, 0.0, 15.0)
    hba1c: tuple[float, float, float, float] = (8.0, 1.0, 6.5, 11.0)
    male: float = 0.5
    drugs: Mapping[str, float] = field(default_factory=lambda: {"metformin": 0.8, "sulfonylurea": 0.25, "gliflozin": 0.15, "glp1": 0.15})
    insulin: float = 0.15
    units: float = 30.0


class Population(eqx.Module):
    """People side by side: who they are (``person``), the model's parameters by name, and the drugs and insulin they take at the start."""

    person: Person
    parameters: dict[str, Float[Array, " person"]]
    shares: Float[Array, "person drug"]
    insulin: Float[Array, " person"]
    hba1c: Float[Array, " person"]

    @property
    def size(self) -> int:
        """How many people."""
        return len(self.hba1c)

    def take(self, index: np.ndarray) -> Population:
        """Return some of the people; their grid of days is shared."""
        chosen = jax.tree.map(lambda x: np.asarray(x)[index], eqx.tree_at(lambda p: p.person.day, self, np.zeros(self.size)))
        return eqx.tree_at(lambda p: p.person.day, chosen, self.person.day)


@dataclass(frozen=True)
class Phase:
    """What is done in one stretch of days: change of intake (kcal/d) and of activity, shares of drugs and insulin ([iU]/d), per person."""

    start: float
    end: float
    energy: Float[np.ndarray, " person"] | float = 0.0
    activity: Float[np.ndarray, " person"] | float = 0.0
    shares: Float[np.ndarray, "person drug"] | None = None
    insulin: Float[np.ndarray, " person"] | None = None


@dataclass(frozen=True)
class Year:
    """Outcomes at the days asked for: HbA1c (%), weight (kg), fasting and mean glucose (mg/dL), without error of measurement."""

    days: np.ndarray
    hba1c: Float[np.ndarray, "person day"]
    weight: Float[np.ndarray, "person day"]
    fasting: Float[np.ndarray, "person day"]
    mean: Float[np.ndarray, "person day"]


def function_for(hba1c: Array, parameters: Mapping[str, Array], shares: Array, insulin: Array) -> Array:
    """Return the beta-cell function (share of the healthy one) with which people rest at an HbA1c (%); not positive where there is none."""
    glucose = glucose_of(hba1c / parameters["glycation"]) / parameters["excess"]
    does = multipliers(shares, parameters["response"])
    cleared = fixed("topp_R0") * does["production"] / glucose - fixed("topp_EG0") - does["effectiveness"]
    level = cleared / (fixed("topp_SI") * parameters["sensitivity"] * does["sensitivity"]) - insulin / fixed("units_per_level")
    mass = level * fixed("topp_k") / fixed("topp_sigma") * (fixed("topp_alpha") + glucose**2) / glucose**2
    return mass / (fixed("topp_mass") * does["function"])


def _cut(rng: np.random.Generator, law: tuple[float, float, float, float], n: int) -> np.ndarray:
    mean, sd, low, high = law
    found = rng.normal(mean, sd, n)
    while ((found < low) | (found > high)).any():
        outside = (found < low) | (found > high)
        found[outside] = rng.normal(mean, sd, int(outside.sum()))
    return found


def _drawn(model: SlowModel, n: int, key: PRNGKeyArray, criteria: Criteria, days: int) -> Population:
    rng = np.random.default_rng(np.asarray(jax.random.key_data(stream(key, "people"))).astype(np.uint32).tolist())
    male = (rng.random(n) < criteria.male).astype(float)
    height = np.where(male > 0, rng.normal(fixed("height_male"), 0.07, n), rng.normal(fixed("height_female"), 0.06, n))
    shares = np.stack([(rng.random(n) < criteria.drugs.get(name, 0.0)).astype(float) for name in DRUGS], axis=1)
    insulin = np.where(rng.random(n) < criteria.insulin, criteria.units, 0.0)
    person = Person(
        male, _cut(rng, criteria.age, n), height, _cut(rng, criteria.duration, n), _cut(rng, criteria.mass_index, n) * height**2, 1.0 + np.arange(float(days)),
    )  # fmt: skip
    hba1c = _cut(rng, criteria.hba1c, n)
    parameters = jax.tree.map(np.asarray, _parameters(model, stream(key, "parameters"), hba1c, shares, insulin))
    return Population(person, parameters, shares, insulin, hba1c)


@eqx.filter_jit
def _parameters(model: SlowModel, key: PRNGKeyArray, hba1c: Array, shares: Array, insulin: Array) -> dict[str, Array]:
    """Return the parameters of people in balance, whose true weight the criteria tell: the prior's, and the function that goes with their HbA1c."""
    n = hba1c.shape[0]
    found = dict(model.prior.constrain(model.prior.draw(n, key=key))) | {"start": jnp.ones(n), "energy_offset": jnp.zeros(n)}
    return found | {"function": function_for(hba1c, found, shares, insulin)}


def sample(
    n: int,
    *,
    key: PRNGKeyArray,
    criteria: Criteria | None = None,
    model: SlowModel | None = None,
    days: int = 400,
    function: tuple[float, float] = (0.02, 2.5),
) -> Population:
    """Draw people to the criteria of a trial.

    Parameters
    ----------
    n : people. criteria : whom to take. model : whose prior. days : length of the grid on which they will be simulated.
    function : beta-cell function that is believed, as shares of the healthy one; who falls outside is drawn again.

    Raises
    ------
    ModelError
        When fewer than one in twenty of those drawn can have the HbA1c that the criteria ask for.
    """
    wanted, twin = Criteria() if criteria is None else criteria, SlowModel() if model is None else model
    parts: list[Population] = []
    found = 0
    for attempt in range(40):
        made = _drawn(twin, max(n, 64), jax.random.fold_in(key, attempt), wanted, days)
        able = np.asarray(made.parameters["function"])
        kept = np.flatnonzero((able > function[0]) & (able < function[1]))[: n - found]
        parts.append(made.take(kept))
        found += len(kept)
        if found == n:
            break
    else:
        raise ModelError("the criteria ask for people whom the model does not know", seen=f"{found} of {n}", fix="widen HbA1c or the drugs")
    day = parts[0].person.day
    bare = [eqx.tree_at(lambda p: p.person.day, p, np.zeros(p.size)) for p in parts]
    return eqx.tree_at(lambda p: p.person.day, jax.tree.map(lambda *x: np.concatenate(x), *bare), day)


def _events(population: Population, phases: Sequence[Phase]) -> Plan:
    """Return the plans of all people, rows side by side. Between and after the phases drugs go on as they were, and intake is back at balance."""
    n, count = population.size, float(len(population.person.day))
    rows: list[tuple[float, float, np.ndarray, int]] = []
    shares, insulin, at = np.asarray(population.shares), np.asarray(population.insulin), 0.0
    for phase in (*phases, Phase(count, count)):
        if phase.start > at:
            rows += _rows(at, phase.start, Phase(at, phase.start, shares=shares, insulin=insulin), n)
        shares = shares if phase.shares is None else np.asarray(phase.shares)
        insulin = insulin if phase.insulin is None else np.asarray(phase.insulin)
        at = min(phase.end, count)
        if at > phase.start:
            rows += _rows(phase.start, at, Phase(phase.start, at, phase.energy, phase.activity, shares, insulin), n)
    begin, length, channel = (np.array([row[i] for row in rows]) for i in (0, 1, 3))
    amount = np.stack([row[2] for row in rows], axis=1)
    wide = (n, len(rows))
    return Plan(
        np.broadcast_to(begin, wide), np.broadcast_to(length, wide), amount, np.broadcast_to(channel.astype(int), wide), np.ones(wide, bool),
    )  # fmt: skip


def _rows(start: float, end: float, phase: Phase, n: int) -> list[tuple[float, float, np.ndarray, int]]:
    """Return the events of one stretch, amounts per person."""
    assert phase.shares is not None
    columns = [(phase.energy, CHANNEL["energy"]), (phase.activity, CHANNEL["activity"]), (phase.insulin, CHANNEL["insulin"])]
    columns += [(phase.shares[:, i], CHANNEL[name]) for i, name in enumerate(DRUGS)]
    return [(start, end - start, np.broadcast_to(np.asarray(rate, float), (n,)) * (end - start), channel) for rate, channel in columns]


@eqx.filter_jit
def _paths(model: SlowModel, parameters, plan, person: Person, index):
    def one(p, events, who):
        found, _ = model.path(p, events, eqx.tree_at(lambda x: x.day, who, person.day))
        return tuple(x[index] for x in (found.hba1c, found.weight, found.fasting, found.mean))

    return jax.vmap(one)(parameters, plan, eqx.tree_at(lambda x: x.day, person, jnp.zeros(person.age.shape[0])))


def simulate(
    population: Population,
    phases: Sequence[Phase] = (),
    *,
    days: Sequence[int] = (0, 182, 364),
    model: SlowModel | None = None,
    chunk: int = 1000,
) -> Year:
    """Carry people through a plan.

    Parameters
    ----------
    population : see :func:`sample`. phases : what is done, in order; the first day is always as it was.
    days : at the end of which the outcomes are told, counted from 0. chunk : people at once; one program serves all chunks.

    Raises
    ------
    ModelError
        When phases overlap, begin before day 1, or a day lies beyond the population's grid.
    """
    edges = [1.0, *(edge for p in phases for edge in (p.start, p.end))]
    if any(b < a for a, b in pairwise(edges)):
        raise ModelError("phases must follow each other from day 1 on", seen=[(p.start, p.end) for p in phases])
    count = len(population.person.day)
    if max(days) >= count:
        raise ModelError(
            "a day lies beyond the grid of this population", seen=max(days), expected=f"< {count}", fix="sample with more days"
        )
    twin = SlowModel() if model is None else model
    plans, index = _events(population, phases), np.asarray(days, int)
    size = min(chunk, population.size)
    found = []
    for first in range(0, population.size, size):
        rows = np.minimum(np.arange(first, first + size), population.size - 1)  # the last chunk repeats its last person
        part = population.take(rows)
        out = _paths(twin, part.parameters, jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], plans), part.person, index)
        found.append(tuple(np.asarray(x)[: population.size - first] for x in out))
    return Year(np.asarray(days), *(np.concatenate(column) for column in zip(*found, strict=True)))
