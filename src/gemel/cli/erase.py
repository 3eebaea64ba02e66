"""``gemel erase``: a patient, for good."""

from __future__ import annotations

from pathlib import Path

import click

from gemel.cli.options import FilePath, as_json, common
from gemel.cli.output import echo, print_json
from gemel.cli.stores import StorePlace, now, open_store

__all__ = ["erase"]


@click.command()
@click.argument("store", type=StorePlace)
@click.argument("patient", required=False)
@click.option("--keys", type=FilePath, multiple=True, help="A key backup besides those that the store remembers; may be given again.")
@click.option("--log", type=FilePath, help="Where the erasure is noted outside the database. Left out: NAME.erased beside a file.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@common
def erase(store: str | Path, patient: str | None, keys: tuple[Path, ...], log: Path | None, yes: bool, json_: bool) -> int:
    """Erase PATIENT from STORE for good: their key here and in its key backups, every row, and what was deleted is overwritten. Without PATIENT, finish what was cut short. Exit code 1: a key backup could not be reached."""
    from gemel.platform.erase import erase as destroy
    from gemel.platform.erase import scrub

    with open_store(store) as opened:
        if patient is None:
            scrub(opened)
            if json_:
                print_json({"scrubbed": True})
            else:
                echo("what was deleted is overwritten")
            return 0
        if not yes:
            click.confirm(f"Erase {patient!r} from {opened.place}? It cannot be undone.", abort=True, err=True)
        done = destroy(opened, patient, recorded=now(), key_backups=keys, log=log)
    if json_:
        print_json({"erased": done.pid, **{name: value for name, value in vars(done).items() if name != "pid"}})
    else:
        echo(f"erased: {done.rows} rows, {done.messages} messages; what remains is the number {done.pid}")
        for path in done.reached:
            echo(f"key taken out of {path}")
        for path in done.unreached:
            echo(
                f"NOT REACHED: {path}: the key is still in it; bring it back and give it with --keys, or exchange the master key and destroy the old one"
            )
    return 1 if done.unreached else 0
