"""``gemel change``: may a new version replace the old one under its predetermined plan?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import atomic_write, echo, plain, print_json, print_table

__all__ = ["change"]


def _beside(version: str) -> Path:
    """Return the folder of a version: its own, that of its twin.toml, or the room of an installed twin."""
    from gemel.core.manifest import entry_point, package_dir

    path = Path(version)
    if path.exists():
        return path if path.is_dir() else path.parent
    return package_dir(entry_point(version))


@click.command()
@click.argument("old")
@click.argument("new")
@click.option(
    "--plan", "plan_file", type=FilePath, help="The change-control plan; left out, pccp.toml beside NEW (an installed twin: in its room)."
)
@click.option("--runs", type=FilePath, help="A file of evidence runs (JSON lines); new ones are appended.")
@click.option("--log", "log_", type=FilePath, help="A CSV of NEW's predictions on the protocol's data: makes the protocol's run.")
@click.option(
    "--rollback",
    nargs=2,
    type=FilePath,
    metavar="BEFORE AFTER",
    help="Two CSVs of OLD's predictions, before and after going back: makes the run of the roll-back.",
)
@click.option("--twin", help="Which one, where a manifest registers several.")
@click.option("--tz", help="IANA zone of times that carry none.")
@click.option(
    "--shown-on",
    type=click.Choice(["real", "replayed", "simulated"]),
    default="replayed",
    show_default=True,
    help="Who the people of the logs are.",
)
@click.option("--criteria", is_flag=True, help="Print the hash of the plan's criteria, which a run must carry, and judge nothing.")
@click.option("-o", "--output", type=FilePath, help="A folder for change.html and change.json.")
@as_json
@common
def change(
    old: str, new: str, plan_file: Path | None, runs: Path | None, log_: Path | None, rollback: tuple[Path, Path] | None, twin: str | None, tz: str | None,
    shown_on: Any, criteria: bool, output: Path | None, json_: bool,
) -> int:  # fmt: skip
    """Hold the change from OLD to NEW against a predetermined change-control plan, row by row. The exit code is 1 when it is blocked.

    OLD and NEW are each a twin.toml, a folder with one, a wheel, or the id of an installed twin.
    """
    import time

    from gemel.evidence.change.gate import gate_change, gate_view
    from gemel.evidence.change.plan import read_plan
    from gemel.evidence.change.snapshot import read_snapshot
    from gemel.evidence.run import append, read

    plan = read_plan(existing(plan_file or _beside(new) / "pccp.toml"))
    if criteria:
        print_json({"criteria": plan.criteria_hash}) if json_ else echo(plan.criteria_hash)
        return 0
    before, after = read_snapshot(old, twin=twin), read_snapshot(new, twin=twin)
    made = []
    if log_ is not None or rollback is not None:
        from gemel.evidence.change.protocol_run import protocol_run, rollback_run
        from gemel.evidence.surveillance.prediction_log import read_log

        now = time.time_ns()
        if log_ is not None:
            made.append(protocol_run(read_log(existing(log_), tz=tz), plan, after, time=now, kind=shown_on, command="gemel change --log"))
        if rollback is not None:
            first, second = (read_log(existing(path), tz=tz) for path in rollback)
            made.append(rollback_run(first, second, before, after, time=now, kind=shown_on))
    if runs is not None:
        kept = read(runs) if runs.exists() else ()
    else:
        from gemel.cli.evidence_files import evidence_folder, stored_runs

        kept = stored_runs(evidence_folder(), after.manifest.id)
    gate = gate_change(before, after, plan, (*kept, *made))
    if runs is not None:
        for run in made:
            append(runs, run)
    if output is not None:
        from gemel.web import render_html

        output.mkdir(parents=True, exist_ok=True)
        atomic_write(output / "change.html", render_html(gate_view(gate, plan)).encode())
        atomic_write(output / "change.json", (json.dumps(plain(gate.to_dict()), indent=1, sort_keys=True) + "\n").encode())
    if json_:
        print_json(gate.to_dict())
    else:
        print_table(f"{gate.old} to {gate.new}", ("row", "status", "asks", "seen"), [(r.id, r.status, r.asks, r.seen) for r in gate.rows])
        failed = sum(r.status == "failed" for r in gate.rows)
        echo(
            f"blocked: {failed} of {len(gate.rows)} rows failed"
            if failed
            else f"all {len(gate.rows)} rows passed; data, practice, update and impact are for a person to judge"
        )
        if output is not None:
            echo(f"written: {output / 'change.html'}, {output / 'change.json'}")
    return 0 if gate.passed else 1
