"""Screening of many inputs with few runs: elementary effects.

References
----------
Morris 1991, doi:10.1080/00401706.1991.10484804. Campolongo, Cariboni and Saltelli 2007, doi:10.1016/j.envsoft.2006.10.004 (mu*).
Campolongo, Saltelli and Cariboni 2011, doi:10.1016/j.cpc.2010.12.039 (radial design).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.run import Measured
from gemel.evidence.sensitivity.unit_cube import BatchedModel, Inputs, run_batched, sobol_points

__all__ = ["MorrisResult", "morris"]

_SHIFT = 4
"""Rows by which auxiliary points of the radial design run ahead of its base points (Campolongo 2011)."""


@dataclass(frozen=True)
class MorrisResult:
    """Elementary effects, per whole range of an input (from ``margin`` to ``1 - margin`` of its distribution).

    Parameters
    ----------
    names, outputs : of inputs and quantities.
    trajectories, runs : how many, and runs of the model, ``trajectories (input + 1)``.
    effects : (trajectory, input, quantity) elementary effects.
    mu, mu_star, sigma : (input, quantity) mean, mean size and standard deviation of the effects, in units of the quantity.
    mu_interval, mu_star_interval, sigma_interval : (2, input, quantity) bootstrap limits over trajectories.
    """

    names: tuple[str, ...]
    outputs: tuple[str, ...]
    design: str
    trajectories: int
    runs: int
    effects: Float[np.ndarray, "trajectory input quantity"]
    mu: Float[np.ndarray, "input quantity"]
    mu_interval: Float[np.ndarray, "2 input quantity"]
    mu_star: Float[np.ndarray, "input quantity"]
    mu_star_interval: Float[np.ndarray, "2 input quantity"]
    sigma: Float[np.ndarray, "input quantity"]
    sigma_interval: Float[np.ndarray, "2 input quantity"]
    level: float
    note: str

    def ranking(self, output: str | None = None) -> tuple[str, ...]:
        """Return the inputs by mu* of one quantity (left out, the first), the largest first."""
        j = 0 if output is None else self.outputs.index(output)
        return tuple(self.names[i] for i in np.argsort(-self.mu_star[:, j], kind="stable"))

    def figures(self, units: dict[str, str] | None = None, shown_on: ShownOn | None = None) -> tuple[Measured, ...]:
        """Return mu* and sigma of each input as figures of evidence; ``units`` names the unit of a quantity."""
        on = shown_on or ShownOn(kind="simulated", n=self.trajectories, what="trajectories")
        out = []
        for j, q in enumerate(self.outputs):
            for i, name in enumerate(self.names):
                for kind, value, limits in (("mu*", self.mu_star, self.mu_star_interval), ("sigma", self.sigma, self.sigma_interval)):
                    low, high = (float(x) for x in limits[:, i, j])
                    unit = (units or {}).get(q, "1")
                    out.append(
                        Measured(
                            name=f"{q}: {kind} of {name}",
                            value=float(value[i, j]),
                            unit=unit,
                            low=low,
                            high=high,
                            shown_on=on,
                            note=self.note,
                        )
                    )
        return tuple(out)

    def table(self) -> dict[str, list[Any]]:
        """Return all measures as columns, one row per quantity and input."""
        rows = [(q, n, i, j) for j, q in enumerate(self.outputs) for i, n in enumerate(self.names)]
        told = {"quantity": [r[0] for r in rows], "input": [r[1] for r in rows]}
        for name, value, limits in (
            ("mu", self.mu, self.mu_interval),
            ("mu*", self.mu_star, self.mu_star_interval),
            ("sigma", self.sigma, self.sigma_interval),
        ):
            told[name] = [float(value[i, j]) for _, _, i, j in rows]
            told[f"{name} low"] = [float(limits[0, i, j]) for _, _, i, j in rows]
            told[f"{name} high"] = [float(limits[1, i, j]) for _, _, i, j in rows]
        return told


def _trajectories(d: int, count: int, levels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points (trajectory, input + 1, input), and per trajectory which input each step moves, and by how much."""
    delta = levels / (2 * (levels - 1))
    start = rng.integers(0, levels // 2, (count, d)) / (levels - 1)
    up = rng.random((count, d)) < 0.5
    order = rng.permuted(np.tile(np.arange(d), (count, 1)), axis=1)
    here = np.where(up, start, start + delta)
    points = np.empty((count, d + 1, d))
    points[:, 0] = here
    steps = np.where(up, delta, -delta)
    rows = np.arange(count)
    for k in range(d):
        i = order[:, k]
        here[rows, i] += steps[rows, i]
        points[:, k + 1] = here
    return points, order, steps


def _radial(d: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    size = 1 << (count + _SHIFT - 1).bit_length()
    table = sobol_points(size, 2 * d, seed)
    base, other = table[:count, :d], table[_SHIFT : count + _SHIFT, d:]
    points = np.repeat(base[:, None], d + 1, axis=1)
    i = np.arange(d)
    points[:, i + 1, i] = other
    return points, other - base


def morris(
    f: BatchedModel, inputs: Inputs, *, trajectories: int = 64, design: Literal["trajectory", "radial"] = "trajectory", levels: int = 4,
    margin: float = 0.0, outputs: Sequence[str] | None = None, seed: int = 0, replicates: int = 1000, level: float = 0.95, batch: int | None = None,
) -> MorrisResult:  # fmt: skip
    """Screen inputs by elementary effects, ``trajectories (input + 1)`` runs.

    A large mu* marks an input that matters; a large sigma beside it one whose effect depends on where it and the others stand. It ranks; it shares out no variance.

    Parameters
    ----------
    f : batched model, ``(n, input) -> (n,)`` or ``(n, ...)``.
    inputs : independent inputs.
    trajectories : repetitions; 10 to 100 are usual.
    design : *trajectory*, one input after another moves by ``levels / (2 (levels - 1))`` on a grid; *radial*, each moves alone from a Sobol point.
    levels : of the grid, even.
    margin : share of each marginal cut off on both sides; an unbounded marginal needs one (0.025, say) in the trajectory design, whose grid has its ends on it.
    seed, replicates, level : of design and bootstrap, and of the intervals.

    Raises
    ------
    EvidenceError
        With an odd number of levels, fewer than four trajectories, a margin outside [0, 0.5), or outputs that are not finite.
    """
    if levels < 2 or levels % 2:
        raise EvidenceError("the grid needs an even number of levels", seen=levels, expected="4, 6, 8, ...")
    if trajectories < 4:
        raise EvidenceError("elementary effects need at least four trajectories", seen=trajectories)
    if not 0 <= margin < 0.5:
        raise EvidenceError("the margin is a share of each marginal", seen=margin, expected="0 <= margin < 0.5")
    d, rng = inputs.size, np.random.default_rng([seed, 0])
    if design == "radial":
        points, steps = _radial(d, trajectories, seed)
    else:
        points, order, steps = _trajectories(d, trajectories, levels, rng)
    y = run_batched(f, inputs, margin + (1 - 2 * margin) * points.reshape(-1, d), batch=batch)
    count = int(np.prod(y.shape[1:])) if y.ndim > 1 else 1
    y = y.reshape(trajectories, d + 1, count)
    if design == "radial":
        effects = (y[:, 1:] - y[:, :1]) / steps[:, :, None]
    else:
        effects, rows = np.empty((trajectories, d, count)), np.arange(trajectories)
        for k in range(d):
            i = order[:, k]
            effects[rows, i] = (y[:, k + 1] - y[:, k]) / steps[rows, i][:, None]
    if outputs is None:
        outputs = ("output",) if count == 1 else tuple(f"output {j}" for j in range(count))
    if len(outputs) != count:
        raise EvidenceError("there must be one name per quantity", seen=f"{len(outputs)} names, {count} quantities")

    def measures(e: np.ndarray) -> np.ndarray:
        return np.stack([e.mean(axis=0), np.abs(e).mean(axis=0), e.std(axis=0, ddof=1)])

    drawn = np.random.default_rng([seed, 1]).integers(0, trajectories, (replicates, trajectories))
    kept = np.stack([measures(effects[row]) for row in drawn])
    limits = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2], axis=0)
    mu, star, sigma = measures(effects)
    note = "; ".join(t for t in ("a ranking, no shares of variance", inputs.note) if t)
    return MorrisResult(
        inputs.names, tuple(outputs), design, trajectories, trajectories * (d + 1), effects, mu, limits[:, 0], star, limits[:, 1], sigma, limits[:, 2],
        level, note,
    )  # fmt: skip
