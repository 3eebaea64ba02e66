"""``gemel worker``: a process that stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from gemel.cli import client
from gemel.cli.options import FilePath, as_json, common
from gemel.cli.output import echo, note, print_json
from gemel.cli.queue import queue

__all__ = ["worker"]

_START_S = 120.0


@click.group()
def worker() -> None:
    """Keep a process ready that has imported the numeric stack, so that the next command does not pay the start.

    Commands use it when it runs; --no-worker or GEMEL_NO_WORKER=1 leaves it out. It ends by itself after half an hour without work.
    """


def _status() -> dict[str, Any] | None:
    try:
        return next(client.ask({"do": "status", "fingerprint": client.fingerprint()}), None)
    except (OSError, ValueError):
        return None


@worker.command()
@click.option(
    "--idle", type=click.FloatRange(0.01, 1440), default=30.0, show_default=True, help="Minutes without work after which it ends."
)
@as_json
@common
def start(idle: float, json_: bool) -> int:
    """Start it; returns when it is ready."""
    told = _status()
    if told is None:
        path = client.place()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
        with open(path.with_suffix(".log"), "wb") as log:
            os.chmod(log.name, 0o600)
            process = subprocess.Popen(
                [sys.executable, "-m", "gemel.cli.resident", str(idle * 60)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        end = time.monotonic() + _START_S
        while time.monotonic() < end and (told := _status()) is None:
            if process.poll() is not None and process.returncode != 3:
                break
            time.sleep(0.05)
        if told is None:
            if process.poll() is None:
                process.terminate()
            raise click.ClickException(f"the worker did not start; what it said lies in {path.with_suffix('.log')}")
    if json_:
        print_json(told)
    else:
        echo(f"the worker is ready (process {told['pid']})" + ("" if told["same"] else "; it is of another version: gemel worker stop"))
    return 0


@worker.command()
@as_json
@common
def stop(json_: bool) -> int:
    """Stop it, after the command that it is running."""
    try:
        told = next(client.ask({"do": "stop"}), None)
    except (OSError, ValueError):
        told = None
    if told is not None:
        end = time.monotonic() + 10
        while client.place().exists() and time.monotonic() < end:
            time.sleep(0.02)
    if json_:
        print_json({"stopped": told is not None})
    else:
        echo("stopped" if told else "no worker is running")
    return 0


@worker.command()
@as_json
@common
def status(json_: bool) -> int:
    """Say whether it runs. Exit code 4: it does not."""
    told = _status()
    if json_:
        print_json(told or {"pid": None})
    elif told is None:
        echo("no worker is running")
    else:
        echo(
            f"process {told['pid']}, gemel {told['version']}, {'busy' if told['busy'] else 'ready'}, {told['commands']} commands, up {told['up_s']:.0f} s"
        )
        if not told["same"]:
            echo("it is of another version or has other settings: commands do not use it")
    return 0 if told else 4


@worker.command()
@click.option(
    "--idle", type=click.FloatRange(0.01, 1440), default=30.0, show_default=True, help="Minutes without work after which it ends."
)
@click.option(
    "--db", metavar="STORE", help="Compute for this store instead: do its jobs, keep its twins current. A file, or a postgresql:// address."
)
@click.option("--config", "config_file", type=FilePath, help="With --db: the configuration of the server, of which [live] is read.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="With --db: how many processes.")
@common
def run(idle: float, db: str | None, config_file: Path | None, workers: int) -> int:
    """Be the worker, in the foreground: for a service manager. With --db it computes for a store until it is told to end."""
    if db is not None:
        return _compute(db, config_file, workers)
    from gemel.cli.resident import main

    note(f"listening on {client.place()}")
    code = main(idle * 60)
    if code == 3:
        raise click.ClickException("another worker is running: gemel worker stop ends it")
    return code


def _compute(db: str, config_file: Path | None, workers: int) -> int:
    more = [] if config_file is None else ["--config", str(config_file)]
    if "://" not in db:
        from gemel.cli.options import existing

        existing(Path(db))
    if workers == 1:
        from gemel.server.worker import main

        return main(["--db", db, *more])
    import signal
    import threading

    from gemel.server.workers import worker_command, working

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with working([*worker_command(db, more), "--child"], workers):
        note(f"{workers} workers")
        stop.wait()
    return 0


worker.add_command(queue)
