"""Virtual people: the thirty by name, new ones of their kind, and days of many of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from gemel.core.errors import DomainError, ModelError
from gemel.twins.metabolic._gut import meal_amount
from gemel.twins.metabolic.t1d._cascade import cascade, minute
from gemel.twins.metabolic.t1d._uva_padova import PMOL_PER_UNIT, completed, resting, sensed
from gemel.twins.metabolic.t1d.priors import FREE, VirtualPerson, bounded, constant, joint, people, typical

__all__ = ["basal_rate", "bolus", "eaten", "parameters_of", "sample", "simulate", "solvable", "virtual_person"]

CHUNK = 1000
"""People simulated together: their states then stay in the cache."""
MOST_REJECTED = 0.9
DAILY_SHARE, CARBOHYDRATE_RULE, CORRECTION_RULE = 0.5, 450.0, 1700.0
"""ASSUMED for new people: basal is half of the daily insulin; grams per unit and mg/dL per unit are these numbers over the daily insulin."""


def virtual_person(name: str) -> VirtualPerson:
    """Return one of the thirty.

    Raises
    ------
    DomainError
        When nobody has that name.

    Examples
    --------
    >>> virtual_person("adult#001").carbohydrate_ratio
    10.0
    """
    found = people()
    if name not in found:
        raise DomainError(
            "no virtual person has this name", seen=name, expected="adult#001 to #010, adolescent#001 to #010, child#001 to #010"
        )
    return found[name]


def parameters_of(persons: Sequence[VirtualPerson]) -> dict[str, Float[Array, " person"]]:
    """Return the completed parameters of several people."""
    free = {n: np.array([p.parameters[n] for p in persons], float) for n in FREE}
    return _completed(free | {n: np.full(len(persons), constant(n)) for n in ("Fcns", "ke1", "ke2", "HEb", "f")})


def solvable(p: Mapping[str, Array]) -> Bool[Array, " person"]:
    """Return whether completed parameters have a steady state, and a stomach whose emptying slows down before it speeds up."""
    good = (p["Gtb"] > 0) & (p["u2ss"] > 0) & (p["Vm0"] > 0) & (p["kmax"] > p["kmin"]) & (p["b"] > p["d"])
    return good & jnp.isfinite(p["kp1"])


def sample(n: int, group: str, *, key: PRNGKeyArray) -> tuple[VirtualPerson, ...]:
    """Draw new people of a group: log-normal (shares: logit-normal), with the joint covariance of the thirty, shrunk.

    Those without a steady state are rejected and drawn again. Daily insulin and ratios of new people follow rules of thumb (ASSUMED).

    Raises
    ------
    ModelError
        When more than nine of ten are rejected.
    """
    mean, covariance = joint(group)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32).tolist())
    age = {"adult": 45.0, "adolescent": 15.0, "child": 9.0}[group]
    made: list[VirtualPerson] = []
    tried = 0
    while len(made) < n:
        z = rng.multivariate_normal(mean, covariance, size=max(2 * (n - len(made)), 16), method="cholesky")
        values = bounded(z, tuple(FREE))
        fixed = {k: np.full(len(z), v) for k, v in typical(group).items() if k not in FREE}
        p = {k: np.asarray(v) for k, v in _completed({**dict(zip(FREE, values.T, strict=True)), **fixed}).items()}
        keep = np.flatnonzero(np.asarray(solvable(p)))
        tried += len(z)
        if len(made) + len(keep) < (1.0 - MOST_REJECTED) * tried:
            raise ModelError(
                "hardly any drawn person has a steady state", seen=f"{len(made) + len(keep)} of {tried}", fix="narrow the covariance"
            )
        for i in keep[: n - len(made)]:
            daily = float(p["u2ss"][i] * p["BW"][i] / PMOL_PER_UNIT * 1440.0 / DAILY_SHARE)
            free = {k: float(p[k][i]) for k in FREE}
            name = f"{group}~{len(made) + 1:05d}"
            made.append(VirtualPerson(name, age, CARBOHYDRATE_RULE / daily, CORRECTION_RULE / daily, daily, free))
    return tuple(made)


_completed = jax.jit(completed)


def basal_rate(p: Mapping[str, Array]) -> Float[Array, " person"]:
    """Return the basal rate that keeps each person at rest, U/min."""
    return p["u2ss"] * p["BW"] / PMOL_PER_UNIT


def eaten(meals: Sequence[tuple[float, float]], minutes: int) -> Float[np.ndarray, " minute"]:
    """Return what is eaten in each minute (g/min) of meals ``(minute, g)``, at 5 g/min, one after the other.

    Examples
    --------
    >>> eaten([(1, 12)], 6).tolist()
    [0.0, 5.0, 5.0, 2.0, 0.0, 0.0]
    """
    out, free, rate = np.zeros(minutes), 0, constant("eating_rate")
    room = rate  # what can still be eaten in the minute ``free``
    for start, grams in sorted((int(t), g) for t, g in meals if 0 <= t < minutes):
        if start > free:
            free, room = start, rate
        while grams > 0.0 and free < minutes:
            bite = min(room, grams)
            out[free] += bite
            grams, room = grams - bite, room - bite
            if room <= 0.0:
                free, room = free + 1, rate
    return out


def bolus(doses: Sequence[tuple[float, float]], minutes: int) -> Float[np.ndarray, " minute"]:
    """Return the rate of boluses ``(minute, U)``, each given within one minute, U/min."""
    out = np.zeros(minutes)
    for start, units in doses:
        if 0 <= start < minutes:
            out[int(start)] += units
    return out


def _life(p: dict[str, Array], insulin: Float[Array, " minute"], food: Float[Array, " minute"], every: int) -> Float[Array, " time"]:
    """Return what a sensor without noise shows of one person, from rest."""
    c, given, grams = cascade(p), insulin * (PMOL_PER_UNIT / p["BW"]), food * 1000.0

    def step(carry, item):
        state, meal = carry
        u, before, now = item
        meal = meal_amount(meal, state.solid + state.liquid, before=before, eaten=now)
        return (minute(state, (u, now, meal), p, c)[0], meal), None

    def block(carry, items):
        carry, _ = jax.lax.scan(step, carry, items)
        return carry, sensed(carry[0], p)

    inputs = (given, jnp.concatenate([jnp.zeros(1), grams[:-1]]), grams)
    inputs = jax.tree.map(lambda x: x.reshape(-1, every), inputs)
    return jax.lax.scan(block, (resting(p), jnp.zeros(())), inputs)[1]


@partial(jax.jit, static_argnums=3)
def _lives(p, insulin, food, every):
    return jax.vmap(partial(_life, every=every), in_axes=(0, 1, 1), out_axes=1)(p, insulin, food)


def simulate(
    p: Mapping[str, Float[Array, " person"]], insulin: Float[Array, "minute person"], food: Float[Array, "minute person"], *, every: int = 5,
    chunk: int = CHUNK,
) -> Float[np.ndarray, "time person"]:  # fmt: skip
    """Simulate many people from rest, minute by minute.

    Parameters
    ----------
    p : completed parameters (:func:`parameters_of`).
    insulin : U/min, basal included.
    food : carbohydrate eaten, g/min (:func:`eaten`).
    every : minutes between the values returned; must divide the number of minutes.
    chunk : people simulated together. One program serves all chunks: the last is filled up with copies, which change nothing.

    Returns
    -------
    Subcutaneous glucose (mg/dL) after every so many minutes.
    """
    count = insulin.shape[1]
    size = min(chunk, count)
    host = {k: np.asarray(v, float) for k, v in p.items()}
    given, grams = np.asarray(insulin, float), np.asarray(food, float)
    out = np.empty((insulin.shape[0] // every, count))
    for first in range(0, count, size):
        here = np.minimum(np.arange(first, first + size), count - 1)
        part = _lives({k: v[here] for k, v in host.items()}, given[:, here], grams[:, here], every)
        out[:, first : first + size] = np.asarray(part)[:, : count - first]
    return out
