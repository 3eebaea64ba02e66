"""``gemel trial``: a randomised trial from its size to its report; one module a command, imported when it is called."""

from __future__ import annotations

import importlib

import click

__all__ = ["COMMANDS", "trial"]

COMMANDS: dict[str, tuple[str, str]] = {
    "size": ("size:size", "Say how many patients a trial needs, without and with a prognosis as covariate."),
    "simulate": ("simulate:simulate", "Repeat a trial thousands of times: type-I error, power, coverage, patients saved."),
    "analyse": ("analyse:analyse", "Analyse a trial by the method that its plan names. An estimand is mandatory."),
    "borrow": ("borrow:borrow", "Borrow controls from outside a trial, and see what it costs when they have drifted."),
    "generate": ("generate:generate", "Draw virtual control patients into Parquet, or plan how many could be."),
    "qualify": ("qualify:qualify", "See whether this installation gives published numbers again, in a report that can be signed."),
    "report": ("report:report", "Report a trial as HTML, PDF, RTF and data for a submission, with a trail that can be checked."),
}
"""Command -> (module:attribute below ``gemel.cli.trial``, one line of help)."""


class _Trial(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(f"gemel.cli.trial.{module}"), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(cls=_Trial)
def trial() -> None:
    """Plan, simulate, analyse and report a randomised trial whose covariate may be a twin's prognosis."""
