"""The other verbs on twins in files: assimilate, forecast, compare, recommend, score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gemel.cli.options import FilePath, Numbers, as_json, common, seed_option
from gemel.cli.output import echo, note, print_json, print_table
from gemel.cli.records import format_options, instant, one_person, people

__all__ = ["assimilate", "compare", "forecast", "recommend", "score"]

_draws = click.option("--draws", type=click.IntRange(2, 100_000), default=256, show_default=True, help="How many draws.")
_at = click.option("--at", type=Numbers, metavar="MINUTES", help="Minutes ahead, such as 15,30,60; left out, the twin's own.")
_plans = click.option(
    "--plan", "plans", multiple=True, metavar="NAME=SPEC", help="A plan file (.json), or one of the twin's plans. May be repeated."
)
ABSTAINED = 3


@click.command()
@click.argument("twin_file", type=FilePath)
@click.argument("record", type=FilePath)
@click.option("--now", metavar="TIME", help="Only what was known by then is read. Left out: when the last fact became known.")
@click.option(
    "-o", "--output", type=FilePath, required=True, help="File of the new twin; the old one stays as it is unless it is named here."
)
@format_options
@as_json
@common
def assimilate(
    twin_file: Path, record: Path, now: str | None, output: Path, format_: str | None, tz: str | None, person: str | None, json_: bool
) -> int:
    """Bring TWIN_FILE up to date with RECORD, which holds the earlier facts too."""
    from gemel.cli.files import read_twin, write_twin
    from gemel.cli.summaries import print_twin, twin_summary
    from gemel.core.errors import DataError
    from gemel.engine.twin import assimilate as carry

    twin, _ = read_twin(twin_file)
    found = one_person(record, format=format_, tz=tz, person=person)
    if found.id != twin.patient:
        raise DataError(
            "the record is of another person than the twin",
            seen=found.id,
            expected=twin.patient,
            fix=f"if they are one person: --id {twin.patient}",
        )
    made = carry(twin, found, instant(now, found, tz))
    write_twin(output, made)
    told = twin_summary(made) | {"file": str(output)}
    if json_:
        print_json(told)
    else:
        print_twin(told)
        echo(f"written: {output}")
    return 0


def _warn(forecast: Any) -> int:
    """Say on standard error what stands in the way of using a forecast; return the exit code."""
    from gemel.engine.status import Status

    if forecast.status == Status.ABSTAINED:
        note(f"abstained: {forecast.reason}")
        return ABSTAINED
    if not forecast.usable:
        note(f"not usable: {forecast.reason}")
    return 0


@click.command()
@click.argument("twin_file", type=FilePath)
@_at
@_draws
@click.option("--plan", metavar="SPEC", help="A plan file (.json), or one of the twin's plans; left out, what is known already.")
@click.option("-o", "--output", type=FilePath, help="A .csv, .parquet or .json file.")
@click.option("--keep-draws", is_flag=True, help="Also write the draws into a .csv, so that it can be scored.")
@seed_option
@as_json
@common
def forecast(
    twin_file: Path,
    at: tuple[float, ...] | None,
    draws: int,
    plan: str | None,
    output: Path | None,
    keep_draws: bool,
    seed: int,
    json_: bool,
) -> int:
    """Draw the future of the twin in TWIN_FILE."""
    from gemel.cli.files import check_ending, read_twin, write_forecasts

    check_ending(output)
    twin, room = read_twin(twin_file)
    import jax

    from gemel.cli.plans import named_plans
    from gemel.cli.summaries import print_forecast
    from gemel.engine.forecast import forecast as draw

    name, chosen = next(iter(named_plans([plan], twin, room).items())) if plan else ("as known", None)
    made = draw(twin, chosen, twin.times(*(at or room.horizons)), n=draws, key=jax.random.key(seed), name=name)
    if output is not None:
        write_forecasts(output, [made], keep_draws=keep_draws)
    if json_:
        print_json(made.table().to_dict() | {"horizons": [float(h) for h in made.horizons], "validity": made.method_validity})
    else:
        print_forecast(made)
        if output is not None:
            echo(f"written: {output}")
    return _warn(made)


@click.command()
@click.argument("twin_file", type=FilePath)
@_plans
@_at
@_draws
@click.option("-o", "--output", type=FilePath, help="A .csv, .parquet or .json file with the forecasts of all plans.")
@seed_option
@as_json
@common
def compare(
    twin_file: Path, plans: tuple[str, ...], at: tuple[float, ...] | None, draws: int, output: Path | None, seed: int, json_: bool
) -> int:
    """Forecast several plans for the twin in TWIN_FILE under the same draws and noise; differences are to the first plan."""
    from gemel.cli.files import check_ending, read_twin, write_forecasts

    check_ending(output)
    twin, room = read_twin(twin_file)
    import jax
    import numpy as np

    from gemel.cli.plans import named_plans
    from gemel.cli.summaries import print_forecast
    from gemel.engine.forecast import compare as draw

    chosen = named_plans(plans, twin, room)
    made = draw(twin, chosen, twin.times(*(at or room.horizons)), n=draws, key=jax.random.key(seed))
    names = list(made.forecasts)
    objective = room.objective()
    differences: list[dict[str, Any]] = []
    for name in names[1:]:
        if not len(made.forecasts[name].draws):
            continue
        better = made.probability_better(name, names[0], objective.utility)
        for k, output_ in enumerate(made.forecasts[name].outputs):
            gap = made.difference(name, names[0], output=output_.name)
            low, middle, high = np.quantile(gap, [0.05, 0.5, 0.95], axis=0)
            differences += [
                {"plan": name, "against": names[0], "output": output_.name, "horizon": float(h), "low": float(low[j]), "median": float(middle[j]),
                 "high": float(high[j]), "unit": made.forecasts[name].outputs[k].unit, "probability_better": better}
                for j, h in enumerate(made.forecasts[name].horizons)
            ]  # fmt: skip
    if output is not None:
        write_forecasts(output, list(made.forecasts.values()))
    if json_:
        print_json(
            {
                "objective": objective.name,
                "forecasts": {n: f.table().to_dict() for n, f in made.forecasts.items()},
                "differences": differences,
            }
        )
    else:
        for one in made.forecasts.values():
            print_forecast(one)
        if differences:
            rows = [
                (d["plan"], f"{d['horizon']:g}", d["output"], d["low"], d["median"], d["high"], d["unit"], f"{d['probability_better']:.0%}")
                for d in differences
            ]
            title = f"difference to {names[0]!r}, paired draws; better: {objective.name}"
            print_table(title, ("plan", "minutes", "output", "5 %", "median", "95 %", "unit", "P(better)"), rows, right=(1, 3, 4, 5, 7))
        if output is not None:
            echo(f"written: {output}")
    return _warn(made.forecasts[names[0]])


@click.command()
@click.argument("twin_file", type=FilePath)
@_plans
@_at
@click.option("--draws", type=click.IntRange(2, 100_000), default=512, show_default=True, help="How many draws.")
@click.option("--record", type=FilePath, help="The person's record: what a reading was worth then counts all that reads it.")
@seed_option
@click.option("-o", "--output", type=FilePath, help="A .json file for the proposal.")
@as_json
@common
def recommend(
    twin_file: Path,
    plans: tuple[str, ...],
    at: tuple[float, ...] | None,
    draws: int,
    record: Path | None,
    seed: int,
    output: Path | None,
    json_: bool,
) -> int:
    """Choose for the twin in TWIN_FILE the best plan that keeps every limit, or abstain (exit code 3) and say why."""
    from gemel.cli.files import read_twin

    twin, room = read_twin(twin_file)
    import json

    import jax

    from gemel.cli.output import atomic_write, plain
    from gemel.cli.plans import named_plans
    from gemel.cli.summaries import print_proposal, proposal_summary
    from gemel.engine.recommend import recommend as choose

    moments = twin.times(*(at or room.horizons))
    known = None if record is None else people(record, person=twin.patient)[0][0]
    made = choose(
        twin,
        named_plans(plans, twin, room),
        room.objective(),
        room.limits(),
        times=moments,
        n=draws,
        key=jax.random.key(seed),
        record=known,
    ).proposal()
    told = proposal_summary(made)
    if output is not None:
        atomic_write(output, (json.dumps(plain(told), indent=1, sort_keys=True) + "\n").encode())
    if json_:
        print_json(told)
    else:
        print_proposal(made)
    return 0 if made.choice else ABSTAINED


@click.command()
@click.argument("forecast_file", type=FilePath)
@click.argument("record", type=FilePath)
@click.option("--now", metavar="TIME", help="Only what was known by then counts. Left out: when the last fact became known.")
@click.option(
    "--tolerance", type=click.FloatRange(0, 1440), default=2.5, show_default=True, help="Minutes a reading may lie from a forecast time."
)
@format_options
@as_json
@common
def score(
    forecast_file: Path,
    record: Path,
    now: str | None,
    tolerance: float,
    format_: str | None,
    tz: str | None,
    person: str | None,
    json_: bool,
) -> int:
    """Say how the forecasts in FORECAST_FILE did against RECORD: a person, or the folder of all people in the file."""
    from gemel.cli.files import read_forecasts
    from gemel.cli.summaries import print_score, score_summary
    from gemel.core.errors import DataError
    from gemel.engine.scoring import score as judge

    made = read_forecasts(forecast_file)
    known = {one.id: one for one, _ in people(record, format=format_, tz=tz, person=person)}
    told, left = [], []
    for one in made:
        if not len(one.draws):
            left.append({"patient": one.patient, "plan": one.plan, "reason": one.reason})
        elif one.patient not in known:
            left.append({"patient": one.patient, "plan": one.plan, "reason": "not in the record"})
        else:
            truth = known[one.patient]
            told.append(score_summary(judge(one, truth, instant(now, truth, tz), tolerance=tolerance)) | {"plan": one.plan})
    if not told:
        raise DataError(
            "nothing could be scored",
            seen="; ".join(f"{x['patient']}: {x['reason']}" for x in left[:3]),
            expected="a forecast and its person",
            fix="--id",
        )
    if json_:
        print_json({"scores": told, "left_out": left})
    else:
        for one in told:
            print_score(one)
        for entry in left:
            echo(f"left out: {entry['patient']}, plan {entry['plan']!r}: {entry['reason']}")
    return 0
