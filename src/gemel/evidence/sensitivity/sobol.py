"""Which inputs matter: Sobol indices with intervals, also over time.

The indices share out the variance of **independent** inputs. Where inputs are correlated use :mod:`gemel.evidence.sensitivity.shapley`.

References
----------
Saltelli et al. 2010, doi:10.1016/j.cpc.2009.09.018, table 2: first order (b), total (f, after Jansen 1999, doi:10.1016/S0010-4655(98)00154-4).
Gamboa et al. 2014, doi:10.1214/14-EJS895: indices of a curve as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.run import Measured
from gemel.evidence.sensitivity.unit_cube import BatchedModel, Inputs, run_batched, sobol_points

__all__ = ["FIXABLE", "INDEPENDENT", "SobolResult", "bootstrap_weights", "sobol"]

FIXABLE = 0.01
"""An input whose total index lies surely below this, in every quantity, may be held fixed."""
INDEPENDENT = "the indices assume independent inputs; limits are a bootstrap interval"
_CHUNK = 64


@dataclass(frozen=True)
class SobolResult:
    """First-order and total indices.

    Parameters
    ----------
    names : of the inputs.
    outputs : of the quantities; a curve over time has one entry per time.
    n, runs : base points, and runs of the model, ``n (input + 2)``.
    mean, variance : (quantity,) of the model's output.
    first, total : (input, quantity); ``nan`` where the quantity does not vary.
    first_interval, total_interval : (2, input, quantity) bootstrap limits over base points. They treat the points as independent draws and are wider than
        the error of Sobol points really is.
    whole, whole_interval : (2, input) and (2, 2, input): first-order and total index of all quantities together, weighted by variance (Gamboa 2014), and its
        limits ``[low or high, first or total, input]``. Meant for curves; quantities of unlike units cannot be put together.
    level : of the intervals.
    """

    names: tuple[str, ...]
    outputs: tuple[str, ...]
    n: int
    runs: int
    mean: Float[np.ndarray, " quantity"]
    variance: Float[np.ndarray, " quantity"]
    first: Float[np.ndarray, "input quantity"]
    first_interval: Float[np.ndarray, "2 input quantity"]
    total: Float[np.ndarray, "input quantity"]
    total_interval: Float[np.ndarray, "2 input quantity"]
    whole: Float[np.ndarray, "2 input"]
    whole_interval: Float[np.ndarray, "2 2 input"]
    level: float
    threshold: float
    note: str

    @property
    def fixable(self) -> tuple[str, ...]:
        """Inputs whose total index has its upper limit below the threshold in every quantity that varies."""
        upper = self.total_interval[1]
        varies = np.isfinite(upper).any(axis=0)
        if not varies.any():
            return ()
        return tuple(n for n, row in zip(self.names, upper[:, varies], strict=True) if row.max() < self.threshold)

    def ranking(self, output: str | None = None) -> tuple[str, ...]:
        """Return the inputs by total index of one quantity (left out, of all together), the largest first."""
        values = self.whole[1] if output is None else self.total[:, self.outputs.index(output)]
        return tuple(self.names[i] for i in np.argsort(-np.nan_to_num(values), kind="stable"))

    def figures(self, shown_on: ShownOn | None = None, *, outputs: Sequence[str] | None = None) -> tuple[Measured, ...]:
        """Return first-order and total index of each input as figures of evidence, for the quantities named (left out, all)."""
        on = shown_on or ShownOn(kind="simulated", n=self.n, what="base points")
        out = []
        for q in outputs if outputs is not None else self.outputs:
            j = self.outputs.index(q)
            for i, name in enumerate(self.names):
                for kind, value, limits in (("S", self.first, self.first_interval), ("ST", self.total, self.total_interval)):
                    if np.isfinite(value[i, j]):
                        low, high = (float(x) for x in limits[:, i, j])
                        figure = Measured(
                            name=f"{q}: {kind} of {name}", value=float(value[i, j]), low=low, high=high, shown_on=on, note=self.note
                        )
                        out.append(figure)
        return tuple(out)

    def table(self) -> dict[str, list[Any]]:
        """Return all indices as columns, one row per quantity and input; ``None`` where a quantity does not vary."""
        rows = [(q, n, j, i) for j, q in enumerate(self.outputs) for i, n in enumerate(self.names)]

        def column(values: np.ndarray) -> list[float | None]:
            return [float(values[i, j]) if np.isfinite(values[i, j]) else None for _, _, j, i in rows]

        return {
            "quantity": [r[0] for r in rows], "input": [r[1] for r in rows], "S": column(self.first), "S low": column(self.first_interval[0]),
            "S high": column(self.first_interval[1]), "ST": column(self.total), "ST low": column(self.total_interval[0]),
            "ST high": column(self.total_interval[1]),
        }  # fmt: skip


def bootstrap_weights(n: int, replicates: int, seed: int):
    """Yield blocks of (replicate, n) weights: how often each unit was drawn, divided by ``n``."""
    rng = np.random.default_rng([seed, 1])
    for k in range(0, replicates, _CHUNK):
        drawn = rng.integers(0, n, (min(_CHUNK, replicates - k), n))
        yield np.stack([np.bincount(row, minlength=n) for row in drawn]) / n


def _indices(w: np.ndarray, both: np.ndarray, squares: np.ndarray, first: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return first and total indices (replicate, input, quantity) and variances (replicate, quantity) under weights of the base points."""
    shape = (len(w), *first.shape[1:])
    mean = w @ both
    variance = w @ squares - mean**2
    top = (w @ first.reshape(len(first), -1)).reshape(shape)
    bottom = (w @ total.reshape(len(total), -1)).reshape(shape)
    return top, bottom, variance


def _names(outputs: Sequence[str] | None, shape: tuple[int, ...]) -> tuple[str, ...]:
    count = int(np.prod(shape)) if shape else 1
    if outputs is None:
        return ("output",) if count == 1 else tuple(f"output {i}" for i in range(count))
    if len(outputs) != count:
        raise EvidenceError("there must be one name per quantity", seen=f"{len(outputs)} names, {count} quantities")
    return tuple(outputs)


def sobol(
    f: BatchedModel, inputs: Inputs, *, n: int = 2**12, outputs: Sequence[str] | None = None, seed: int = 0, replicates: int = 1000, level: float = 0.95,
    batch: int | None = None, threshold: float = FIXABLE,
) -> SobolResult:  # fmt: skip
    """Estimate Sobol indices by ``n (input + 2)`` runs at scrambled Sobol points.

    ``S_i = mean(f_B (f_ABi - f_A)) / V`` and ``ST_i = mean((f_A - f_ABi)^2) / (2 V)``, outputs centred first; intervals by bootstrap over base points.

    Parameters
    ----------
    f : batched model, ``(n, input) -> (n,)`` or ``(n, ...)``; what stands behind the first axis is flattened into quantities (times, say).
    inputs : independent inputs.
    n : base points, a power of two.
    outputs : names of the quantities.
    seed : of points and bootstrap.
    replicates : of the bootstrap.
    batch : points per call of the model.
    threshold : of :attr:`SobolResult.fixable`.

    Raises
    ------
    EvidenceError
        When ``n`` is no power of two, an output is not finite, or no quantity varies.

    Examples
    --------
    >>> from gemel.evidence.sensitivity.unit_cube import uniform_inputs
    >>> found = sobol(lambda x: 2 * x[:, 0] + x[:, 1], uniform_inputs("ab", 0.0, 1.0), n=1024, replicates=50)
    >>> found.ranking(), bool(abs(found.first[0, 0] - 0.8) < 0.01)
    (('a', 'b'), True)
    """
    d = inputs.size
    points = sobol_points(n, 2 * d, seed)
    a, b = points[:, :d], points[:, d:]
    ya, yb = run_batched(f, inputs, a, batch=batch), run_batched(f, inputs, b, batch=batch)
    names = _names(outputs, ya.shape[1:])
    ya, yb = ya.reshape(n, -1), yb.reshape(n, -1)
    centre = (ya.mean(axis=0) + yb.mean(axis=0)) / 2
    first, total = np.empty((n, d, len(names))), np.empty((n, d, len(names)))
    for i in range(d):
        mixed = a.copy()
        mixed[:, i] = b[:, i]
        y = run_batched(f, inputs, mixed, batch=batch).reshape(n, -1)
        first[:, i] = (yb - centre) * (y - ya)
        total[:, i] = (ya - y) ** 2 / 2
    ya, yb = ya - centre, yb - centre
    both, squares = (ya + yb) / 2, (ya**2 + yb**2) / 2
    top, bottom, variance = (x[0] for x in _indices(np.full((1, n), 1 / n), both, squares, first, total))
    still = variance <= 1e-24 * np.maximum(centre**2, np.finfo(float).tiny)
    if still.all():
        raise EvidenceError("no quantity varies with the inputs", seen=list(names), fix="check that the model uses them")

    def shares(top: np.ndarray, bottom: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        v = np.where(still, np.nan, v)
        whole = np.where(still, 0.0, v).sum(axis=-1)[..., None]
        parts = np.stack([top[..., ~still].sum(axis=-1), bottom[..., ~still].sum(axis=-1)], axis=-2) / whole[..., None]
        return np.stack([top, bottom], axis=-3) / v[..., None, None, :], parts

    kept = [shares(*_indices(w, both, squares, first, total)) for w in bootstrap_weights(n, replicates, seed)]
    cuts = [(1 - level) / 2, (1 + level) / 2]
    limits = np.quantile(np.concatenate([k[0] for k in kept]), cuts, axis=0)
    whole_limits = np.quantile(np.concatenate([k[1] for k in kept]), cuts, axis=0)
    found, whole = shares(top, bottom, variance)
    note = "; ".join(t for t in (INDEPENDENT, inputs.note) if t)
    return SobolResult(
        inputs.names, names, n, n * (d + 2), centre, variance, found[0], limits[:, 0], found[1], limits[:, 1], whole, whole_limits, level, threshold, note
    )  # fmt: skip
