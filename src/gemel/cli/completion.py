"""``gemel completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

from gemel.cli.options import common
from gemel.cli.output import echo

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
def completion(shell: str) -> int:
    """Print the completion script of SHELL. For bash: put `eval "$(gemel completion bash)"` into ~/.bashrc."""
    from click.shell_completion import get_completion_class

    from gemel.cli.app import gemel

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    echo(found(gemel, {}, "gemel", "_GEMEL_COMPLETE").source())
    return 0
