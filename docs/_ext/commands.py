"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pages

if TYPE_CHECKING:
    from sphinx.application import Sphinx


_OPTION = re.compile(r"(?<![\w`-])(--?[a-z][a-z-]*)\b(?!`)")


def root() -> click.Group | None:
    """Return the command ``gemel``, or nothing where this installation has no command line."""
    for module in ("gemel.cli.app", "gemel.cli"):
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        groups = [thing for thing in vars(found).values() if isinstance(thing, click.Group) and thing.name == "gemel"]
        if groups:
            return groups[0]
    return None


def walk(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Yield every command below a group, depth first, with its context."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        below = click.Context(command, info_name=name, parent=context)
        yield command, below
        if isinstance(command, click.Group):
            yield from walk(command, below)


def commands() -> dict[str, tuple[click.Command, click.Context]]:
    """Return every command by its full path, such as ``gemel data fetch``."""
    top = root()
    if top is None:
        return {}
    return {context.command_path: (command, context) for command, context in walk(top, click.Context(top, info_name="gemel"))}


def _usage(command: click.Command, context: click.Context) -> str:
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def _options(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and (record[1] or isinstance(parameter, click.Option)):
            rows.append((f"`{record[0]}`", _prose(record[1])))
    return rows


def _prose(text: str) -> str:
    """Return a paragraph of help as Markdown."""
    return _OPTION.sub(r"`\1`", " ".join(text.replace("\b", "").split()).replace("<", "&lt;"))


def _section(path: str, command: click.Command, context: click.Context) -> list[str]:
    label = path.replace(" ", "-")
    deeper = "#" * (1 + path.count(" "))
    text = "\n\n".join(_prose(part) for part in (command.help or "").split("\n\n"))
    lines = [f"({label})=", f"{deeper} `{path}`", "", text, "", "```text", _usage(command, context), "```", ""]
    return lines + pages.table(("option", "meaning"), _options(command, context))


def page() -> str:
    """Return the Markdown page of all commands."""
    found = commands()
    lines = ["(commands)=", "# Command line", ""]
    if not found:
        return "\n".join([*lines, "This installation has no command line."]) + "\n"
    lines += [
        "Every command prints what it did; `--json` prints JSON and nothing else to standard output, `-o` names a file, `--seed` makes the key.",
        "",
        *_exit_codes(),
    ]
    for path, (command, context) in found.items():
        lines += _section(path, command, context)
    return "\n".join(lines).rstrip() + "\n"


def _exit_codes() -> list[str]:
    rows = [
        ("0", "done"),
        ("1", "a check or validation failed, or some people of a folder did"),
        ("2", "usage, or bad input"),
        ("3", "the twin abstained; the reason is in the output"),
        ("4", "not found: a file, a twin, a data set"),
        ("70", "a defect of Gemel: report it"),
        ("130", "interrupted"),
    ]
    return ["## Exit codes", "", *pages.table(("code", "meaning"), rows)]


def _write(app: Sphinx) -> None:
    pages.write(Path(app.srcdir), "commands", {"commands.md": page()})


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}
