"""``gemel export --format fhir``: NDJSON, one file for each type of resource."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from gemel.cli.output import echo, print_json
from gemel.cli.records import is_store, people

if TYPE_CHECKING:
    from gemel.platform.fhir_export import Leaving

__all__ = ["export_fhir"]


def export_fhir(source: Path, folder: Path, *, layout: str | None, tz: str | None, person: str | None, json_: bool) -> int:
    """Write everybody, or one person, into a folder that is new or empty."""
    from gemel.platform.fhir_export import exported, made_of
    from gemel.platform.store import Store

    if folder.suffix or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise click.UsageError(f"FHIR leaves as files of NDJSON, one for each type: name a new or empty folder with -o, not {folder}")
    if is_store(source):
        with Store(source) as store:
            counts = _write(exported(store, patient=person), folder)
    else:
        counts = _write((one for record, _ in people(source, format=layout, tz=tz, person=person) for one in made_of(record)), folder)
    if json_:
        print_json({"folder": str(folder), "resources": {kind: {"as_they_came": a, "of_facts": b} for kind, (a, b) in counts.items()}})
        return 0
    for kind, (came, made) in sorted(counts.items()):
        echo(f"{folder / f'{kind}.ndjson'}: {came} as they came, {made} made of facts")
    echo("  not in the files: geometry, and the bytes of documents that did not come as FHIR")
    return 0


def _write(leaving: Iterable[Leaving], folder: Path) -> dict[str, tuple[int, int]]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    counts: dict[str, tuple[int, int]] = {}
    with ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        for one in leaving:
            if one.kind not in files:
                files[one.kind] = stack.enter_context((folder / f"{one.kind}.ndjson").open("xb"))
            files[one.kind].write(one.body + b"\n")
            came, made = counts.get(one.kind, (0, 0))
            counts[one.kind] = (came + one.is_original, made + (not one.is_original))
    return counts
