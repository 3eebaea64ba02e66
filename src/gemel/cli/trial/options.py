"""What the commands of ``gemel trial`` share: their design file, a locked prognosis, the file that is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import atomic_write, plain

if TYPE_CHECKING:
    from gemel.trials.adjust.base import Result
    from gemel.trials.data import TrialData
    from gemel.trials.prognosis import PrognosisBundle

__all__ = ["Names", "Pair", "design_option", "designed", "read_bundle", "read_table", "shared", "told_of", "write_told"]

FILES = ("data", "prognosis", "history", "external", "published", "model", "target_population")
"""Options whose path in a design file starts at the file's folder."""
TABLES = ("size", "simulate", "analyse", "borrow", "generate", "report", "estimand")
"""Tables of a design file: one a command, and the estimand."""

F = TypeVar("F", bound=Callable[..., Any])


class Names(click.ParamType):
    """Names of columns with commas in between."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names."""
        parts = value if isinstance(value, (tuple, list)) else str(value).split(",")
        found = tuple(str(part).strip() for part in parts if str(part).strip())
        if not found and value:
            self.fail("no column is named", param, ctx)
        return found


class Pair(click.ParamType):
    """NAME=VALUE; the value may be empty where that is said."""

    name = "name=value"

    def __init__(self, empty: bool = False) -> None:
        self.empty = empty

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return name and value."""
        if isinstance(value, tuple):
            return value
        name, mark, said = str(value).partition("=")
        if not (name.strip() and mark and (self.empty or said.strip())):
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name.strip(), said.strip()


def _design(ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    """Read a design file: its tables hold what the flags say; a flag on the command line wins."""
    if path is None:
        return None
    import tomllib

    from gemel.core.errors import FormatError

    try:
        told = tomllib.loads(existing(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError("the design file cannot be read", seen=f"{path}: {error}", expected="TOML in UTF-8") from error
    ours = dict(told.get(str(ctx.info_name), {}))
    known = {p.name for p in ctx.command.params}
    wrong = [*(set(told) - set(TABLES)), *(set(ours) - known)]
    if wrong:
        raise FormatError(
            "the design file says what nobody reads",
            seen=sorted(wrong),
            expected=f"tables {sorted(TABLES)}; {sorted(k for k in known if k)}",
        )
    for name in FILES:
        if name in ours:
            ours[name] = str(path.parent / ours[name])
    ctx.default_map = ours
    ctx.meta["estimand"], ctx.meta["design"] = told.get("estimand", {}), told
    return path


design_option = click.option(
    "--design",
    type=FilePath,
    is_eager=True,
    expose_value=False,
    callback=_design,
    help="A TOML file with a table per command and [estimand]; flags win over it.",
)
"""For commands that write a folder."""


def shared(function: F) -> F:
    """Add ``--design``, ``--prognosis``, ``-o``, ``--json`` and what all commands have."""
    for option in (
        click.option("--design", type=FilePath, is_eager=True, expose_value=False, callback=_design, help="A TOML file with a table per command and [estimand]; flags win over it."),
        click.option("--prognosis", type=FilePath, help="A locked prognosis, made by gemel trial size --history --lock."),
        click.option("-o", "--output", type=FilePath, help="A file for the result as JSON, with its lineage."),
        as_json,
        common,
    ):  # fmt: skip
        function = option(function)
    return function


def designed(function: F) -> F:
    """Add ``--design``, ``-o``, ``--json`` and what all commands have: for commands without a prognosis."""
    for option in (
        click.option("--design", type=FilePath, is_eager=True, expose_value=False, callback=_design, help="A TOML file with a table per command; flags win over it."),
        click.option("-o", "--output", type=FilePath, help="A file for the result as JSON, with its lineage."),
        as_json,
        common,
    ):  # fmt: skip
        function = option(function)
    return function


def read_bundle(path: Path | None) -> PrognosisBundle | None:
    """Return the locked prognosis in a file, its hash checked; none when there is no path."""
    if path is None:
        return None
    from pydantic import ValidationError

    from gemel.core.errors import FormatError
    from gemel.trials.prognosis import PrognosisBundle

    try:
        bundle = PrognosisBundle.model_validate_json(existing(path).read_bytes())
    except ValidationError as error:
        raise FormatError(
            "no locked prognosis is in this file", seen=f"{path}: {error.error_count()} things wrong", expected="what --lock wrote"
        ) from error
    bundle.check()
    return bundle


def read_table(path: Path, where: Sequence[tuple[str, str]] = ()) -> dict[str, list[Any]]:
    """Return the columns of a CSV, SAS transport, Parquet or Dataset-JSON file, kept where columns equal a value; ADaM's structure is checked."""
    from gemel.interop.cdisc import check_bds
    from gemel.interop.tables import read_columns

    columns = read_columns(existing(path), dict(where))
    if {"USUBJID", "PARAMCD"} <= set(columns):
        check_bds(columns)
    return columns


def write_told(path: Path | None, told: dict[str, Any]) -> None:
    """Write what was told as JSON, when a file was named."""
    if path:
        atomic_write(path, (json.dumps(plain(told), indent=1, ensure_ascii=False) + "\n").encode())


def told_of(results: Sequence[Result], data: TrialData, estimand: dict[str, Any]) -> dict[str, Any]:
    """Return what every analysis says as JSON: the estimand, the patients by arm, the results with their lineage."""
    return {
        "estimand": estimand,
        "arms": {a: int(n) for a, n in zip(data.arms, (data.shares * data.n).round(), strict=True)},
        "covariates": list(data.names),
        "results": [asdict(r) | {"lineage": r.lineage.model_dump() | {"id": r.lineage.id}} for r in results],
    }
