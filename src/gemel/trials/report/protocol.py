"""The statistical core of a protocol as JSON, under the headings of the ICH M11 template, so that a plan can be hashed before anybody is enrolled.

References
----------
ICH M11, Clinical electronic structured harmonised protocol (CeSHarP), template: sections 1, 3, 4, 5, 6, 10. Only what Gemel knows is filled; the rest is the
sponsor's. It is no exchange format of ICH.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemel.core.errors import DataError
from gemel.core.lineage import digest
from gemel.trials.estimand import Estimand, required
from gemel.trials.prognosis import PrognosisBundle

__all__ = ["protocol"]

SPONSOR = "to be written by the sponsor"


def protocol(
    estimand: Mapping[str, Any] | Estimand,
    *,
    title: str,
    created: str,
    analysis: Mapping[str, Any] | None = None,
    size: Mapping[str, Any] | None = None,
    prognosis: PrognosisBundle | None = None,
) -> dict[str, Any]:
    """Return a protocol's statistical sections as plain values, with a hash over them.

    Parameters
    ----------
    estimand : whole, or it is refused.
    created : ISO 8601 time; not part of the hash.
    analysis : the plan of the analysis, as a result or a design file says it.
    size : what ``gemel trial size -o`` wrote.
    prognosis : the locked prognosis.

    Raises
    ------
    EvidenceError
        When the estimand is not whole.
    DataError
        When there is no title.
    """
    if not title.strip():
        raise DataError("a protocol needs a title", seen="none", expected="--title")
    asked = required(estimand)
    planned = dict(size["size"]) if size else {}
    sections = {
        "1 Protocol Summary": {"title": title, "objective": f"compare {asked.treatment} with {asked.reference}: {asked.variable}"},
        "3 Trial Objectives and Associated Estimands": {
            "primary": {
                "population": asked.population,
                "treatment": {"investigational": asked.treatment, "control": asked.reference},
                "variable": asked.variable,
                "intercurrent events": [{"event": e.name, "strategy": e.strategy.value} for e in asked.intercurrent_events],
                "no intercurrent events": asked.no_intercurrent_events,
                "population-level summary": asked.summary.value,
            }
        },
        "4 Trial Design": {
            "randomisation": (analysis or {}).get("randomisation", "simple"),
            "allocation": planned.get("assumptions", {}).get("allocation"),
            "looks": (size or {}).get("looks"),
            "controls": "concurrent, randomised; the prognosis replaces none of them",
        },
        "5 Trial Population": {"eligibility": SPONSOR},
        "6 Trial Intervention and Concomitant Therapy": {"interventions": SPONSOR},
        "10 Statistical Considerations": {
            "sample size": {k: planned[k] for k in ("n", "reference", "treated", "enrolled", "power", "unadjusted", "r_squared", "total_reduction", "control_arm_reduction", "method", "effect", "dropout", "assumptions", "grid", "lineage") if k in planned} or None,
            "primary analysis": dict(analysis) if analysis else None,
            "covariate from a model": None if prognosis is None else {
                "name": prognosis.name, "hash": prognosis.hash, "locked": prognosis.locked, "learner": prognosis.learner, "inputs": [i.name for i in prognosis.inputs],
                "missing": prognosis.missing, "r_squared": prognosis.r_squared, "r_squared_interval": list(prognosis.r_squared_interval), "history": prognosis.history,
            },
            "handling of missing data": {k: (analysis or {}).get(k) for k in ("missing", "missing_outcome")},
            "multiplicity": SPONSOR,
        },
    }  # fmt: skip
    return {
        "template": "headings of ICH M11; statistical sections only",
        "created": created,
        "sections": sections,
        "hash": digest(_hashable(sections)),
    }


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _hashable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hashable(v) for v in value]
    return value
