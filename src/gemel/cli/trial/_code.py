"""``gemel trial analyse --code``: the plan of an analysis, and the programs of other languages that give its numbers again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemel.cli.trial.options import read_bundle, read_table

if TYPE_CHECKING:
    from gemel.trials.code import Plan

__all__ = ["plan_from", "program"]

SAME = (
    "method", "arm", "subject", "baseline", "strata", "where", "missing", "missing_outcome", "level", "variance", "target", "interaction",
    "randomisation", "learner", "folds", "seed", "visit", "visits", "covariance", "covariance_by_arm", "fallback", "errors", "time", "event_indicator", "censor", "tau",
)  # fmt: skip

OTHERS = {
    "bounds": ("tmle",), "predicted_variance": ("weighted",), "prior_weight": ("bayes",), "worth": ("bayes",), "deltas": ("imputation",), "imputations": ("imputation",),
    "rule": ("imputation",), "small_sample": ("logrank", "hazard"), "later": (), "first_patient_in": (), "unblinded": (), "planned_r_squared": (),
}  # fmt: skip
"""What else decides the numbers, and of which methods; none for all."""


def plan_from(o: dict[str, Any], told: dict[str, Any]) -> Plan:
    """Return what was asked for, from the flags and from what the analysis found."""
    from gemel.trials.code import Plan

    bundle = read_bundle(o["prognosis"])
    asked, results = told["estimand"], told["results"]
    reference = str(asked["reference"])
    arms = tuple(told["arms"])
    treatments = (asked["treatment"],) if "treatment" in asked else tuple(a for a in arms if a != reference)
    words = [c for c in o["baseline"] if any(n.startswith(f"{c}=") for n in told["covariates"])]
    family = results[0]["method"].split("/")[1] if o["method"] == "gcomputation" else o["family"]
    others = [k for k, methods in OTHERS.items() if o.get(k) not in (None, "", (), False) and (not methods or o["method"] in methods)]
    return Plan(
        settings=tuple((k, ", ".join(map(str, o[k])) if isinstance(o[k], tuple) else str(o[k])) for k in others),
        categories=tuple(words),
        family=family,
        data=o["data"].name,
        outcome=o["outcome"] or o["time"],
        reference=reference,
        treatments=treatments,
        arms=arms,
        summary=results[0]["summary"],
        degrees=o["degrees"] or ("satterthwaite" if o["errors"] == "model" else "between-subjects"),
        prognosis="" if bundle is None or o["method"] == "unadjusted" else bundle.hash,
        **{k: tuple(o[k]) if isinstance(o[k], (list, tuple)) else o[k] for k in SAME},
    )


def program(o: dict[str, Any], plan: Plan, language: str) -> str:
    """Return the program in R or SAS."""
    from gemel.trials.code import r_code, sas_code

    bundle = read_bundle(o["prognosis"]) if plan.prognosis else None
    if language == "sas":
        return sas_code(plan, prognosis=bundle)
    folds: list[int] = []
    if plan.method == "aipw":
        from gemel.trials.adjust.aipw import folds_of
        from gemel.trials.data import trial_data

        names = ("outcome", "arm", "subject", "missing_outcome")
        data = trial_data(read_table(o["data"], o["where"]), reference=plan.reference, **{k: o[k] for k in names})
        folds = folds_of(data, plan.folds, plan.seed).tolist()
    return r_code(plan, prognosis=bundle, folds=folds)
