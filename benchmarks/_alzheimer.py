"""A world of controls with Alzheimer's disease that is none of the generators': logistic decline of cognition on a random clock, ceilings, mixtures, missing by severity."""

from __future__ import annotations

import numpy as np

from gemel.trials.generate import Kind, Panel, Variable, constrained

TIMES = np.array([0.0, 91.0, 182.0, 273.0, 364.0, 546.0])
VARIABLES = (
    Variable("age", Kind.CONTINUOUS, 50, 95, 1, "a", is_baseline=True),
    Variable("education", Kind.ORDINAL, 0, 24, 1, "a", is_baseline=True),
    Variable("carrier", Kind.BINARY, 0, 1, is_baseline=True),
    Variable("adas", Kind.CONTINUOUS, 0, 70, 1, "{score}"),
    Variable("mmse", Kind.CONTINUOUS, 0, 30, 1, "{score}"),
    Variable("adl", Kind.CONTINUOUS, 0, 78, 1, "{score}"),
    Variable("weight", Kind.CONTINUOUS, 30, 150, 0.1, "kg"),
    Variable("events", Kind.ZERO_INFLATED, 0, 30, 1),
    Variable("rescue", Kind.BINARY, 0, 1),
)


def controls(n: int, seed: int) -> Panel:
    """Draw control patients. A patient's disease runs along a logistic curve at a lognormal pace, a fifth of them in a fast group; scores saturate; the bad leave."""
    rng = np.random.default_rng(seed)
    age, carrier = np.clip(rng.normal(73, 8, n), 50, 95), (rng.random(n) < 0.55).astype(float)
    education = np.clip(np.rint(rng.choice([9.0, 12.0, 16.0], n, p=[0.3, 0.4, 0.3]) + rng.normal(0, 1.2, n)), 0, 24)
    fast = rng.random(n) < 0.15 + 0.1 * carrier
    pace = np.exp(rng.normal(-0.1, 0.35, n) + 0.5 * fast + 0.015 * (73 - age))
    where = (
        rng.normal(-0.7 + 0.02 * (age - 73) - 0.03 * (education - 12), 0.55, n)[:, None]
        + 0.55 * pace[:, None] * TIMES / 364
        + 0.07 * rng.standard_t(6, (n, 6)).cumsum(axis=1)
    )
    sick = 1 / (1 + np.exp(-1.6 * where))
    adas = 70 * sick**1.2 + rng.normal(0, 2.2, (n, 1)) + rng.normal(0, 2.0, (n, 6)) * (1 + sick)
    mmse = 30 * (1 - sick**1.4) - 0.15 * (12 - education)[:, None] + rng.normal(0, 1.3, (n, 6))
    adl = 78 * (1 - sick**1.8) + rng.normal(0, 3.5, (n, 1)) + rng.normal(0, 2.5, (n, 6))
    loss = np.cumsum(np.where(sick > 0.5, -0.5, 0.0) + rng.normal(0, 0.8, (n, 6)), axis=1)
    weight = rng.normal(72, 12, n)[:, None] - 0.15 * (age - 73)[:, None] + loss
    frail = rng.gamma(1.2, 1.0, n)[:, None]
    events = np.where(rng.random((n, 6)) < 0.55, 0, rng.poisson(0.8 * frail * (0.6 + sick)))
    rescue = np.maximum.accumulate(rng.random((n, 6)) < 0.09 * sick, axis=1).astype(float)
    values = np.full((n, 6, 9), np.nan)
    values[:, 0, 0], values[:, 0, 1], values[:, 0, 2] = age, education, carrier
    values[:, :, 3:] = np.stack([adas, mmse, adl, weight, events, rescue], axis=2)
    gaps = rng.random(values.shape) < 0.02
    gaps[:, 0] = False
    values[gaps] = np.nan
    leaves = rng.random((n, 5)) < 0.03 + 0.08 * sick[:, :5]
    last = np.where(leaves.any(axis=1), leaves.argmax(axis=1), 5)
    made = Panel(VARIABLES, TIMES, values, last, np.full(n, 6), subjects=tuple(f"s{seed}-{i:05d}" for i in range(n)))
    return constrained(made)
