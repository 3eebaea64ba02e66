"""Evidence for change control from logs of predictions, of any model: the protocol's figures, overall and per subgroup, and the test of a roll-back."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import stats

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.change.gate import figure_name
from gemel.evidence.change.plan import ChangePlan
from gemel.evidence.change.snapshot import Snapshot
from gemel.evidence.run import EvidenceRun, Measured
from gemel.evidence.surveillance.prediction_log import PredictionLog
from gemel.evidence.surveillance.risk import fit_risk

__all__ = ["figures_of_log", "protocol_run", "rollback_run"]

Shown = Literal["proof", "phantom", "simulated", "replayed", "real"]


def _auroc(p: np.ndarray, y: np.ndarray) -> float:
    ranks, n = stats.rankdata(p), y.sum()
    if not 0 < n < len(y):
        return float("nan")
    return float((ranks[y == 1].sum() - n * (n + 1) / 2) / (n * (len(y) - n)))


def _of_events(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    found = {"Brier score": float(np.mean((p - y) ** 2)), "AUROC": _auroc(p, y), "observed to expected": float(y.sum() / p.sum()) if p.sum() else float("nan")}  # fmt: skip
    inside = (p > 0) & (p < 1)
    if inside.all():
        found["log score"] = float(-np.mean(np.log(np.where(y == 1, p, 1 - p))))
        try:
            found["calibration intercept"], found["calibration slope"] = fit_risk(np.log(p / (1 - p)), y).coefficients
        except EvidenceError:
            found["calibration slope"] = float("nan")
    return found


def _of_values(log: PredictionLog, rows: np.ndarray) -> dict[str, float]:
    n = log.numbers
    p, y = n["prediction"][rows], n["outcome"][rows]
    found = {"mean absolute error": float(np.abs(p - y).mean()), "root mean square error": float(np.sqrt(np.mean((p - y) ** 2))), "bias": float(np.mean(p - y))}  # fmt: skip
    if "lower" in n:
        found["coverage"] = float(np.mean((y >= n["lower"][rows]) & (y <= n["upper"][rows])))
        found["interval width"] = float(np.mean(n["upper"][rows] - n["lower"][rows]))
    if "crps" in n:
        found["CRPS"] = float(np.nanmean(n["crps"][rows])) if np.isfinite(n["crps"][rows]).any() else float("nan")
    return found


def figures_of_log(log: PredictionLog, *, subgroups: tuple[str, ...] = (), kind: Shown = "replayed") -> tuple[Measured, ...]:
    """Return performance overall and in each subgroup; a figure that cannot be computed is not there.

    Events: Brier score, log score, AUROC, observed to expected, calibration intercept and slope. Values: errors, coverage, interval width, CRPS.
    """
    known, found = log.known, []
    for group in ("", *subgroups):
        rows = np.flatnonzero(known & ((log.group == group) if group else True))
        if not len(rows):
            continue
        values = _of_events(log.numbers["prediction"][rows], log.numbers["outcome"][rows]) if log.kind == "event" else _of_values(log, rows)
        shown = ShownOn(kind=kind, n=len(rows), what="predictions with a known outcome")
        found += [Measured(name=figure_name(name, group), value=v, shown_on=shown) for name, v in values.items() if np.isfinite(v)]
    if not found:
        raise EvidenceError(
            "the log holds no prediction with a known outcome", expected="one or more", fix="wait for outcomes, or another log"
        )
    return tuple(found)


def protocol_run(
    log: PredictionLog, plan: ChangePlan, new: Snapshot, *, time: int, command: str = "", kind: Shown = "replayed"
) -> EvidenceRun:  # fmt: skip
    """Return the run of a plan's protocol on a log of the new version's predictions; it carries the hash of the criteria.

    Parameters
    ----------
    time : ns UTC, when it was made.
    kind : on whom it is shown.
    """
    return EvidenceRun(
        kind="validation", twin=new.manifest.id, study=plan.protocol.study, claim=f"the protocol of the change to {new.manifest.version}",
        model_version=new.manifest.version, model_hash=new.model_hash, data_hash=log.hash, command=command,
        settings={"criteria": plan.criteria_hash, "plan": plan.version}, time=time, figures=figures_of_log(log, subgroups=plan.protocol.subgroups, kind=kind),
    )  # fmt: skip


def rollback_run(
    before: PredictionLog, after: PredictionLog, old: Snapshot, new: Snapshot, *, time: int, tolerance: float = 0.0, kind: Shown = "replayed"
) -> EvidenceRun:  # fmt: skip
    """Return the run of a roll-back: predictions of the old version before the change, and again after going back, on the same rows.

    Parameters
    ----------
    tolerance : largest difference that is allowed; 0 asks for the same numbers.

    Raises
    ------
    EvidenceError
        When the rows are not the same.
    """
    if len(before) != len(after) or not np.array_equal(before.time, after.time) or not np.array_equal(before.patient, after.patient):
        raise EvidenceError(
            "a roll-back is tested on the same rows", seen=f"{len(before)} and {len(after)} rows", expected="same times and patients"
        )
    a, b = before.numbers["prediction"], after.numbers["prediction"]
    same = np.isnan(a) == np.isnan(b)
    difference = float(np.nanmax(np.abs(a - b), initial=0.0)) if same.all() else float(np.finfo(float).max)
    figure = Measured(
        name="largest difference of a prediction", value=difference, high=tolerance, met=difference <= tolerance,
        shown_on=ShownOn(kind=kind, n=len(before), what="predictions"),
    )  # fmt: skip
    return EvidenceRun(
        kind="rollback", twin=new.manifest.id, study="roll-back", claim=f"going back from {new.manifest.version} to {old.manifest.version} restores its predictions",
        model_version=old.manifest.version, model_hash=old.model_hash, data_hash=before.hash,
        settings={"from": new.manifest.version, "to": old.manifest.version}, time=time, figures=(figure,),
    )  # fmt: skip
