"""Eight posteriors of posteriordb as targets, with their reference draws.

The models are written out in the engine's specification; data and reference draws come from the data folder (``$GEMEL_DATA``).
"""

from __future__ import annotations

import abc
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array

from gemel.engine.infer.base import AbstractTarget
from gemel.engine.transform import ordered, simplex
from gemel.physics.ode import RK4, integrate

LOG_2PI = float(np.log(2 * np.pi))


def data_folder(given: str | None = None) -> Path:
    """Resolve the data folder: the argument, ``$GEMEL_DATA``, ``../shared/data``."""
    return Path(given or os.environ.get("GEMEL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def normal(x: Array, mean: Any = 0.0, sd: Any = 1.0) -> Array:
    return jnp.sum(-0.5 * ((x - mean) / sd) ** 2 - jnp.log(sd) - 0.5 * LOG_2PI)


def half_cauchy(x: Array, scale: float) -> Array:
    return jnp.sum(-jnp.log1p((x / scale) ** 2))


def positive(z: Array) -> tuple[Array, Array]:
    return jnp.exp(z), jnp.sum(z)


def positive_ordered(z: Array) -> tuple[Array, Array]:
    return jnp.cumsum(jnp.exp(z)), jnp.sum(z)


class Posterior(AbstractTarget):
    """A target given by a map to named values, and a prior and a likelihood of those."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many unconstrained coordinates."""

    @abc.abstractmethod
    def constrain(self, z: Array) -> tuple[dict[str, Array], Array]:
        """Return named values and the log-Jacobian."""

    @abc.abstractmethod
    def prior_of(self, x: dict[str, Array]) -> Array:
        """Log prior density of the named values, up to a constant."""

    @abc.abstractmethod
    def likelihood_of(self, x: dict[str, Array]) -> Array:
        """Log likelihood, up to a constant."""

    @abc.abstractmethod
    def report(self, x: dict[str, Array]) -> dict[str, Array]:
        """Return the quantities of the reference, vectors as vectors."""

    @property
    def names(self):
        return tuple(f"z{i}" for i in range(self.size))

    def log_prior(self, z):
        x, jacobian = self.constrain(z)
        return self.prior_of(x) + jacobian

    def log_likelihood(self, z):
        return self.likelihood_of(self.constrain(z)[0])

    def start(self, *, key):
        """Draw uniformly on (-2, 2), as Stan does: some of these priors are improper, and all eight are to be treated alike."""
        return jax.random.uniform(key, (self.size,), minval=-2.0, maxval=2.0)

    def quantities(self, z: Array) -> Array:
        """Return the reference's quantities as a flat vector, in the order of :meth:`labels`."""
        return jnp.concatenate([jnp.atleast_1d(v) for v in self.report(self.constrain(z)[0]).values()])

    def labels(self) -> list[str]:
        values = self.report(self.constrain(jnp.zeros(self.size))[0])  # a compiled function would return the names sorted
        return [k if not v.shape else f"{k}[{i + 1}]" for k, v in values.items() for i in range(v.size)]


class Autoregression(Posterior):
    y: Array
    lags: Array

    @classmethod
    def of(cls, d):
        y = np.asarray(d["y"], float)
        k = int(d["K"])
        return cls(jnp.asarray(y[k:]), jnp.asarray(np.stack([y[k - i - 1 : len(y) - i - 1] for i in range(k)], axis=1)))

    @property
    def size(self):
        return 7

    def constrain(self, z):
        sigma, jacobian = positive(z[6])
        return {"alpha": z[0], "beta": z[1:6], "sigma": sigma}, jacobian

    def prior_of(self, x):
        return normal(x["alpha"], 0, 10) + normal(x["beta"], 0, 10) + half_cauchy(x["sigma"], 2.5)

    def likelihood_of(self, x):
        return normal(self.y, x["alpha"] + self.lags @ x["beta"], x["sigma"])

    def report(self, x):
        return x


class EightSchools(Posterior):
    y: Array
    sd: Array

    @classmethod
    def of(cls, d):
        return cls(jnp.asarray(d["y"], float), jnp.asarray(d["sigma"], float))

    @property
    def size(self):
        return 10

    def constrain(self, z):
        tau, jacobian = positive(z[9])
        return {"theta": z[8] + tau * z[:8], "mu": z[8], "tau": tau, "eta": z[:8]}, jacobian

    def prior_of(self, x):
        return normal(x["eta"]) + normal(x["mu"], 0, 5) + half_cauchy(x["tau"], 5)

    def likelihood_of(self, x):
        return normal(self.y, x["theta"], self.sd)

    def report(self, x):
        return {k: x[k] for k in ("theta", "mu", "tau")}


def kernel(x: Array, alpha: Array, rho: Array) -> Array:
    return alpha**2 * jnp.exp(-0.5 * ((x[:, None] - x[None, :]) / rho) ** 2)


def gp_prior(x: dict[str, Array]) -> Array:
    return 24 * jnp.log(x["rho"]) - 4 * x["rho"] + normal(x["alpha"], 0, 2)


class GaussianProcess(Posterior):
    x: Array
    y: Array

    @classmethod
    def of(cls, d):
        return cls(jnp.asarray(d["x"], float), jnp.asarray(d["y"], float))

    @property
    def size(self):
        return 3

    def constrain(self, z):
        value, jacobian = positive(z)
        return dict(zip(("rho", "alpha", "sigma"), value, strict=True)), jacobian

    def prior_of(self, x):
        return gp_prior(x) + normal(x["sigma"], 0, 1)

    def likelihood_of(self, x):
        factor = jnp.linalg.cholesky(kernel(self.x, x["alpha"], x["rho"]) + x["sigma"] * jnp.eye(self.x.shape[0]))
        white = jax.scipy.linalg.solve_triangular(factor, self.y, lower=True)
        return -0.5 * white @ white - jnp.sum(jnp.log(jnp.diagonal(factor)))

    def report(self, x):
        return x


class GaussianProcessCounts(Posterior):
    x: Array
    k: Array

    @classmethod
    def of(cls, d):
        return cls(jnp.asarray(d["x"], float), jnp.asarray(d["k"], float))

    @property
    def size(self):
        return 13

    def constrain(self, z):
        (rho, alpha), jacobian = positive(z[:2])
        factor = jnp.linalg.cholesky(kernel(self.x, alpha, rho) + 1e-10 * jnp.eye(self.x.shape[0]))
        return {"rho": rho, "alpha": alpha, "f": factor @ z[2:], "white": z[2:]}, jacobian

    def prior_of(self, x):
        return gp_prior(x) + normal(x["white"])

    def likelihood_of(self, x):
        return jnp.sum(self.k * x["f"] - jnp.exp(x["f"]) - gammaln(self.k + 1))

    def report(self, x):
        return {k: x[k] for k in ("rho", "alpha", "f")}


def hare_and_lynx(_time: Array, logs: Array, _inputs: Any, theta: Array) -> Array:
    """Lotka-Volterra in logs, where a population cannot become negative."""
    u, v = jnp.exp(logs[0]), jnp.exp(logs[1])
    return jnp.stack([theta[0] - theta[1] * v, -theta[2] + theta[3] * u])


class LotkaVolterra(Posterior):
    first: Array
    y: Array

    @classmethod
    def of(cls, d):
        return cls(jnp.log(jnp.asarray(d["y_init"], float)), jnp.log(jnp.asarray(d["y"], float)))

    @property
    def size(self):
        return 8

    def constrain(self, z):
        x, jacobian = positive(z)
        return {"theta": x[:4], "z_init": x[4:6], "sigma": x[6:]}, jacobian

    def prior_of(self, x):
        rates = normal(x["theta"], jnp.array([1, 0.05, 1, 0.05]), jnp.array([0.5, 0.05, 0.5, 0.05]))
        log_sigma, log_init = jnp.log(x["sigma"]), jnp.log(x["z_init"])
        return rates + normal(log_sigma, -1, 1) - log_sigma.sum() + normal(log_init, jnp.log(10.0), 1) - log_init.sum()

    def likelihood_of(self, x):
        start = jnp.log(x["z_init"])
        years = jnp.zeros(self.y.shape[0])
        path = integrate(hare_and_lynx, start, years, x["theta"], integrator=RK4(substeps=8))
        return normal(self.first, start, x["sigma"]) + normal(self.y, path, x["sigma"])

    def report(self, x):
        return x


class Mixture(Posterior):
    y: Array

    @classmethod
    def of(cls, d):
        return cls(jnp.asarray(d["y"], float))

    @property
    def size(self):
        return 5

    def constrain(self, z):
        mu, first = ordered(z[:2])
        sigma, second = positive(z[2:4])
        third = jax.nn.log_sigmoid(z[4]) + jax.nn.log_sigmoid(-z[4])
        return {"mu": mu, "sigma": sigma, "theta": jax.nn.sigmoid(z[4])}, first + second + third

    def prior_of(self, x):
        return normal(x["mu"], 0, 2) + normal(x["sigma"], 0, 2) + 4 * (jnp.log(x["theta"]) + jnp.log1p(-x["theta"]))

    def likelihood_of(self, x):
        each = -0.5 * ((self.y[:, None] - x["mu"]) / x["sigma"]) ** 2 - jnp.log(x["sigma"])
        return jnp.sum(jnp.logaddexp(jnp.log(x["theta"]) + each[:, 0], jnp.log1p(-x["theta"]) + each[:, 1]))

    def report(self, x):
        return x


class Mesquite(Posterior):
    design: Array
    y: Array

    @classmethod
    def of(cls, d):
        a, b, h, total, density, group, weight = (
            np.asarray(d[k], float) for k in ("diam1", "diam2", "canopy_height", "total_height", "density", "group", "weight")
        )
        columns = [np.ones_like(a), np.log(a * b * h), np.log(a * b), np.log(a / b), np.log(total), np.log(density), group]
        return cls(jnp.asarray(np.stack(columns, axis=1)), jnp.asarray(np.log(weight)))

    @property
    def size(self):
        return 8

    def constrain(self, z):
        sigma, jacobian = positive(z[7])
        return {"beta": z[:7], "sigma": sigma}, jacobian

    def prior_of(self, x):
        return 0.0 * x["sigma"]

    def likelihood_of(self, x):
        return normal(self.y, self.design @ x["beta"], x["sigma"])

    def report(self, x):
        return x


class HiddenMarkov(Posterior):
    u: Array
    v: Array
    alpha: Array

    @classmethod
    def of(cls, d):
        return cls(*(jnp.asarray(d[k], float) for k in ("u", "v", "alpha")))

    @property
    def size(self):
        return 6

    def constrain(self, z):
        first, j1 = simplex(z[:1])
        second, j2 = simplex(z[1:2])
        phi, j3 = positive_ordered(z[2:4])
        rate, j4 = positive_ordered(z[4:6])
        return {"theta1": first, "theta2": second, "phi": phi, "lambda": rate}, j1 + j2 + j3 + j4

    def prior_of(self, x):
        rows = jnp.log(jnp.stack([x["theta1"], x["theta2"]]))
        location = jnp.array([0.0, 3.0])
        return jnp.sum((self.alpha - 1) * rows) + normal(x["phi"], location, 1) + normal(x["lambda"], location, 1)

    def likelihood_of(self, x):
        log_transition = jnp.log(jnp.stack([x["theta1"], x["theta2"]]))
        phi, rate = x["phi"], x["lambda"]
        emission = jnp.log(phi) - phi * self.u[:, None] + jnp.log(rate) - rate * self.v[:, None]

        def forward(log_alpha, e):
            return logsumexp(log_alpha[:, None] + log_transition, axis=0) + e, None

        return logsumexp(jax.lax.scan(forward, emission[0], emission[1:])[0])

    def report(self, x):
        return x


POSTERIORS: dict[str, tuple[type[Posterior], str]] = {
    "arK-arK": (Autoregression, "arK"),
    "eight_schools-eight_schools_noncentered": (EightSchools, "eight_schools"),
    "gp_pois_regr-gp_regr": (GaussianProcess, "gp_pois_regr"),
    "gp_pois_regr-gp_pois_regr": (GaussianProcessCounts, "gp_pois_regr"),
    "hudson_lynx_hare-lotka_volterra": (LotkaVolterra, "hudson_lynx_hare"),
    "low_dim_gauss_mix-low_dim_gauss_mix": (Mixture, "low_dim_gauss_mix"),
    "mesquite-logmesquite_logvas": (Mesquite, "mesquite"),
    "bball_drive_event_0-hmm_drive_0": (HiddenMarkov, "bball_drive_event_0"),
}


def read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as z:
        return json.loads(z.read(z.namelist()[0]))


def load(name: str, data: Path) -> tuple[Posterior, dict[str, np.ndarray]]:
    """Return a target and the reference draws, ``quantity -> (chain, draw)``."""
    folder = data / "credibility" / "posteriordb"
    kind, source = POSTERIORS[name]
    chains = read_zip(folder / "draws" / f"{name}.json.zip")
    reference = {k: np.array([chain[k] for chain in chains], float) for k in chains[0]}
    return kind.of(read_zip(folder / "data" / f"{source}.json.zip")), reference


def judge(draws: np.ndarray, labels: list[str], reference: dict[str, np.ndarray]) -> dict[str, Any]:
    """Apply the pass rule to draws of shape (chain, draw, quantity)."""
    from gemel.engine import diagnostics as checks

    rows = []
    for j, label in enumerate(labels):
        x, r = draws[:, :, j], reference[label]
        sd = r.std(ddof=1)
        shift = abs(x.mean() - r.mean())
        combined = np.hypot(float(checks.mcse_mean(x)), float(checks.mcse_mean(r)))
        levels = (0.05, 0.5, 0.95)
        quantiles = np.abs(np.quantile(x, levels) - np.quantile(r, levels)) / sd
        low, high = np.quantile(r, (0.25, 0.75))
        heavy = bool(sd > 2 * (high - low))
        ratio = x.std(ddof=1) / sd
        good_quantiles = bool((quantiles <= 0.1).all())
        good = good_quantiles if heavy else bool(shift <= 0.1 * sd and shift <= 4 * combined and 0.93 <= ratio <= 1.07 and good_quantiles)
        rows.append(
            {
                "quantity": label,
                "pass": good and bool(checks.rhat(x) < 1.01),
                "mean_error_sd": float(shift / sd),
                "mean_error_mcse": float(shift / combined),
                "sd_ratio": float(ratio),
                "quantile_error_sd": float(quantiles.max()),
                "rhat": float(checks.rhat(x)),
                "ess_bulk": float(checks.ess_bulk(x)),
                "heavy": heavy,
            }
        )
    share = float(np.mean([r["pass"] for r in rows]))
    return {"pass": share >= 0.95, "share": share, "quantities": rows}
