"""Simulation-based calibration as evidence: is the computation right under the room's own prior and likelihood?

It tests the computation, **not** the model against reality. A posterior that equals the prior passes for every parameter: the
log likelihood and the distance from the posterior's centre, which depend on the data, are ranked too.

References
----------
Talts et al. 2018, arXiv:1804.06788. Modrak et al. 2023, doi:10.1214/23-BA1404 (data-dependent test quantities).
Sailynoja, Buerkner and Vehtari 2022, doi:10.1007/s11222-022-10090-6 (simultaneous band of the ECDF).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from scipy import stats

from gemel.core.errors import ModelError
from gemel.engine.infer import lanes
from gemel.engine.infer.base import AbstractMethod, AbstractTarget, Inference
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel, target_of
from gemel.engine.room import Room
from gemel.evidence.comparisons import holm

__all__ = [
    "LEAST_P",
    "MOST_REFUSED",
    "Calibration",
    "Coverage",
    "Uniformity",
    "chi_square",
    "coverage",
    "distance_from_centre",
    "ecdf_p_value",
    "holm",
    "sbc",
    "uniformity",
]

LOG_LIKELIHOOD, DISTANCE = "log likelihood", "distance from the centre"
LEVELS = (0.5, 0.8, 0.9, 0.95)
LEAST_P = 1e-3
"""Smallest p-value, adjusted for the number of quantities and tests, that ranks of an honest method may show."""
MOST_REFUSED = 0.2
"""Largest share of simulated people whose posterior a method may refuse."""


@dataclass(frozen=True)
class Calibration:
    """Ranks of the truth among ``draws`` posterior draws, per quantity; ``refused`` replicas did not pass the gates of their method."""

    ranks: dict[str, Int[np.ndarray, " replica"]]
    draws: int
    refused: dict[int, int] = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        """How many replicas were ranked."""
        return len(next(iter(self.ranks.values())))


@dataclass(frozen=True)
class Uniformity:
    """Whether ranks are uniform: p-values per quantity and test, and the smallest one after Holm's correction over all of them."""

    p_values: dict[tuple[str, str], float]
    adjusted: dict[tuple[str, str], float]

    @property
    def worst(self) -> tuple[str, str]:
        """The quantity and test with the smallest p-value."""
        return min(self.adjusted, key=lambda k: self.p_values[k])

    @property
    def p_value(self) -> float:
        """The smallest adjusted p-value."""
        return min(self.adjusted.values())


@dataclass(frozen=True)
class Coverage:
    """Share of replicas inside the central interval of a level, with the binomial limits that an honest method keeps to."""

    level: float
    share: float
    low: float
    high: float

    @property
    def within(self) -> bool:
        """Whether the share lies inside its limits."""
        return self.low <= self.share <= self.high


@eqx.filter_jit
def _log_likelihoods(targets: AbstractTarget, z: jax.Array) -> jax.Array:
    return eqx.filter_vmap(lambda t, rows: jax.vmap(t.log_likelihood)(rows), in_axes=(eqx.if_array(0), 0))(targets, z)


def _infer(method: AbstractMethod, targets: list[AbstractTarget], keys: PRNGKeyArray) -> list[Inference]:
    batch = getattr(method, "run_batch", None)
    if batch is not None:
        return batch(targets, keys=keys)
    return [method.run(t, key=keys[i]) for i, t in enumerate(targets)]


def distance_from_centre(
    z: Float[np.ndarray, "row parameter"], mean: Float[np.ndarray, " parameter"], covariance: Float[np.ndarray, "parameter parameter"]
) -> Float[np.ndarray, " row"]:
    """Return squared distances from the posterior's centre in its own standard deviations, correlations left out.

    A posterior of a few hundred effective draws has a covariance that fits those very draws: with all correlations the draws would lie nearer than the
    truth does even where nothing is wrong (by a factor of about ``n / (n - d)``). Standard deviations alone have no such room.
    """
    return np.square((z - mean) / np.sqrt(np.diag(covariance))).sum(axis=1)


def sbc(
    room: Room, n: int, *, draws: int = 99, method: AbstractMethod | None = None, model: AbstractModel | None = None, key: PRNGKeyArray
) -> Calibration:
    """Rank the truth of ``n`` simulated people among draws of their posteriors.

    Parameters
    ----------
    room : its ``simulate_record`` must draw the truth from the model's prior and the data from the model's likelihood.
    n : replicas. People of one bucket are inferred together when the method has ``run_batch``.
    draws : posterior draws per replica; ranks run from 0 to ``draws``.
    method : left out, the room's default.
    model : left out, the room's.
    key : randomness.

    Raises
    ------
    ModelError
        When the truth of a simulated person lacks a parameter of the model.
    """
    model = room.model() if model is None else model
    method = room.method() if method is None else method
    targets, truths = [], []
    for i in range(n):
        record, now, truth = room.simulate_record(jax.random.fold_in(stream(key, "people"), i))
        missing = set(model.prior.names) - set(truth)
        if missing:
            raise ModelError(
                "simulate_record must tell the truth of every parameter", seen=f"without {sorted(missing)}", expected=model.prior.names
            )
        targets.append(target_of(model, model.observe(record.as_of(now), now)))
        truths.append([float(p.bijector.unconstrain(np.asarray(truth[p.name], float))) for p in model.prior.parameters])
    keys = jax.vmap(lambda i: jax.random.fold_in(stream(key, "inference"), i))(np.arange(n))
    found: dict[str, dict[int, int]] = {q: {} for q in (*model.prior.names, LOG_LIKELIHOOD, DISTANCE)}
    refused: dict[int, int] = {}
    for members in lanes.alike(targets):
        inferences = _infer(method, [targets[i] for i in members], keys[np.array(members)])
        rows, kept = [], []
        for i, inference in zip(members, inferences, strict=True):
            if not inference.usable:
                refused[int(inference.status)] = refused.get(int(inference.status), 0) + 1
                continue
            z = np.asarray(inference.posterior.draw(draws, key=stream(keys[i], "ranks")))
            rows.append(np.concatenate([np.array(truths[i])[None], z]))
            kept.append(i)
            mean, covariance = (np.asarray(x) for x in inference.posterior.moments())
            distance = distance_from_centre(rows[-1], mean, covariance)
            found[DISTANCE][i] = int((distance[1:] < distance[0]).sum())
            for j, name in enumerate(model.prior.names):
                found[name][i] = int((z[:, j] < truths[i][j]).sum())
        if kept:
            stacked = lanes.stack([targets[i] for i in kept])
            value = np.asarray(_log_likelihoods(stacked, np.stack(rows)))
            for i, v in zip(kept, value, strict=True):
                found[LOG_LIKELIHOOD][i] = int((v[1:] < v[0]).sum())
    ranks = {q: np.array([by[i] for i in sorted(by)], int) for q, by in found.items()}
    return Calibration(ranks, draws, refused)


def chi_square(ranks: Int[np.ndarray, " replica"], draws: int) -> float:
    """Return the p-value of the chi-square test of uniform ranks, with about ten expected per bin (at least four bins)."""
    bins = int(np.clip(len(ranks) // 10, 4, 20))
    edges = np.round(np.linspace(0, draws + 1, bins + 1)).astype(int)
    counts = np.histogram(ranks, bins=edges - 0.5)[0]
    expected = len(ranks) * np.diff(edges) / (draws + 1)
    return float(stats.chisquare(counts, expected).pvalue)


def _sharpest(ranks: np.ndarray, draws: int) -> np.ndarray:
    """Return, per row, the smallest two-sided binomial tail over the points of the ECDF."""
    n, points = ranks.shape[-1], np.arange(draws)
    below = np.sort(ranks, axis=-1)
    count = np.stack([np.searchsorted(row, points, side="right") for row in below])
    chance = (points + 1) / (draws + 1)
    lower, upper = stats.binom.cdf(count, n, chance), stats.binom.sf(count - 1, n, chance)
    return 2 * np.minimum(lower, upper).min(axis=-1)


def ecdf_p_value(ranks: Int[np.ndarray, " replica"], draws: int, *, simulations: int = 4000, seed: int = 0) -> float:
    """Return the p-value of the simultaneous ECDF band: how often uniform ranks stray from the diagonal at least as far somewhere.

    The null distribution is simulated with a fixed seed: the same ranks, the same p-value. Beyond what the simulations can resolve
    it is the smallest binomial tail times the number of points: an upper bound.
    """
    null = _null(len(ranks), draws, simulations, seed)
    seen = _sharpest(np.asarray(ranks)[None], draws)[0]
    return float(min((1 + (null <= seen).sum()) / (1 + simulations), draws * seen))


_kept: dict[tuple[int, int, int, int], np.ndarray] = {}


def _null(n: int, draws: int, simulations: int, seed: int) -> np.ndarray:
    place = (n, draws, simulations, seed)
    if place not in _kept:
        _kept[place] = _sharpest(np.random.default_rng(seed).integers(0, draws + 1, (simulations, n)), draws)
    return _kept[place]


def uniformity(calibration: Calibration) -> Uniformity:
    """Test every quantity by chi-square and by the ECDF band, adjusted by Holm over all tests."""
    p_values = {}
    for name, ranks in calibration.ranks.items():
        p_values[name, "chi-square"] = chi_square(ranks, calibration.draws)
        p_values[name, "ECDF band"] = ecdf_p_value(ranks, calibration.draws)
    return Uniformity(p_values, holm(p_values))


def coverage(calibration: Calibration, name: str, *, levels: tuple[float, ...] = LEVELS, limits: float = 0.99) -> tuple[Coverage, ...]:
    """Return the coverage of central intervals of one parameter, with two-sided binomial limits."""
    ranks, size = calibration.ranks[name], calibration.draws + 1
    out = []
    for level in levels:
        low, high = size * (1 - level) / 2, size * (1 + level) / 2
        nominal = np.mean((np.arange(size) >= low) & (np.arange(size) < high))
        a, b = stats.binom.interval(limits, len(ranks), nominal)
        share = float(np.mean((ranks >= low) & (ranks < high)))
        out.append(Coverage(level, share, float(a) / len(ranks), float(b) / len(ranks)))
    return tuple(out)
