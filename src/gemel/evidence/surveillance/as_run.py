"""A watch as evidence: what the rows on surveillance of a twin are computed from."""

from __future__ import annotations

from typing import Literal

from gemel.core.advice import ShownOn
from gemel.evidence.run import EvidenceRun, Measured
from gemel.evidence.surveillance.watch import Watch

__all__ = ["watch_run"]


def watch_run(
    watch: Watch, *, twin: str, model_version: str, model_hash: str, open_incidents: int, kind: Literal["real", "replayed", "simulated"] = "replayed", command: str = ""
) -> EvidenceRun:  # fmt: skip
    """Return the run of a watch over an installed twin, made at the moment that it looks back from.

    A watch meets nothing by being silent: its figures are counts, without limits, but for the share of missing outcomes.

    Parameters
    ----------
    model_hash : :func:`gemel.evidence.fingerprint.model_hash`.
    open_incidents : that nobody has closed.
    """
    people = ShownOn(kind=kind, n=len(set(watch.log.patient.tolist())), what="people in the log")
    due = watch.known + watch.missing
    missing = watch.missing / due if due else 0.0
    figures = (
        Measured(name="outcomes watched", value=watch.known, shown_on=people), Measured(name="charts that ring", value=watch.ringing_charts, shown_on=people),
        Measured(name="outcomes between false alarms, wanted", value=watch.settings.run_length, shown_on=people),
        Measured(name="alarms", value=len(watch.alarms), shown_on=people), Measured(name="incidents open", value=open_incidents, shown_on=people),
        Measured(name="share of due outcomes that are missing", value=missing, high=0.1, met=missing <= 0.1, shown_on=people),
    )  # fmt: skip
    return EvidenceRun(
        kind="surveillance", twin=twin, study="surveillance", claim="predictions and their outcomes were watched", model_version=model_version, model_hash=model_hash,
        data_hash=watch.log.hash, command=command, settings={"release": watch.release.id if watch.release else "", "lineage": watch.lineage}, time=watch.as_of, figures=figures,
    )  # fmt: skip
