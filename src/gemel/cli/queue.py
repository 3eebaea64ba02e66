"""``gemel worker queue``: twins that wait for what arrived, and work that was given up."""

from __future__ import annotations

from pathlib import Path

import click

from gemel.cli.options import as_json, common
from gemel.cli.output import echo, print_json, print_table
from gemel.cli.stores import StorePlace, now, open_store

__all__ = ["queue"]


@click.command()
@click.argument("store", type=StorePlace)
@click.option("--redrive", is_flag=True, help="Let what was given up be tried again.")
@as_json
@common
def queue(store: str | Path, redrive: bool, json_: bool) -> int:
    """Show the twins of STORE that are followed and have not read what arrived, and twins and work that were given up after five tries. People are shown by their random ids. Exit code 1: something was given up."""
    from gemel.platform.stream import twins

    with open_store(store) as opened:
        driven = 0
        if redrive:
            driven = twins.redrive(opened) + sum(opened.redrive(job.id, now=now()) for job in opened.jobs(state="dead", limit=1000))
        followed = twins.followed(opened)
        dead = opened.jobs(state="dead", limit=1000)
    waiting = [one for one in followed if one.is_due]
    given_up = [one for one in followed if one.state == "dead"]
    if json_:
        print_json({
            "followed": len(followed), "due": len(waiting), "redriven": driven,
            "dead": [{"patient": one.subject, "twin": one.room, "reason": one.reason} for one in given_up],
            "dead_work": [{"id": job.id, "kind": job.kind, "patient": job.subject or None, "reason": job.result} for job in dead],
        })  # fmt: skip
    else:
        echo(
            f"{len(followed)} twins are followed, {len(waiting)} have not read what arrived" + (f"; {driven} tried again" if driven else "")
        )
        rows = [(one.subject, one.room, one.reason) for one in given_up] + [(job.subject or "", job.kind, job.result) for job in dead]
        if rows:
            print_table("given up", ("patient", "what", "why"), rows)
    return 1 if given_up or dead else 0
