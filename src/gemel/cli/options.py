"""Options that several commands share, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["AnyNumbers", "FilePath", "Missing", "Numbers", "as_json", "common", "existing", "seed_option", "use_engine"]

F = TypeVar("F", bound=Callable[..., Any])
FilePath = click.Path(path_type=Path)


class Missing(click.ClickException):
    """Something named on the command line is not there."""

    exit_code = 4

    def show(self, file: Any = None) -> None:
        """Print the message in the form of all others."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


class _Numbers(click.ParamType):
    """Numbers with commas in between: positive ones in order of size, or any as they were given."""

    name = "numbers"

    def __init__(self, positive: bool = True) -> None:
        self.positive = positive

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(float(part) for part in (value if isinstance(value, list) else str(value).split(",")))
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not a list of numbers such as 15,30,60", param, ctx)
        if not self.positive:
            return found
        if not all(0 < number < 1e7 for number in found):
            self.fail(f"{value!r}: every number must be positive", param, ctx)
        return tuple(sorted(set(found)))


Numbers = _Numbers()
AnyNumbers = _Numbers(positive=False)


def common(function: F) -> F:
    """Add ``--debug`` and ``--no-worker``, which are read before the command is."""
    for option in (
        click.option("--no-worker", is_flag=True, expose_value=False, help="Do not use the resident worker."),
        click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
    ):
        function = option(function)
    return function


as_json = click.option("--json", "json_", is_flag=True, help="Print JSON, and nothing else, to standard output.")
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Makes the key; the same seed gives the same result."
)


def existing(path: Path) -> Path:
    """Return the path if something is there.

    Raises
    ------
    Missing
        Which ends in exit code 4.
    """
    if not path.exists():
        raise Missing(f"no such file or folder: {path}")
    return path


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/gemel``, or ``~/.cache/gemel``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gemel"


def use_engine() -> None:
    """Keep compiled programs in the user's cache. Called before anything is compiled."""
    from gemel.engine.compile import use_cache

    try:
        use_cache(cache_folder() / "jax")
    except OSError as error:
        click.echo(f"note: compiled programs are not kept: {error.strerror} ({cache_folder() / 'jax'})", err=True)
