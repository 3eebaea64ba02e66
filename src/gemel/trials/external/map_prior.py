"""The meta-analytic predictive prior: what earlier controls say of the next ones, by quadrature over heterogeneity, without sampling.

    theta_h ~ N(mu, tau^2),   y_h | theta_h  normal (sigma known) or binomial (theta the logit),   mu ~ N(., .),   tau ~ half-normal

A mean integrates mu out in closed form, so that the prior is a mixture of normals over tau; a rate is integrated over mu and tau, each study's
part by adaptive Gauss-Hermite quadrature. What is used afterwards is a mixture of two or three conjugate parts, and how far it is from the exact one is told.

References
----------
Neuenschwander et al. 2010, doi:10.1177/1740774509356002; robust: Schmidli et al. 2014, doi:10.1111/biom.12242. Adaptive quadrature: Liu and Pierce 1994, doi:10.1093/biomet/81.3.624.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import interpolate, special

from gemel.core.errors import DataError, InferenceError
from gemel.trials.external.history import History
from gemel.trials.external.mixture import Mixture, NormalMixture, beta_mixture, normal_mixture

__all__ = ["MapPrior", "map_prior", "robust", "tau_nodes"]

PANELS, NODES = 30, 5
"""Of tau: panels of Gauss-Legendre nodes up to six scales of its half-normal prior, or as far as the studies differ."""
CENTRES, HERMITE, THIN = 301, 20, 4
"""Of mu: points of a trapezoidal rule in sinh, from a thousandth of the pooled error to ten logits; of each study's theta: nodes.
EM sees every fourth point of the predictive: it is smooth, and the divergence is taken over all of them."""


@dataclass(frozen=True)
class MapPrior:
    """A meta-analytic predictive prior of the next study's controls.

    Parameters
    ----------
    points, masses : (point,) the exact predictive distribution of the mean or rate; masses sum to 1.
    mean, sd : of it.
    tau_mean, tau_median, mu_mean, mu_sd : of heterogeneity and of the mean of studies; on the logit scale for a rate.
    tau_scale : of the prior of heterogeneity.
    mixture : its approximation by conjugate parts.
    divergence : Kullback-Leibler divergence of the approximation from the exact one, nats.
    """

    points: Float[np.ndarray, " point"]
    masses: Float[np.ndarray, " point"]
    mean: float
    sd: float
    tau_mean: float
    tau_median: float
    mu_mean: float
    mu_sd: float
    tau_scale: float
    mixture: Mixture
    divergence: float

    def quantile(self, level: float) -> float:
        """Return a quantile of the exact distribution."""
        middle = np.cumsum(self.masses) - 0.5 * self.masses
        return float(np.interp(level, middle, self.points))


def tau_nodes(scale: float, reach: float = 6.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes of tau up to so many scales, the logarithm of their weights with the half-normal prior in, and the edges of the panels."""
    edges = np.linspace(0, reach * scale, PANELS + 1)
    x, w = np.polynomial.legendre.leggauss(NODES)
    half = np.diff(edges)[:, None] / 2
    nodes = (edges[:-1, None] + half * (1 + x)).ravel()
    logs = np.log((half * w).ravel()) - 0.5 * (nodes / scale) ** 2
    return nodes, logs - float(np.asarray(special.logsumexp(logs))), edges


def _reached(history: History, scale: float, of: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes of tau and log weights that reach as far as the studies differ; ``of`` gives log likelihoods, tau first.

    Raises
    ------
    InferenceError
        When they differ beyond all reach.
    """
    for reach in (6.0, 12.0, 24.0, 48.0, 96.0, 192.0):
        tau, prior, edges = tau_nodes(scale, reach)
        logs = of(tau)
        logs = prior.reshape(-1, *[1] * (logs.ndim - 1)) + logs
        share = special.softmax(logs).reshape(len(tau), -1).sum(axis=1)
        if share[-NODES:].sum() < 1e-9:
            return tau, logs, edges
    raise InferenceError(
        "the studies differ far more than the prior of tau allows",
        seen=f"values from {history.values.min():.4g} to {history.values.max():.4g}, tau scale {scale:.4g}",
        expected="a scale that fits the differences between studies",
        fix="look at the studies and their unit; a larger tau scale",
    )


def _summary(tau: np.ndarray, weights: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    half = (edges[1] - edges[0]) / 2
    density = weights / np.tile(half * np.polynomial.legendre.leggauss(NODES)[1], PANELS)
    curve = interpolate.CubicSpline(np.append(0.0, tau), np.append(density[0], density), bc_type="natural").antiderivative()
    low, high = 0.0, float(tau[-1])
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if curve(middle) < 0.5 else (low, middle)
    return float(weights @ tau), 0.5 * (low + high)


def map_prior(
    history: History,
    *,
    tau_scale: float | None = None,
    mu_mean: float | None = None,
    mu_sd: float | None = None,
    components: int = 3,
) -> MapPrior:
    """Return the prior that historical controls give to the next ones.

    Parameters
    ----------
    tau_scale : of the half-normal prior of heterogeneity; 1 on the logit scale for a rate, sigma / 2 for a mean.
    mu_mean, mu_sd : of the normal prior of the studies' mean: N(0, 2²) on the logit scale for a rate; the pooled mean and ten sigma for a mean.
    components : of the approximation; 2 or 3 are usual.

    Raises
    ------
    DataError
        When a scale is not positive.
    InferenceError
        When the approximation does not converge, or the studies differ beyond all that the prior of tau allows.
    """
    rate = history.is_rate
    scale = tau_scale if tau_scale is not None else 1.0 if rate else history.sigma / 2
    centre = mu_mean if mu_mean is not None else 0.0 if rate else history.pooled
    spread = mu_sd if mu_sd is not None else 2.0 if rate else 10 * history.sigma
    if not (scale > 0 and spread > 0):
        raise DataError("a scale is not positive", seen=f"tau {scale}, mu {spread}", expected="above 0")
    return (_of_rates if rate else _of_means)(history, scale, centre, spread, components)


def _of_means(history: History, scale: float, centre: float, spread: float, components: int) -> MapPrior:
    y = history.values

    def parts(tau: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        variance = history.sigma**2 / history.n + tau[:, None] ** 2
        precision = 1 / spread**2 + (1 / variance).sum(axis=1)
        mean = (centre / spread**2 + (y / variance).sum(axis=1)) / precision
        rest = ((y - mean[:, None]) ** 2 / variance).sum(axis=1) + (mean - centre) ** 2 / spread**2
        return precision, mean, -0.5 * (np.log(variance).sum(axis=1) + np.log(precision) + rest)

    tau, logs, edges = _reached(history, scale, lambda nodes: parts(nodes)[2])
    precision, mean, _ = parts(tau)
    weights = special.softmax(logs)
    exact = NormalMixture(weights, mean, np.sqrt(1 / precision + tau**2))
    grid = _sinh(exact.mean, float((weights @ (1 / exact.sds)) ** -1), 12 * exact.sd, 1001)
    masses = exact.density(grid[0]) * grid[1]
    masses /= masses.sum()
    found = normal_mixture(grid[0][::THIN], masses[::THIN] / masses[::THIN].sum(), components)
    mu = float(weights @ mean)
    return MapPrior(
        points=grid[0],
        masses=masses,
        mean=exact.mean,
        sd=exact.sd,
        tau_mean=_summary(tau, weights, edges)[0],
        tau_median=_summary(tau, weights, edges)[1],
        mu_mean=mu,
        mu_sd=math.sqrt(float(weights @ (1 / precision + mean**2)) - mu**2),
        tau_scale=scale,
        mixture=found,
        divergence=_divergence(masses, masses / grid[1], found.density(grid[0])),
    )


def _of_rates(history: History, scale: float, centre: float, spread: float, components: int) -> MapPrior:
    n, r = history.n, np.asarray(history.events)
    near = special.logit((r + 0.5) / (n + 1))
    own = np.sqrt(1 / (r + 0.5) + 1 / (n - r + 0.5))
    pooled = float((near / own**2).sum() / (1 / own**2).sum())
    mu, steps = _sinh(pooled, float((1 / own**2).sum() ** -0.5), 10.0, CENTRES)
    x, w = np.polynomial.hermite.hermgauss(HERMITE)

    def likelihood(tau: np.ndarray) -> np.ndarray:
        logs = np.tile(np.log(steps) - 0.5 * ((mu - centre) / spread) ** 2, (len(tau), 1))
        for h in range(len(n)):  # the integrand is close to N(c, v): nodes are placed there
            t2 = tau[:, None, None] ** 2
            v = 1 / (1 / own[h] ** 2 + 1 / t2)
            c = v * (near[h] / own[h] ** 2 + mu[None, :, None] / t2)
            theta = c + np.sqrt(2 * v) * x
            inside = r[h] * theta - n[h] * np.logaddexp(0, theta) - 0.5 * (theta - mu[None, :, None]) ** 2 / t2
            logs += special.logsumexp(inside + x**2 + np.log(w), axis=2) + 0.5 * np.log(v[..., 0]) - np.log(tau)[:, None]
        return logs

    tau, logs, edges = _reached(history, scale, likelihood)
    weights = special.softmax(logs)
    of_tau, of_mu = weights.sum(axis=1), weights.sum(axis=0)
    mean = float(of_mu @ mu)
    theta, width = _sinh(mean, 0.05, 18.0, 1201)
    dense = np.zeros(len(theta))
    gap = float(np.diff(mu).min())
    for k in np.flatnonzero(of_tau > 1e-10):
        keep = weights[k] > 1e-10 * of_tau[k]
        if tau[k] > 4 * gap:
            dense += NormalMixture(weights[k, keep], mu[keep], np.full(int(keep.sum()), tau[k])).density(theta)
        else:  # narrower than the points of mu: the posterior of mu is interpolated around each theta
            logs = interpolate.CubicSpline(mu[keep], np.log(weights[k, keep] / steps[keep]), extrapolate=False)
            dense += np.exp(np.nan_to_num(logs(theta[:, None] + math.sqrt(2) * tau[k] * x), nan=-np.inf)) @ w / math.sqrt(math.pi)
    masses = dense * width
    masses /= masses.sum()
    p = special.expit(theta)
    found = beta_mixture(p[::THIN], masses[::THIN] / masses[::THIN].sum(), components)
    level = float(masses @ p)
    tau_mean, tau_median = _summary(tau, of_tau, edges)
    return MapPrior(
        points=p,
        masses=masses,
        mean=level,
        sd=math.sqrt(float(masses @ (p - level) ** 2)),
        tau_mean=tau_mean,
        tau_median=tau_median,
        mu_mean=mean,
        mu_sd=math.sqrt(float(of_mu @ (mu - mean) ** 2)),
        tau_scale=scale,
        mixture=found,
        divergence=_divergence(masses, masses / (width * p * (1 - p)), found.density(p)),
    )


def _sinh(centre: float, scale: float, reach: float, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points dense near the centre and far apart at the ends, with the weights of a trapezoidal rule."""
    u = np.linspace(-1, 1, points) * math.asinh(reach / scale)
    return centre + scale * np.sinh(u), scale * np.cosh(u) * (u[1] - u[0])


def _divergence(masses: np.ndarray, exact: np.ndarray, found: np.ndarray) -> float:
    keep = masses > 1e-15
    return float(masses[keep] @ (np.log(exact[keep]) - np.log(found[keep])))


def robust(prior: MapPrior, history: History, *, weight: float = 0.2) -> Mixture:
    """Return the mixture with a weak part: of one patient's worth around the prior's mean for a mean, uniform for a rate.

    Parameters
    ----------
    weight : of the weak part.
    """
    if isinstance(prior.mixture, NormalMixture):
        return prior.mixture.with_weak(weight, prior.mean, history.sigma)
    return prior.mixture.with_weak(weight)
