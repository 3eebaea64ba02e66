"""``gemel quarantine``: what arrived and could not be placed, with its bytes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gemel.cli.options import FilePath, as_json, common
from gemel.cli.output import atomic_write, echo, print_json, print_table
from gemel.cli.records import known_until, people
from gemel.cli.stores import StorePlace, open_store

if TYPE_CHECKING:
    from gemel.platform.intake import Intake
    from gemel.platform.store import Store

__all__ = ["quarantine"]


@click.group()
def quarantine() -> None:
    """List, show and drive again what could not be placed when it was imported."""


@quarantine.command("list")
@click.argument("store", type=StorePlace)
@click.option("--all", "all_", is_flag=True, help="Every message, whatever became of it.")
@as_json
@common
def list_(store: str | Path, all_: bool, json_: bool) -> int:
    """List what is in the quarantine of STORE, and why. Exit code 0 also when it is empty."""
    from gemel.core.time import iso

    with open_store(store) as opened:
        found = opened.messages(None if all_ else "quarantined")
    if json_:
        print_json({"messages": [vars(message) for message in found]})
    else:
        rows = [(m.seq, iso(m.received), m.source, m.name, m.state, m.attempts, m.reason) for m in found]
        print_table("", ("number", "received", "source", "name", "state", "tries", "reason"), rows, right=(0, 5))
    return 0


@quarantine.command()
@click.argument("store", type=StorePlace)
@click.argument("number", type=int)
@click.option("-o", "--output", type=FilePath, help="Write the bytes as they came to this file; - is standard output.")
@as_json
@common
def show(store: str | Path, number: int, output: Path | None, json_: bool) -> int:
    """Show message NUMBER of STORE."""
    from gemel.core.time import iso

    with open_store(store) as opened:
        message, raw = opened.message(number)
    if output is not None and str(output) == "-":
        sys.stdout.buffer.write(raw)
        return 0
    if output is not None:
        atomic_write(output, raw)
    if json_:
        print_json({**vars(message), "bytes": len(raw), "file": None if output is None else str(output)})
    else:
        echo(
            f"{message.name}: {len(raw)} bytes from {message.source}, received {iso(message.received)}, {message.state} after {message.attempts} tries"
        )
        if message.reason:
            echo(message.reason)
    return 0


def _intake(store: Store, site_file: Path | None, tz: str | None) -> Intake:
    from gemel.cli.import_fhir import read_site
    from gemel.interop.hl7v2 import Site
    from gemel.platform.adapters import fhir, hl7v2
    from gemel.platform.intake import Intake

    return Intake(store, [fhir.adapter(usual=read_site(site_file, tz)), hl7v2.adapter(usual=Site(zone=tz or "UTC"))])


@quarantine.command()
@click.argument("store", type=StorePlace)
@click.argument("numbers", type=int, nargs=-1, metavar="[NUMBER]...")
@click.option("--format", "format_", help="The layout, where it was not recognised.")
@click.option("--tz", help="Zone of times that carry none.")
@click.option("--id", "person", help="Pseudonym of the one person in it.")
@click.option("--site", "site_file", type=FilePath, help="For FHIR: what the sender leaves out, the file that gemel import --site takes.")
@as_json
@common
def redrive(
    store: str | Path,
    numbers: tuple[int, ...],
    format_: str | None,
    tz: str | None,
    person: str | None,
    site_file: Path | None,
    json_: bool,
) -> int:
    """Read messages of the quarantine of STORE again, those of a NUMBER or all; what can be placed now enters once. Exit code 1: some cannot."""
    from gemel.core.errors import GemelError

    told = []
    with open_store(store) as opened:
        intake = _intake(opened, site_file, tz)
        for number in numbers or tuple(message.seq for message in opened.messages("quarantined")):
            message, raw = opened.message(number)
            if message.source.startswith(("fhir/", "hl7v2/")) and format_ is None:  # it came by the intake, and is read by it again
                taken = intake.drive(number)
                done = taken.state == "done"
                told.append({"number": number, "placed": done, "new_facts": taken.facts, "reason": "" if done else taken.reason})
                continue
            if message.source.startswith("dicom/") and format_ is None:
                from gemel.platform.images import drive_image

                kept = drive_image(opened, number, tz=tz or "UTC", patient=person or "")
                told.append({"number": number, "placed": not kept.reason, "new_facts": int(kept.state == "new"), "reason": kept.reason})
                continue
            try:
                with tempfile.TemporaryDirectory(prefix="gemel-") as folder:
                    path = Path(folder) / (Path(message.name).name or "message")
                    path.write_bytes(raw)
                    found = people(path, format=format_, tz=tz, person=person)
                with opened.batch():
                    added = sum(opened.append(r.id, r.facts(), recorded=known_until(r), demographics=r.demographics) for r, _ in found)
                    opened.settle(number, "done", patients=[record.id for record, _ in found])
                told.append({"number": number, "placed": True, "new_facts": added, "reason": ""})
            except GemelError as error:
                opened.settle(number, "quarantined", reason=str(error))
                told.append({"number": number, "placed": False, "new_facts": 0, "reason": str(error)})
    if json_:
        print_json({"messages": told})
    else:
        for row in told:
            echo(
                f"{row['number']}: "
                + (f"placed, {row['new_facts']} new facts" if row["placed"] else f"still cannot be placed: {row['reason']}")
            )
    return 0 if all(row["placed"] for row in told) else 1
