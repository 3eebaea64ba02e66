"""``gemel trial size --hazard-ratio``: events, and a prognosis of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gemel.cli.output import echo, print_json, print_table
from gemel.cli.trial.options import write_told

if TYPE_CHECKING:
    from gemel.trials.prognosis import Prognosis, PrognosisBundle

__all__ = ["event_options", "learnt_of_times", "run_events"]

F = TypeVar("F", bound=Callable[..., Any])


def event_options(function: F) -> F:
    """Add what the size of a trial with times to an event asks for."""
    for option in (
        click.option("--hazard-ratio", type=float, help="To be detected, in place of --effect: the size is in events."),
        click.option("--event-share", type=float, help="Of the patients who have the event within the trial; with it, events become patients."),
        click.option("--time", metavar="COL", default="", help="Time in the history, in place of --outcome: the prognosis is of its martingale residuals."),
        click.option("--event-indicator", metavar="COL", default="", help="Of that time: 1 event, 0 censored."),
        click.option("--censor", metavar="COL", default="", help="The same as ADaM's CNSR: 0 event, any other whole number censored."),
    )[::-1]:  # fmt: skip
        function = option(function)
    return function


def learnt_of_times(columns: dict[str, Any], o: dict[str, Any]) -> Prognosis:
    """Learn a prognosis from historical times to an event."""
    from gemel.trials.survival import calibrate

    return calibrate(
        columns, event=o["event_indicator"], inputs=o["baseline"], **{k: o[k] for k in ("time", "censor", "categories", "subject", "missing", "seed")}
    )  # fmt: skip


def run_events(o: dict[str, Any], bundle: PrognosisBundle | None) -> None:
    """Say how many events a trial needs, without and with a prognosis as covariate."""
    from gemel.trials.survival import events_needed

    unread = [k for k in ("sd", "looks", "correlation_treated", "sd_treated", "enrolment_per_month", "cost_per_patient") if o[k]]
    if unread:
        named = ", ".join("--" + k.replace("_", "-") for k in unread)
        raise click.UsageError(f"--hazard-ratio gives events, and does not read {named}")
    correlation = o["correlation"] if o["correlation"] is not None else max(bundle.correlation, 0.0) if bundle else 0.0
    found = events_needed(
        o["hazard_ratio"],
        correlation=correlation,
        prognosis=bundle.hash[:16] if bundle else "",
        **{k: o[k] for k in ("correlation_deflation", "power", "alpha", "allocation", "event_share", "dropout")},
    )
    told: dict[str, Any] = {"events": asdict(found)}
    if bundle:
        told["prognosis"] = {
            k: getattr(bundle, k) for k in ("name", "hash", "locked", "learner", "n", "r_squared", "r_squared_interval", "calibration")
        }
    write_told(o["output"], told)
    if o["json_"]:
        return print_json(told)
    if bundle:
        low, high = bundle.r_squared_interval
        echo(
            f"prognosis {bundle.name} ({bundle.hash[:16]}), {bundle.learner}, {bundle.n} people: cross-validated R² {bundle.r_squared:.3f} ({low:.3f} to {high:.3f})"
        )
    echo(
        f"planned R² {found.r_squared:.3f}: the whole trial shrinks by {found.total_reduction:.1%}, or its control arm alone by {found.control_arm_reduction:.1%}"
    )
    rows = [
        ("without the prognosis", f"{found.unadjusted:.1f}", found.patients_unadjusted or "-"),
        ("with it", f"{found.events:.1f}", found.patients or "-"),
    ]
    print_table(
        f"events for a hazard ratio of {found.hazard_ratio:g}, power {found.power:.3f}", ("", "events", "to enrol"), rows, right=(1, 2)
    )
    echo(f"lineage {found.lineage}")
    return None
