"""T0: a Gaussian copula over baseline, visits, leaving and event. The floor that every other generator must beat.

Each column (a variable at a visit) has its empirical quantiles; their normal scores are jointly Gaussian. A value with steps says only between which scores
it lies, a missing one nothing: both are drawn from their exact conditional in a stochastic expectation-maximisation (Hoff 2007 gives the model of the
intervals). Marginals of late visits count those who left by their drawn values, not only those who stayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import linalg, special

from gemel.core.errors import EvidenceError, InferenceError
from gemel.core.lineage import digest
from gemel.trials.generate.gaussian import Gaussian
from gemel.trials.generate.marginal import EDGE, Marginal, marginal
from gemel.trials.generate.panel import Kind, Panel, Variable

__all__ = ["Copula", "between", "calibrate_copula"]

SWEEPS, WARM = 70, 40
"""Sweeps of the sampler, and how many of them come before the correlation is averaged."""
GRID = (1e-6, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3)
"""Intensities of shrinkage that are tried."""


@dataclass(frozen=True)
class Copula:
    """A calibrated Gaussian copula of control patients.

    Parameters
    ----------
    variables, times, unit, event_name : of the panel it was calibrated on.
    places : (variable, visit) of each column; ``(-1, 0)`` is the last visit attended, ``(-2, 0)`` the event.
    marginals : of each column.
    correlation : (column, column) of the normal scores.
    shrinkage : towards no correlation, the intensity under which patients left out were likeliest.
    n : patients it was calibrated on.
    history : their hash.
    """

    variables: tuple[Variable, ...]
    times: Float[np.ndarray, " visit"]
    unit: str
    places: tuple[tuple[int, int], ...]
    marginals: tuple[Marginal, ...]
    correlation: Float[np.ndarray, "column column"]
    shrinkage: float
    n: int
    history: str
    last: int
    event_name: str = ""
    kind: str = "copula"

    @property
    def hash(self) -> str:
        """Of all its numbers."""
        parts = [[m.scores, m.values, m.has_steps, m.zero] for m in self.marginals]
        return digest(
            [self.variables, self.times, self.unit, self.places, parts, self.correlation, self.n, self.history, self.last, self.event_name]
        )

    @property
    def gaussian(self) -> Gaussian:
        """The distribution of the scores."""
        return Gaussian(np.zeros(len(self.places)), self.correlation)

    def panel(self, scores: Float[np.ndarray, "patient column"]) -> Panel:
        """Return the patients of which these are the scores, before the constraints of their instruments."""
        visits, n = len(self.times), len(scores)
        values = np.full((n, visits, len(self.variables)), np.nan)
        last, event = np.full(n, self.last), np.full(n, visits)
        for k, (j, t) in enumerate(self.places):
            found = self.marginals[k].quantile(scores[:, k])
            if j >= 0:
                values[:, t, j] = found
            elif j == -1:
                last = found.astype(int)
            else:
                event = found.astype(int)
        return Panel(self.variables, self.times, values, last, event, self.unit, event_name=self.event_name)

    def draw(self, n: int, *, rng: np.random.Generator) -> Panel:
        """Return new patients."""
        return self.panel(rng.standard_normal((n, len(self.places))) @ linalg.cholesky(self.correlation, lower=True).T)

    def intervals(self, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores (patient, column) between which each value of a panel lies."""
        found = [m.interval(_column(panel, place)) for m, place in zip(self.marginals, self.places, strict=True)]
        return np.stack([f[0] for f in found], axis=1), np.stack([f[1] for f in found], axis=1)

    def draw_given(self, panel: Panel, visits: int, draws: int, *, rng: np.random.Generator) -> list[Panel]:
        """Return futures of known patients: all their columns, given the baseline and their first visits.

        Points are conditioned on exactly; intervals by Gibbs sampling within them.

        Parameters
        ----------
        visits : how many of the visits are known; 0 for the baseline variables alone.
        draws : panels to return.
        """
        low, high = self.intervals(panel)
        later = np.array([j < 0 or (t >= visits and not self.variables[j].is_baseline) for j, t in self.places])
        low[:, later], high[:, later] = -EDGE, EDGE
        state = _start(low, high, rng)
        made = []
        for sweep in range(draws + 5):
            _sweep(state, low, high, self.correlation, rng)
            if sweep >= 5:
                made.append(self.panel(state))
        return made


def _column(panel: Panel, place: tuple[int, int]) -> np.ndarray:
    if place[0] == -1:
        return panel.last.astype(float)
    return panel.event.astype(float) if place[0] == -2 else panel.values[:, place[1], place[0]]


def _start(low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return between(np.zeros_like(low), np.ones(low.shape[1]), low, high, rng)


def between(mean: np.ndarray, sd: np.ndarray | float, low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return normal draws between limits, by the quantile function in the nearer tail; the limit itself where both are one."""
    a, b = (low - mean) / sd, (high - mean) / sd
    flip = a > 0
    a, b = np.where(flip, -b, a), np.where(flip, -a, b)
    p, q = special.ndtr(a), special.ndtr(b)
    z = special.ndtri(np.clip(p + (q - p) * rng.random(mean.shape), 1e-300, 1 - 1e-16))
    return np.where(low == high, low, np.clip(mean + sd * np.where(flip, -z, z), low, high))


def _sweep(state: np.ndarray, low: np.ndarray, high: np.ndarray, correlation: np.ndarray, rng: np.random.Generator) -> None:
    """One round: what is missing jointly, pattern by pattern; what has steps one column after the other."""
    free = (low <= -EDGE) & (high >= EDGE)
    patterns, which = np.unique(free, axis=0, return_inverse=True)
    which, law = which.reshape(-1), Gaussian(np.zeros(len(correlation)), correlation)
    for k, pattern in enumerate(patterns):
        if pattern.any():
            rows = np.flatnonzero(which == k)
            mean, covariance = law.given(state[rows], ~pattern)
            noise = rng.standard_normal(mean.shape) @ linalg.cholesky(covariance + 1e-10 * np.eye(len(covariance)), lower=True).T
            state[np.ix_(rows, np.flatnonzero(pattern))] = np.clip(mean + noise, -EDGE, EDGE)
    stepped = np.flatnonzero(((low < high) & ~free).any(axis=0))
    if not len(stepped):
        return
    precision = linalg.inv(correlation)
    for j in stepped:
        rows = (low[:, j] < high[:, j]) & ~free[:, j]
        mean = state[rows, j] - state[rows] @ precision[:, j] / precision[j, j]
        state[rows, j] = between(mean, precision[j, j] ** -0.5, low[rows, j], high[rows, j], rng)


def _correlation(state: np.ndarray, intensity: float) -> np.ndarray:
    """Return the correlation of scores, shrunk towards the identity."""
    z = (state - state.mean(axis=0)) / state.std(axis=0)
    return (1 - intensity) * (z.T @ z / len(z)) + intensity * np.eye(z.shape[1])


def _intensity(state: np.ndarray, rng: np.random.Generator) -> float:
    """Return the shrinkage under which patients left out are likeliest: visits of one person hang together too closely for a rule made for independent columns."""
    fold = rng.permutation(len(state)) % 5
    found = []
    for intensity in GRID:
        total = 0.0
        for k in range(5):
            part = state[fold != k]
            mean, sd = part.mean(axis=0), part.std(axis=0) + 1e-9
            try:
                factor = linalg.cholesky(_correlation(part, intensity), lower=True)
            except linalg.LinAlgError:
                total = -np.inf
                break
            white = linalg.solve_triangular(factor, ((state[fold == k] - mean) / sd).T, lower=True)
            total += float(-0.5 * np.square(white).sum() - np.log(np.diag(factor)).sum() * (fold == k).sum())
        found.append(total)
    return GRID[int(np.argmax(found))]


def calibrate_copula(panel: Panel, *, seed: int = 0, sweeps: int = SWEEPS) -> Copula:
    """Calibrate the copula on control patients.

    Parameters
    ----------
    panel : the history.
    seed : of the draws for missing values and steps; without either they do not matter.
    sweeps : of the sampler.

    Raises
    ------
    EvidenceError
        When a column has fewer than 10 values.
    InferenceError
        When the correlation does not settle.

    References
    ----------
    Hoff 2007, Ann Appl Stat 1:265, doi:10.1214/07-AOAS107.
    """
    rng = np.random.default_rng(seed)
    places, _ = panel.columns()
    values = {p: _column(panel, p) for p in places}
    few = [f"{panel.names[j]} at {panel.times[t]:g}" for (j, t), v in values.items() if (~np.isnan(v)).sum() < 10]
    if few:
        raise EvidenceError(
            "a column has fewer than 10 values", seen=few[:5], expected="10 or more", fix="leave out the variable or the visit"
        )
    places = [p for p in places if np.ptp(values[p][~np.isnan(values[p])]) > 0]
    fixed = [p for p in values if p not in places]
    places += [p for p in ((-1, 0), (-2, 0)) if np.ptp(_column(panel, p)) > 0]
    data = np.stack([_column(panel, p) for p in places], axis=1)
    kinds = [panel.variables[j] if j >= 0 else Variable("visit", Kind.ORDINAL, 0.0, float(len(panel.times))) for j, _ in places]
    made = [marginal(v, x) for v, x in zip(kinds, data.T, strict=True)]
    intervals = [m.interval(x) for m, x in zip(made, data.T, strict=True)]
    low, high = (np.stack([i[k] for i in intervals], axis=1) for k in (0, 1))
    state, total, count = _start(low, high, rng), np.zeros((len(places),) * 2), 0
    shrinkage = GRID[-3]
    correlation = _correlation(state, shrinkage)
    needed = bool((low < high).any())
    for sweep in range(sweeps if needed else 0):
        _sweep(state, low, high, correlation, rng)
        if sweep in (5, 15, WARM):
            shrinkage = _intensity(state, rng)
        correlation = _correlation(state, shrinkage)
        if sweep >= WARM:
            total, count = total + correlation, count + 1
        else:  # those who left count in the marginals of later visits
            for k in np.flatnonzero(np.isnan(data).any(axis=0)):
                filled = np.where(np.isnan(data[:, k]), kinds[k].decode(kinds[k].encode(made[k].quantile(state[:, k]))), data[:, k])
                made[k] = marginal(kinds[k], filled)
                low[:, k], high[:, k] = made[k].interval(data[:, k])
                state[:, k] = np.where(low[:, k] == high[:, k], low[:, k], np.clip(state[:, k], low[:, k], high[:, k]))
    if count:
        correlation = total / count
    elif not needed:
        shrinkage = _intensity(state, rng)
        correlation = _correlation(state, shrinkage)
    if not np.isfinite(correlation).all():
        raise InferenceError(
            "the correlation does not settle", seen="numbers that are not finite", fix="leave out variables that hardly vary"
        )
    scale = np.sqrt(np.diag(correlation))
    for p in fixed:
        places.append(p)
        made.append(Marginal(np.zeros(0), values[p][~np.isnan(values[p])][:1], True))
    correlation = linalg.block_diag(correlation / np.outer(scale, scale), np.eye(len(fixed)))
    return Copula(
        panel.variables, panel.times, panel.unit, tuple(places), tuple(made), correlation, shrinkage, panel.n, panel.hash, int(panel.last.max()), panel.event_name
    )  # fmt: skip
