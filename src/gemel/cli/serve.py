"""``gemel serve``: the server, its workers and its listeners, in one command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, common, existing
from gemel.cli.output import echo, note
from gemel.cli.stores import StorePlace

if TYPE_CHECKING:
    from gemel.server.config import ServerConfig

__all__ = ["serve", "settings"]


def settings(config: Path | None, **given: Any) -> ServerConfig:
    """Return the settings of a file, the environment and the command line, each winning over the one before."""
    import os

    from gemel.server.config import read_config

    found = read_config(None if config is None else existing(config), os.environ)
    http = {key: given[key] for key in ("host", "port") if given.get(key) is not None}
    update: dict[str, Any] = {"server": found.server.model_copy(update=http)} if http else {}
    if given.get("db") is not None:
        update["store"] = found.store.model_copy(update={"place": str(given["db"])})
    if given.get("workers") is not None:
        update["worker"] = found.worker.model_copy(update={"count": given["workers"]})
    return found.model_copy(update=update)


@click.command()
@click.option("--db", type=StorePlace, help="The store: a file, or a postgresql:// URL. Left out, [store] place of the configuration.")
@click.option("--config", type=FilePath, help="A TOML file: see the reference of settings; gemel config check says what is wrong with it.")
@click.option("--host", help="The address to listen at; 127.0.0.1 unless the configuration says another.")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes any that is free; 8765 unless the configuration says another.")
@click.option("--workers", type=click.IntRange(0, 256), help="Processes that compute; 1 unless the configuration says another.")
@click.option("--new", is_flag=True, help="Make the store when it is not there.")
@click.option(
    "--demo",
    is_flag=True,
    help="Print a link that logs one person in, once, as the physician of everybody in the store. On this machine only.",
)
@common
def serve(db: Any, config: Path | None, host: str | None, port: int | None, workers: int | None, new: bool, demo: bool) -> int:
    """Serve a store: the API, FHIR, listeners and pollers that are configured, and the workers that compute. SIGTERM or Ctrl-C ends it in order."""
    from gemel.core.errors import ConfigurationError
    from gemel.server.config_check import troubles

    found = settings(config, db=db, host=host, port=port, workers=workers)
    place = found.store.place
    if not place.startswith(("postgresql://", "postgres://")) and not new:
        existing(Path(place))
    wrong = troubles(found, is_demo=demo)
    for trouble in wrong:
        if trouble.severity == "warning" and not demo:
            note(str(trouble))
    errors = [str(trouble) for trouble in wrong if trouble.severity == "error"]
    if errors:
        raise ConfigurationError("the configuration is not safe", seen="; ".join(errors), fix="gemel config check FILE")
    from gemel.cli.demo.serving import admit
    from gemel.server.run import run_server

    def ready(_: Any, address: str) -> None:
        echo(f"{address} (Ctrl-C ends it)")
        sys.stdout.flush()

    return run_server(found, config_file=config, is_demo=demo, prepare=admit if demo else None, ready=ready)
