"""The same eight posteriors in PyMC, sampled by nutpie: run with the Python of the peer's own environment.

    PEER_PYTHON benchmarks/_peer_nutpie.py NAME DATA_FOLDER OUT.npz DRAWS TUNE SEED

Writes draws ``quantity -> (chain, draw)`` and the CPU-seconds of compiling and of sampling. Imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import nutpie
import pymc as pm
import pytensor.tensor as pt
from pytensor import scan


def arK(d):
    y, k = np.asarray(d["y"], float), int(d["K"])
    lags = np.stack([y[k - i - 1 : len(y) - i - 1] for i in range(k)], axis=1)
    alpha, beta, sigma = pm.Normal("alpha", 0, 10), pm.Normal("beta", 0, 10, shape=k), pm.HalfCauchy("sigma", 2.5)
    pm.Normal("y", alpha + lags @ beta, sigma, observed=y[k:])


def eight_schools(d):
    mu, tau, eta = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5), pm.Normal("eta", 0, 1, shape=8)
    theta = pm.Deterministic("theta", mu + tau * eta)
    pm.Normal("y", theta, np.asarray(d["sigma"], float), observed=np.asarray(d["y"], float))


def covariance(d, alpha, rho):
    x = np.asarray(d["x"], float)
    return alpha**2 * pt.exp(-0.5 * ((x[:, None] - x[None, :]) / rho) ** 2)


def gp_regr(d):
    rho, alpha, sigma = pm.Gamma("rho", 25, 4), pm.HalfNormal("alpha", 2), pm.HalfNormal("sigma", 1)
    pm.MvNormal("y", np.zeros(11), cov=covariance(d, alpha, rho) + sigma * np.eye(11), observed=np.asarray(d["y"], float))


def gp_pois_regr(d):
    rho, alpha, white = pm.Gamma("rho", 25, 4), pm.HalfNormal("alpha", 2), pm.Normal("white", 0, 1, shape=11)
    factor = pt.linalg.cholesky(covariance(d, alpha, rho) + 1e-10 * np.eye(11))
    f = pm.Deterministic("f", factor @ white)
    pm.Poisson("k", pt.exp(f), observed=np.asarray(d["k"]))


def lotka_volterra(d):
    y, first = np.asarray(d["y"], float), np.asarray(d["y_init"], float)
    location, scale = np.array([1, 0.05, 1, 0.05]), np.array([0.5, 0.05, 0.5, 0.05])
    theta = pm.TruncatedNormal("theta", location, scale, lower=0, shape=4)
    z_init = pm.LogNormal("z_init", np.log(10), 1, shape=2)
    sigma = pm.LogNormal("sigma", -1, 1, shape=2)

    def slope(s, th):
        u, v = pt.exp(s[0]), pt.exp(s[1])
        return pt.stack([th[0] - th[1] * v, -th[2] + th[3] * u])

    def step(s, th):
        h = 1 / 8
        k1 = slope(s, th)
        k2 = slope(s + h / 2 * k1, th)
        k3 = slope(s + h / 2 * k2, th)
        k4 = slope(s + h * k3, th)
        return s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    path = scan(step, outputs_info=pt.log(z_init), non_sequences=[theta], n_steps=8 * len(y), strict=True, return_updates=False)
    pm.LogNormal("first", pt.log(z_init), sigma, observed=first)
    pm.LogNormal("y", path[7::8], sigma, observed=y)


def mixture(d):
    y = np.asarray(d["y"], float)
    mu = pm.Normal("mu", 0, 2, shape=2, transform=pm.distributions.transforms.ordered, initval=np.array([-1.0, 1.0]))
    sigma, theta = pm.HalfNormal("sigma", 2, shape=2), pm.Beta("theta", 5, 5)
    parts = pm.logp(pm.Normal.dist(mu, sigma), y[:, None])
    pm.Potential("y", pt.logaddexp(pt.log(theta) + parts[:, 0], pt.log1p(-theta) + parts[:, 1]).sum())


def mesquite(d):
    a, b, h, total, density, group, weight = (
        np.asarray(d[k], float) for k in ("diam1", "diam2", "canopy_height", "total_height", "density", "group", "weight")
    )
    design = np.stack([np.ones_like(a), np.log(a * b * h), np.log(a * b), np.log(a / b), np.log(total), np.log(density), group], axis=1)
    beta = pm.Flat("beta", shape=7)
    sigma = pm.HalfFlat("sigma")
    pm.Normal("y", design @ beta, sigma, observed=np.log(weight))


def hidden_markov(d):
    u, v = np.asarray(d["u"], float), np.asarray(d["v"], float)
    theta1, theta2 = pm.Dirichlet("theta1", np.array([4.0, 2.0])), pm.Dirichlet("theta2", np.array([2.0, 4.0]))
    phi_z, rate_z = pm.Flat("phi_z", shape=2, initval=np.zeros(2)), pm.Flat("rate_z", shape=2, initval=np.zeros(2))
    phi, rate = pm.Deterministic("phi", pt.cumsum(pt.exp(phi_z))), pm.Deterministic("lambda", pt.cumsum(pt.exp(rate_z)))
    location = np.array([0.0, 3.0])
    pm.Potential("rates", -0.5 * (((phi - location) ** 2).sum() + ((rate - location) ** 2).sum()) + phi_z.sum() + rate_z.sum())
    transition = pt.log(pt.stack([theta1, theta2]))
    emission = pt.log(phi) - phi * u[:, None] + pt.log(rate) - rate * v[:, None]

    def log_sum(x):  # inside a scan PyTensor does not put its own in the form that cannot underflow
        top = x.max(axis=0)
        return pt.log(pt.exp(x - top).sum(axis=0)) + top

    def forward(e, a, t):
        return log_sum(a[:, None] + t) + e

    path = scan(forward, sequences=[emission[1:]], outputs_info=emission[0], non_sequences=[transition], strict=True, return_updates=False)
    pm.Potential("y", log_sum(path[-1]))


MODELS = {
    "arK-arK": (arK, "arK"),
    "eight_schools-eight_schools_noncentered": (eight_schools, "eight_schools"),
    "gp_pois_regr-gp_regr": (gp_regr, "gp_pois_regr"),
    "gp_pois_regr-gp_pois_regr": (gp_pois_regr, "gp_pois_regr"),
    "hudson_lynx_hare-lotka_volterra": (lotka_volterra, "hudson_lynx_hare"),
    "low_dim_gauss_mix-low_dim_gauss_mix": (mixture, "low_dim_gauss_mix"),
    "mesquite-logmesquite_logvas": (mesquite, "mesquite"),
    "bball_drive_event_0-hmm_drive_0": (hidden_markov, "bball_drive_event_0"),
}


def main() -> None:
    name, folder, out, draws, tune, seed = sys.argv[1:]
    build, source = MODELS[name]
    with zipfile.ZipFile(Path(folder) / "credibility" / "posteriordb" / "data" / f"{source}.json.zip") as z:
        d = json.loads(z.read(z.namelist()[0]))
    begin = time.process_time()
    with pm.Model() as model:
        build(d)
    compiled = nutpie.compile_pymc_model(model, default_initialization_strategy="support_point")
    compiling = time.process_time() - begin
    begin = time.process_time()
    trace = nutpie.sample(compiled, draws=int(draws), tune=int(tune), chains=4, seed=int(seed), progress_bar=False)
    sampling = time.process_time() - begin
    arrays = {"cpu.compile": np.array(compiling), "cpu.sample": np.array(sampling)}
    for key in trace.posterior.data_vars:
        value = np.asarray(trace.posterior[key])
        if value.ndim == 2:
            arrays[str(key)] = value
        else:
            arrays |= {f"{key}[{i + 1}]": value[:, :, i] for i in range(value.shape[2])}
    np.savez(out, **arrays)


if __name__ == "__main__":
    main()
