"""``gemel import --format fhir --db``: an export of FHIR into a store, piece by piece."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemel.cli.options import existing
from gemel.cli.output import echo, note, print_json
from gemel.cli.progress import Bar
from gemel.cli.stores import now, open_store

if TYPE_CHECKING:
    from gemel.interop.fhir.mapping import Site
    from gemel.platform.fhir_import import Line, Outcome

__all__ = ["read_site", "store_export"]

_SITE = ("name", "zone", "prefix", "version", "known_when_true", "codes", "units")


def read_site(path: Path | None, tz: str | None) -> Site:
    """Read what a sender leaves out from a TOML file; ``tz`` wins over its zone.

    Raises
    ------
    FormatError
        When the file is no TOML, or holds a key that is not known.
    """
    from gemel.core.errors import FormatError
    from gemel.interop.fhir.mapping import Site

    told: dict[str, Any] = {}
    if path is not None:
        try:
            told = tomllib.loads(existing(path).read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FormatError(
                f"{path.name} is not TOML", seen=str(error)[:80], expected="a site's settings", fix="correct the file"
            ) from error
        unknown = sorted(set(told) - set(_SITE))
        kinds = {"known_when_true": bool, "codes": dict, "units": dict}
        wrong = sorted(key for key, value in told.items() if key in _SITE and not isinstance(value, kinds.get(key, str)))
        if unknown or wrong:
            raise FormatError(f"{path.name} says what a site has no place for", seen=", ".join(unknown + wrong), expected=", ".join(_SITE), fix="correct the file")  # fmt: skip
    if tz is not None:
        told["zone"] = tz
    return Site(**told)


def store_export(source: Path, db: str | Path, *, site: Site, verbose: bool, keep_resources: bool, json_: bool) -> int:
    """Import and tell what became of it. Exit code 1: some resources wait in quarantine."""
    from gemel.interop.fhir.bulk import pieces
    from gemel.interop.report import Tally
    from gemel.platform.fhir_import import FhirImport, check_empty

    tally = Tally(source.name, "fhir")
    new = before = aside = count = 0
    lines: list[Line] = []
    with open_store(db, new=True) as store, Bar() as bar:
        importer = FhirImport(store, site.name, received=now(), site=site, keep_resources=keep_resources)
        total = 0
        for piece in pieces(existing(source)):
            importer.look_ahead((piece,))
            total += 1
        check_empty(total, source.name)
        bar.start("resources", total)
        for piece in pieces(source):
            found = importer.take(piece)
            count += 1
            tally.add(found.report)
            new, before, aside = new + found.facts, before + (not found.is_new), aside + found.quarantined
            if verbose and not json_:
                _say(found)
            lines += found.lines if verbose and json_ else ()
            bar.update(count, note=f"{new} facts")
        tally.warnings += [*sorted(importer.told), *importer.follow.missing()]
        report = tally.report()
        if json_:
            told = {
                "report": report.model_dump(),
                "pieces": count,
                "pieces_before": before,
                "new_facts": new,
                "quarantined": aside,
                "resources_kept": importer.kept,
            }
            told["patients"] = [{"patient": who, "new_facts": n} for who, n in importer.people.items()]
            print_json(told | ({"resources": [vars(line) for line in lines]} if verbose else {}))
            return 1 if aside else 0
    echo(report.to_text())
    if before:
        echo(f"  {before} of {count} pieces had been imported before")
    echo(f"  stored: {new} new facts of {len(importer.people)} people in {db}")
    if keep_resources:
        echo(f"  {importer.kept} resources kept as new versions, for the FHIR server")
    if aside:
        echo(f"  {aside} resources wait in quarantine: gemel quarantine list {db}")
    return 1 if aside else 0


def _say(found: Outcome) -> None:
    for line in found.lines:
        echo(f"{line.place}: {line.type or 'not read'}: {line.fate}{f': {line.why}' if line.why else ''}")


def fetch(settings: Path, folder: Path, *, level: str, since: str) -> None:
    """Fetch the bulk export of the hospital's server into a folder, and say from when the next one goes on."""
    import time

    from gemel.core.errors import ConfigurationError
    from gemel.server.config import read_config
    from gemel.server.hospital import fetch_export

    hospital = read_config(settings, os.environ).hospital
    if hospital is None:
        raise ConfigurationError("no server to ask", seen=settings.name, expected="a section [hospital] with its base address")
    note(f"asking {hospital.name} for an export")
    found = fetch_export(hospital, folder, clock=time.time_ns, level=level, since=since)
    note(f"{len(found.files)} files in {folder}; next time --since {found.since}")
    if found.deleted:
        note(f"{len(found.deleted)} files name what is not there any more: it is not taken out of the store")
    if found.errors:
        note(f"the server told of errors in {len(found.errors)} files")
