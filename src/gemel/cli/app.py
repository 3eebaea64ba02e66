"""The root command: what there is, found without importing it; errors as one message; exit codes."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gemel import __version__
from gemel.cli import interrupts

if TYPE_CHECKING:
    from gemel.core.errors import GemelError

__all__ = ["COMMANDS", "gemel", "run"]

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Twins": {
        "calibrate": ("calibrate:calibrate", "Infer the twin of one person, or of everybody in a folder."),
        "assimilate": ("verbs:assimilate", "Bring a twin up to date with what has become known."),
        "forecast": ("verbs:forecast", "Draw the future of a twin."),
        "compare": ("verbs:compare", "Forecast several plans under the same draws and noise."),
        "recommend": ("verbs:recommend", "Choose a plan under hard limits, or abstain and say why."),
        "score": ("verbs:score", "Say how a forecast did against what really happened."),
        "twins": ("twins:twins", "List the installed twins, or show one."),
        "check": ("twins:check", "Hold a twin to the contract that every twin keeps."),
        "validate": ("validate:validate", "Run a twin's declared protocol on people, beside naive baselines."),
        "demo": ("demo:demo", "See a twin at work on real data."),
        "diagnose": ("twins:diagnose", "Show the gates, the diagnostics and what the data said nothing about."),
        "warm": ("twins:warm", "Compile the installed twins into the persistent cache."),
    },
    "Data": {
        "import": ("data:import_", "Read a file, zip or folder and say everything that was done to it."),
        "readiness": ("readiness:readiness", "Say which twins an export can feed, and what is missing."),
        "export": ("records:export", "Write a record in another format."),
        "data": ("data:data", "List, fetch and verify public data sets."),
        "fhir": ("fhir:fhir", "Hold FHIR files against the definitions, and ask them by FHIRPath."),
        "quarantine": ("quarantine:quarantine", "What arrived and could not be placed, with its bytes."),
    },
    "Keep": {
        "serve": ("serve:serve", "Serve a store: API, FHIR, listeners and the workers that compute."),
        "db": ("db:db", "Check, migrate, back up, restore and export a store."),
        "keys": ("keys:keys", "Make and exchange the master key that seals stores."),
        "erase": ("erase:erase", "Erase a patient from a store and its key backups, for good."),
        "audit": ("audit:audit", "Verify the audit trail, and show what stands in it."),
        "consent": ("consent:consent", "Show how a FHIR Consent is read, and what it says."),
        "config": ("config:config", "Check settings, say who may log in, write the register of processing."),
        "worker": ("keep:worker", "Keep a process ready, so that the next command does not pay the start."),
    },
    "Many": {
        "trial": ("trial:trial", "Size and analyse a randomised trial, with a prognosis as covariate."),
    },
    "Trust": {
        "evidence": ("evidence:evidence", "Measure how far to trust a twin, and write its dossier."),
        "conformance": ("evidence:conformance", "Say whether it is a twin, row by row, from stored runs."),
        "fairness": ("fairness:fairness", "Audit any model's predictions by subgroup."),
        "surveil": ("surveil:surveil", "Watch a deployed model by the log of its predictions."),
        "change": ("change:change", "Hold a change of version against its predetermined plan."),
        "trace": ("trace:trace", "Trace requirements to hazards, software, tests and runs."),
    },
    "Speed": {"bench": ("bench:bench", "Run benchmarks of a checkout.")},
    "Shell": {"completion": ("completion:completion", "Print the completion script of a shell.")},
}
"""Sections, and in each: command -> (module:attribute below ``gemel.cli``, one line of help)."""

_TARGETS = {name: target for section in COMMANDS.values() for name, target in section.items()}


class _Root(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return [name for name in _TARGETS if _is_there(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        if cmd_name not in _TARGETS or not _is_there(cmd_name):
            return None
        module, _, attribute = _TARGETS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(f"gemel.cli.{module}"), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        for section, commands in COMMANDS.items():
            rows = [(name, line) for name, (_, line) in commands.items() if _is_there(name)]
            with formatter.section(section):
                formatter.write_dl(rows)


def _is_there(name: str) -> bool:
    module = _TARGETS[name][0].partition(":")[0]
    return importlib.util.find_spec(f"gemel.cli.{module}") is not None


@click.command(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done; 1 a check failed; 2 bad input; 3 the twin abstained; 4 not found; 70 a defect; 130 interrupted.",
)
@click.version_option(__version__, prog_name="gemel", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--no-worker", is_flag=True, help="Do not use the resident worker.")
def gemel(debug: bool, no_worker: bool) -> None:
    """Medical digital twins: a model of one person, with a posterior, kept current by data, asked "what if?".

    Research software: no output is a medical device's.
    """


def _say(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        click.echo(message, err=True)


def _explain(error: GemelError) -> str:
    lines = [f"error: {error.what}"]
    for label, value in (("seen", error.seen), ("expected", error.expected), ("next", error.fix)):
        if value is not None:
            lines.append(f"  {label + ':':<10}{value}")
    return "\n".join(lines)


def _code_of(error: GemelError) -> int:
    from gemel.core.errors import ContractError, DatasetError, TwinNotFoundError

    if isinstance(error, (DatasetError, TwinNotFoundError)):
        return 4
    return 1 if isinstance(error, ContractError) else 2


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error is one message on standard error."""
    debug = "--debug" in arguments or bool(os.environ.get("GEMEL_DEBUG"))
    try:
        with interrupts.kept():
            result = gemel.main(args=list(arguments), prog_name="gemel", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except SystemExit as leaving:  # a shell that asked for completions has its answer
        return leaving.code if isinstance(leaving.code, int) else 0
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return 130
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.ClickException as error:
        error.show(file=sys.stderr)
        return error.exit_code
    except Exception as error:
        from gemel.core.errors import GemelError

        if debug:
            traceback.print_exc()
        if isinstance(error, GemelError):
            _say(_explain(error))
            return _code_of(error)
        if isinstance(error, OSError):
            _say(f"error: {error.strerror or type(error).__name__}\n  seen:     {error.filename or error}")
            return 4 if isinstance(error, FileNotFoundError) else 2
        _say(f"error: a defect of gemel\n  seen:     {type(error).__name__}: {error}\n  next:     run again with --debug and report it")
        return 70
