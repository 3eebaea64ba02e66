"""Change the label: a score for need instead of one for its proxy, from the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.core.errors import EvidenceError
from gemel.evidence.fairness.proxy import ProxyAudit, audit_proxy

__all__ = ["change_label", "ridge_score"]


def ridge_score(
    features: Float[np.ndarray, "row column"], label: Float[np.ndarray, " row"], rows: np.ndarray, *, penalty: float = 1.0
) -> Float[np.ndarray, " row"]:
    """Return predictions of a label for all rows, learnt by ridge regression from some.

    Parameters
    ----------
    features : (row, column) standardised.
    label : (row,) finite on the rows that are learnt from.
    rows : numbers of the rows that are learnt from.
    penalty : of the squared coefficients, not of the intercept.
    """
    y = np.asarray(label, float)[rows]
    if not np.isfinite(y).all() or len(y) < 2:
        raise EvidenceError(
            "a label that is learnt must be there", seen=f"{int((~np.isfinite(y)).sum())} of {len(y)} missing", fix="leave these rows out"
        )
    x = features[rows]
    middle = x.mean(axis=0)
    slope = np.linalg.solve((x - middle).T @ (x - middle) + penalty * np.eye(x.shape[1]), (x - middle).T @ (y - y.mean()))
    return y.mean() + (features - middle) @ slope


def change_label(
    score: Float[np.ndarray, " row"], need: Float[np.ndarray, " row"], group: Sequence[object], features: Float[np.ndarray, "row column"], *,
    patient: np.ndarray | None = None, seed: int = 0, **options: Any,
) -> ProxyAudit:  # fmt: skip
    """Learn a score for need from half of the people, and audit the other half before and after.

    Parameters
    ----------
    score, need, group : as for :func:`gemel.evidence.fairness.proxy.audit_proxy`.
    features : (row, column) standardised inputs, without the group.
    patient : (row,) who; no person is in both halves.
    options : of :func:`gemel.evidence.fairness.proxy.audit_proxy`.
    """
    known = np.isfinite(np.asarray(need, float))
    who = np.unique(np.arange(len(known)) if patient is None else patient, return_inverse=True)[1].reshape(-1)
    mine = np.random.default_rng(seed).permutation(int(who.max()) + 1)[who] < 0.5 * (who.max() + 1)
    learnt = ridge_score(features, need, np.flatnonzero(mine & known))
    show = ~mine
    totals = {name: np.asarray(v)[show] for name, v in (options.pop("totals", None) or {}).items()}
    return audit_proxy(
        np.asarray(score)[show], np.asarray(need)[show], np.asarray(group, object)[show], need_score=learnt[show], totals=totals,
        patient=None if patient is None else np.asarray(patient)[show], seed=seed, **options,
    )  # fmt: skip
