"""The estimand, from the design file and the flags."""

from __future__ import annotations

from typing import Any

__all__ = ["estimand_of"]


def estimand_of(told: dict[str, Any], o: dict[str, Any]) -> dict[str, Any]:
    """Put the estimand together from the design file and the flags.

    Raises
    ------
    EvidenceError
        When neither says for whom and what about events.
    """
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
