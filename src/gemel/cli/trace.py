"""``gemel trace``: what a twin must do, what could go wrong, which software does it and what shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import atomic_write, echo, note, plain, print_json, print_table

if TYPE_CHECKING:
    from gemel.evidence.trace.report import TraceReport

__all__ = ["trace"]


@click.command()
@click.argument("twin", required=False)
@click.option(
    "--check", is_flag=True, help="End in 1 where there is an orphan in either direction, in 4 where tests are not here to be looked at."
)
@click.option(
    "--runs",
    type=FilePath,
    help="A file of evidence runs (JSON lines) whose last run of each study stands in the matrix; left out, the stored ones.",
)
@click.option("-o", "--output", type=FilePath, help="A file for the whole matrix of TWIN: its name ends in .html or .json.")
@as_json
@common
def trace(twin: str | None, check: bool, runs: Path | None, output: Path | None, json_: bool) -> int:
    """Trace requirements to hazards, software items, tests, runs and the release: of TWIN, or of every twin that has a trace.toml.

    Orphans are requirements that nothing shows, hazards without control, tests or studies that are not there, tests marked with a requirement that is not
    there, and software items without safety class. Names of tests are read from the files of a checkout; nothing is run.
    """
    from gemel.cli.evidence_files import evidence_folder, stored_runs
    from gemel.core.errors import GemelError
    from gemel.evidence.run import read
    from gemel.evidence.trace.report import trace_report, traced_twins

    if output is not None and (twin is None or output.suffix.lower() not in (".html", ".json")):
        raise click.UsageError("-o needs TWIN, and a name that ends in .html or .json")
    given = None if runs is None else read(existing(runs))
    everyone = traced_twins()
    without = [name for name, found in everyone.items() if isinstance(found, GemelError)]
    chosen = [name for name in everyone if name not in without] if twin is None else [twin]
    reports = [
        trace_report(name, runs=stored_runs(evidence_folder(), name) if given is None else given, traces=everyone) for name in chosen
    ]
    if output is not None:
        _write(reports[0], output)
    if json_:
        print_json(reports[0].to_dict() if twin is not None else {"twins": [r.to_dict() for r in reports], "without trace.toml": without})
    else:
        for report in reports:
            _print(report, whole=twin is not None)
        if twin is None:
            echo(f"no trace.toml: {', '.join(without)}" if without else "every installed twin has a trace.toml")
        if output is not None:
            echo(f"written: {output}")
    if not check:
        return 0
    if any(r.checked.orphans for r in reports):
        return 1
    if any(r.checked.unchecked for r in reports):
        note("error: the names of tests cannot be checked here, and nothing has passed\n  next:     run this in a checkout with its tests")
        return 4
    return 0


def _write(report: TraceReport, path: Path) -> None:
    if path.suffix.lower() == ".json":
        body = json.dumps(plain(report.to_dict()), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    else:
        from gemel.evidence.trace.report import trace_view
        from gemel.web import render_html

        body = render_html(trace_view(report))
    atomic_write(path, body.encode())


def _print(report: TraceReport, *, whole: bool) -> None:
    echo(f"{report.trace.twin} {report.trace.version}: {report.sentence}")
    if whole:
        rows = [
            (
                r.requirement.id, r.requirement.text, " ".join(r.hazards) or "-", " ".join(r.items) or "-", len(r.tests) + len(r.promises),
                "; ".join(f"{s.study}: {s.state}" for s in r.studies) or "-", "ORPHAN" if r.is_orphan else "traced",
            )
            for r in report.rows
        ]  # fmt: skip
        print_table("", ("requirement", "must", "hazards", "items (class)", "tests", "studies", "state"), rows, right=(4,))
        hazards = [
            (h.id, h.situation, h.before.words, h.residual.words, "yes" if h.accepted else "a person must") for h in report.trace.hazards
        ]
        print_table("", ("hazard", "situation", "before control", "residual", "accepted"), hazards)
    if report.checked.orphans:
        print_table("", ("orphan", "where", "what is missing"), [(o.kind, o.where, o.said) for o in report.checked.orphans])
