"""``gemel trial``: how many patients a trial needs, and what came of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, Numbers, existing, seed_option
from gemel.cli.output import atomic_write, echo, number, print_json, print_table
from gemel.cli.trial_options import Names, Pair, read_bundle, shared, write_told

if TYPE_CHECKING:
    from gemel.trials.adjust.base import Result
    from gemel.trials.prognosis import PrognosisBundle
    from gemel.trials.sizing import Size

__all__ = ["trial"]

METHODS = ("unadjusted", "ancova1", "ancova2", "gcomputation", "aipw", "weighted")
SIZING = ("asymptotic", "guenther-schouten", "exact")
BOUNDARIES = ("obrien-fleming", "pocock", "spend-obrien-fleming", "spend-pocock", "spend-hwang-shih-decani")


@click.group()
def trial() -> None:
    """Plan and analyse a randomised trial whose covariate may be a twin's prognosis."""


@trial.command("size")
@click.option("--effect", type=float, required=True, help="To be detected, unit of the outcome.")
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
@click.option("--where", type=Pair(), multiple=True, help="Keep rows of the history whose column equals a value: ARM=Placebo.")
@click.option(
    "--missing",
    type=click.Choice(("refuse", "mean")),
    default="refuse",
    show_default=True,
    help="Rule for missing inputs, in history and trial.",
)
@click.option("--lock", type=FilePath, help="Lock the prognosis into this file, with today's date.")
@seed_option
@shared
def size(**o: Any) -> None:
    """Say how many patients a trial needs, without and with a prognosis as covariate."""
    from gemel.core.errors import DataError
    from gemel.trials.sizing import Assumptions
    from gemel.trials.sizing import size as size_

    bundle = _learnt(o) if o["history"] else read_bundle(o["prognosis"])
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
    if bundle:
        told["prognosis"] = {
            k: getattr(bundle, k)
            for k in ("name", "hash", "locked", "learner", "n", "sd", "r_squared", "r_squared_interval", "calibration")
        }
    write_told(o["output"], told)
    if o["json_"]:
        return print_json(told)
    _print_size(found, bundle)
    if o["looks"]:
        _print_looks(told["looks"])
    return None


def _learnt(o: dict[str, Any]) -> PrognosisBundle:
    from datetime import UTC, datetime

    from gemel.core.errors import DataError
    from gemel.trials.data import columns_of
    from gemel.trials.prognosis import calibrate

    if not o["outcome"] or not o["baseline"]:
        raise DataError("a prognosis needs an outcome and inputs", seen="--history alone", expected="--outcome COL --baseline COL,COL")
    columns = columns_of(existing(o["history"]).read_text(encoding="utf-8").splitlines(), where=dict(o["where"]))
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


def _print_looks(told: dict[str, Any]) -> None:
    rows = [
        (f"{t:g}", f"{u:.4f}", f"{p:.5f}", f"{s:.3f}")
        for t, u, p, s in zip(told["fractions"], told["upper"], told["nominal"], told["stops"], strict=True)
    ]
    print_table(f"looks, {told['family']}", ("information", "z", "nominal p", "stops here"), rows, right=(0, 1, 2, 3))
    echo(
        f"at most {told['maximum_n']:.1f} patients (inflation {told['inflation']:.4f}), {told['expected_n']:.1f} expected under the effect"
    )


@trial.command("analyse")
@click.option("--data", type=FilePath, required=True, help="A table with a head, one row per patient.")
@click.option("--outcome", metavar="COL", required=True, help="A number, or 0 and 1.")
@click.option("--arm", metavar="COL", required=True, help="As randomised.")
@click.option("--subject", metavar="COL", default="", help="Who; without it duplicates cannot be seen.")
@click.option("--baseline", type=Names(), default=(), help="Columns to adjust for, with commas.")
@click.option("--category", "categories", type=Names(), default=(), help="Baseline columns whose numbers are names.")
@click.option("--strata", type=Names(), default=(), help="Factors used at randomisation.")
@click.option("--later", type=Names(), default=(), help="Columns from after randomisation: nothing may adjust for them.")
@click.option("--where", type=Pair(), multiple=True, help="Keep rows whose column equals a value: AVISIT=Week 24.")
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
@click.option("--summary", help="Of the estimand: mean difference, risk difference, risk ratio, odds ratio or rate ratio.")
@click.option("--method", type=click.Choice(METHODS), default="ancova2", show_default=True, help="As the analysis plan names it.")
@click.option("--randomisation", default="simple", show_default=True, help="simple, blocks(FACTOR,...) or minimisation(FACTOR,...).")
@click.option("--variance", type=click.Choice(("hc3", "hc1", "model")), default="hc3", show_default=True, help="Of the linear models.")
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
@click.option("--learner", type=click.Choice(("ridge", "spline")), default="ridge", show_default=True, help="Of AIPW.")
@click.option("--folds", type=int, default=10, show_default=True, help="Of AIPW.")
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
@seed_option
@shared
@click.pass_context
def analyse(ctx: click.Context, **o: Any) -> None:
    """Analyse a trial by the method that its plan names. An estimand is mandatory."""
    from gemel.core.errors import DataError
    from gemel.trials.analysis import analyse as analyse_
    from gemel.trials.data import columns_of, numbers, trial_data
    from gemel.trials.learners import LEARNERS

    asked = _estimand(ctx.meta.get("estimand", {}), o)
    bundle = read_bundle(o["prognosis"])
    columns = columns_of(existing(o["data"]).read_text(encoding="utf-8").splitlines(), where=dict(o["where"]))
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
            **{
                k: o[k]
                for k in ("planned_r_squared", "randomisation", "variance", "target", "family", "interaction", "folds", "seed", "level")
            },
        )
        for treatment in treatments
    ]
    told = {
        "estimand": asked | {"reference": reference},
        "arms": {a: int(n) for a, n in zip(data.arms, (data.shares * data.n).round(), strict=True)},
        "results": [asdict(r) | {"lineage": r.lineage.model_dump() | {"id": r.lineage.id}} for r in results],
    }
    write_told(o["output"], told)
    if o["json_"]:
        return print_json(told)
    _print_results(results, told)
    return None


def _estimand(told: dict[str, Any], o: dict[str, Any]) -> dict[str, Any]:
    """Put the estimand together from the design file and the flags; empty when neither says for whom and what about events."""
    asked = dict(told)
    for name in ("population", "variable", "summary", "reference", "treatment"):
        if o[name]:
            asked[name] = o[name]
    if o["events"]:
        asked["intercurrent_events"] = [{"name": name, "strategy": strategy} for name, strategy in o["events"]]
    if o["no_events"]:
        asked["no_intercurrent_events"] = True
    if not {"population", "intercurrent_events", "no_intercurrent_events"} & set(asked):
        from gemel.core.errors import EvidenceError

        raise EvidenceError(
            "an analysis needs an estimand",
            seen="none",
            expected="a population, and each intercurrent event with its strategy (ICH E9(R1))",
            fix="--population '...' --event 'rescue drug=treatment policy' (or --no-events), or a table [estimand] in --design",
        )
    return {"variable": o["outcome"]} | asked


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
