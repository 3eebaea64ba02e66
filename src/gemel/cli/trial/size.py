"""``gemel trial size``: how many patients a trial needs, without and with a prognosis as covariate."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, Numbers, seed_option
from gemel.cli.output import atomic_write, echo, print_json, print_table
from gemel.cli.trial._events import event_options, learnt_of_times, run_events
from gemel.cli.trial.options import Names, Pair, read_bundle, read_table, shared, write_told

if TYPE_CHECKING:
    from gemel.trials.prognosis import PrognosisBundle
    from gemel.trials.sizing import Size

__all__ = ["size"]

SIZING = ("asymptotic", "guenther-schouten", "exact")
BOUNDARIES = ("obrien-fleming", "pocock", "spend-obrien-fleming", "spend-pocock", "spend-hwang-shih-decani")


@click.command("size")
@click.option("--effect", type=float, help="To be detected, unit of the outcome.")
@event_options
@click.option("--sd", type=float, help="Standard deviation of the outcome; left out, that of the prognosis' history.")
@click.option("--sd-treated", type=float, help="The same under treatment, where it differs.")
@click.option("--correlation", type=float, help="Of prognosis and outcome within arm; left out, that of the history, or 0.")
@click.option("--correlation-treated", type=float, help="The same under treatment, where it differs.")
@click.option("--correlation-deflation", type=float, default=1.0, show_default=True, help="Multiplies the correlation, not R².")
@click.option("--sd-inflation", type=float, default=1.0, show_default=True, help="Multiplies the standard deviation, not the variance.")
@click.option("--allocation", type=float, default=1.0, show_default=True, help="Treated per control patient.")
@click.option("--power", type=float, default=0.9, show_default=True, help="To be reached.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Two-sided level.")
@click.option("--margin", type=float, default=0.0, show_default=True, help="Subtracted from the effect.")
@click.option("--dropout", type=float, default=0.0, show_default=True, help="Share of patients without an outcome.")
@click.option("--method", type=click.Choice(SIZING), default="asymptotic", show_default=True, help="How power is computed.")
@click.option(
    "--convention",
    type=click.Choice(("gemel", "postcard")),
    default="gemel",
    show_default=True,
    help="postcard: R² is deflated and the variance inflated, to compare.",
)
@click.option("--r-squared-deflation", type=float, default=1.0, show_default=True, help="Multiplies R²; with --convention postcard.")
@click.option(
    "--variance-inflation", type=float, default=1.0, show_default=True, help="Multiplies the variance; with --convention postcard."
)
@click.option("--looks", type=Numbers, help="Information fractions of group-sequential looks, rising to 1: 0.5,1.")
@click.option(
    "--boundary",
    "family",
    type=click.Choice(BOUNDARIES),
    default="spend-obrien-fleming",
    show_default=True,
    help="Of the looks, two-sided.",
)
@click.option("--gamma", type=float, default=-4.0, show_default=True, help="Of spend-hwang-shih-decani.")
@click.option("--history", type=FilePath, help="A table of historical controls, from which a prognosis is learnt.")
@click.option("--outcome", metavar="COL", help="Outcome in the history.")
@click.option("--baseline", type=Names(), help="Inputs in the history, with commas.")
@click.option("--category", "categories", type=Names(), default=(), help="Inputs whose numbers are names.")
@click.option("--subject", metavar="COL", default="", help="Who, in the history: folds keep a subject's rows together.")
@click.option("--where", type=Pair(empty=True), multiple=True, help="Keep rows of the history whose column equals a value: ARM=Placebo.")
@click.option(
    "--missing",
    type=click.Choice(("refuse", "mean")),
    default="refuse",
    show_default=True,
    help="Rule for missing inputs, in history and trial.",
)
@click.option("--enrolment-per-month", type=float, help="Your own rate, patients: months are printed.")
@click.option("--follow-up-months", type=float, default=0.0, show_default=True, help="From the last patient in to the last outcome.")
@click.option("--cost-per-patient", type=float, help="Your own price: money is printed.")
@click.option("--currency", default="", help="Of the price, as it is to be printed.")
@click.option("--lock", type=FilePath, help="Lock the prognosis into this file, with today's date.")
@seed_option
@shared
def size(**o: Any) -> None:
    """Say how many patients a trial needs, without and with a prognosis as covariate."""
    from gemel.core.errors import DataError
    from gemel.trials.sizing import Assumptions
    from gemel.trials.sizing import size as size_

    if (o["effect"] is None) == (o["hazard_ratio"] is None):
        raise click.UsageError("Missing option '--effect', or '--hazard-ratio' for times to an event: one of the two")
    bundle = _learnt(o) if o["history"] else read_bundle(o["prognosis"])
    if o["hazard_ratio"] is not None:
        return run_events(o, bundle)
    sd = o["sd"] if o["sd"] is not None else bundle.sd if bundle else None
    if sd is None:
        raise DataError("the standard deviation of the outcome is not known", seen="neither --sd nor a prognosis", expected="one of them")
    correlation = o["correlation"] if o["correlation"] is not None else max(bundle.correlation, 0.0) if bundle else 0.0
    names = ("sd_treated", "correlation_treated", "correlation_deflation", "sd_inflation", "allocation", "alpha")
    found = size_(
        Assumptions(sd=sd, correlation=correlation, **{k: o[k] for k in names}),
        o["effect"],
        **{k: o[k] for k in ("power", "margin", "dropout", "method", "convention", "r_squared_deflation", "variance_inflation")},
        r_squared_interval=bundle.r_squared_interval if bundle and o["correlation"] is None else None,
        prognosis=bundle.hash[:16] if bundle else "",
    )
    told: dict[str, Any] = {"size": asdict(found) | {"total": found.total, "enrolled": found.enrolled}}
    if o["looks"]:
        told["looks"] = _looks(o, found)
    if o["enrolment_per_month"] is not None or o["cost_per_patient"] is not None or o["follow_up_months"]:
        from gemel.trials.cost import Prices, costs

        prices = Prices(**{k: o[k] for k in ("enrolment_per_month", "follow_up_months", "cost_per_patient", "currency")})
        told["prices"], told["costs"] = asdict(prices), [asdict(c) for c in costs(found, prices)]
    if bundle:
        told["prognosis"] = {
            k: getattr(bundle, k)
            for k in ("name", "hash", "locked", "learner", "n", "sd", "r_squared", "r_squared_interval", "calibration")
        }
    write_told(o["output"], told)
    if o["json_"]:
        return print_json(told)
    _print_size(found, bundle)
    if "costs" in told:
        _print_costs(told["costs"], o["currency"])
    if o["looks"]:
        _print_looks(told["looks"])
    return None


def _learnt(o: dict[str, Any]) -> PrognosisBundle:
    from datetime import UTC, datetime

    from gemel.core.errors import DataError
    from gemel.trials.prognosis import calibrate

    if not (o["outcome"] or o["time"]) or not o["baseline"]:
        raise DataError("a prognosis needs an outcome and inputs", seen="--history alone", expected="--outcome COL --baseline COL,COL")
    columns = read_table(o["history"], o["where"])
    if o["time"]:
        made = learnt_of_times(columns, o)
    else:
        made = calibrate(
            columns, outcome=o["outcome"], inputs=o["baseline"], categories=o["categories"], subject=o["subject"], missing=o["missing"], seed=o["seed"]
        )  # fmt: skip
    bundle = made.lock(name=o["lock"].stem if o["lock"] else o["history"].stem, today=datetime.now(UTC).date())
    if o["lock"]:
        atomic_write(o["lock"], (bundle.model_dump_json(indent=1) + "\n").encode())
    return bundle


def _looks(o: dict[str, Any], found: Size) -> dict[str, Any]:
    from gemel.trials.design.boundary import boundary, inflation
    from gemel.trials.design.spending import Spending

    kind = o["family"].removeprefix("spend-")
    plan = boundary(o["looks"], Spending(kind, o["gamma"]) if o["family"].startswith("spend-") else kind, alpha=o["alpha"])
    drift, factor, under = inflation(plan, o["power"])
    return asdict(plan) | {
        "nominal": plan.nominal(),
        "drift": drift,
        "inflation": factor,
        "maximum_n": found.n * factor,
        "expected_n": found.n * factor * under.expected_information,
        "stops": under.upper + under.lower,
    }


def _print_size(found: Size, bundle: PrognosisBundle | None) -> None:
    if bundle:
        low, high = bundle.r_squared_interval
        echo(
            f"prognosis {bundle.name} ({bundle.hash[:16]}), {bundle.learner}, {bundle.n} people: cross-validated R² {bundle.r_squared:.3f} ({low:.3f} to {high:.3f})"
        )
    echo(
        f"planned R² {found.r_squared:.3f}: the whole trial shrinks by {found.total_reduction:.1%}, or its control arm alone by {found.control_arm_reduction:.1%}"
    )
    rows = [
        ("without the prognosis", f"{found.unadjusted:.1f}", "", "", ""),
        ("with it", f"{found.n:.1f}", found.reference, found.treated, found.enrolled),
    ]  # fmt: skip
    print_table(f"patients, {found.method}, power {found.power:.3f}", ("", "n", "control", "treated", "to enrol"), rows, right=(1, 2, 3, 4))
    if found.control_only is not None:
        echo(f"control arm only: {found.control_only} control patients beside {found.unadjusted / 2:.0f} treated")
    if found.grid:
        gammas = sorted({g for _, g, _ in found.grid})
        cells = {(k, g): n for k, g, n in found.grid}
        lines = [(f"{k:g}", *(f"{cells[k, g]:.1f}" for g in gammas)) for k in sorted({k for k, _, _ in found.grid})]
        print_table(
            "n by deflation of the correlation (rows) and inflation of the SD", ("", *(f"{g:g}" for g in gammas)), lines, right=(1, 2, 3)
        )
    echo(f"lineage {found.lineage}")


def _print_costs(told: list[dict[str, Any]], currency: str) -> None:
    def months(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    def money(value: float | None) -> str:
        return "-" if value is None else f"{value:,.0f} {currency}".strip()

    rows = [
        (c["plan"], c["enrolled"], months(c["months"]), months(c["months_saved"]), money(c["money"]), money(c["money_saved"])) for c in told
    ]
    heads = ("", "to enrol", "months", "saved", "cost", "saved")
    print_table("time and money, at your rate and price", heads, rows, right=(1, 2, 3, 4, 5))


def _print_looks(told: dict[str, Any]) -> None:
    rows = [
        (f"{t:g}", f"{u:.4f}", f"{p:.5f}", f"{s:.3f}")
        for t, u, p, s in zip(told["fractions"], told["upper"], told["nominal"], told["stops"], strict=True)
    ]
    print_table(f"looks, {told['family']}", ("information", "z", "nominal p", "stops here"), rows, right=(0, 1, 2, 3))
    echo(
        f"at most {told['maximum_n']:.1f} patients (inflation {told['inflation']:.4f}), {told['expected_n']:.1f} expected under the effect"
    )
