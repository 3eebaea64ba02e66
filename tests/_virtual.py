"""What the tests of virtual patients share: a small control arm that is simulated on the spot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gemel.trials.generate import Kind, Panel, Variable, constrained

VARIABLES = (
    Variable("age", Kind.CONTINUOUS, 50, 95, 1.0, "a", is_baseline=True),
    Variable("carrier", Kind.BINARY, 0, 1, is_baseline=True),
    Variable("adas", Kind.CONTINUOUS, 0, 70, 1.0, "{score}"),
    Variable("weight", Kind.CONTINUOUS, 30, 150, 0.1, "kg"),
    Variable("falls", Kind.ZERO_INFLATED, 0, 40, 1.0),
)
TIMES = np.array([0.0, 90.0, 180.0, 360.0])


def controls(n: int = 200, *, seed: int = 0, dropout: float = 0.1, missing: float = 0.05) -> Panel:
    """Patients who get worse, carriers and old ones faster; some leave, some values are missing."""
    rng = np.random.default_rng(seed)
    age, carrier = rng.normal(73, 7, n), (rng.random(n) < 0.6).astype(float)
    start, pace = rng.normal(24, 7, n), 0.012 + 0.006 * carrier + 0.004 * rng.normal(size=n)
    adas = start[:, None] + pace[:, None] * TIMES + rng.normal(0, 2, (n, len(TIMES)))
    weight = rng.normal(70, 11, n)[:, None] + np.cumsum(rng.normal(0, 0.8, (n, len(TIMES))), axis=1)
    falls = np.where(rng.random((n, len(TIMES))) < 0.6, 0, rng.poisson(1 + np.clip(adas, 0, 70) / 25))
    values = np.full((n, len(TIMES), len(VARIABLES)), np.nan)
    values[:, 0, 0], values[:, 0, 1] = age, carrier
    values[:, :, 2:] = np.stack([adas, weight, falls], axis=2)
    gaps = rng.random(values.shape) < missing
    gaps[:, 0] = False
    values[gaps] = np.nan
    left = rng.random((n, len(TIMES) - 1)) < dropout
    last = np.where(left.any(axis=1), left.argmax(axis=1), len(TIMES) - 1)
    panel = Panel(VARIABLES, TIMES, values, last, np.full(n, len(TIMES)), subjects=tuple(f"p{i:04d}" for i in range(n)))
    return constrained(panel)


def long_table(panel: Panel) -> dict[str, list[str]]:
    """The panel as a table, one row per patient and visit attended."""
    columns: dict[str, list[str]] = {"subject": [], "visit": [], **{name: [] for name in panel.names}}
    for i in range(panel.n):
        for t in range(int(panel.last[i]) + 1):
            columns["subject"].append(panel.subjects[i])
            columns["visit"].append(f"{panel.times[t]:g}")
            for j, variable in enumerate(panel.variables):
                value = panel.values[i, 0 if variable.is_baseline else t, j]
                columns[variable.name].append("" if np.isnan(value) else f"{value:.10g}")
    return columns


def normal_panel(n: int, covariance: np.ndarray, *, seed: int = 0, resolution: float = 1e-3) -> Panel:
    """Jointly normal visits of one variable, nobody leaves."""
    rng = np.random.default_rng(seed)
    values = rng.multivariate_normal(np.zeros(len(covariance)), covariance, n)[:, :, None]
    visits = len(covariance)
    variable = Variable("y", Kind.CONTINUOUS, -30, 30, resolution)
    return Panel((variable,), np.arange(float(visits)), values, np.full(n, visits - 1), np.full(n, visits))


def relabelled(panel: Panel, order: np.ndarray) -> Panel:
    """The same patients in another order."""
    return replace(panel.take(order))
