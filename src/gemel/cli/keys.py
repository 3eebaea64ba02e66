"""``gemel keys``: the master key that seals stores."""

from __future__ import annotations

from pathlib import Path

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import echo, print_json
from gemel.cli.stores import StorePlace

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Make and exchange the master key, which wraps the key of every patient. It is never shown."""


@keys.command()
@click.argument("file", type=FilePath)
@as_json
@common
def make(file: Path, json_: bool) -> int:
    """Make a master key in a new FILE that only you can read. GEMEL_KEY_FILE names it to all commands."""
    from gemel.platform.keys import make_master

    made = make_master(file)
    if json_:
        print_json({"file": str(file), "key": made.id})
    else:
        echo(f"master key {made.id} in {file}: keep a copy where the data are not; without it nothing can be opened")
    return 0


@keys.command()
@click.argument("store", type=StorePlace)
@as_json
@common
def show(store: str | Path, json_: bool) -> int:
    """Say which master key STORE needs, and how many keys it wraps; the key itself is not needed for that."""
    from gemel.platform.store.rotation import key_of

    name, count = key_of(store if isinstance(store, str) else existing(store))
    if json_:
        print_json({"key": name, "wraps": count})
    else:
        echo(f"master key {name}, {count} keys wrapped by it")
    return 0


@keys.command()
@click.argument("store", type=StorePlace)
@click.argument("new", type=FilePath, required=False)
@as_json
@common
def rotate(store: str | Path, new: Path | None, json_: bool) -> int:
    """Wrap every key of STORE by a new master key, made in the file NEW, or in place of the one beside STORE. Nothing that is sealed changes; key backups made before need the old key."""
    from gemel.platform.store.rotation import rotate as exchange

    file, made, count = exchange(store if isinstance(store, str) else existing(store), new)
    if json_:
        print_json({"file": str(file), "key": made.id, "wraps": count})
    else:
        echo(f"{count} keys are wrapped by master key {made.id} in {file}")
        echo("the old one opens the key backups that were made before; destroy it when there are none left")
    return 0
