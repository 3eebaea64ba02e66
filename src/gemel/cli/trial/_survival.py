"""``gemel trial analyse --time``: times to an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gemel.cli.trial.options import read_bundle, read_table, told_of

if TYPE_CHECKING:
    from gemel.trials.adjust.base import Result

__all__ = ["TIMES", "run_times", "time_options"]

TIMES = ("logrank", "hazard", "rmst")
"""Of times to an event."""

F = TypeVar("F", bound=Callable[..., Any])


def time_options(function: F) -> F:
    """Add what an analysis of times to an event asks for."""
    for option in (
        click.option("--time", metavar="COL", default="", help="Of times to an event: when it happened or the patient was censored; in place of --outcome."),
        click.option("--event-indicator", metavar="COL", default="", help="Of times to an event: 1 event, 0 censored."),
        click.option("--censor", metavar="COL", default="", help="The same as ADaM's CNSR: 0 event, any other whole number censored."),
        click.option("--tau", type=float, help="Horizon of restricted means, unit of the time; left out, taken from the data and flagged."),
        click.option("--small-sample", is_flag=True, help="Let the variance of logrank and hazard know that slopes were estimated; the published formula does not."),
    )[::-1]:  # fmt: skip
        function = option(function)
    return function


def run_times(asked: dict[str, Any], o: dict[str, Any]) -> tuple[list[Result], dict[str, Any]]:
    """Analyse times to an event."""
    from gemel.core.errors import DataError
    from gemel.trials.survival import analyse_survival, kaplan_meier, survival_data
    from gemel.trials.survival.analysis import SUMMARIES

    if not o["time"] or bool(o["event_indicator"]) == bool(o["censor"]):
        raise DataError(
            f"{o['method']} needs to know when and what",
            seen=f"--time {o['time'] or 'left out'}, --event-indicator {o['event_indicator'] or 'left out'}, --censor {o['censor'] or 'left out'}",
            expected="--time COL, and --event-indicator COL (1 event) or --censor COL (ADaM's CNSR, 0 event)",
        )
    if o["small_sample"] and o["code"]:
        raise click.UsageError("programs in R and SAS do not know --small-sample")
    bundle = read_bundle(o["prognosis"])
    columns = read_table(o["data"], o["where"])
    data = survival_data(
        columns,
        **{k: o[k] for k in ("time", "censor", "arm", "subject", "baseline", "categories", "strata", "later", "missing", "missing_outcome", "first_patient_in", "unblinded")},
        event=o["event_indicator"],
        reference=asked.get("reference", ""),
        prognosis_inputs=tuple(i.name for i in bundle.inputs) if bundle else (),
    )  # fmt: skip
    reference = asked.get("reference", data.trial.arms[0])
    treatments = [asked["treatment"]] if "treatment" in asked else [a for a in data.trial.arms if a != reference]
    asked = {"summary": SUMMARIES[o["method"]].value} | asked | {"reference": reference}
    results = [
        analyse_survival(
            data,
            asked | {"treatment": treatment},
            o["method"],
            prognosis=bundle,
            planned_r_squared=o["planned_r_squared"],
            strata=o["strata"],
            tau=o["tau"],
            small_sample=o["small_sample"],
            level=o["level"],
        )
        for treatment in treatments
    ]
    curves = [
        {"arm": c.name, "events": int(c.events.sum()), "median": c.quantile(), "last": c.last, "time": c.times, "survival": c.survival, "variance": c.variance}
        for c in kaplan_meier(data)
    ]  # fmt: skip
    return results, told_of(results, data.trial, asked) | {"curves": curves}
