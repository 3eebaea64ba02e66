"""``gemel trial analyse --visit``: repeated measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gemel.cli.options import AnyNumbers
from gemel.cli.trial.options import Names, read_bundle, read_table, told_of

if TYPE_CHECKING:
    from gemel.trials.adjust.base import Result
    from gemel.trials.prognosis import PrognosisBundle
    from gemel.trials.visits import VisitData

__all__ = ["run_visits", "visit_options"]

STRUCTURES = ("un", "toeph", "toep", "adh", "ad", "ar1h", "ar1", "csh", "cs")
RULES = ("missing at random", "jump to reference", "copy increments", "copy reference")
DEGREES = ("satterthwaite", "kenward-roger", "kenward-roger-linear", "between-subjects")

F = TypeVar("F", bound=Callable[..., Any])


def visit_options(function: F) -> F:
    """Add what a mixed model for repeated measures asks for."""
    for option in (
        click.option("--visit", metavar="COL", default="", help="Of repeated measures: when, one row per patient and visit; numbers, or words in the order of --visits."),
        click.option("--visits", type=Names(), default=(), help="Visits in order, where they are words."),
        click.option("--covariance", type=click.Choice(STRUCTURES), default="un", show_default=True, help="Between the visits of a patient."),
        click.option("--covariance-by-arm", is_flag=True, help="A covariance for each arm."),
        click.option("--fallback", type=Names(), default=(), help="Covariances to try in order when one does not converge: toeph,ar1h,cs."),
        click.option("--df", "degrees", type=click.Choice(DEGREES), help="Degrees of freedom.  [default: satterthwaite; between-subjects with robust errors]"),
        click.option("--errors", type=click.Choice(("model", "empirical", "jackknife")), default="model", show_default=True, help="Standard errors of repeated measures."),
        click.option("--rule", type=click.Choice(RULES), default=RULES[0], show_default=True, help="Of imputation: how those who left would have gone on, in all arms but the reference."),
        click.option("--imputations", type=int, default=100, show_default=True, help="How many."),
        click.option("--delta", "deltas", type=AnyNumbers, default=(0.0,), help="Of imputation: added to imputed outcomes after the last seen one, in all arms but the reference; several, in order, for a tipping point."),
    )[::-1]:  # fmt: skip
        function = option(function)
    return function


def run_visits(asked: dict[str, Any], o: dict[str, Any]) -> tuple[list[Result], dict[str, Any]]:
    """Analyse several visits per patient."""
    from gemel.core.errors import DataError
    from gemel.trials.visits import visit_data

    if not (o["visit"] and o["subject"]):
        raise DataError(
            "several visits need to know who and when", seen=f"--method {o['method']} alone", expected="--subject COL --visit COL"
        )
    bundle = read_bundle(o["prognosis"])
    data = visit_data(
        read_table(o["data"], o["where"]),
        **{k: o[k] for k in ("outcome", "arm", "subject", "visit", "visits", "baseline", "categories", "strata", "later", "missing", "first_patient_in", "unblinded")},
        reference=asked.get("reference", ""),
        prognosis_inputs=tuple(i.name for i in bundle.inputs) if bundle else (),
    )  # fmt: skip
    reference = asked.get("reference", data.people.arms[0])
    treatments = [asked["treatment"]] if "treatment" in asked else [a for a in data.people.arms if a != reference]
    estimands = [asked | {"reference": reference, "treatment": treatment} for treatment in treatments]
    results, more = (_imputed if o["method"] == "imputation" else _mixed)(data, estimands, bundle, o)
    return results, told_of(results, data.people, asked | {"reference": reference}) | more


def _mixed(
    data: VisitData, estimands: list[dict[str, Any]], bundle: PrognosisBundle | None, o: dict[str, Any]
) -> tuple[list[Result], dict[str, Any]]:
    from gemel.trials.visits import analyse_visits

    found = [
        analyse_visits(
            data,
            estimand,
            prognosis=bundle,
            planned_r_squared=o["planned_r_squared"],
            covariance=o["covariance"],
            fallback=o["fallback"],
            covariance_by_arm=o["covariance_by_arm"],
            degrees_of_freedom=o["degrees"],
            standard_errors=o["errors"],
            level=o["level"],
        )
        for estimand in estimands
    ]
    model = found[0].model
    told = {
        "means": [asdict(c) for c in found[0].means],
        "model": {
            "formula": model.lineage.model,
            "covariance": model.structure,
            "status": model.status,
            "attempts": [asdict(a) for a in model.attempts],
            "minus_two_log_likelihood": model.minus_two_log_likelihood,
            "parameters": dict(model.parameters),
            "coefficients": [asdict(c) for c in model.coefficients],
            "subjects": model.subjects,
            "observations": model.observations,
        },
    }
    return [r for one in found for r in one.results], told


def _imputed(
    data: VisitData, estimands: list[dict[str, Any]], bundle: PrognosisBundle | None, o: dict[str, Any]
) -> tuple[list[Result], dict[str, Any]]:
    from gemel.cli.progress import Bar
    from gemel.trials.imputation import tipping_point

    with Bar() as bar:
        found = [
            tipping_point(
                data,
                estimand,
                o["deltas"],
                rule=o["rule"],
                imputations=o["imputations"],
                prognosis=bundle,
                seed=o["seed"],
                level=o["level"],
                progress=bar,
            )
            for estimand in estimands
        ]
    tips = [{"treatment": e["treatment"], "deltas": t.deltas, "tips": t.tips} for e, t in zip(estimands, found, strict=True)]
    return [r for one in found for r in one.results], {"imputation": {"rule": o["rule"], "imputations": o["imputations"], "tipping": tips}}
