"""``gemel trial analyse``: what came of a trial, by the method that its plan names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import AnyNumbers, FilePath, seed_option
from gemel.cli.output import echo, number, print_json, print_table
from gemel.cli.trial._code import plan_from, program
from gemel.cli.trial._estimand import estimand_of
from gemel.cli.trial._sealed import TRAIL, append_trail, file_hash
from gemel.cli.trial._survival import TIMES, run_times, time_options
from gemel.cli.trial._visits import run_visits, visit_options
from gemel.cli.trial.options import Names, Pair, read_bundle, read_table, shared, told_of, write_told

if TYPE_CHECKING:
    from gemel.trials.adjust.base import Result

__all__ = ["analyse"]

METHODS = ("unadjusted", "ancova1", "ancova2", "gcomputation", "aipw", "tmle", "weighted", "bayes")
"""Of one outcome per patient."""
VISITS = ("mmrm", "imputation")
"""Of several visits."""


@click.command("analyse")
@click.option("--data", type=FilePath, required=True, help="A table with a head, one row per patient.")
@click.option("--outcome", metavar="COL", default="", help="A number, or 0 and 1.")
@click.option("--arm", metavar="COL", required=True, help="As randomised.")
@click.option("--subject", metavar="COL", default="", help="Who; without it duplicates cannot be seen.")
@click.option("--baseline", type=Names(), default=(), help="Columns to adjust for, with commas.")
@click.option("--category", "categories", type=Names(), default=(), help="Baseline columns whose numbers are names.")
@click.option("--strata", type=Names(), default=(), help="Factors used at randomisation.")
@click.option("--later", type=Names(), default=(), help="Columns from after randomisation: nothing may adjust for them.")
@click.option("--where", type=Pair(empty=True), multiple=True, help="Keep rows whose column equals a value: AVISIT=Week 24.")
@click.option("--reference", help="Arm that others are compared with; left out, the first by name.")
@click.option("--treatment", help="Arm that is compared; left out, each of the others.")
@click.option("--population", help="Of the estimand: whom the question is about.")
@click.option("--variable", help="Of the estimand; left out, the outcome's column.")
@click.option(
    "--event",
    "events",
    type=Pair(),
    multiple=True,
    help="Of the estimand: an intercurrent event and its strategy, 'rescue=treatment policy'.",
)
@click.option("--no-events", is_flag=True, help="Of the estimand: no intercurrent event can occur.")
@click.option(
    "--summary",
    help="Of the estimand: mean difference, risk difference, risk ratio, odds ratio or rate ratio; hazard ratio and restricted mean by their method.",
)
@click.option(
    "--method",
    type=click.Choice((*METHODS, *VISITS, *TIMES)),
    help="As the analysis plan names it.  [default: ancova2, or mmrm with --visit]",
)
@visit_options
@time_options
@click.option("--randomisation", default="simple", show_default=True, help="simple, blocks(FACTOR,...) or minimisation(FACTOR,...).")
@click.option(
    "--variance", type=click.Choice(("hc2", "hc3", "hc1", "model")), default="hc2", show_default=True, help="Of the linear models."
)
@click.option(
    "--target",
    type=click.Choice(("superpopulation", "sample")),
    default="superpopulation",
    show_default=True,
    help="Whose effect, for ancova2.",
)
@click.option(
    "--family", type=click.Choice(("auto", "gaussian", "binomial", "poisson")), default="auto", show_default=True, help="Of g-computation."
)
@click.option("--interaction", is_flag=True, help="Slopes per arm in g-computation.")
@click.option("--learner", type=click.Choice(("ridge", "spline")), default="ridge", show_default=True, help="Of AIPW and TMLE.")
@click.option("--folds", type=int, default=10, show_default=True, help="Of AIPW and TMLE.")
@click.option("--bounds", type=AnyNumbers, help="Of TMLE: lowest and highest possible outcome, 0,70; left out, the range that was seen.")
@click.option("--prior-weight", type=float, help="Of the Bayesian mixture: weight of the history before the data, fixed beforehand.")
@click.option("--worth", type=float, default=1.0, show_default=True, help="Of the same: patients that one of the history is worth.")
@click.option("--predicted-variance", metavar="COL", help="Of the weighted analysis.")
@click.option("--planned-r-squared", type=float, help="What the trial was sized on; left out, that of the prognosis.")
@click.option(
    "--missing",
    type=click.Choice(("refuse", "mean", "indicator")),
    default="refuse",
    show_default=True,
    help="Rule for missing baseline values.",
)
@click.option(
    "--missing-outcome", type=click.Choice(("refuse", "complete")), default="refuse", show_default=True, help="Rule for missing outcomes."
)
@click.option("--first-patient-in", metavar="DATE", default="", help="A prognosis must have been locked before it.")
@click.option("--unblinded", metavar="DATE", default="", help="The same.")
@click.option("--level", type=float, default=0.95, show_default=True, help="Of the interval.")
@click.option(
    "--code", type=click.Choice(("r", "sas")), help="Print the program that gives the same numbers in R or SAS, instead of the table."
)
@click.option("--who", metavar="NAME", default="", help="Who does this: appends to audit.jsonl, the trail beside the file of -o.")
@seed_option
@shared
@click.pass_context
def analyse(ctx: click.Context, **o: Any) -> None:
    """Analyse a trial by the method that its plan names. An estimand is mandatory."""
    o["method"] = o["method"] or ("mmrm" if o["visit"] else "ancova2")
    if o["method"] in TIMES:
        o["outcome"] = o["time"]
    elif not o["outcome"]:
        raise click.UsageError(f"Missing option '--outcome'; times to an event are analysed by --method {', '.join(TIMES)}", ctx)
    asked = estimand_of(ctx.meta.get("estimand", {}), o)
    run = run_times if o["method"] in TIMES else run_visits if o["method"] in VISITS else run_patients
    results, told = run(asked, o)
    plan = plan_from(o, told)
    told["plan"] = asdict(plan) | {"hash": plan.hash}
    told["inputs"] = {k: file_hash(o[k]) for k in ("data", "prognosis") if o[k]}
    if o["code"]:
        told["code"] = {o["code"]: program(o, plan, o["code"])}
    write_told(o["output"], told)
    if o["who"]:
        if o["output"] is None:
            raise click.UsageError("--who writes into the trail beside the result: name its file with -o", ctx)
        named = {o[k].name: h for k, h in told["inputs"].items()}
        append_trail(
            o["output"].parent / TRAIL, who=o["who"], what=f"analyse: {o['method']}, plan {plan.hash[:16]}", inputs=named, outputs={o["output"].name: file_hash(o["output"])}
        )  # fmt: skip
    if o["json_"]:
        return print_json(told)
    if o["code"]:
        return echo(told["code"][o["code"]].rstrip())
    _print_results(results, told)
    return None


def run_patients(asked: dict[str, Any], o: dict[str, Any]) -> tuple[list[Result], dict[str, Any]]:
    """Analyse one outcome per patient."""
    from gemel.core.errors import DataError
    from gemel.trials.analysis import analyse as analyse_
    from gemel.trials.data import numbers, trial_data
    from gemel.trials.learners import LEARNERS

    bundle = read_bundle(o["prognosis"])
    columns = read_table(o["data"], o["where"])
    extra = tuple(i.name for i in bundle.inputs) if bundle else ()
    if o["predicted_variance"]:
        extra = (*extra, o["predicted_variance"])
    data = trial_data(
        columns,
        **{k: o[k] for k in ("outcome", "arm", "subject", "baseline", "categories", "strata", "later", "missing", "missing_outcome", "first_patient_in", "unblinded")},
        reference=asked.get("reference", ""),
        prognosis_inputs=extra,
    )  # fmt: skip
    reference = asked.get("reference", data.arms[0])
    treatments = [asked["treatment"]] if "treatment" in asked else [a for a in data.arms if a != reference]
    s2 = numbers(data.raw[o["predicted_variance"]]) if o["predicted_variance"] else None
    if o["predicted_variance"] and s2 is None:
        raise DataError("a predicted variance is a word", seen=o["predicted_variance"], expected="positive numbers")
    results = [
        analyse_(
            data,
            asked | {"reference": reference, "treatment": treatment} if asked else None,
            o["method"],
            prognosis=bundle,
            learner=LEARNERS[o["learner"]],
            predicted_variance=s2,
            bounds=_bounds(o["bounds"]),
            **{
                k: o[k]
                for k in (
                    "planned_r_squared",
                    "randomisation",
                    "variance",
                    "target",
                    "family",
                    "interaction",
                    "folds",
                    "prior_weight",
                    "worth",
                    "seed",
                    "level",
                )
            },
        )
        for treatment in treatments
    ]
    return results, told_of(results, data, asked | {"reference": reference})


def _bounds(given: Sequence[float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    if len(given) != 2:
        raise click.UsageError(f"--bounds takes the lowest and the highest possible outcome, not {len(given)} numbers")
    return float(given[0]), float(given[1])


def _print_results(results: list[Result], told: dict[str, Any]) -> None:
    echo(f"{told['estimand'].get('population', '')}: {results[0].summary} of {told['estimand']['variable']}")
    echo(f"{results[0].n} patients: {', '.join(f'{a} {n}' for a, n in told['arms'].items())}; {results[0].method}")
    rows = [
        (
            r.contrast,
            number(r.estimate if r.ratio is None else r.ratio, 6),
            f"{number(r.interval[0], 6)} to {number(r.interval[1], 6)}",
            number(r.standard_error, 5) + ("" if r.ratio is None else " (log)"),
            f"{r.p_value:.4g}",
            f"{r.variance_ratio:.3f}",
            f"{r.effective_n:.0f}",
            r.lineage.id,
        )
        for r in results
    ]
    level = f"{results[0].level:.0%} interval"
    print_table("", ("contrast", "estimate", level, "SE", "p", "variance ratio", "effective n", "lineage"), rows, right=(1, 3, 4, 5, 6))
    for flag in dict.fromkeys(f for r in results for f in r.status):
        echo(f"note: {flag}")
