"""``gemel db``: whether a store is sound, its schema, backups, and everything out of it."""

from __future__ import annotations

from pathlib import Path

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import echo, note, print_json, print_table
from gemel.cli.stores import StorePlace, now, open_store

__all__ = ["db"]


@click.group()
def db() -> None:
    """Check, migrate, back up, restore and export a store. STORE is a file, or postgresql://USER:PASSWORD@HOST/DATABASE?schema=NAME."""


@db.command()
@click.argument("store", type=StorePlace)
@as_json
@common
def check(store: str | Path, json_: bool) -> int:
    """Open every sealed value of STORE and hold it against its place and token, and look for gaps and keys without an owner; of the folder of a backup, its hashes. Exit code 1: something is wrong."""
    if isinstance(store, Path) and (store / "manifest.json").exists():
        from gemel.platform.store.backup import verify_backup

        found = verify_backup(store)
        if json_:
            print_json({"sound": True, **vars(found)})
        else:
            echo(f"a backup up to event {found.last_event}: {sum(found.rows.values())} rows, every file as it was written")
        return 0
    with open_store(store) as opened:
        told = opened.check()
    if json_:
        print_json({"sound": told.sound, "rows": told.counts, "problems": told.problems})
    else:
        print_table("", ("table", "rows"), told.counts.items(), right=(1,))
        for problem in told.problems:
            echo(f"WRONG: {problem}")
        echo("sound" if told.sound else f"{len(told.problems)} things are wrong")
    return 0 if told.sound else 1


@db.command()
@click.argument("store", type=StorePlace)
@click.option("--to", default="head", show_default=True, help="head, or a revision. Below 0003 nothing is sealed.")
@as_json
@common
def migrate(store: str | Path, to: str, json_: bool) -> int:
    """Carry STORE to another schema, all of it or nothing. Opening it by any other command does so too, upwards."""
    from gemel.platform.store import HEAD
    from gemel.platform.store import migrate as carry

    carry(store if isinstance(store, str) else existing(store), to)
    reached = HEAD if to == "head" else to
    if json_:
        print_json({"revision": reached})
    else:
        echo(f"schema {reached}")
    return 0


@db.command()
@click.argument("store", type=StorePlace)
@as_json
@common
def compact(store: str | Path, json_: bool) -> int:
    """Merge readings of STORE that came one by one into blocks of a day, while others may use it. Nothing that can be read changes; a server does so by itself."""
    fewer = 0
    with open_store(store) as opened:
        while found := opened.compact(now=now()):
            fewer += found
        left = opened.counts()["series_chunk"]
    if json_:
        print_json({"fewer": fewer, "blocks": left})
    else:
        echo(f"{left} blocks of readings, {fewer} fewer")
    return 0


@db.command()
@click.argument("store", type=StorePlace)
@click.argument("folder", type=FilePath)
@click.option("--keys", required=True, type=FilePath, help="A new file for the wrapped keys: keep it elsewhere than the folder.")
@as_json
@common
def backup(store: str | Path, folder: Path, keys: Path, json_: bool) -> int:
    """Write a backup of STORE into a new FOLDER, while others may use it. The master key is in neither: keep a copy of it apart."""
    from gemel.platform.store.backup import backup as write

    with open_store(store) as opened:
        made = write(opened, folder, keys, made=now())
    if json_:
        print_json({"folder": str(folder), "keys_file": str(keys), **vars(made)})
    else:
        echo(f"{sum(made.rows.values())} rows up to event {made.last_event} in {folder}; {made.keys} wrapped keys in {keys}")
        echo(f"to open it, the master key {made.master} is needed")
    return 0


@db.command()
@click.argument("folder", type=FilePath)
@click.argument("store", type=StorePlace)
@click.option("--keys", required=True, type=FilePath, help="The file of wrapped keys that was written with the backup, or a later one.")
@click.option("--key", type=FilePath, help="The master key. Left out: the configured one, or the file beside STORE.")
@click.option(
    "--erased", type=FilePath, multiple=True, help="An erasure log, NAME.erased; may be given again. These patients do not come back."
)
@as_json
@common
def restore(folder: Path, store: str | Path, keys: Path, key: Path | None, erased: tuple[Path, ...], json_: bool) -> int:
    """Make STORE, a new file or an empty schema, from the backup in FOLDER, and check it. Erasures are replayed first."""
    from gemel.platform.keys import beside, find_master, read_master
    from gemel.platform.store.backup import read_erased
    from gemel.platform.store.backup import restore as bring_back

    folder, keys = existing(folder), existing(keys)
    master = read_master(existing(key)) if key else find_master(default=None if isinstance(store, str) else beside(store))
    gone = {pid for path in erased for pid in read_erased(existing(path))}
    told = bring_back(folder, keys, store, master=master, erased=gone, recorded=now())
    if json_:
        print_json({"sound": told.sound, "rows": told.counts, "problems": told.problems})
    else:
        for problem in told.problems:
            echo(f"WRONG: {problem}")
        echo(f"{told.counts['patient']} patients, {told.counts['event']} events; " + ("sound" if told.sound else "not sound"))
    return 0 if told.sound else 1


@db.command()
@click.argument("store", type=StorePlace)
@click.argument("folder", type=FilePath)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["ndjson", "csv", "parquet"]),
    default="ndjson",
    show_default=True,
    help="ndjson holds everything; csv and parquet readings and facts.",
)
@click.option("--patient", "patients", multiple=True, help="Only this person; may be given again.")
@as_json
@common
def export(store: str | Path, folder: Path, format_: str, patients: tuple[str, ...], json_: bool) -> int:
    """Write what STORE holds into FOLDER, opened: every version of every fact with both its times."""
    from gemel.platform.store.export import export as write

    with open_store(store) as opened:
        rows = write(opened, folder, format_, patients=patients or None)
    if json_:
        print_json({"folder": str(folder), "files": rows})
    else:
        print_table("", ("file", "rows"), rows.items(), right=(1,))
        note("these files are not sealed")
    return 0
