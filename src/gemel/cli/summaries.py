"""What is told about a twin, a forecast and a score: plain values for JSON, and the same as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemel.cli.output import echo, print_table

if TYPE_CHECKING:
    from gemel.core.advice import Proposal, Score
    from gemel.engine.forecast import Forecast
    from gemel.engine.twin import Twin

__all__ = ["print_forecast", "print_proposal", "print_score", "print_twin", "proposal_summary", "score_summary", "twin_summary"]

DRAWS = 1000


def twin_summary(twin: Twin) -> dict[str, Any]:
    """Return what a twin is and whether it may be used."""
    import jax
    import numpy as np

    from gemel.core.time import iso
    from gemel.engine.status import usable
    from gemel.engine.twin import prior_dominated

    prior = twin.model.prior
    values = prior.constrain(twin.posterior.draw(DRAWS, key=jax.random.key(0)))
    before = prior.constrain(prior.draw(DRAWS, key=jax.random.key(0)))
    dominated = prior_dominated(prior, twin.posterior)
    parameters = {}
    for parameter in prior.parameters:
        low, middle, high = (float(x) for x in np.quantile(np.asarray(values[parameter.name]), [0.05, 0.5, 0.95]))
        parameters[parameter.name] = {
            "median": middle, "low": low, "high": high, "unit": parameter.unit, "prior": [float(x) for x in np.quantile(np.asarray(before[parameter.name]), [0.05, 0.95])],
            "prior_dominated": parameter.name in dominated, "assumed": parameter.assumed,
        }  # fmt: skip
    return {
        "twin": twin.model.id, "version": twin.model.version, "patient": twin.patient, "calibrated": iso(twin.calibrated), "now": iso(twin.now),
        "status": twin.status.name, "sentence": twin.sentence, "usable": usable(twin.status),
        "abstains": None if twin.domain.reason is None else f"{twin.domain.reason}: {twin.domain.sentence}", "data": twin.observed.data.count,
        "method": twin.inference.method, "validity": twin.inference.method_validity, "diagnostics": dict(twin.inference.diagnostics),
        "log_evidence": None if twin.inference.log_evidence is None else float(twin.inference.log_evidence), "parameters": parameters,
        "prior": twin.extra.get("prior"), "notes": list(twin.notes), "lineage": twin.lineage.model_dump() | {"id": twin.lineage.id},
    }  # fmt: skip


def print_twin(told: dict[str, Any], *, diagnostics: bool = False) -> None:
    """Print what :func:`twin_summary` returned."""
    echo(f"{told['twin']} {told['version']}: {told['patient']}, {told['data']} data until {told['now']}")
    echo(f"status: {told['status']} ({told['sentence']})")
    if told["abstains"]:
        echo(f"abstains: {told['abstains']}")
    echo(f"method: {told['method']}; {told['validity']}")
    if told["prior"]:
        echo(f"prior: {told['prior']}")
    rows = [
        (
            n,
            p["median"],
            p["low"],
            p["high"],
            p["unit"],
            " - ".join(f"{x:.3g}" for x in p["prior"]),
            "the prior's" if p["prior_dominated"] else "",
        )
        for n, p in told["parameters"].items()
    ]
    print_table("", ("parameter", "median", "5 %", "95 %", "unit", "prior 5 - 95 %", "mostly"), rows, right=(1, 2, 3))
    if diagnostics:
        print_table(
            "",
            ("diagnostic", "value"),
            [(k, v if not isinstance(v, list) else f"{len(v)} values") for k, v in told["diagnostics"].items()],
            right=(1,),
        )
    for line in told["notes"]:
        echo(f"note: {line}")
    echo(f"lineage: {told['lineage']['id']}")


def print_forecast(forecast: Forecast) -> None:
    """Print the quantiles of a forecast, or why there are none."""
    table = forecast.table()
    echo(f"{forecast.patient}, plan {forecast.plan!r}: {table.status} ({table.sentence})")
    at = {level: i for i, level in enumerate(table.levels)}
    rows = [
        (f"{horizon:g}", output, table.quantiles[at[0.05], j, k], table.quantiles[at[0.25], j, k], table.quantiles[at[0.5], j, k], table.quantiles[at[0.75], j, k],
         table.quantiles[at[0.95], j, k], table.units[k])
        for k, output in enumerate(table.outputs)
        for j, horizon in enumerate(forecast.horizons[: len(table.times)])
    ]  # fmt: skip
    if rows:
        print_table("", ("minutes", "output", "5 %", "25 %", "median", "75 %", "95 %", "unit"), rows, right=(0, 2, 3, 4, 5, 6))
    echo(f"lineage: {forecast.lineage.id}")


def score_summary(score: Score) -> dict[str, Any]:
    """Return a score with its means over each output and horizon."""
    from gemel.core.time import iso

    groups: dict[tuple[str, float], list[Any]] = {}
    for row in score.rows:
        groups.setdefault((row.output, row.horizon), []).append(row)
    means = []
    for (output, horizon), rows in sorted(groups.items()):
        part = score.model_copy(update={"rows": tuple(rows)})
        coverage = {level: part.coverage(level) for level in rows[0].inside}
        means.append(
            {"output": output, "horizon": horizon, "n": len(rows), "crps": part.mean("crps"), "log_score": part.mean("log_score"),
             "naive_crps": part.mean("naive_crps"), "skill": part.skill(), "coverage": coverage}
        )  # fmt: skip
    missing = [{"time": iso(time), "output": output} for time, output in score.missing]
    return {
        "patient": score.twin, "issued": iso(score.issued), "means": means, "rows": [row.model_dump() | {"time": iso(row.time)} for row in score.rows],
        "missing": missing, "lineage": score.lineage.id,
    }  # fmt: skip


def print_score(told: dict[str, Any]) -> None:
    """Print what :func:`score_summary` returned."""
    rows = [
        (
            f"{m['horizon']:g}",
            m["output"],
            m["n"],
            m["crps"],
            m["naive_crps"],
            m["skill"],
            *(f"{m['coverage'][level]:.0%}" for level in ("0.50", "0.90")),
        )
        for m in told["means"]
    ]
    title = f"{told['patient']}, issued {told['issued']}: {len(told['rows'])} scored, {len(told['missing'])} without a reading"
    print_table(title, ("minutes", "output", "n", "CRPS", "last value", "skill", "in 50 %", "in 90 %"), rows, right=(0, 2, 3, 4, 5, 6, 7))


def proposal_summary(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal as plain values."""
    return proposal.model_dump() | {
        "lineage": proposal.lineage.model_dump() | {"id": proposal.lineage.id},
        "reason": proposal.reason and proposal.reason.value,
    }


def print_proposal(proposal: Proposal) -> None:
    """Print a proposal: the choice or the abstention, the ranking, and why."""
    echo(f"choice: {proposal.choice}" if proposal.choice else f"abstained: {proposal.reason}")
    echo(proposal.sentence)
    rows = [
        (
            s.plan,
            s.utility,
            s.utility_error,
            f"{s.probability_best:.0%}",
            "yes" if s.feasible else "no",
            ", ".join(f"{k} {v:.0%}" for k, v in s.violations.items()),
        )
        for s in proposal.ranking
    ]
    if rows:
        print_table("", ("plan", "utility", "error", "P(best)", "keeps limits", "probability of violation"), rows, right=(1, 2, 3))
    for name, share in proposal.explanation.get("parameters", {}).items():
        echo(f"carried by {name}: {share:.0%}")
    for datum in proposal.explanation.get("data", [])[:3]:
        echo(f"moved by {datum['output']} {datum['value']:g} at {datum['time']}: {datum['moved']:+.3g}")
    echo(f"lineage: {proposal.lineage.id}")
