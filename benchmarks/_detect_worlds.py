"""Virtual people for ``metabolic_detect``: lives with meals that nobody logged, and nights with a sensor lain upon and with real lows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from metabolic_replay import START, life, record_of


@dataclass
class Eaten:
    """One person's record without some meals, and the truth: minutes and grams of those, whether insulin was given, appearance (g/min) by minute."""

    name: str
    record: Any
    hidden: list[tuple[float, float, bool]]
    logged: list[tuple[float, float]]
    appearing: np.ndarray


@dataclass
class Slept:
    """One person's record with planted compression lows and real ones: (first, last) minutes of each."""

    name: str
    record: Any
    planted: list[tuple[float, float]]
    real: list[tuple[float, float]]


def appearance(p: dict[str, float], meals: list[tuple[float, float]], minutes: int) -> np.ndarray:
    """Carbohydrate that leaves the gut in each minute (g), by the stomach and gut of UVA/Padova in steps of a quarter of a minute."""
    from gemel.twins.metabolic.t1d.virtual import eaten

    bites, out = 1000.0 * eaten(meals, minutes), np.zeros(minutes)
    solid = liquid = gut = meal = before = 0.0
    for t, bite in enumerate(bites):
        if bite > 0 and before <= 0:
            meal = solid + liquid
        meal, before, h = meal + bite, bite, 0.25
        for _ in range(4):
            rate, q = p["kmax"], solid + liquid
            if meal > 0:
                a, c = 2.5 / meal / (1 - p["b"]), 2.5 / meal / p["d"]
                rate = p["kmin"] + (p["kmax"] - p["kmin"]) / 2 * (np.tanh(a * (q - p["b"] * meal)) - np.tanh(c * (q - p["d"] * meal)) + 2)
            ground, emptied, taken = p["kmax"] * solid, rate * liquid, p["kabs"] * gut
            solid, liquid, gut = solid + h * (bite - ground), liquid + h * (ground - emptied), gut + h * (emptied - taken)
            out[t] += h * taken / 1000.0
    return out


def eaters(persons: list[Any], days: int, seed: int) -> list[Eaten]:
    """Withhold a third of the meals of each person's record; for half of those, by a coin, insulin was neither given nor logged."""
    import jax

    from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, simulate

    p, minutes = parameters_of(persons), days * 1440
    basal = np.asarray(basal_rate(p))
    lives = [life(person, days, seed) for person in persons]
    hidden: list[dict[int, bool]] = []
    for j, (meals, _) in enumerate(lives):
        rng = np.random.default_rng([seed, j, 7])
        chosen = rng.choice(len(meals), len(meals) // 3, replace=False)
        hidden.append({int(i): bool(rng.random() < 0.5) for i in np.sort(chosen)})
    given = [[d for i, d in enumerate(doses) if h.get(i, True)] for (_, doses), h in zip(lives, hidden, strict=True)]
    food = np.stack([eaten(meals, minutes) for meals, _ in lives], axis=1)
    glucose = simulate(p, np.stack([bolus(g, minutes) for g in given], axis=1) + basal, food)
    out = []
    for j, person in enumerate(persons):
        meals = lives[j][0]
        logged = [m for i, m in enumerate(meals) if i not in hidden[j]]
        record = record_of(person, (logged, given[j]), glucose[:, j], float(basal[j]), days, jax.random.fold_in(jax.random.key(seed), j))
        free = {k: float(v) for k, v in person.parameters.items()}
        extra = appearance(free, meals, minutes) - appearance(free, logged, minutes)
        out.append(Eaten(person.name, record, [(*meals[i], b) for i, b in hidden[j].items()], logged, extra))
    return out


def sleepers(persons: list[Any], days: int, seed: int) -> list[Slept]:
    """Plant pressure on the sensor in about half of the nights and now and then by day; in some other nights give a bolus that nobody logged, and sweets later.

    Pressure: the reading falls by a quarter to six tenths within 5 to 15 min, stays, and comes back as fast, after 20 to 80 min in all. Real lows: a
    correction without need, glucose falls by the equations; 20 g of unlogged sugar once it has been below 60 for a quarter of an hour.
    """
    import jax

    from gemel.twins.metabolic.sensor import GUARDIAN, noise, read
    from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, simulate

    p, minutes = parameters_of(persons), days * 1440
    basal, lives = np.asarray(basal_rate(p)), [life(person, days, seed) for person in persons]
    rngs = [np.random.default_rng([seed, j, 11]) for j in range(len(persons))]
    kind = [[str(r.choice(["pressed", "low", "quiet"], p=[0.5, 0.2, 0.3])) for _ in range(days)] for r in rngs]
    extra = [
        [
            (d * 1440 + float(r.integers(60, 150)), float(r.uniform(60, 120)) / person.correction_factor)
            for d in range(days)
            if k[d] == "low"
        ]
        for r, k, person in zip(rngs, kind, persons, strict=True)
    ]
    food = np.stack([eaten(meals, minutes) for meals, _ in lives], axis=1)
    doses = np.stack([bolus([*given, *e], minutes) for (_, given), e in zip(lives, extra, strict=True)], axis=1)
    first = simulate(p, doses + basal, food)
    sweets: list[list[tuple[float, float]]] = []
    for j, e in enumerate(extra):
        sweets.append([])
        for t, _ in e:
            path = first[int(t) // 5 : int(t) // 5 + 72, j]
            low = np.flatnonzero((path[:-3] < 60) & (path[3:] < 60))
            if len(low):
                sweets[j].append((t + 5.0 * (low[0] + 4), 20.0))
    glucose = simulate(p, doses + basal, food + np.stack([eaten(s, minutes) for s in sweets], axis=1))
    out = []
    for j, person in enumerate(persons):
        key, rng = jax.random.fold_in(jax.random.key(seed), j), rngs[j]
        record = record_of(person, lives[j], glucose[:, j], float(basal[j]), days, key)
        planted: list[tuple[float, float]] = []
        for d in range(days):
            if kind[j][d] == "pressed":
                planted += [(t, t + rng.uniform(20, 80)) for t in [d * 1440 + rng.uniform(30, 330)]]
            if rng.random() < 0.1:  # a nap
                planted += [(t, t + rng.uniform(20, 50)) for t in [d * 1440 + rng.uniform(840, 960)]]
        at = 5.0 * np.arange(len(glucose) + 1)
        factor = np.ones(len(at))
        for start, end in planted:
            edge, deep = rng.uniform(5, 15), rng.uniform(0.25, 0.6)
            inside = np.clip(np.minimum(at - start, end - at) / edge, 0.0, 1.0)
            factor *= 1.0 - deep * inside
        seen = np.asarray(noise(at, key=key, sensor=GUARDIAN))
        value, censored = read(np.r_[glucose[0, j], glucose[:, j]] * factor, seen, GUARDIAN)
        series = tuple(
            s.model_copy(update={"value": value, "censored": censored.astype(np.int8)}) if s.unit == "mg/dL" else s for s in record.series
        )
        real = []
        for t, _ in extra[j]:
            path = glucose[int(t) // 5 : int(t) // 5 + 72, j]
            low = np.flatnonzero(path < 70)
            if len(low):
                real.append((t + 5.0 * (low[0] + 1), t + 5.0 * (low[-1] + 1)))
        out.append(Slept(person.name, record.model_copy(update={"series": series}), planted, real))
    return out


__all__ = ["START", "Eaten", "Slept", "appearance", "eaters", "sleepers"]
