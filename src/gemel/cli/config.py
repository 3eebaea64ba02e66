"""``gemel config``: what is set up here: checked, changed, and written down as documents."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import atomic_write, echo, note, print_json
from gemel.cli.stores import StorePlace, now, open_store

__all__ = ["config"]


@click.group()
def config() -> None:
    """Check the settings of a server, say who may log in and who treats whom, and write down what is set up here."""


@config.command()
@click.argument("twins", nargs=-1, metavar="[TWIN]...")
@click.option("--site", type=FilePath, help="A TOML file with the site's answers: controller, officer, ground, retention, transfers, ...")
@click.option("-o", "--output", type=FilePath, help="Write the document here.")
@as_json
@common
def register(twins: tuple[str, ...], site: Path | None, output: Path | None, json_: bool) -> int:
    """Write the register of processing and the impact sheet of the installed twins, or of those named. Exit code 1: the site has questions to answer."""
    import tomllib

    from gemel.core.errors import FormatError, GemelError
    from gemel.core.manifest import installed, manifest_of
    from gemel.platform.processing import processing_register

    answers: dict[str, str] = {}
    if site is not None:
        try:
            answers = {key: str(value) for key, value in tomllib.loads(existing(site).read_text(encoding="utf-8")).items()}
        except ValueError as error:
            raise FormatError(
                "not a TOML file", seen=f"{site.name}: {error}", expected="lines such as controller = 'Name, address'"
            ) from error
    chosen = [manifest_of(name) for name in twins] or [m for m in installed().values() if not isinstance(m, GemelError)]
    made = processing_register(chosen, answers)
    if output is not None:
        atomic_write(output, made.to_markdown().encode())
    if json_:
        print_json({**asdict(made), "unanswered": made.unanswered})
    elif output is None:
        echo(made.to_markdown().rstrip())
    for key in made.unanswered:
        note(f"open: {key}")
    return 1 if made.unanswered else 0


@config.command()
@click.argument("file", type=FilePath, required=False)
@click.option("--demo", is_flag=True, help="As for a demonstration, which others must not reach.")
@as_json
@common
def check(file: Path | None, demo: bool, json_: bool) -> int:
    """Check the settings of gemel serve in FILE and in the environment: unknown keys, contradictions, what is not safe. Exit code 1: it would not start."""
    import os

    from gemel.core.errors import ConfigurationError
    from gemel.server.config import read_config
    from gemel.server.config_check import troubles

    try:
        found = [asdict(trouble) for trouble in troubles(read_config(None if file is None else existing(file), os.environ), is_demo=demo)]
    except ConfigurationError as error:
        parts = str(error.seen).split("; ")
        found = [
            {"severity": "error", "key": part.partition(": ")[0], "what": part.partition(": ")[2] or error.what, "fix": error.fix or ""}
            for part in parts
        ]
    is_wrong = any(one["severity"] == "error" for one in found)
    if json_:
        print_json({"starts": not is_wrong, "troubles": found})
        return int(is_wrong)
    for one in found:
        echo(f"{one['severity']}: {one['key']}: {one['what']}; {one['fix']}")
    echo("it would not start" if is_wrong else "it would start")
    return int(is_wrong)


@config.group()
def account() -> None:
    """Say who may log in to a server on this machine ([auth] local = true)."""


@account.command()
@click.argument("store", type=StorePlace)
@click.argument("name")
@click.option("--who", required=True, help="The reference that relations and consents name, such as Practitioner/7.")
@click.option(
    "--role", required=True, help="patient, proxy, nurse, physician, other-physician, researcher, device, service or administrator."
)
@click.option("--locked", is_flag=True, help="Nobody logs in with it, until it is added again without this.")
@click.password_option("--password", envvar="", help="Asked for when it is left out; what stands in a command line others can see.")
@common
def add(store: Any, name: str, who: str, role: str, locked: bool, password: str) -> int:
    """Add the account NAME to STORE, or change it."""
    from gemel.platform.store.accounts import Account, put_account

    with open_store(store) as opened:
        put_account(opened, Account(name, who, role, is_active=not locked), password=password, now=now())  # type: ignore[arg-type]  checked there
    echo(f"{name}: {role}, {who}")
    return 0


@account.command(name="list")
@click.argument("store", type=StorePlace)
@as_json
@common
def list_(store: Any, json_: bool) -> int:
    """List the accounts of STORE."""
    from gemel.platform.store.accounts import accounts

    with open_store(store) as opened:
        found = [{"name": one.name, "who": one.who, "role": one.role, "locked": not one.is_active} for one in accounts(opened)]
    if json_:
        print_json({"accounts": found})
    else:
        for one in found:
            echo(f"{one['name']}: {one['role']}, {one['who']}" + (" (locked)" if one["locked"] else ""))
    return 0


@account.command()
@click.argument("store", type=StorePlace)
@click.argument("name")
@common
def remove(store: Any, name: str) -> int:
    """Remove the account NAME from STORE."""
    from gemel.platform.store.accounts import remove_account

    with open_store(store) as opened:
        remove_account(opened, name)
    return 0


@config.command()
@click.argument("store", type=StorePlace)
@click.argument("patient")
@click.argument("who")
@click.option(
    "--kind", type=click.Choice(["self", "proxy", "care", "device"]), default="care", show_default=True, help="What WHO is to PATIENT."
)
@click.option("--start", help="From when, ISO 8601 with its zone; left out, from now on.")
@click.option("--end", help="Until when, ISO 8601 with its zone; left out, without end.")
@common
def relate(store: Any, patient: str, who: str, kind: str, start: str | None, end: str | None) -> int:
    """Let WHO (such as Practitioner/7) stand in a relation to PATIENT (a pseudonym) of STORE: nobody sees anything of a person without one."""
    from gemel.core.time import to_ns
    from gemel.platform.store.relations import Relation, put_care

    time = now()
    relation = Relation(who, kind, time if start is None else to_ns(start), None if end is None else to_ns(end))
    with open_store(store) as opened:
        put_care(opened, patient, relation, recorded=time)
    return 0
