"""``gemel trial report``: what a trial gave, as a page, on paper, as tables and data for a submission, with a trail of who made it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, as_json, common, existing, seed_option
from gemel.cli.output import atomic_write, echo, note, plain, print_json
from gemel.cli.trial._sealed import file_hash, seal, verify_folder
from gemel.cli.trial.options import design_option, read_bundle, read_table

if TYPE_CHECKING:
    from gemel.trials.code import Plan
    from gemel.trials.data import TrialData
    from gemel.trials.prognosis import PrognosisBundle

__all__ = ["report"]

INPUTS = ("subject", "baseline", "categories", "strata", "missing")


@click.command("report")
@click.argument("results", nargs=-1, type=FilePath)
@click.option("--data", type=FilePath, help="The file that was analysed: adds baseline, listing, and the analyses without the prognosis.")
@click.option("--prognosis", type=FilePath, help="The locked prognosis of the analysis.")
@click.option("--size", "sized", type=FilePath, help="What gemel trial size -o wrote, for the protocol.")
@click.option("-o", "--output", type=FilePath, default=Path("gemel-trial"), show_default=True, help="Folder for everything.")
@click.option("--title", default="Report of a trial", show_default=True, help="Of the report and the protocol.")
@click.option("--study", default="study-1", show_default=True, help="Identifier in Define-XML, Dataset-JSON and the folder m5.")
@click.option("--indication", default="not-stated", show_default=True, help="Part of the paths of the folder m5.")
@click.option("--unit", default="1", show_default=True, help="Of the outcome, UCUM.")
@click.option("--simulated", is_flag=True, help="Mark every figure SIMULATED.")
@click.option("--first-patient-in", metavar="DATE", default="", help="Stands beside the date on which the prognosis was locked.")
@click.option(
    "--replicates",
    type=click.IntRange(100),
    default=2000,
    show_default=True,
    help="Simulated trials a row, where a wrong twin is asked about.",
)
@click.option("--m5", type=FilePath, help="A folder for module 5 of an eCTD, with index and checksums.")
@click.option(
    "--protocol",
    "protocol_file",
    type=FilePath,
    help="A file for the statistical sections of the protocol as JSON; with --design it needs no result.",
)
@click.option("--who", metavar="NAME", default="", help="Who does this: stands in the trail.")
@click.option("--sign", "signer", metavar="NAME", help="Sign the manifest with this user's key, under this name.")
@click.option("--verify", "checked", type=FilePath, help="Check files, trail and signature of a folder, and do nothing else.")
@design_option
@seed_option
@as_json
@common
@click.pass_context
def report(ctx: click.Context, **o: Any) -> int:
    """Report RESULTS of gemel trial analyse -o: HTML, PDF, RTF, transport files, Dataset-JSON, Define-XML, programs, and a trail that can be checked.

    The first result is the primary one. Exit code 1: a folder given to --verify does not hold.
    """
    if o["checked"] is not None:
        return _verify(existing(o["checked"]), o["json_"])
    told = [_read(path) for path in o["results"]]
    bundle = read_bundle(o["prognosis"])
    sized = _read(o["sized"]) if o["sized"] else None
    if o["protocol_file"]:
        _protocol(ctx, o, told, sized, bundle)
        if not told:
            return 0
    if not told:
        raise click.UsageError("Missing argument 'RESULTS': what gemel trial analyse -o wrote", ctx)
    inputs = {path.name: file_hash(path) for path in (*o["results"], *(o[k] for k in ("data", "prognosis", "sized") if o[k]))}
    files, folder = _files(o, told, bundle), o["output"]
    files = files | {f"results/{i}-{path.name}": path.read_bytes() for i, path in enumerate(o["results"], start=1)}
    made = seal(
        folder, files, who=o["who"], what=f"report: {o['title']}", inputs=inputs, signer=o["signer"], meaning="author of this report"
    )
    if o["m5"]:
        from gemel.trials.report import m5_folder

        for path, body in m5_folder(files, study=o["study"], indication=o["indication"], title=o["title"]).items():
            (o["m5"] / path).parent.mkdir(parents=True, exist_ok=True)
            atomic_write(o["m5"] / path, body)
        made["m5"] = o["m5"]
    if o["json_"]:
        print_json({"files": {k: str(v) for k, v in made.items()}})
    else:
        for name, path in made.items():
            echo(f"{name}: {path}")
    return 0


def _read(path: Path) -> dict[str, Any]:
    from gemel.core.errors import FormatError

    try:
        told = json.loads(existing(path).read_text(encoding="utf-8"))
        if isinstance(told, dict):
            return told
    except (ValueError, UnicodeDecodeError) as error:
        raise FormatError("a result cannot be read", seen=path.name, expected="JSON as -o wrote it") from error
    raise FormatError("a result cannot be read", seen=path.name, expected="JSON as -o wrote it")


def _verify(folder: Path, json_: bool) -> int:
    found = verify_folder(folder)
    if json_:
        print_json(found)
    else:
        for k, v in found.items():
            echo(f"{k}: {v}")
    return 1 if any(str(v).startswith("BROKEN") for v in found.values()) else 0


def _protocol(
    ctx: click.Context, o: dict[str, Any], told: list[dict[str, Any]], sized: dict[str, Any] | None, bundle: PrognosisBundle | None
) -> None:
    from gemel.trials.report import protocol

    design = ctx.meta.get("design", {})
    first = told[0] if told else {}
    asked = dict(first.get("estimand") or design.get("estimand") or {})
    plan = first.get("plan") or design.get("analyse")
    if "treatment" not in asked and len(first.get("plan", {}).get("treatments", ())) == 1:
        asked["treatment"] = first["plan"]["treatments"][0]
    made = protocol(
        asked, title=o["title"], created=datetime.now(UTC).replace(microsecond=0).isoformat(), analysis=plan, size=sized, prognosis=bundle
    )
    atomic_write(o["protocol_file"], (json.dumps(plain(made), indent=1, ensure_ascii=False) + "\n").encode())
    (note if o["json_"] else echo)(f"protocol: {o['protocol_file']} (hash {made['hash'][:16]})")


def _data(plan: Plan, path: Path, bundle: PrognosisBundle | None) -> TrialData:
    """Read the data of an analysis again, as its plan says."""
    columns = read_table(path, plan.where)
    ours: dict[str, Any] = {k: getattr(plan, k) for k in INPUTS} | {
        "arm": plan.arm, "reference": plan.reference, "prognosis_inputs": tuple(i.name for i in bundle.inputs) if bundle else (),
    }  # fmt: skip
    if plan.visit:
        from gemel.trials.visits import visit_data

        return visit_data(columns, outcome=plan.outcome, visit=plan.visit, visits=plan.visits, **ours).people
    if plan.time:
        from gemel.trials.survival import survival_data

        return survival_data(
            columns, time=plan.time, event=plan.event_indicator, censor=plan.censor, missing_outcome=plan.missing_outcome, **ours
        ).trial
    from gemel.trials.data import trial_data

    return trial_data(columns, outcome=plan.outcome, missing_outcome=plan.missing_outcome, **ours)


def _files(o: dict[str, Any], told: list[dict[str, Any]], bundle: PrognosisBundle | None) -> dict[str, bytes]:
    """Return file name -> bytes of everything that is written."""
    from gemel.core.errors import DataError, ViewError
    from gemel.core.time import iso
    from gemel.trials.code import plan_of
    from gemel.trials.report import data_files, programs, rtf
    from gemel.trials.report import report as report_
    from gemel.web import render_html
    from gemel.web.pdf import render_pdf

    now = time.time_ns()
    data = None
    if o["data"] is not None:
        claimed = told[0].get("inputs", {}).get("data")
        if claimed and claimed != file_hash(existing(o["data"])):
            raise DataError(
                "the file is not the one that was analysed", seen=o["data"].name, expected=f"SHA-256 {claimed[:16]}", fix="give that file"
            )
        data = _data(plan_of(told[0].get("plan", {})), o["data"], bundle)
    made = report_(
        told, title=o["title"], created=iso(now // 10**9 * 10**9), data=data, prognosis=bundle, unit=o["unit"], is_simulated=o["simulated"],
        first_patient_in=o["first_patient_in"], replicates=o["replicates"], seed=o["seed"],
    )  # fmt: skip
    files = {
        "report.html": render_html(made.view).encode(),
        "report.rtf": rtf(made).encode(),
        "results.json": (
            json.dumps(plain({"results": made.results, "credibility": made.credibility}), indent=1, ensure_ascii=False) + "\n"
        ).encode(),
    }
    try:
        files["report.pdf"] = render_pdf(made.view)
    except (ImportError, ViewError) as error:
        note(f"no PDF: {error}")
    created = datetime.fromtimestamp(now // 10**9, UTC).replace(tzinfo=None)
    files |= data_files(told, made, data, bundle, study=o["study"], created=created)
    return files | {name: text.encode() for name, text in programs(told, bundle, data).items()}
