"""Whether a sample may be used: R-hat, effective sizes, Monte Carlo errors, PSIS k, energy fraction, conflict with the prior.

Everything here runs on the host in NumPy: draws have the shape ``(chain, draw)`` or ``(chain, draw, parameter)``.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import betaincinv, ndtri

from gemel.core.errors import ValueRangeError
from gemel.engine.posterior import AbstractPosterior
from gemel.engine.prior import Prior

__all__ = [
    "ENERGY_FRACTION_LIMIT",
    "ESS_LIMIT",
    "PSIS_LIMIT",
    "RHAT_LIMIT",
    "contraction",
    "energy_fraction",
    "ess_bulk",
    "ess_mean",
    "ess_quantile",
    "ess_tail",
    "filter_ess",
    "mcse_mean",
    "mcse_quantile",
    "mcse_sd",
    "pareto_fit",
    "prior_data_conflict",
    "prior_dominated",
    "psis",
    "rhat",
]

RHAT_LIMIT = 1.01
"""Split, rank-normalised R-hat above this: chains disagree (Vehtari et al. 2021)."""
ESS_LIMIT = 400
"""Bulk and tail effective sizes below this are too few (Vehtari et al. 2021)."""
PSIS_LIMIT = 0.7
"""Pareto k above this: importance weights cannot be trusted (Vehtari et al. 2024)."""
ENERGY_FRACTION_LIMIT = 0.3
"""E-BFMI below this: momentum resampling does not explore the energies (Betancourt 2016)."""


def _three(draws: Float[ndarray, "chain draw *parameter"]) -> tuple[np.ndarray, bool]:
    draws = np.asarray(draws, float)
    if draws.ndim not in (2, 3) or draws.shape[1] < 4:
        raise ValueRangeError("draws need the shape (chain, draw[, parameter]) with at least four draws", seen=draws.shape)
    return (draws[..., None], True) if draws.ndim == 2 else (draws, False)


def _squeeze(value: np.ndarray, flat: bool) -> np.ndarray:
    return value[0] if flat else value


def _split(draws: np.ndarray) -> np.ndarray:
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _rank_normalise(draws: np.ndarray) -> np.ndarray:
    """Replace values by normal scores of their pooled average ranks (Blom's offset 3/8)."""
    flat = draws.reshape(-1, draws.shape[2])
    out = np.empty_like(flat)
    for j in range(flat.shape[1]):
        _, inverse, counts = np.unique(flat[:, j], return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        out[:, j] = (last - (counts - 1) / 2)[inverse.reshape(-1)]
    out[:, ~np.isfinite(flat).all(axis=0)] = np.nan
    return ndtri((out - 0.375) / (flat.shape[0] + 0.25)).reshape(draws.shape)


def _plain_rhat(draws: np.ndarray) -> np.ndarray:
    n = draws.shape[1]
    within = draws.var(axis=1, ddof=1).mean(axis=0)
    between = draws.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((n - 1) / n + between / within)


def rhat(draws: Float[ndarray, "chain draw *parameter"]) -> Float[ndarray, "*parameter"]:
    """Return the split, rank-normalised R-hat: the larger of the bulk and the folded one.

    Parameters
    ----------
    draws : (chain, draw) or (chain, draw, parameter).

    Returns
    -------
    One value per parameter; not-a-number where every draw is the same, infinite where chains are constant but differ.

    References
    ----------
    Vehtari et al. 2021, doi:10.1214/20-BA1221, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> bool(rhat(np.random.default_rng(0).normal(size=(4, 500))) < 1.01)
    True
    """
    x, flat = _three(draws)
    x = _split(x)
    folded = np.abs(x - np.median(x.reshape(-1, x.shape[2]), axis=0))
    value = np.fmax(_plain_rhat(_rank_normalise(x)), _plain_rhat(_rank_normalise(folded)))
    return _squeeze(np.where(np.isfinite(x).all(axis=(0, 1)), value, np.nan), flat)


def _autocovariance(x: np.ndarray) -> np.ndarray:
    n = x.shape[1]
    size = 2 ** int(np.ceil(np.log2(2 * n)))
    spectrum = np.fft.rfft(x - x.mean(axis=1, keepdims=True), size, axis=1)
    return np.fft.irfft(np.abs(spectrum) ** 2, size, axis=1)[:, :n] / n


def _plain_ess(x: np.ndarray) -> np.ndarray:
    """Geyer's initial monotone sequence over all chains, per parameter (Vehtari et al. 2021, section 3.2)."""
    chains, n, size = x.shape
    covariance = _autocovariance(x).mean(axis=0)
    within = covariance[0] * n / (n - 1)
    total = within * (n - 1) / n + (x.mean(axis=1).var(axis=0, ddof=1) if chains > 1 else 0)
    out = np.empty(size)
    for j in range(size):
        if not np.isfinite(x[:, :, j]).all():
            out[j] = np.nan
            continue
        if np.ptp(x[:, :, j]) < np.finfo(float).resolution:
            out[j] = chains * n
            continue
        rho = 1 - (within[j] - covariance[:, j]) / total[j]
        rho[0] = 1
        pairs = rho[: n - n % 2].reshape(-1, 2)[: max((n - 3) // 2 + 1, 1)].sum(axis=1)
        negative = np.flatnonzero(pairs < 0)
        last = int(negative[0]) if negative.size else len(pairs) - 1
        # the even lag after the last kept pair counts once when it is positive: less bias for antithetic chains
        tau = -1 + 2 * np.minimum.accumulate(pairs[:last]).sum() + max(rho[2 * last], 0)
        tau = max(tau, 1 / np.log10(chains * n))
        out[j] = chains * n / tau
    return out


def ess_mean(draws: Float[ndarray, "chain draw *parameter"]) -> Float[ndarray, "*parameter"]:
    """Return the effective sample size for the mean (split chains, no ranks)."""
    x, flat = _three(draws)
    return _squeeze(_plain_ess(_split(x)), flat)


def ess_bulk(draws: Float[ndarray, "chain draw *parameter"]) -> Float[ndarray, "*parameter"]:
    """Return the bulk effective sample size: of split, rank-normalised chains.

    References
    ----------
    Vehtari et al. 2021, doi:10.1214/20-BA1221, section 4.1.
    """
    x, flat = _three(draws)
    return _squeeze(_plain_ess(_rank_normalise(_split(x))), flat)


def ess_quantile(draws: Float[ndarray, "chain draw *parameter"], probability: float) -> Float[ndarray, "*parameter"]:
    """Return the effective sample size for one quantile."""
    x, flat = _three(draws)
    below = np.where(np.isfinite(x), x <= np.quantile(x.reshape(-1, x.shape[2]), probability, axis=0), np.nan)
    return _squeeze(_plain_ess(_split(below)), flat)


def ess_tail(draws: Float[ndarray, "chain draw *parameter"]) -> Float[ndarray, "*parameter"]:
    """Return the tail effective sample size: the smaller of those of the 5 % and 95 % quantiles."""
    return np.minimum(ess_quantile(draws, 0.05), ess_quantile(draws, 0.95))


def mcse_mean(draws: Float[ndarray, "chain draw *parameter"]) -> Float[ndarray, "*parameter"]:
    """Return the Monte Carlo standard error of the mean."""
    x, flat = _three(draws)
    return _squeeze(x.reshape(-1, x.shape[2]).std(axis=0, ddof=1) / np.sqrt(_plain_ess(_split(x))), flat)


def mcse_sd(draws: Float[ndarray, "chain draw *parameter"]) -> Float[ndarray, "*parameter"]:
    """Return the Monte Carlo standard error of the standard deviation, by the delta method on squared deviations."""
    x, flat = _three(draws)
    square = (x - x.mean(axis=(0, 1))) ** 2
    variance = square.mean(axis=(0, 1))
    error = ((square**2).mean(axis=(0, 1)) - variance**2) / _plain_ess(_split(square))
    return _squeeze(np.sqrt(error / variance / 4), flat)


def mcse_quantile(draws: Float[ndarray, "chain draw *parameter"], probability: float) -> Float[ndarray, "*parameter"]:
    """Return the Monte Carlo standard error of a quantile: half the width between order statistics one standard error apart.

    References
    ----------
    Vehtari et al. 2021, doi:10.1214/20-BA1221, section 4.2.
    """
    x, flat = _three(draws)
    ess = np.atleast_1d(ess_quantile(x, probability))
    ordered = np.sort(x.reshape(-1, x.shape[2]), axis=0)
    n = ordered.shape[0]
    a, b = ess * probability + 1, ess * (1 - probability) + 1
    low = np.floor(np.clip(betaincinv(a, b, 0.1586553) * n - 1, 0, n - 1)).astype(int)
    high = np.ceil(np.clip(betaincinv(a, b, 0.8413447) * n - 1, 0, n - 1)).astype(int)
    columns = np.arange(ordered.shape[1])
    return _squeeze((ordered[high, columns] - ordered[low, columns]) / 2, flat)


def energy_fraction(energy: Float[ndarray, "chain draw"]) -> Float[ndarray, " chain"]:
    """Return E-BFMI per chain: summed squared energy steps over summed squared deviations.

    References
    ----------
    Betancourt 2016, arXiv:1604.00695, eq. (1).
    """
    energy = np.asarray(energy, float)
    return np.square(np.diff(energy, axis=1)).sum(axis=1) / np.square(energy - energy.mean(axis=1, keepdims=True)).sum(axis=1)


def pareto_fit(excess: Float[ndarray, " tail"]) -> tuple[float, float]:
    """Fit a generalised Pareto law to excesses above a threshold, with the weak prior of PSIS on the shape.

    Parameters
    ----------
    excess : positive excesses, sorted upwards.

    Returns
    -------
    Shape ``k`` (positive: heavy tail) and scale.

    References
    ----------
    Zhang and Stephens 2009, doi:10.1198/tech.2009.08017. The prior on k (0.5, worth ten observations): Vehtari et al. 2024,
    appendix G.
    """
    n = excess.size
    m = 30 + int(np.sqrt(n))
    b = 1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    b = b / (3 * excess[int(n / 4 + 0.5) - 1]) + 1 / excess[-1]
    k = np.log1p(-b[:, None] * excess).mean(axis=1)
    profile = n * (np.log(-(b / k)) - k - 1)
    weight = 1 / np.exp(np.clip(profile - profile[:, None], None, 700)).sum(axis=1)
    weight = np.where(weight >= 10 * np.finfo(float).eps, weight, 0)
    b_mean = np.sum(b * weight) / weight.sum()
    k_mean = np.log1p(-b_mean * excess).mean()
    return float((n * k_mean + 10 * 0.5) / (n + 10)), float(-k_mean / b_mean)


def psis(log_ratios: Float[ndarray, " draw"], relative_ess: float = 1.0) -> tuple[Float[ndarray, " draw"], float]:
    """Smooth the largest importance ratios by a fitted generalised Pareto law.

    Parameters
    ----------
    log_ratios : log of target over proposal, one per draw; minus infinity has no weight.
    relative_ess : effective over nominal size of the proposal's draws (1 for independent draws).

    Returns
    -------
    Normalised log-weights (they log-sum-exp to zero) and the shape k: infinite when fewer than five draws lie in the tail, zero when all
    ratios are equal to rounding (there is no tail).

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry 2024, JMLR 25(72), algorithm 1.
    """
    x = np.array(log_ratios, float)
    if x.ndim != 1 or x.size < 5 or np.isnan(x).any() or not np.isfinite(x.max()):
        raise ValueRangeError("importance ratios must be a vector of at least five finite numbers", seen=x.shape)
    x -= x.max()
    if x.min() > -1e-9:
        return np.full(x.size, -np.log(x.size)), 0.0
    tail = int(np.ceil(min(0.2 * x.size, 3 * np.sqrt(x.size / relative_ess))))
    cutoff = max(np.sort(x)[-tail - 1], np.log(np.finfo(float).tiny))
    index = np.flatnonzero(x > cutoff)
    k = np.inf
    if index.size > 4:
        index = index[np.argsort(x[index], kind="stable")]
        excess = np.exp(x[index]) - np.exp(cutoff)
        k, scale = pareto_fit(excess)
        if np.isfinite(k):
            p = (np.arange(index.size) + 0.5) / index.size
            quantile = -scale * np.log1p(-p) if abs(k) < 1e-12 else scale * np.expm1(-k * np.log1p(-p)) / k
            x[index] = np.minimum(np.log(quantile + np.exp(cutoff)), 0)
    return x - np.log(np.exp(x - x.max()).sum()) - x.max(), float(k)


def filter_ess(log_weights: Float[ndarray, "*time particle"]) -> Float[ndarray, "*time"]:
    """Return the effective number of particles, ``(sum w)^2 / sum w^2``."""
    w = np.asarray(log_weights, float)
    w = np.exp(w - w.max(axis=-1, keepdims=True))
    return w.sum(axis=-1) ** 2 / np.square(w).sum(axis=-1)


def prior_data_conflict(
    observed: float, replicated: Float[ndarray, " draw"], limits: tuple[float, float] = (0.005, 0.995)
) -> tuple[float, bool]:
    """Say whether a summary of the data is improbable under the prior predictive law; unit errors show up here.

    Returns
    -------
    The mid-rank probability of a replicated summary below the observed one, and whether it lies outside the limits.
    """
    replicated = np.asarray(replicated, float)
    n = replicated.size
    p = float(((replicated < observed).sum() + 0.5 * (replicated == observed).sum() + 0.5) / (n + 1))
    return p, not limits[0] <= p <= limits[1]


def contraction(prior: Prior, posterior: AbstractPosterior) -> Float[ndarray, " parameter"]:
    """Return posterior over prior standard deviation in unconstrained space, per parameter."""
    _, covariance = posterior.moments()
    return np.sqrt(np.diagonal(np.asarray(covariance)) / np.diagonal(np.asarray(prior.covariance)))


def prior_dominated(prior: Prior, posterior: AbstractPosterior, limit: float = 0.8) -> ndarray:
    """Flag parameters whose posterior standard deviation is more than ``limit`` of the prior's: the data hardly spoke of them."""
    return contraction(prior, posterior) > limit
