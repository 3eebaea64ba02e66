"""The contract as a study, for the dossier: every promise of ``check_twin`` is a figure of evidence."""

from __future__ import annotations

from gemel.core.advice import ShownOn
from gemel.evidence.run import Measured
from gemel.evidence.study import Context, Found, Study
from gemel.testing.checks import CHECKS, check_twin

__all__ = ["contract_study"]

_ELSEWHERE = ("calibration",)
"""Promises that have a study of their own, with more people."""


def _contract(context: Context) -> Found:
    chosen = [name for name in CHECKS if name not in _ELSEWHERE]
    report = check_twin(context.room, quick=True, only=chosen, seed=context.seed)
    on = ShownOn(kind="simulated", n=1, what="one person drawn from the model, and draws of the prior")
    figures = tuple(
        Measured(name=f"promise: {c.name}", value=float(c.passed), low=1.0, met=c.passed, shown_on=on, note=c.message)
        for c in report.checks
    )
    return Found(figures)


def contract_study() -> Study:
    """Return the study that holds a twin to the contract of every twin: no look-ahead, abstention outside its domain, conservation, storage, ..."""
    return Study(
        "contract", "verification", "The promises of every twin are kept: no look-ahead, abstention, conservation, order of arrival, storage.",
        _contract, (1, 5), "code verification",
    )  # fmt: skip
