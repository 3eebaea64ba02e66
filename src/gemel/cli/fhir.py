"""``gemel fhir``: hold files of FHIR R4 against its definitions, and ask them by FHIRPath."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import echo

__all__ = ["fhir"]


@click.group()
def fhir() -> None:
    """Read FHIR R4 in JSON, NDJSON or XML, plain, in gzip or in a zip."""


def _resources(files: tuple[Path, ...]) -> Iterator[tuple[str, Any]]:
    from gemel.interop.fhir.files import read_resources

    for file in files:
        yield from read_resources(existing(file).read_bytes(), file.name)


@fhir.command()
@click.argument("files", nargs=-1, required=True, type=FilePath, metavar="FILE...")
@click.option("--all", "all_", is_flag=True, help="Print hints as well: what the definitions call best practice.")
@as_json
@common
def validate(files: tuple[Path, ...], all_: bool, json_: bool) -> int:
    """Hold every resource in FILE against the definitions of FHIR R4. Exit code 1: one has an error."""
    from gemel.interop.fhir.codec import encode
    from gemel.interop.fhir.validate import NOT_CHECKED, outcome, validate

    count = wrong = 0
    told = []
    for name, tree in _resources(files):
        issues = [issue for issue in validate(tree) if all_ or issue.severity != "information"]
        count += 1
        wrong += any(issue.severity == "error" for issue in issues)
        if json_:
            told.append({"file": name, "outcome": outcome(issues)})
            continue
        for issue in issues:
            echo(f"{name}: {issue}")
    if json_:
        echo(encode({"resources": count, "with_errors": wrong, "files": told}).decode())
    else:
        echo(f"{count} resources, {wrong} with errors; {NOT_CHECKED}")
    return 1 if wrong else 0


@fhir.command()
@click.argument("expression")
@click.argument("files", nargs=-1, required=True, type=FilePath, metavar="FILE...")
@click.option("--strict", is_flag=True, help="An element that a type does not have is an error.")
@click.option("--now", help="What now() and today() are, as a dateTime with zone; by default the clock.")
@as_json
@common
def path(expression: str, files: tuple[Path, ...], strict: bool, now: str | None, json_: bool) -> int:
    """Evaluate the FHIRPath EXPRESSION on every resource in FILE and print what it finds. Exit code 1: nothing is found anywhere."""
    from gemel.interop.fhir.codec import encode
    from gemel.interop.fhir.fhirpath import Node, as_element, evaluate, type_of

    clock = now or dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    rows = []
    for name, tree in _resources(files):
        for item in evaluate(expression, tree, now=clock, strict=strict):
            place = item.path if isinstance(item, Node) else None
            rows.append({"file": name, "type": type_of(item).name, "path": place, "value": as_element(item)})
    if json_:
        echo(encode({"expression": expression, "found": len(rows), "items": rows}).decode())
    else:
        for row in rows:
            value = row["value"]
            text = value if isinstance(value, str) else encode(value).decode()
            echo("\t".join(part for part in (row["file"], row["path"] or row["type"], text) if part is not None))
    return 0 if rows else 1
