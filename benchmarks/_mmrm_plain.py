"""The textbook MMRM: unstructured REML by Fisher scoring over subjects, one matrix at a time. What the patterns and Newton steps are measured against."""

from __future__ import annotations

import numpy as np


def plain_scoring(
    who: np.ndarray, when: np.ndarray, x: np.ndarray, y: np.ndarray, visits: int, *, steps: int = 100
) -> tuple[float, np.ndarray, int]:
    """Return -2 restricted log likelihood, mean coefficients and iterations."""
    rows, columns = np.triu_indices(visits)
    units = []
    for a, b in zip(rows, columns, strict=True):
        unit = np.zeros((visits, visits))
        unit[a, b] = unit[b, a] = 1.0
        units.append(unit)
    people = [np.flatnonzero(who == i) for i in np.unique(who)]
    n, p = x.shape

    def evaluate(sigma: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, list[np.ndarray]] | None:
        if np.linalg.eigvalsh(sigma)[0] <= 0:
            return None
        information, score, square, determinant, weights = np.zeros((p, p)), np.zeros(p), 0.0, 0.0, []
        for at in people:
            own = sigma[np.ix_(when[at], when[at])]
            w = np.linalg.inv(own)
            weights.append(w)
            information += x[at].T @ w @ x[at]
            score += x[at].T @ w @ y[at]
            square += y[at] @ w @ y[at]
            determinant += np.linalg.slogdet(own)[1]
        beta = np.linalg.solve(information, score)
        value = determinant + np.linalg.slogdet(information)[1] + square - score @ beta + (n - p) * np.log(2 * np.pi)
        return float(value), beta, np.linalg.inv(information), weights

    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    sigma = np.diag([np.mean(residual[when == v] ** 2) for v in range(visits)])
    at_sigma = evaluate(sigma)
    assert at_sigma is not None
    for iteration in range(1, steps + 1):
        value, beta, phi, weights = at_sigma
        gradient, hessian = np.zeros(len(units)), np.zeros((len(units), len(units)))
        for at, w in zip(people, weights, strict=True):
            r = y[at] - x[at] @ beta
            spread = np.outer(r, r) + x[at] @ phi @ x[at].T
            slope = w - w @ spread @ w
            turned = [w @ unit[np.ix_(when[at], when[at])] for unit in units]
            gradient += [np.sum(slope * unit[np.ix_(when[at], when[at])]) for unit in units]
            flat = np.stack([t.ravel() for t in turned])
            hessian += flat @ np.stack([t.T.ravel() for t in turned]).T
        step = -np.linalg.solve(hessian, gradient)
        if -gradient @ step < 1e-9:
            return value, beta, iteration
        size = 1.0
        while True:
            tried = evaluate(sigma + size * np.einsum("t,tab->ab", step, np.stack(units)))
            if tried is not None and tried[0] <= value + 1e-12 * abs(value):
                break
            size /= 2
        sigma = sigma + size * np.einsum("t,tab->ab", step, np.stack(units))
        at_sigma = tried
    raise RuntimeError("plain scoring did not end")
