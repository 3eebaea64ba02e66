"""``gemel audit``: does the trail hold, and what stands in it."""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import echo, plain, print_json, print_table
from gemel.cli.stores import StorePlace, open_store

__all__ = ["audit"]


@click.group()
def audit() -> None:
    """Verify an audit trail, and show what stands in it."""


@audit.command()
@click.argument("trail", type=FilePath)
@click.option("--anchor", "anchors", type=FilePath, multiple=True, help="A file of signed roots kept elsewhere; may be given again.")
@click.option("--key", "keys", multiple=True, help="A public key, in hexadecimal digits, that may have signed; without one any key may.")
@as_json
@common
def verify(trail: Path, anchors: tuple[Path, ...], keys: tuple[str, ...], json_: bool) -> int:
    """Follow the chain of TRAIL from its first entry, hold it against the signed roots, and name the first entry that is wrong. Exit code 1: one is."""
    from gemel.platform.audit_check import verify_trail

    found = verify_trail(existing(trail), anchors=[existing(a) for a in anchors], keys=keys)
    if json_:
        print_json({"holds": found.holds, **vars(found)})
        return 0 if found.holds else 1
    echo(f"{found.entries} entries; {found.roots} signed roots, the newest of {found.anchored} entries")
    for key in found.keys:
        echo(f"signed with {key}" + ("" if keys else ": compare it with the one that you know"))
    if found.entries > found.anchored:
        echo(f"{found.entries - found.anchored} entries after the newest root: were some cut off at the end, nobody could tell")
    for told in found.wrong:
        echo(f"BROKEN: {told}")
    if found.holds:
        echo("every entry is as it was written")
    else:
        echo("first bad entry: " + ("none of the trail's own" if found.first_bad is None else str(found.first_bad)))
    return 0 if found.holds else 1


@audit.command()
@click.argument("trail", type=FilePath)
@click.option("--last", type=click.IntRange(min=1), help="Only the last so many that are chosen.")
@click.option("--who", help="Only what this one did.")
@click.option("--patient", help="Only what concerns this patient.")
@click.option("--action", help="Only this action, such as read, export or deny.")
@click.option(
    "--db",
    type=StorePlace,
    help="The store under whose keys entries are sealed: they are opened. Patients may then be named by pseudonym too.",
)
@click.option("--fhir", is_flag=True, help="Print FHIR AuditEvents, one a line.")
@as_json
@common
def show(trail: Path, last: int | None, who: str | None, patient: str | None, action: str | None, db: Any, fhir: bool, json_: bool) -> int:
    """Show entries of TRAIL, oldest first. It is not judged: that is what verify does."""
    from contextlib import ExitStack

    from gemel.core.errors import StoreError
    from gemel.core.time import iso
    from gemel.platform.audit import entries
    from gemel.platform.audit_event import audit_event

    sealer, stack = None, ExitStack()
    if db is not None:
        from gemel.platform.store.audit_sealer import AuditSealer

        opened = stack.enter_context(open_store(db))
        sealer = AuditSealer(opened)
        if patient is not None:
            with suppress(StoreError):
                patient = opened.subject(patient)
    with stack:
        wanted = {"who": who, "action": action}
        chosen = deque(
            (
                entry
                for entry in entries(existing(trail), sealer=sealer)
                if all(value is None or entry.get(name) == value for name, value in wanted.items())
                and (patient is None or patient in (entry.get("patient"), entry.get("subject")))
            ),
            maxlen=last,
        )
    if fhir:
        for entry in chosen:
            echo(json.dumps(audit_event(entry), ensure_ascii=False))
    elif json_:
        print_json({"entries": list(chosen)})
    else:
        rows = [
            (e["seq"], iso(e["time"]), e.get("who", "sealed"), e.get("action", ""), e.get("patient", e.get("subject", "")), e.get("purpose", ""),
             json.dumps(plain(e.get("detail") or {}), ensure_ascii=False))
            for e in chosen
        ]  # fmt: skip
        print_table("", ("entry", "when", "who", "action", "patient", "purpose", "detail"), rows, right=(0,))
    return 0
