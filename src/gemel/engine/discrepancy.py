"""Model discrepancy: what a mechanistic forecast keeps getting wrong, learnt hierarchically and streamed per person.

Kennedy & O'Hagan (2001, doi:10.1111/1467-9868.00294) add to a model's output a term for its own inadequacy. Here that term is linear in
blocks of features at the origin of a forecast (the mechanistic forecast may be one of the blocks): population weights by ridge with one penalty per
block, chosen by blocked cross-validation; personal weights by a Gaussian update, streamed; and a guard that falls back to a plain regression when
the whole does not help. Residuals are scaled by a gamma regression and calibrated by conformal quantiles in groups known at the origin, which a
quantile tracker follows (Gibbs & Candes 2021, arXiv 2106.00170; Angelopoulos et al. 2023, arXiv 2307.16895).

Everything is causal: at an origin only outcomes known by then are used. Plain NumPy: small dense systems, nothing to compile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gemel.core.errors import InferenceError
from gemel.engine.bands import Spread, group_quantiles, own_spread, stretch, track

__all__ = ["BlockRidge", "Discrepancy", "Member", "Predicted", "Ridge", "Settings"]

Blocks = Mapping[str, Float[np.ndarray, "origin column"]]


@dataclass(frozen=True)
class Settings:
    """How strongly things are shrunk. All weights are in units of *independent* windows (overlapping ones divided by their overlap). ASSUMED.

    Parameters
    ----------
    lag_block : name of the block of plain lags (newest first, the rest as differences to it): hardly penalised, never clipped.
    rare : blocks that are mostly zero (inputs): their columns share one scale and a stronger smallest penalty.
    personal : ``(block, columns, precision)``: what a person may change and how strongly it is held back; no columns means all.
    """

    lag_block: str = "lag"
    rare: tuple[str, ...] = ()
    personal: tuple[tuple[str, tuple[int, ...], float], ...] = ()
    personal_intercept: float = 200.0
    lag_penalty: float = 1e-5
    grid: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 1e6)
    floor: float = 300.0
    floor_rare: float = 900.0
    clip: float = 6.0
    folds: int = 5
    refresh_minutes: int = 120
    guard_cohort: float = 10.0
    guard_person: float = 30.0
    guard_half_life_days: float = 1.0
    scale_penalty: float = 300.0
    scale_days: float = 1.0
    group_weight: float = 30.0
    tracker_step: float = 0.02
    bounds: tuple[float, float] = (20.0, 600.0)


@dataclass(frozen=True)
class Member:
    """One person's forecast origins for one horizon.

    Parameters
    ----------
    origin : (w,) slot of each origin, increasing.
    blocks : features at the origins.
    scale : (w, c) features of the spread.
    now : (w,) value at the origin.
    plain : (w,) forecast of the plain regression, for the guard.
    outcome : (w,) value at origin + horizon; NaN where it is not known.
    part : (w,) 0 train, 1 calibrate, 2 test.
    group : (w,) group known at the origin.
    """

    origin: Int[np.ndarray, " w"]
    blocks: Blocks
    scale: Float[np.ndarray, "w c"]
    now: Float[np.ndarray, " w"]
    plain: Float[np.ndarray, " w"]
    outcome: Float[np.ndarray, " w"]
    part: Int[np.ndarray, " w"]
    group: Int[np.ndarray, " w"]


@dataclass(frozen=True)
class Predicted:
    """Predictive distributions at the origins: mean (w,), and quantiles (w, 99) at :data:`gemel.engine.bands.LEVELS`."""

    mean: Float[np.ndarray, " w"]
    quantiles: Float[np.ndarray, "w level"]


@dataclass(frozen=True)
class Ridge:
    """A plain ridge regression: several outputs, one penalty."""

    centre: np.ndarray
    weights: np.ndarray
    intercept: np.ndarray

    @classmethod
    def of(cls, x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"], penalty: float = 1.0) -> Ridge:
        """Solve the penalised normal equations."""
        if len(x) == 0:
            raise InferenceError("no window to learn from", expected="at least one training window", fix="give a longer record")
        centre, level = x.mean(axis=0), y.mean(axis=0)
        a = x - centre
        return cls(centre, np.linalg.solve(a.T @ a + penalty * np.eye(x.shape[1]), a.T @ (y - level)), level)

    def __call__(self, x: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n q"]:
        """Return predictions."""
        return (x - self.centre) @ self.weights + self.intercept


@dataclass(frozen=True)
class BlockRidge:
    """Population weights of one horizon: ridge with one penalty per block."""

    names: tuple[str, ...]
    columns: Mapping[str, np.ndarray]
    centre: np.ndarray
    spread: np.ndarray
    intercept: float
    weights: np.ndarray
    penalties: Mapping[str, float]
    settings: Settings

    @classmethod
    def of(
        cls, blocks: Blocks, change: Float[np.ndarray, " n"], fold: Int[np.ndarray, " n"], overlap: int, settings: Settings
    ) -> BlockRidge:
        """Choose penalties by blocked cross-validation and solve.

        Parameters
        ----------
        blocks : features at the training origins, stacked over people.
        change : outcome minus value at the origin.
        fold : block of time of each window, ``0 .. settings.folds - 1``.
        overlap : windows that share an outcome: horizon over slot length.
        """
        names = tuple(blocks)
        table = np.concatenate([blocks[k] for k in names], axis=1)
        n = len(change)
        centre, spread = table.mean(axis=0), table.std(axis=0)
        spread = np.where(spread < 1e-6, np.inf, spread)
        ends = np.cumsum([blocks[k].shape[1] for k in names])
        columns = {k: np.arange(e - blocks[k].shape[1], e) for k, e in zip(names, ends, strict=True)}
        for k in settings.rare:
            if k in columns:
                q = spread[columns[k]]
                finite = np.isfinite(q)
                spread[columns[k]] = np.sqrt(np.mean(q[finite] ** 2)) if finite.any() else np.inf
        half = cls(names, columns, centre, spread, float(change.mean()), np.zeros(len(centre)), {}, settings)
        z, target = half.design(blocks), change - change.mean()
        gram = np.array([z[fold == f].T @ z[fold == f] for f in range(settings.folds)])
        cross = np.array([z[fold == f].T @ target[fold == f] for f in range(settings.folds)])
        whole, moment = gram.sum(axis=0), cross.sum(axis=0)
        floor = {k: (settings.floor_rare if k in settings.rare else settings.floor) * overlap / n for k in names}

        def penalty(chosen: Mapping[str, float]) -> np.ndarray:
            diagonal = np.empty(len(moment))
            for k, c in columns.items():
                diagonal[c] = settings.lag_penalty if k == settings.lag_block else max(chosen[k], floor[k])
            return np.diag(diagonal * n)

        def loss(chosen: Mapping[str, float]) -> float:
            d, total = penalty(chosen), 0.0
            for f in range(settings.folds):
                w = np.linalg.solve(whole - gram[f] + d, moment - cross[f])
                total += w @ gram[f] @ w - 2 * w @ cross[f]
            return total

        chosen = dict.fromkeys(names, 0.03)
        best = loss(chosen)
        for _ in range(2):
            for k in names:
                if k == settings.lag_block or not np.isfinite(spread[columns[k]]).any():
                    continue
                for value in settings.grid:
                    if value > floor[k] / 4 and (trial := loss(chosen | {k: value})) < best:
                        best, chosen = trial, chosen | {k: value}
        weights = np.linalg.solve(whole + penalty(chosen), moment)
        return cls(names, columns, centre, spread, float(change.mean()), weights, chosen, settings)

    def design(self, blocks: Blocks) -> Float[np.ndarray, "n p"]:
        """Return standardised features, winsorised but for the lags."""
        z = (np.concatenate([blocks[k] for k in self.names], axis=1) - self.centre) / self.spread
        lags = self.columns[self.settings.lag_block]
        kept = z[:, lags].copy()
        z = np.clip(z, -self.settings.clip, self.settings.clip)
        z[:, lags] = kept
        return z

    def personal_columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns that a person may change, and the prior precision of each (the intercept's first)."""
        chosen, precision = [], [self.settings.personal_intercept]
        for k, wanted, v in self.settings.personal:
            found = self.columns.get(k, np.zeros(0, int))
            found = found[list(wanted)] if wanted and len(found) else found
            chosen += list(found)
            precision += [v] * len(found)
        return np.asarray(chosen, int), np.asarray(precision, float)


def _refreshes(origin: np.ndarray, every: int) -> Sequence[tuple[int, int, int]]:
    """Yield (slot, first, last) of the origins that share one refresh of the personal state."""
    found, low = [], 0
    for start in range(int(origin[0] - origin[0] % every), int(origin[-1]) + 1, every) if len(origin) else ():
        high = int(np.searchsorted(origin, start + every))
        if high > low:
            found.append((start, low, high))
            low = high
    return found


def _personal(ridge: BlockRidge, origin: np.ndarray, z: np.ndarray, residual: np.ndarray, overlap: int, every: int) -> np.ndarray:
    """Personal correction at each origin: Gaussian posterior of the deviations given the outcomes known by then."""
    correction = np.zeros(len(origin))
    columns, precision = ridge.personal_columns()
    table = np.concatenate([np.ones((len(origin), 1)), z[:, columns]], axis=1)
    gram, cross, beta, used = np.diag(precision * overlap), np.zeros(len(precision)), np.zeros(len(precision)), 0
    for slot, low, high in _refreshes(origin, every):
        known = int(np.searchsorted(origin, slot - overlap, side="right"))
        if known > used:
            fresh = np.arange(used, known)[np.isfinite(residual[used:known])]
            rows = table[fresh]
            gram, cross = gram + rows.T @ rows, cross + rows.T @ residual[fresh]
            beta, used = np.linalg.solve(gram, cross), known
        correction[low:high] = table[low:high] @ beta
    return correction


def _guard(
    origin: np.ndarray,
    gain: np.ndarray,
    error: np.ndarray,
    start: float,
    overlap: int,
    size: float,
    every: int,
    day: int,
    settings: Settings,
) -> np.ndarray:
    """Streamed personal weight on (ours - plain): regression of the plain forecast's error on the difference, forgetting, shrunk to the cohort's."""
    weight, top, bottom, used = np.full(len(origin), start), 0.0, 0.0, 0
    prior = settings.guard_person * overlap * size
    last = int(origin[0]) if len(origin) else 0
    for slot, low, high in _refreshes(origin, every):
        known = int(np.searchsorted(origin, slot - overlap, side="right"))
        if known > used:
            fresh = np.arange(used, known)[np.isfinite(error[used:known])]
            age = 0.5 ** ((slot - origin[fresh]) / day / settings.guard_half_life_days)
            fade = 0.5 ** ((slot - last) / day / settings.guard_half_life_days)
            top = top * fade + age @ (gain[fresh] * error[fresh])
            bottom = bottom * fade + age @ gain[fresh] ** 2
            last, used = slot, known
        weight[low:high] = np.clip((top + prior * start) / (bottom + prior + 1e-9), 0.0, 1.25)
    return weight


@dataclass(frozen=True)
class Discrepancy:
    """The discrepancy of one horizon, learnt from a cohort (which may be one person)."""

    ridge: BlockRidge
    guard: float
    guard_size: float
    scale: Spread
    pooled: float
    table: np.ndarray
    overlap: int
    day: int
    settings: Settings

    @classmethod
    def of(cls, members: Sequence[Member], *, overlap: int, step: int, groups: int, settings: Settings) -> Discrepancy:
        """Learn from the training parts (weights), the calibration parts (guard, quantiles) and both (scale).

        Parameters
        ----------
        members : the people.
        overlap : horizon in slots. step : minutes per slot. groups : number of groups.
        """
        train = [m.part == 0 for m in members]
        if not sum(int(t.sum()) for t in train):
            raise InferenceError(
                "no training window", expected="readings that follow one another for two hours and more", fix="give a longer record"
            )

        def pick(values: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
            return np.concatenate([v[k] for v, k in zip(values, masks, strict=True)])

        change = [m.outcome - m.now for m in members]
        train = [t & np.isfinite(c) for t, c in zip(train, change, strict=True)]
        fold = np.concatenate([np.minimum(np.arange(t.sum()) * settings.folds // max(int(t.sum()), 1), settings.folds - 1) for t in train])
        blocks = {k: pick([m.blocks[k] for m in members], train) for k in members[0].blocks}
        ridge = BlockRidge.of(blocks, pick(change, train), fold, overlap, settings)
        half = cls(
            ridge, 1.0, 1.0, Spread(np.zeros(0), np.zeros(0), np.zeros(1)), 1.0, np.zeros((groups, 99)), overlap, 1440 // step, settings
        )
        held = [(m.part == 1) & np.isfinite(m.outcome) for m in members]
        if not sum(int(h.sum()) for h in held):
            held = train
        ours = [half._ours(m) for m in members]
        plain = [m.plain - m.now for m in members]
        gain = pick(ours, held) - pick(plain, held)
        error = pick(change, held) - pick(plain, held)
        size = float(np.mean(gain**2)) + 1e-9
        prior = settings.guard_cohort * overlap * size
        guard = float(np.clip((gain @ error + prior) / (gain @ gain + prior), 0.0, 1.0))
        half = cls(ridge, guard, size, half.scale, 1.0, half.table, overlap, half.day, settings)
        mean = [half.mean(m) for m in members]
        residual = [m.outcome - f for m, f in zip(members, mean, strict=True)]
        pooled = float(np.mean(np.abs(pick(residual, train))))
        table = [
            np.concatenate([m.scale, own_spread(m.origin, r, overlap, pooled, half.day, settings)], axis=1)
            for m, r in zip(members, residual, strict=True)
        ]
        both = [t | h for t, h in zip(train, held, strict=True)]
        scale = Spread.of(pick(table, both), pick(residual, both), overlap, settings)
        scaled = [r / scale(x) for r, x in zip(residual, table, strict=True)]
        quantiles = group_quantiles(pick(scaled, held), pick([m.group for m in members], held), overlap, groups, settings)
        return cls(ridge, guard, size, scale, pooled, quantiles, overlap, half.day, settings)

    @property
    def _every(self) -> int:
        return max(1, self.settings.refresh_minutes * self.day // 1440)

    def _ours(self, m: Member) -> np.ndarray:
        """Return the change that the hierarchical part expects, without the guard."""
        z = self.ridge.design(m.blocks)
        expected = self.ridge.intercept + z @ self.ridge.weights
        return expected + _personal(self.ridge, m.origin, z, m.outcome - m.now - expected, self.overlap, self._every)

    def mean(self, m: Member) -> Float[np.ndarray, " w"]:
        """Return the expected value at every origin of one person."""
        ours, plain = self._ours(m), m.plain - m.now
        weight = _guard(
            m.origin, ours - plain, m.outcome - m.plain, self.guard, self.overlap, self.guard_size, self._every, self.day, self.settings
        )
        return np.clip(m.now + plain + weight * (ours - plain), *self.settings.bounds)

    def distribution(self, m: Member) -> Predicted:
        """Return predictive distributions at every origin of one person, each from what was known at it."""
        mean = self.mean(m)
        residual = m.outcome - mean
        x = np.concatenate([m.scale, own_spread(m.origin, residual, self.overlap, self.pooled, self.day, self.settings)], axis=1)
        s = self.scale(x)
        first = int(np.searchsorted(m.part, 1))
        low, high = track(m.origin, residual / s, m.group, self.table, self.overlap, first, self.settings)
        return Predicted(mean, mean[:, None] + s[:, None] * stretch(self.table, m.group, low, high))
