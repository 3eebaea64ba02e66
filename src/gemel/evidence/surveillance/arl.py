"""How long a chart runs before it rings: average run lengths by a Markov chain, and thresholds from the run length that is wanted.

The chain of Brook and Evans lies on [0, h] with ``t`` states of width ``d = 2 h / (2 t - 1)``, state 0 being the atom at zero. An increment of
``k + f`` cells (k whole, 0 <= f < 1) goes ``k`` cells with weight ``1 - f`` and ``k + 1`` with ``f`` (paired rounding): it keeps the mean of
every move, so that the answer is smooth in h. Rounding one way instead is wrong by up to 16 % with hundreds of states.

Away from state 0 the moves depend on the distance only: a Toeplitz system, solved by Levinson's recursion in O(t^2).

References
----------
Brook and Evans 1972, doi:10.1093/biomet/59.3.539. Steiner et al. 2000, doi:10.1093/biostatistics/1.4.441, eq. 2.3.
Knoth, Wittenberg and Gan 2019, doi:10.1002/sim.8104 (risk-adjusted CUSUM, paired rounding).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import optimize, special
from scipy.linalg import solve_toeplitz

from gemel.core.errors import EvidenceError
from gemel.evidence.surveillance.risk import fit_risk

__all__ = [
    "HIGHEST",
    "Increments",
    "as_probabilities",
    "chain_run_length",
    "chain_threshold",
    "chart_increments",
    "ewma_limit",
    "ewma_run_length",
    "flattened",
    "likelihood_increments",
    "normal_increments",
    "refitted_run_lengths",
    "run_length",
    "threshold",
]

HIGHEST = 1e8
"""The longest run length that is answered for: beyond it the solution of the chain loses digits."""


@dataclass(frozen=True)
class Increments:
    """What one observation adds to a chart: values and their probabilities, which sum to 1."""

    value: Float[np.ndarray, " n"]
    probability: Float[np.ndarray, " n"]


def as_probabilities(mix: ArrayLike) -> Float[np.ndarray, " case"]:
    """Return predicted probabilities, each strictly between 0 and 1.

    Raises
    ------
    EvidenceError
        With the first row (from 0) that is not; nothing is clipped.
    """
    p = np.atleast_1d(np.asarray(mix, float))
    if p.ndim != 1 or not len(p):
        raise EvidenceError("a mix of risks is one list of probabilities", seen=f"shape {p.shape}", expected="(case,), at least one")
    bad = np.flatnonzero(~((p > 0) & (p < 1)))
    if len(bad):
        raise EvidenceError(
            "a probability must lie strictly between 0 and 1",
            seen=f"{p[bad[0]]:g} in row {bad[0]} ({len(bad)} such rows)",
            expected="0 < p < 1",
            fix="repair the model that gave it: a certain forecast that is wrong once has infinite weight; nothing is clipped here",
        )
    return p


def chart_increments(
    mix: ArrayLike, *, ratio: float = 2.0, null_ratio: float = 1.0, true_ratio: float = 1.0, true_mix: ArrayLike | None = None
) -> Increments:
    """Return what one case adds to a risk-adjusted CUSUM, with its probabilities.

    Parameters
    ----------
    mix : (case,) probabilities that the chart is adjusted by.
    ratio, null_ratio : odds ratios R_A and R_0 of the log likelihood ratio.
    true_ratio : odds ratio R_Q by which outcomes truly come.
    true_mix : (case,) true probabilities before ``true_ratio``; those of the chart when left out.
    """
    p = as_probabilities(mix)
    if min(ratio, null_ratio, true_ratio) <= 0 or ratio == null_ratio:
        raise EvidenceError("odds ratios must be positive, and R_A another than R_0", seen=(ratio, null_ratio, true_ratio))
    q = p if true_mix is None else as_probabilities(true_mix)
    event = true_ratio * q / (1 - q + true_ratio * q)
    alive = np.log((1 - p + null_ratio * p) / (1 - p + ratio * p))
    dead = alive + np.log(ratio / null_ratio)
    return Increments(np.concatenate([dead, alive]), np.concatenate([event, 1 - event]) / len(p))


def likelihood_increments(mix: ArrayLike, alternative: ArrayLike, *, true_mix: ArrayLike | None = None) -> Increments:
    """Return what one case adds to a CUSUM that decides between two probabilities for each case.

    Parameters
    ----------
    mix, alternative : (case,) probabilities predicted, and under what the chart looks for.
    true_mix : (case,) by which outcomes truly come; ``mix`` when left out.
    """
    p, q = as_probabilities(mix), as_probabilities(alternative)
    t = p if true_mix is None else as_probabilities(true_mix)
    return Increments(np.concatenate([np.log(q / p), np.log1p(-q) - np.log1p(-p)]), np.concatenate([t, 1 - t]) / len(p))


def flattened(probability: ArrayLike, mix: ArrayLike, slope: float) -> Float[np.ndarray, " case"]:
    """Return probabilities whose logits are ``slope`` times as far apart, shifted so that the mix keeps its mean: what is true when predictions are too extreme.

    Parameters
    ----------
    probability : (case,) to be flattened.
    mix : (case,) of predictions, whose mean is kept.
    """
    p, all_ = as_probabilities(probability), as_probabilities(mix)
    logit = special.logit(all_)
    shift = optimize.brentq(lambda a: float(special.expit(a + slope * logit).mean() - all_.mean()), -60.0, 60.0)
    return special.expit(shift + slope * special.logit(p))


def normal_increments(allowance: float, *, shift: float = 0.0, points: int = 4001) -> Increments:
    """Return increments ``z - allowance`` of a CUSUM of standard normal scores whose mean is ``shift``.

    The normal is taken as a fine lattice from -8 to 8, each point with the probability of its cell.
    """
    z = np.linspace(-8.0, 8.0, points)
    edges = np.concatenate([[-np.inf], 0.5 * (z[1:] + z[:-1]), [np.inf]])
    return Increments(z + shift - allowance, np.diff(special.ndtr(edges)))


def _moves(increments: Increments, cell: float, states: int) -> np.ndarray:
    """Return the probability of each move from -states to +states cells; longer ones count as the longest."""
    moves = np.clip(increments.value / cell, -states, states)
    low = np.floor(moves)
    share = moves - low
    at = low.astype(int) + states
    size = 2 * states + 2
    return np.bincount(at, increments.probability * (1 - share), size) + np.bincount(at + 1, increments.probability * share, size)


def chain_run_length(increments: Increments, threshold: float, *, states: int = 600) -> float:
    """Return the average run length of ``C <- max(0, C + W)``, started at 0, until ``C > threshold``.

    Parameters
    ----------
    increments : distribution of W; independent from case to case.
    threshold : h, in the unit of W.
    states : t of the chain.

    Returns
    -------
    Cases until the alarm, on average; ``inf`` when no increment is positive.

    Raises
    ------
    EvidenceError
        For a threshold that is not positive.
    """
    if not (np.isfinite(threshold) and threshold > 0) or states < 3:
        raise EvidenceError("a chart needs a positive threshold and three states or more", seen=(threshold, states))
    if not (increments.value[increments.probability > 0] > 0).any():
        return float("inf")
    cell = 2 * threshold / (2 * states - 1)
    move = _moves(increments, cell, states)
    at = states
    below = np.cumsum(move)
    to_zero = below[at - np.arange(1, states)]  # from state i to the atom: a move of -i or further
    first_row, first_column = -move[at : at + states - 1].copy(), -move[at - np.arange(states - 1)]
    first_row[0] = first_column[0] = 1 - move[at]
    solved = solve_toeplitz((first_column, first_row), np.column_stack([np.ones(states - 1), to_zero]))
    up = move[at + 1 : at + states]
    return float((1 + up @ solved[:, 0]) / (1 - below[at] - up @ solved[:, 1]))


def chain_threshold(increments: Increments, run_length: float, *, states: int = 600, highest: float = HIGHEST) -> float:
    """Return the threshold whose average run length is the wanted one.

    Raises
    ------
    EvidenceError
        When the chart cannot reach it, with the range that it can.
    """
    positive = float(increments.probability[increments.value > 0].sum())
    if positive <= 0:
        raise EvidenceError("this chart never rings", seen="no increment is positive", expected="a ratio on the other side of 1")
    shortest = 1 / positive
    if not shortest < run_length <= highest:
        raise EvidenceError(
            "the chart cannot reach this run length",
            seen=f"{run_length:g} cases",
            expected=f"more than {shortest:.4g} (it rings at every step upward) and at most {highest:.3g}",
            fix="ask for a run length in this range",
        )
    return _root(lambda h: chain_run_length(increments, h, states=states), run_length, float(increments.value.max()))


def _root(length: Callable[[float], float], wanted: float, scale: float) -> float:
    """Return where a rising run length is the wanted one."""
    low = high = max(scale, 1e-12)
    for _ in range(60):
        if length(high) >= wanted:
            break
        low, high = high, 1.5 * high
    for _ in range(60):
        if length(low) < wanted:
            break
        low = low / 2
    return float(optimize.brentq(lambda h: np.log(length(h) / wanted), low, high, xtol=1e-9 * scale, rtol=1e-10))


def run_length(
    mix: ArrayLike,
    threshold: float,
    ratio: float = 2.0,
    true_ratio: float = 1.0,
    states: int = 600,
    *,
    null_ratio: float = 1.0,
    true_mix: ArrayLike | None = None,
) -> float:
    """Return the average number of cases until a risk-adjusted CUSUM rings.

    Parameters
    ----------
    mix : (case,) predicted probabilities; the next case is any of these.
    threshold : h.
    ratio, null_ratio : odds ratios R_A and R_0 between which the chart decides; below 1 it watches for improvement.
    true_ratio : odds ratio by which outcomes truly come: 1 in control.
    states : of the chain; 600 is enough.
    true_mix : (case,) true probabilities, where the model's are wrong.

    Raises
    ------
    EvidenceError
        For a probability of 0 or 1 or outside, with its row.

    References
    ----------
    Steiner et al. 2000, doi:10.1093/biostatistics/1.4.441.

    Examples
    --------
    >>> round(run_length([0.05], 2.0), 0) < round(run_length([0.05], 3.0), 0)
    True
    """
    return chain_run_length(
        chart_increments(mix, ratio=ratio, null_ratio=null_ratio, true_ratio=true_ratio, true_mix=true_mix), threshold, states=states
    )


def threshold(mix: ArrayLike, run_length: float, ratio: float = 2.0, *, null_ratio: float = 1.0, states: int = 600) -> float:
    """Return the threshold of a risk-adjusted CUSUM from its in-control run length, never by eye.

    Parameters
    ----------
    mix : (case,) predicted probabilities.
    run_length : cases between false alarms, on average, while the predictions are right.

    Raises
    ------
    EvidenceError
        When the chart cannot reach it, with the range that it can.
    """
    return chain_threshold(chart_increments(mix, ratio=ratio, null_ratio=null_ratio, true_ratio=null_ratio), run_length, states=states)


def ewma_run_length(increments: Increments, limit: float, weight: float, *, states: int = 201) -> float:
    """Return the average run length of ``z <- (1 - weight) z + weight e`` from 0 until ``|z| > limit``.

    Parameters
    ----------
    increments : distribution of e, with mean near 0.
    limit : in the unit of e.
    weight : of the newest case, in (0, 1].
    states : odd, of the chain over [-limit, limit].
    """
    if not 0 < weight <= 1 or not limit > 0:
        raise EvidenceError("an EWMA needs a weight in (0, 1] and a positive limit", seen=(weight, limit))
    cell = 2 * limit / states
    centre = (np.arange(states) - states // 2) * cell
    q = np.empty((states, states))
    for i, here in enumerate(centre):
        place = ((1 - weight) * here + weight * increments.value) / cell + states // 2
        low = np.floor(place)
        share, at = place - low, np.clip(low, -2, states).astype(int) + 2
        full = np.bincount(at, increments.probability * (1 - share), states + 4) + np.bincount(
            at + 1, increments.probability * share, states + 4
        )
        q[i] = full[2 : states + 2]
    return float(np.linalg.solve(np.eye(states) - q, np.ones(states))[states // 2])


def ewma_limit(increments: Increments, run_length: float, weight: float, *, states: int = 151) -> float:
    """Return the limit of an EWMA whose average run length is the wanted one.

    Raises
    ------
    EvidenceError
        When the chart cannot reach it, with the range that it can.
    """
    spread = float(np.sqrt(increments.probability @ increments.value**2 * weight / (2 - weight)))
    ring = lambda limit: ewma_run_length(increments, limit, weight, states=states)  # noqa: E731  one line, used twice
    shortest, longest = ring(0.05 * spread), ring(8 * spread)
    if not shortest < run_length < longest:
        raise EvidenceError(
            "the chart cannot reach this run length", seen=f"{run_length:g} cases", expected=f"between {shortest:.3g} and {longest:.3g}"
        )
    return float(optimize.brentq(lambda x: np.log(ring(x) / run_length), 0.05 * spread, 8 * spread, rtol=1e-6))


def refitted_run_lengths(
    covariates: ArrayLike,
    outcome: ArrayLike,
    threshold: float,
    *,
    resamples: int = 200,
    ratio: float = 2.0,
    seed: int = 0,
    states: int = 300,
) -> Float[np.ndarray, " resample"]:
    """Return the true in-control run length that a chart would have, had its risk model been fitted to other people of the same kind.

    The fit to all cases is taken as the truth; each resample of cases gives a risk model and so a chart, whose run length under that truth
    is computed. A run length without this distribution promises more than the number of events can carry.

    Parameters
    ----------
    covariates, outcome : as in :func:`gemel.evidence.surveillance.risk.fit_risk`.
    threshold : h of the chart.
    resamples : of cases, with replacement.
    seed : of the resampling.

    Returns
    -------
    (resample,) cases, ascending.
    """
    truth = fit_risk(covariates, outcome).probability(covariates)
    rng, n = np.random.default_rng(seed), len(truth)
    found = []
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, n, n), minlength=n)
        model = fit_risk(covariates, outcome, weights=weights)
        found.append(run_length(model.probability(covariates), threshold, ratio, states=states, true_mix=truth))
    return np.sort(np.asarray(found))
