"""``gemel trial borrow``: controls from outside, and what they cost when they have drifted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import AnyNumbers, FilePath, seed_option
from gemel.cli.output import atomic_write, echo, number, print_json, print_table
from gemel.cli.trial._estimand import estimand_of
from gemel.cli.trial.options import Names, Pair, designed, read_table, write_told

if TYPE_CHECKING:
    from gemel.core.view import View
    from gemel.trials.external import Borrowed, Comparison, DriftMap

__all__ = ["borrow"]

METHODS = ("iptw", "overlap", "entropy", "maic", "stc", "doubly-robust")
"""Of patients from outside."""
PRIORS = ("power", "normalised-power", "commensurate", "map", "robust-map")
"""Of study-level history."""


class _Arm(click.ParamType):
    """Patients, and events or a mean."""

    name = "n,value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the two numbers."""
        found = AnyNumbers.convert(value, param, ctx)
        if len(found) != 2 or found[0] != round(found[0]):
            self.fail(f"{value!r} is not a whole number and a number, such as 40,12", param, ctx)
        return found


@click.command("borrow")
@click.option(
    "--method",
    type=click.Choice((*METHODS, *PRIORS)),
    required=True,
    help="Of patients from outside (the first six), or of study-level history.",
)
@click.option("--data", type=FilePath, help="The trial, one row per patient.")
@click.option("--external", type=FilePath, help="Controls from outside, one row per patient, with the names of the trial's columns.")
@click.option(
    "--published",
    type=FilePath,
    help="Controls from outside as one row: n, a mean per baseline column (COLUMN_sd), the outcome (OUTCOME_se or OUTCOME_sd); for maic and stc.",
)
@click.option("--history", type=FilePath, help="Controls of earlier studies, one row each: study, n and r (events), or n, y (mean) and sd.")
@click.option("--outcome", metavar="COL", default="", help="A number, or 0 and 1.")
@click.option("--arm", metavar="COL", default="", help="Arm of the trial; left out, all of it is treated.")
@click.option("--treatment", default="", help="The treated arm.")
@click.option("--reference", default="", help="The trial's own controls, where it has any.")
@click.option("--subject", metavar="COL", default="", help="Who; without it duplicates cannot be seen.")
@click.option(
    "--baseline", type=Names(), default=(), help="What makes patients comparable, with commas. What is not named is not balanced."
)
@click.option("--category", "categories", type=Names(), default=(), help="Baseline columns whose numbers are names.")
@click.option("--later", type=Names(), default=(), help="Columns from after the start of treatment: nothing may adjust for them.")
@click.option("--where", type=Pair(empty=True), multiple=True, help="Keep rows of the trial whose column equals a value.")
@click.option("--external-where", type=Pair(empty=True), multiple=True, help="The same for the controls from outside, or for the history.")
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
@click.option("--summary", help="Of the estimand: mean difference, risk difference, risk ratio or odds ratio.")
@click.option(
    "--folds", type=int, default=0, show_default=True, help="Cross-fit the propensity; 0 does not. Doubly robust always does, with 5."
)
@click.option(
    "--learner", type=click.Choice(("ridge", "spline")), default="ridge", show_default=True, help="Of the outcome, for doubly-robust."
)
@click.option(
    "--conditions", type=click.IntRange(1, 2), default=1, show_default=True, help="Of entropy and maic: 1 balances means, 2 also variances."
)
@click.option("--allow-small", is_flag=True, help="Let maic go on with an effective number under a quarter of the patients.")
@click.option("--control", type=_Arm(), metavar="N,VALUE", help="The trial's controls without --data: patients, and events or their mean.")
@click.option("--treated", type=_Arm(), metavar="N,VALUE", help="The treated without --data, in the same way.")
@click.option("--planned", type=_Arm(), metavar="N,N", help="Controls and treated of a trial that is not over yet.")
@click.option("--sigma", type=float, help="Standard deviation of one patient's outcome; left out, pooled from the history's sd.")
@click.option("--a0", type=float, default=0.5, show_default=True, help="Of the power prior: what a patient of the history counts.")
@click.option("--weak-weight", "weight", type=float, default=0.2, show_default=True, help="Of robust-map: weight of the weak part.")
@click.option(
    "--tau-scale",
    type=float,
    help="Of the half-normal prior of heterogeneity.  [default: map 1 (logit) or sigma/2; commensurate half of it]",
)
@click.option("--mu-mean", type=float, help="Of the normal prior of the studies' mean.  [default: 0 (logit), or the pooled mean]")
@click.option("--mu-sd", type=float, help="The same.  [default: 2 (logit), or ten sigma]")
@click.option("--components", type=int, default=3, show_default=True, help="Conjugate parts of a meta-analytic prior.")
@click.option("--effect", type=float, help="At which the map's power holds, unit of the outcome.  [default: one of power 0.8]")
@click.option(
    "--drift",
    "drifts",
    type=AnyNumbers,
    default="0,0.1,0.2,0.3,0.5",
    show_default=True,
    help="Of the map, standard deviations of one patient's outcome.",
)
@click.option("--replicates", type=click.IntRange(50), default=1000, show_default=True, help="Of the map's bootstrap, for patients.")
@click.option("--level", type=float, default=0.95, show_default=True, help="Of the intervals.")
@click.option("--unit", default="1", show_default=True, help="Of the outcome, UCUM; for the report.")
@click.option("--report", type=FilePath, help="An HTML file with the result, its balance or prior, and the map.")
@seed_option
@designed
@click.pass_context
def borrow(ctx: click.Context, **o: Any) -> None:
    """Borrow controls from outside a trial, and see what it costs when they have drifted. The type-I error is not controlled."""
    if sum(bool(o[k]) for k in ("external", "published", "history")) != 1:
        raise click.UsageError("name one of --external (patients), --published (a summary) and --history (studies)", ctx)
    if (o["method"] in PRIORS) != bool(o["history"]):
        raise click.UsageError(
            f"--method {o['method']} is one of {'--history' if o['method'] in PRIORS else '--external or --published'}", ctx
        )
    told, view, show = (_of_history if o["history"] else _of_patients)(ctx, o)
    write_told(o["output"], told)
    if o["report"]:
        from gemel.web import render_html

        atomic_write(o["report"], render_html(view).encode())
    if o["json_"]:
        return print_json(told)
    show()
    return None


def _of_patients(ctx: click.Context, o: dict[str, Any]) -> tuple[dict[str, Any], View, Any]:
    from gemel.trials.external import aggregate_of, borrow_patients, comparison_view, external_data, treated_data
    from gemel.trials.learners import LEARNERS

    if not (o["data"] and o["outcome"] and o["baseline"]):
        raise click.UsageError("patients from outside need --data, --outcome and --baseline", ctx)
    asked = estimand_of(ctx.meta.get("estimand", {}), o)
    columns = read_table(o["data"], o["where"])
    names = {k: o[k] for k in ("outcome", "baseline", "arm", "treatment", "subject")}
    summary = None
    if o["published"]:
        data = treated_data(columns, **names)
        summary = aggregate_of(read_table(o["published"], o["external_where"]), outcome=o["outcome"], baseline=o["baseline"])
        treatment = o["treatment"] or "treated"
    else:
        more = {k: o[k] for k in ("reference", "categories", "later", "missing", "missing_outcome")}
        data = external_data(columns, read_table(o["external"], o["external_where"]), **names, **more)
        treatment = data.treatment
    asked = asked | {"treatment": treatment, "reference": "external controls"}
    found = borrow_patients(
        data,
        asked,
        o["method"],
        summary=summary,
        learner=LEARNERS[o["learner"]],
        **{k: o[k] for k in ("folds", "conditions", "allow_small", "effect", "drifts", "replicates", "seed", "level")},
    )
    told = {"label": found.label, "estimand": asked} | asdict(found)
    told["result"]["lineage"] = found.lineage.model_dump() | {"id": found.lineage.id}
    return (
        told,
        comparison_view(found, title=f"{treatment} against controls from outside", unit=o["unit"]),
        lambda: _show_patients(found, asked),
    )


def _of_history(ctx: click.Context, o: dict[str, Any]) -> tuple[dict[str, Any], View, Any]:
    from gemel.trials.external import Arm, arms_of, borrow_history, borrowed_view, history_of

    history = history_of(read_table(o["history"], o["external_where"]), sigma=o["sigma"])
    asked: dict[str, Any] = {}
    control, treated = (Arm(int(o[k][0]), o[k][1]) if o[k] else None for k in ("control", "treated"))
    if o["data"]:
        if not o["outcome"] or control or treated:
            raise click.UsageError("--data needs --outcome, and stands in place of --control and --treated", ctx)
        asked = estimand_of(ctx.meta.get("estimand", {}), o)
        names = {k: o[k] for k in ("outcome", "arm", "treatment", "reference", "subject")}
        control, treated, (reference, treatment) = arms_of(read_table(o["data"], o["where"]), is_rate=history.is_rate, **names)
        asked |= {"treatment": treatment, "reference": reference or "external controls"}
    if control and not treated:
        raise click.UsageError("--control needs --treated; a trial that is not over is --planned", ctx)
    found = borrow_history(
        history,
        o["method"],
        control=control,
        treated=treated,
        planned=(int(o["planned"][0]), int(o["planned"][1])) if o["planned"] and not treated else None,
        **{k: o[k] for k in ("a0", "weight", "tau_scale", "mu_mean", "mu_sd", "components", "effect", "drifts", "level")},
    )
    told = (
        {"label": found.label, "estimand": asked or None}
        | asdict(found)
        | {"lineage": found.lineage.model_dump() | {"id": found.lineage.id}}
    )
    told["history"] = {"studies": len(history.studies), "patients": int(history.n.sum()), "pooled": history.pooled, "sigma": history.sigma}
    if told["heterogeneity"]:
        told["heterogeneity"] = {k: v for k, v in told["heterogeneity"].items() if k not in ("points", "masses", "mixture")}
    title = "A prior of the control arm from " + (
        "1 earlier study" if len(history.studies) == 1 else f"{len(history.studies)} earlier studies"
    )
    return told, borrowed_view(found, title=title, unit="1" if history.is_rate else o["unit"]), lambda: _show_history(found, title)


def _show_patients(found: Comparison, asked: dict[str, Any]) -> None:
    r, s = found.result, found.sensitivity
    echo(f"{found.label.upper()}: {asked['treatment']} against controls from outside, {r.method}; the effect is one in {found.target}")
    value = r.estimate if r.ratio is None else r.ratio
    cells = (
        r.contrast,
        number(value, 6),
        f"{number(r.interval[0], 6)} to {number(r.interval[1], 6)}",
        number(r.standard_error, 5),
        f"{r.p_value:.4g}",
    )
    size = f"{found.effective_n[0]:.1f} of {found.effective_n[1]}"
    print_table(
        "",
        (r.summary, "estimate", f"{r.level:.0%} interval", "SE", "p", "effective number", "lineage"),
        [(*cells, size, r.lineage.id)],
        right=(1, 3, 4),
    )
    if found.balance:
        rows = [(n, f"{b:.3f}", f"{a:.3f}") for n, b, a in zip(found.balance.names, found.balance.before, found.balance.after, strict=True)]
        print_table("standardised mean differences", ("covariate", "before", "after"), rows, right=(1, 2))
    tip = "" if s.tipping_sd != s.tipping_sd else f" ({s.tipping_sd:.2f} SD)"
    echo(
        f"E-value {number(s.e_value, 3)}, of the limit {number(s.e_value_limit, 3)}; no longer told from none at a shift of {s.tipping:.4g}{tip}"
    )
    _show_map(found.map)
    for flag in r.status:
        echo(f"note: {flag}")


def _show_history(found: Borrowed, title: str) -> None:
    echo(f"{found.label.upper()}: {title.lower()}, {found.method}; worth {found.effective_size:.1f} patients")
    rows = [("before the trial", found.prior, found.prior_interval)]
    if found.posterior and found.posterior_interval:
        rows.append(("after it", found.posterior, found.posterior_interval))
    lines = [(name, f"{m.mean:.5g}", f"{m.sd:.4g}", f"{low:.5g} to {high:.5g}") for name, m, (low, high) in rows]
    print_table("control arm", ("", "mean", "SD", f"{found.level:.0%} interval"), lines, right=(1, 2))
    if found.heterogeneity:
        h = found.heterogeneity
        echo(
            f"heterogeneity tau: mean {h.tau_mean:.4g}, median {h.tau_median:.4g}; parts differ from the exact prior by {h.divergence:.2g} nats"
        )
    if found.weak_weight:
        echo(f"weight of the weak part {found.weak_weight[0]:.3f}, after the trial {found.weak_weight[1]:.3f}")
    if found.interval:
        low, high = found.interval
        echo(
            f"treated minus control {found.difference:.5g}, {found.level:.0%} interval {low:.5g} to {high:.5g}; probability of a treated arm above {found.probability:.4f}"
        )
    _show_map(found.map)
    for flag in found.status:
        echo(f"note: {flag}")
    echo(f"lineage {found.lineage.id}")


def _show_map(found: DriftMap) -> None:
    exact = not found.errors.any()
    rows = [
        (f"{d:g}", f"{a:.4f}" + ("" if exact else f" ({e:.4f})"), f"{p:.4f}", f"{m**0.5:.4g}")
        for d, a, p, m, e in zip(found.drifts, found.type_one, found.power, found.squared_error, found.errors[0], strict=True)
    ]
    if found.without[0] == found.without[0]:
        a, p, m = found.without
        rows.append(("own controls", f"{a:.4f}", f"{p:.4f}", f"{m**0.5:.4g}"))
    print_table(
        f"what drift costs: {found.how}; power at an effect of {found.effect:.4g}",
        ("drift, SD", "type-I error", "power", "root MSE"),
        rows,
        right=(1, 2, 3),
    )
