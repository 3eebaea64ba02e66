"""Restricted likelihood of repeated measures for many trials at once: unstructured covariance, by pattern of missingness, exact derivatives.

The formulas are those of :mod:`gemel.trials.mmrm.likelihood` with a leading axis of trials; parameters are the variances and covariances themselves. The
design is saturated by visit: every column has a coefficient per visit, so that ``X'WX`` is made of blocks ``W[a, b] * M[a, b]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["Moments", "Optimum", "maximise", "moments_of"]

CLOSE = 1e-10
"""``g' H^-1 g`` at which the search ends, as in :mod:`gemel.trials.mmrm.scoring`."""
SINGULAR = 1e-7
"""Smallest eigenvalue of a correlation matrix below which an optimum is none."""


@dataclass(frozen=True)
class Moments:
    """Sums of products by pattern.

    Parameters
    ----------
    seen : (pattern, visit) whether the pattern has the visit.
    subjects : (trial, pattern) how many patients have it.
    products : (trial, pattern, visit, visit, column, column) ``sum_i z_ia z_ib'`` with the response as last column.
    """

    seen: Bool[np.ndarray, "pattern visit"]
    subjects: Float[np.ndarray, "trial pattern"]
    products: Float[np.ndarray, "trial pattern visit visit column column"]

    def take(self, which: np.ndarray) -> Moments:
        """Return some of the trials."""
        return Moments(self.seen, self.subjects[which], self.products[which])


@dataclass(frozen=True)
class Optimum:
    """Where the search ended, per trial; ``converged`` says whether that is an optimum inside the range of the parameters.

    Parameters
    ----------
    beta : (trial, visit, column). ``inverse``: (trial, p, p) of ``X'WX``, visits outermost.
    hessian : (trial, parameter, parameter) of -2 log likelihood. ``cross``: (trial, parameter, p, p), ``X'W E W X``.
    """

    converged: Bool[np.ndarray, " trial"]
    sigma: Float[np.ndarray, "trial visit visit"]
    beta: Float[np.ndarray, "trial visit column"]
    inverse: Float[np.ndarray, "trial p p"]
    hessian: Float[np.ndarray, "trial parameter parameter"]
    cross: Float[np.ndarray, "trial parameter p p"]
    steps: int


def moments_of(z: list[np.ndarray], y: Float[np.ndarray, "trial patient visit"], seen: Bool[np.ndarray, "trial patient visit"]) -> Moments:
    """Sum products by pattern.

    Parameters
    ----------
    z : columns, each (trial, patient), or (trial, patient, visit) where it changes with the visit.
    y, seen : response, and where it was observed.
    """
    trials, _, visits = y.shape
    code = seen @ (1 << np.arange(visits))
    known = np.unique(code)
    known = known[known > 0]
    columns, places = [], []
    for column in [*z, np.where(seen, y, 0.0)]:
        wide = column[..., None] if column.ndim == 2 else column
        places.append(len(columns) + np.arange(visits) * (wide.shape[2] > 1))
        columns += [wide[..., i] for i in range(wide.shape[2])]
    table = np.stack(columns, axis=2)
    at = np.stack(places, axis=1)  # (visit, column)
    patterns = (known[:, None] >> np.arange(visits)) & 1 == 1
    products = np.empty((trials, len(known), visits, visits, len(z) + 1, len(z) + 1))
    subjects = np.empty((trials, len(known)))
    for k, which in enumerate(known):
        mine = (code == which).astype(np.float64)
        subjects[:, k] = mine.sum(axis=1)
        gram = np.swapaxes(table * mine[..., None], 1, 2) @ table
        products[:, k] = gram[:, at[:, None, :, None], at[None, :, None, :]]
    return Moments(patterns, subjects, products)


def _inverse(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inverse, log determinant and whether it is positive definite, of (a, b, trial) symmetric matrices by Cholesky, all trials at once."""
    m, trials = len(matrix), matrix.shape[2]
    root, back = np.zeros_like(matrix), np.zeros_like(matrix)
    good, logs = np.ones(trials, bool), np.zeros(trials)
    for j in range(m):
        pivot = matrix[j, j] - (root[j, :j] ** 2).sum(axis=0)
        good &= pivot > 1e-12 * np.abs(matrix[j, j])
        pivot = np.where(good, pivot, 1.0)
        logs += np.log(pivot)
        root[j, j] = np.sqrt(pivot)
        for i in range(j + 1, m):
            root[i, j] = (matrix[i, j] - (root[i, :j] * root[j, :j]).sum(axis=0)) / root[j, j]
    for j in range(m):
        back[j, j] = 1 / root[j, j]
        for i in range(j + 1, m):
            back[i, j] = -(root[i, j:i] * back[j:i, j]).sum(axis=0) / root[i, i]
    return np.einsum("cat,cbt->abt", back, back), logs, good


@dataclass(frozen=True)
class _Point:
    value: np.ndarray
    weight: np.ndarray  # (trial, pattern, visit, visit)
    beta: np.ndarray
    inverse: np.ndarray
    good: np.ndarray


def _evaluate(data: Moments, sigma: np.ndarray) -> _Point:
    trials, visits = sigma.shape[:2]
    columns = data.products.shape[-1] - 1
    weight = np.zeros((trials, len(data.seen), visits, visits))
    value, good = np.zeros(trials), np.ones(trials, bool)
    turned = np.moveaxis(sigma, 0, 2)
    good &= _inverse(turned)[2]
    for k, seen in enumerate(data.seen):
        at = np.flatnonzero(seen)
        inverse, logs, fine = _inverse(turned[np.ix_(at, at)])
        weight[:, k, at[:, None], at[None]] = np.moveaxis(inverse, 2, 0)
        value += data.subjects[:, k] * logs
        good &= fine | (data.subjects[:, k] == 0)
    total = np.einsum("tkab,tkabqr->taqbr", weight, data.products)
    p = visits * columns
    xwx = total[:, :, :-1, :, :-1].reshape(trials, p, p)
    xwy = total[:, :, :-1, :, -1].sum(axis=3).reshape(trials, p)
    ywy = total[:, :, -1, :, -1].sum(axis=(1, 2))
    safe = np.where(good[:, None, None], xwx, np.eye(p))
    sign, logs = np.linalg.slogdet(safe)
    good &= (sign > 0) & np.isfinite(logs)
    inverse = np.linalg.inv(np.where(good[:, None, None], safe, np.eye(p)))
    inverse = (inverse + np.swapaxes(inverse, 1, 2)) / 2
    beta = (inverse @ xwy[..., None])[..., 0]
    value = np.where(good, value + logs + ywy - (xwy * beta).sum(axis=1), np.inf)
    return _Point(value, weight, beta.reshape(trials, visits, columns), inverse, good)


class _Pairs:
    """The elementary parameters of an unstructured covariance."""

    def __init__(self, visits: int) -> None:
        self.first, self.second = np.triu_indices(visits)
        self.double = np.where(self.first == self.second, 1.0, 2.0)
        self.fold = np.zeros((visits * visits, len(self.first)))
        at = np.arange(len(self.first))
        self.fold[self.first * visits + self.second, at] = self.fold[self.second * visits + self.first, at] = 1.0

    def matrices(self, theta: np.ndarray) -> np.ndarray:
        """Return symmetric matrices from (trial, parameter)."""
        visits = self.first.max() + 1
        return (theta @ self.fold.T).reshape(len(theta), visits, visits)

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return ``sum_k tr(J_p left_k J_q right_k)``, symmetrised: (trial, parameter, parameter)."""
        trials, patterns, m, _ = left.shape
        whole = np.swapaxes(left.reshape(trials, patterns, m * m), 1, 2) @ right.reshape(trials, patterns, m * m)
        whole = np.transpose(whole.reshape(trials, m, m, m, m), (0, 4, 1, 2, 3)).reshape(trials, m * m, m * m)
        found = self.fold.T @ whole @ self.fold
        return (found + np.swapaxes(found, 1, 2)) / 2


def _derivatives(data: Moments, at: _Point, pairs: _Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return gradient, observed Hessian, a positive definite stand-in for it, and ``X'W E W X``."""
    trials, visits, columns = at.beta.shape
    w, p, many = at.weight, visits * columns, len(pairs.first)
    c = np.concatenate([-at.beta, np.ones((trials, visits, 1))], axis=2)
    spread = np.einsum("taq,tbr->tabqr", c, c)
    spread[..., :-1, :-1] += at.inverse.reshape(trials, visits, columns, visits, columns).transpose(0, 1, 3, 2, 4)
    total = np.einsum("tkabqr,tabqr->tkab", data.products, spread)
    folded = w @ total @ w
    n = data.subjects[:, :, None, None]
    gradient = (n * w - folded).sum(axis=1)[:, pairs.first, pairs.second] * pairs.double
    expected = pairs.product(w, n * w)
    observed = pairs.product(w, 2 * folded - n * w)
    left, right = w[:, :, :, pairs.first], w[:, :, :, pairs.second]  # (trial, pattern, visit, parameter)
    turned = left[:, :, :, None] * right[:, :, None] + right[:, :, :, None] * left[:, :, None]
    turned *= np.where(pairs.first == pairs.second, 0.5, 1.0)
    # for each pair of visits (parameter x pattern) @ (pattern x column column)
    ahead = np.transpose(turned, (0, 2, 3, 4, 1))
    flat = np.moveaxis(data.products, 1, 3).reshape(trials, visits, visits, len(data.seen), -1)
    cross = (ahead @ flat).reshape(trials, visits, visits, many, columns + 1, columns + 1)
    cross = np.transpose(cross, (0, 3, 1, 4, 2, 5))  # trial, parameter, visit, column, visit, column
    h = np.einsum("tiaqbr,tbr->tiaq", cross[:, :, :, :-1], c).reshape(trials, many, p)
    x = np.ascontiguousarray(cross[:, :, :, :-1, :, :-1]).reshape(trials, many, p, p)
    spun = at.inverse[:, None] @ x
    both = spun.reshape(trials, many, -1) @ np.swapaxes(np.swapaxes(spun, 2, 3).reshape(trials, many, -1), 1, 2)
    observed = observed - 2 * h @ at.inverse @ np.swapaxes(h, 1, 2) - both
    return gradient, (observed + np.swapaxes(observed, 1, 2)) / 2, expected, x


def _start(data: Moments) -> np.ndarray:
    """Return mean products of ordinary least-squares residuals by pair of visits, made positive definite."""
    seen = np.einsum("ka,kb->kab", data.seen, data.seen).astype(float)
    total = np.einsum("kab,tkabqr->tabqr", seen, data.products)
    count = np.maximum(np.einsum("kab,tk->tab", seen, data.subjects), 1.0)
    visits = len(data.seen[0])
    own = total[:, np.arange(visits), np.arange(visits)]
    beta = np.linalg.solve(own[..., :-1, :-1] + 1e-12 * np.eye(own.shape[-1] - 1), own[..., :-1, -1:])[..., 0]
    c = np.concatenate([-beta, np.ones((*beta.shape[:2], 1))], axis=2)
    moments = np.einsum("taq,tabqr,tbr->tab", c, total, c) / count
    variance = np.maximum(np.diagonal(moments, axis1=1, axis2=2), 1e-12)
    scale = np.sqrt(variance[:, :, None] * variance[:, None])
    off = np.clip(moments / scale, -0.98, 0.98) * (1 - np.eye(visits))
    for _ in range(60):
        low = np.linalg.eigvalsh(np.eye(visits) + off)[:, 0] < 0.02
        if not low.any():
            break
        off[low] *= 0.9
    return (np.eye(visits) + off) * scale


def _scaled(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return matrices with a diagonal of size one, and what was divided by."""
    scale = np.sqrt(np.maximum(np.abs(np.diagonal(matrix, axis1=1, axis2=2)), 1e-300))
    return matrix / (scale[:, :, None] * scale[:, None]), scale


def _solve(hessian: np.ndarray, stand_in: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return Newton steps (scoring steps where the Hessian is not positive definite), ``g' H^-1 g``, where it was Newton's, and where there is a step."""
    matrix, scale = _scaled(hessian)
    newton = np.linalg.eigvalsh(matrix)[:, 0] > 1e-10
    fine = newton.copy()
    if not newton.all():
        matrix[~newton], scale[~newton] = _scaled(stand_in[~newton])
        fine[~newton] = np.linalg.eigvalsh(matrix[~newton])[:, 0] > 1e-12
        matrix[~fine] = np.eye(matrix.shape[1])
    half = np.linalg.solve(matrix, (gradient / scale)[..., None])[..., 0]
    return -half / scale, (half * gradient / scale).sum(axis=1), newton, fine


def maximise(data: Moments, *, iterations: int = 40) -> Optimum:
    """Find the largest restricted likelihood of every trial: Newton's steps, halved until the likelihood does not fall."""
    trials, visits = len(data.subjects), data.seen.shape[1]
    pairs, columns = _Pairs(visits), data.products.shape[-1] - 1
    p, many = visits * columns, len(pairs.first)
    sigma = _start(data)
    found = Optimum(
        np.zeros(trials, bool), sigma.copy(), np.full((trials, visits, columns), np.nan), np.full((trials, p, p), np.nan),
        np.full((trials, many, many), np.nan), np.full((trials, many, p, p), np.nan), 0,
    )  # fmt: skip
    active, part = np.arange(trials), data
    at, steps = _evaluate(part, sigma), 0
    for steps in range(iterations + 1):
        gradient, observed, expected, cross = _derivatives(part, at, pairs)
        usable = (
            at.good & np.isfinite(gradient).all(axis=1) & np.isfinite(observed).all(axis=(1, 2)) & np.isfinite(expected).all(axis=(1, 2))
        )
        for array in (observed, expected):
            array[~usable] = np.eye(many)
        gradient[~usable] = 0.0
        step, left, newton, fine = _solve(observed, expected, gradient)
        usable &= fine
        done = usable & newton & (left <= CLOSE)
        if done.any():
            scale = np.sqrt(np.diagonal(sigma, axis1=1, axis2=2))
            least = np.linalg.eigvalsh(sigma / (scale[:, :, None] * scale[:, None]))[:, 0]
            kept = done & (least >= SINGULAR)
            to = active[kept]
            found.converged[to], found.sigma[to], found.beta[to] = True, sigma[kept], at.beta[kept]
            found.inverse[to], found.hessian[to], found.cross[to] = at.inverse[kept], observed[kept], cross[kept]
        going = usable & ~done
        if not going.any() or steps == iterations:
            break
        active, part = active[going], part.take(going)
        sigma, step = sigma[going], step[going]
        before, size = at.value[going], np.ones(len(sigma))
        tried = sigma + pairs.matrices(step)
        at = _evaluate(part, tried)
        for _ in range(30):
            worse = ~(at.good & (at.value <= before + 1e-12 * np.abs(before)))
            if not worse.any():
                break
            size[worse] /= 2
            tried = sigma + pairs.matrices(step * size[:, None])
            again = _evaluate(part.take(worse), tried[worse])
            for name in vars(at):
                getattr(at, name)[worse] = getattr(again, name)
        else:
            at.good[worse] = False  # no descent: left out at the next round
        sigma = tried
    return Optimum(found.converged, found.sigma, found.beta, found.inverse, found.hessian, found.cross, steps)
