"""``gemel import`` and ``gemel data``: what comes in, and public data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from gemel.cli.options import FilePath, Missing, as_json, common, existing
from gemel.cli.output import echo, note, print_json, print_table
from gemel.cli.records import format_options, is_fhir, is_store, known_until, people
from gemel.cli.stores import StorePlace, hold, open_store

if TYPE_CHECKING:
    from gemel.core.record import PatientRecord
    from gemel.interop.wearables import ImportReport

__all__ = ["data", "import_"]


@click.command(
    "import",
    epilog="Layouts: fhir-cgm, nightscout, tidepool, open-mhealth, dexcom, libreview, generic, shanghai, d1namo, colas, glucose-ml, ohio, hupa, "
    "azt1d, cgmacros, apple-health, omop, hl7v2, vcf, dicom, wfdb, fhir.",
)
@click.argument("source", type=FilePath)
@format_options
@click.option("--merge-boluses", is_flag=True, help="Drop a bolus that repeats one at most 60 s before it; else such pairs are reported.")
@click.option(
    "--db",
    type=StorePlace,
    help="Append the facts to this store, a file (made when missing) or a postgresql:// URL. What is already there enters once; what cannot be read waits in quarantine.",
)
@click.option("--start", metavar="TIME", help="For wfdb: when the recording began, where its header does not say.")
@click.option("-o", "--output", type=FilePath, help="Write the generic table: a .csv, or for several people a folder.")
@click.option(
    "--site",
    "site_file",
    type=FilePath,
    help="For fhir: what the sender leaves out, a TOML file with name, zone, prefix, version, known_when_true, [codes] and [units].",
)
@click.option("--verbose", is_flag=True, help="For fhir with --db: a line for each resource: mapped, kept or refused, and why.")
@click.option(
    "--resources",
    is_flag=True,
    help="For fhir with --db: also keep each resource as a version of its own, so that the FHIR server serves it.",
)
@click.option(
    "--hospital",
    "hospital_file",
    type=FilePath,
    help="A server's settings: the bulk export of the FHIR server under [hospital] is fetched into the folder SOURCE first, going on where it broke off.",
)
@click.option("--level", default="", metavar="LEVEL", help="With --hospital: Patient, or Group/ID; left out, everything.")
@click.option(
    "--since", default="", metavar="TIME", help="With --hospital: only what changed after this instant, as the export before said."
)
@as_json
@common
def import_(
    source: Path,
    format_: str | None,
    tz: str | None,
    person: str | None,
    merge_boluses: bool,
    db: str | Path | None,
    output: Path | None,
    start: str | None,
    site_file: Path | None,
    verbose: bool,
    resources: bool,
    hospital_file: Path | None,
    level: str,
    since: str,
    json_: bool,
) -> int:
    """Read SOURCE and print, for every person, everything that was read, put right, left out or not understood."""
    if hospital_file is not None:
        from gemel.cli.import_fhir import fetch

        fetch(existing(hospital_file), source, level=level, since=since)
    elif level or since:
        raise click.UsageError("--level and --since say what a hospital's server exports: name it with --hospital")
    if db is not None and not is_store(existing(source)) and is_fhir(source, format_):
        from gemel.cli.import_fhir import read_site, store_export

        if person is not None or output is not None:
            raise click.UsageError("FHIR names its people itself, and goes into the store: leave --id and -o out, or leave --db out")
        return store_export(source, db, site=read_site(site_file, tz), verbose=verbose, keep_resources=resources, json_=json_)
    added: dict[str, int] = {}
    if db is None:
        found = people(source, format=format_, tz=tz, person=person, merge_boluses=merge_boluses, start=start)
        _fits(source, found, output)
    else:
        found, added = _store(existing(source), db, output, format=format_, tz=tz, person=person, merge_boluses=merge_boluses, start=start)
    written: dict[str, str] = {}
    lost: dict[str, tuple[str, ...]] = {}
    if output is not None:
        from gemel.interop.wearables import write_csv

        folder = output.suffix.lower() != ".csv"
        if folder:
            output.mkdir(parents=True, exist_ok=True)
        for record, _ in found:
            place = output / f"{quote(record.id, safe='')}.csv" if folder else output
            lost[record.id] = write_csv(record, place)
            written[record.id] = str(place)
    if json_:
        told = [
            {"patient": r.id, "report": None if report is None else report.model_dump(), "new_facts": added.get(r.id), "file": written.get(r.id),
             "not_in_file": lost.get(r.id), "hash": r.hash}
            for r, report in found
        ]  # fmt: skip
        print_json({"people": told})
        return 0
    told_of = None
    for record, report in found:
        echo(f"{record.id}:")
        if report is None or report is told_of:
            counts = [f"{series.code}: {len(series)}" for series in record.series]
            counts += [
                f"{name}: {len(getattr(record, name))}"
                for name in ("exposures", "findings", "documents", "geometry")
                if getattr(record, name)
            ]
            echo(f"  {'from a store: ' if report is None else ''}" + ", ".join(counts))
        else:
            echo(report.to_text())
            told_of = report
        if record.id in added:
            echo(f"  stored: {added[record.id]} new facts in {db}")
        if record.id in written:
            echo(f"  written: {written[record.id]}")
        for what in lost.get(record.id, ()):
            echo(f"  not in the table: {what}")
    return 0


def _fits(source: Path, found: Sequence[object], output: Path | None) -> None:
    if output is not None and len(found) > 1 and output.suffix.lower() == ".csv":
        raise click.UsageError(f"{source} holds {len(found)} people: name a folder with -o")


def _store(
    source: Path, db: str | Path, output: Path | None, **settings: Any
) -> tuple[list[tuple[PatientRecord, ImportReport | None]], dict[str, int]]:
    """Keep the source as it came, read it, and append its facts: in one transaction with what became of it."""
    from gemel.core.errors import GemelError

    with open_store(db, new=True) as store:
        message = None if is_store(source) else hold(store, source)
        try:
            found = people(source, **settings)
        except GemelError as error:
            if message is not None:
                store.settle(message, "quarantined", reason=str(error))
                note(f"kept in quarantine as number {message}: gemel quarantine redrive {db} {message}")
            raise
        _fits(source, found, output)
        with store.batch():
            added = {
                record.id: store.append(record.id, record.facts(), recorded=known_until(record), demographics=record.demographics)
                for record, _ in found
            }
            if not is_store(source):
                from gemel.cli.attachments import keep_bytes

                keep_bytes(
                    store, source, [record for record, _ in found], format=settings["format"], tz=settings["tz"], person=settings["person"]
                )
            if message is not None:
                store.settle(message, "done", patients=added)
    return found, added


@click.group()
def data() -> None:
    """List, fetch, verify and find public data sets. They are looked for in $GEMEL_DATA, then in the user's cache."""


def _known(name: str) -> str:
    from gemel.platform import datasets

    if name not in {d.name for d in datasets.listing()}:
        raise Missing(f"no data set {name!r} is listed; gemel data list names them")
    return name


def _tell(name: str, place: Path, json_: bool) -> None:
    if json_:
        print_json({"name": name, "path": str(place)})
    else:
        echo(str(place))


@data.command("list")
@as_json
@common
def list_(json_: bool) -> int:
    """List every data set, its licence and what it is used for."""
    from gemel.platform import datasets

    rows = [(d, datasets.available(d.name)) for d in datasets.listing()]
    if json_:
        print_json({"datasets": [d.model_dump(exclude={"files"}) | {"here": here, "files": len(d.files)} for d, here in rows]})
    else:
        print_table(
            "",
            ("name", "here", "licence", "what it is", "used for"),
            [(d.name, "yes" if here else "no", d.licence, d.title, d.validates) for d, here in rows],
        )
    return 0


@data.command()
@click.argument("name")
@as_json
@common
def fetch(name: str, json_: bool) -> int:
    """Find the data set NAME, or download it and check its hash; print where it lies."""
    from gemel.platform import datasets

    place = datasets.resolve(_known(name))
    _tell(name, place, json_)
    return 0


@data.command()
@click.argument("name")
@as_json
@common
def path(name: str, json_: bool) -> int:
    """Print where the data set NAME lies. Nothing is downloaded; exit code 4 when it is not here."""
    from gemel.platform import datasets

    place = datasets.resolve(_known(name), download=False)
    _tell(name, place, json_)
    return 0


@data.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@as_json
@common
def verify(names: tuple[str, ...], json_: bool) -> int:
    """Check the hash of every file, of every data set that has listed files or of those named. Exit code 1: one is changed; 4: one is missing."""
    from gemel.platform import datasets

    chosen = [_known(name) for name in names] or [d.name for d in datasets.listing() if d.files]
    found = {name: datasets.verify(name) for name in chosen}
    if json_:
        print_json({"datasets": found})
    else:
        print_table("", ("data set", "file", ""), [(name, file, state) for name, files in found.items() for file, state in files.items()])
    states = {state for files in found.values() for state in files.values()}
    return 1 if states - {"ok", "missing", datasets.UNLISTED} else 4 if "missing" in states else 0
