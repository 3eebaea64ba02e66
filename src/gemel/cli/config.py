"""``gemel config``: what is set up here, as documents."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import atomic_write, echo, note, print_json

__all__ = ["config"]


@click.group()
def config() -> None:
    """Write down what is set up here."""


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
