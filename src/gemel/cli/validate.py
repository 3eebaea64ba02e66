"""``gemel validate``: a twin's declared protocol on people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gemel.cli.options import FilePath, Numbers, as_json, common, existing, seed_option, use_engine
from gemel.cli.output import atomic_write, echo, plain, print_json, print_table
from gemel.cli.records import format_options, people

__all__ = ["validate"]


@click.command()
@click.argument("twin")
@click.option("--data", "source", type=FilePath, required=True, help="A table, zip or folder of people, or a store.")
@click.option("--horizons", type=Numbers, metavar="MINUTES", help="Such as 15,30,60,120; left out, those of the protocol.")
@click.option("--no-peers", is_flag=True, help="Leave the small neural network out.")
@click.option("--no-ablations", is_flag=True, help="Leave out the twin without its logged inputs.")
@click.option("--unseen", is_flag=True, help="Also forecast each person by what was learnt from the others only.")
@click.option("--simulated", is_flag=True, help="The people are virtual: every figure says so.")
@click.option("-o", "--output", type=FilePath, help="A folder for validation.json; a run with the same data and settings is not repeated.")
@click.option("--force", is_flag=True, help="Run again even so.")
@seed_option
@format_options
@as_json
@common
def validate(
    twin: str, source: Path, horizons: tuple[float, ...] | None, no_peers: bool, no_ablations: bool, unseen: bool, simulated: bool, output: Path | None, force: bool,
    seed: int, format_: str | None, tz: str | None, person: str | None, json_: bool,
) -> int:  # fmt: skip
    """Run the protocol that TWIN declares on people, beside naive baselines. Nothing is tuned: its numbers are printed whatever they are."""
    from gemel import __version__
    from gemel.core.errors import ManifestError
    from gemel.core.lineage import digest
    from gemel.core.manifest import entry_point, manifest_of

    entry_point(twin)
    records = [record for record, _ in people(existing(source), format=format_, tz=tz, person=person)]
    settings = {
        "twin": twin, "version": manifest_of(twin).version, "code": __version__, "horizons": horizons and [int(h) for h in horizons], "peers": not no_peers,
        "ablations": not no_ablations, "unseen": unseen, "simulated": simulated, "seed": seed, "data": digest(sorted(record.hash for record in records)),
    }  # fmt: skip
    kept = None if output is None else output / "validation.json"
    told = _kept(kept, settings) if kept is not None and not force else None
    if told is None:
        use_engine()
        from gemel.cli.progress import Bar
        from gemel.evidence.validation import validate as run
        from gemel.verbs import room

        protocol = getattr(room(twin).load("evidence"), "PROTOCOL", None)
        if protocol is None:
            raise ManifestError(f"the twin {twin!r} declares no protocol", expected="PROTOCOL in the evidence module of its room")
        whole = None if horizons is None else tuple(int(h) for h in horizons)
        with Bar() as bar:
            result = run(
                protocol, records, horizons=whole, peers=not no_peers, ablations=not no_ablations, unseen=unseen, seed=seed,
                shown_on="simulated" if simulated else "replayed", progress=bar,
            )  # fmt: skip
        told = {"settings": settings, "result": plain(result.to_dict())}
        if kept is not None:
            output.mkdir(parents=True, exist_ok=True)  # type: ignore[union-attr]
            atomic_write(kept, (json.dumps(told, indent=1, sort_keys=True) + "\n").encode())
    if json_:
        print_json(told["result"])
    else:
        _print(told["result"])
        if kept is not None:
            echo(f"written: {kept}")
    return 0


def _kept(place: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the stored result of a run with these settings on these data."""
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("settings") == plain(settings) else None


def _print(told: dict[str, Any]) -> None:
    shown = told["shown_on"]
    echo(told["question"])
    echo(
        f"shown on: {shown['kind']}, n = {shown['n']} ({shown['what']}); windows: "
        + ", ".join(f"{n} {k}" for k, n in told["windows"].items())
    )
    rows = []
    for row in sorted(told["rows"], key=lambda r: r["horizon"]):
        low, high = row["gain_rmse_interval"]
        between = "-" if low is None or high is None else f"{low:.1f} to {high:.1f}"
        rows.append(
            (
                row["horizon"],
                row["forecaster"],
                row["n"],
                row["rmse"],
                row["mae"],
                row["crps"],
                f"{row['coverage90']:.3f}",
                row["width90"],
                f"{row['gain_rmse']:+.1f}",
                between,
            )
        )
    columns = ("minutes", "forecaster", "n", "RMSE", "MAE", "CRPS", "in 90 %", "width 90 %", "RMSE gain on ridge, %", "95 % over people")
    print_table(f"{told['output']}, {told['unit']}", columns, rows, right=(0, 2, 3, 4, 5, 6, 7, 8, 9))
    for line in told["notes"]:
        echo(f"note: {line}")
