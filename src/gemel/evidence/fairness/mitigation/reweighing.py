"""Reweigh: train as if group and outcome had nothing to do with each other.

References
----------
Kamiran and Calders 2012, doi:10.1007/s10115-011-0463-8, algorithm 3.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gemel.core.errors import EvidenceError
from gemel.evidence.logistic import newton_logistic

__all__ = ["logistic", "reweighing"]


def reweighing(outcome: Float[np.ndarray, " row"], group: np.ndarray) -> Float[np.ndarray, " row"]:
    """Return weights ``P(group) P(outcome) / P(group, outcome)``: under them, outcome and group are independent and both as frequent as before.

    Examples
    --------
    >>> w = reweighing(np.array([1, 1, 1, 0, 1, 0, 0, 0]), np.array(list("aaaabbbb")))
    >>> [round(float(v), 2) for v in w]
    [0.67, 0.67, 0.67, 2.0, 2.0, 0.67, 0.67, 0.67]
    """
    y, names = np.asarray(outcome, float), np.unique(group, return_inverse=True)[1].reshape(-1)
    cell = 2 * names + (y == 1)
    joint, by_group, by_outcome = np.bincount(cell), np.bincount(names), np.bincount((y == 1).astype(int), minlength=2)
    return by_group[names] * by_outcome[(y == 1).astype(int)] / (len(y) * joint[cell])


def logistic(
    features: Float[np.ndarray, "row column"], outcome: Float[np.ndarray, " row"], rows: np.ndarray, *, weights: np.ndarray | None = None, ridge: float = 1.0
) -> Float[np.ndarray, " row"]:  # fmt: skip
    """Return probabilities for all rows from a logistic regression on some, with ``ridge`` times half the squared slopes as penalty.

    Parameters
    ----------
    features : (row, column) standardised.
    outcome : (row,) 0 or 1 on the rows that are learnt from.
    rows : numbers of the rows that are learnt from.
    weights : (learnt row,) left out, one each.
    """
    x = np.column_stack([np.ones(len(features)), features])
    y = np.asarray(outcome, float)[rows]
    w = np.ones(len(rows)) if weights is None else np.asarray(weights, float)
    found = newton_logistic(x[rows], y, w, np.zeros(x.shape[1]), ridge=ridge)
    if found is None:
        raise EvidenceError(
            "the outcomes cannot be learnt", seen=f"{int(y.sum())} events in {len(y)} rows", expected="both kinds, not split perfectly"
        )
    return 1 / (1 + np.exp(-np.clip(x @ found[0], -30, 30)))
