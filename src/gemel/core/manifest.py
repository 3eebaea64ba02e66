"""``twin.toml``: what a twin is for, what it takes and gives. Readable without importing the twin.

One room may register several twins: the file has a table ``[twin.ID]`` for each, and tables ``[defaults]`` for what they share.
"""

from __future__ import annotations

import importlib.util
import tomllib
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gemel.core.code import Code
from gemel.core.errors import GemelError, ManifestError, TwinNotFoundError
from gemel.core.units import is_convertible, parse_unit

__all__ = [
    "GROUP",
    "Port",
    "Risk",
    "TwinManifest",
    "VariableSpec",
    "entry_point",
    "installed",
    "load_manifest",
    "manifest_of",
    "match_ports",
    "package_dir",
]

GROUP = "gemel.twins"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VariableSpec(_Frozen):
    """One input or output of a twin: code, unit and the range on which it was validated."""

    name: str
    code: str
    unit: str
    required: bool = False
    domain: tuple[float, float] | None = None
    description: str = ""

    @model_validator(mode="after")
    def _valid(self) -> VariableSpec:
        Code.parse(self.code)
        parse_unit(self.unit)
        return self


class Port(_Frozen):
    """What one twin can hand to another: a shared parameter, a trajectory, or a channel that a plan acts on."""

    name: str
    code: str
    unit: str
    role: Literal["parameter", "output-series", "input-series", "plan-channel"]
    kind: Literal["level", "amount"] = "level"
    cadence: str = "PT0S"
    sign: str = ""
    domain: tuple[float, float] | None = None
    default: float | None = None
    route: str = ""
    feedback: Literal["full", "cut"] = "cut"
    owner: bool = False

    @model_validator(mode="after")
    def _valid(self) -> Port:
        Code.parse(self.code)
        parse_unit(self.unit)
        return self


class Risk(_Frozen):
    """What rests on the model, as a person judged it: how much it sways the decision, and how bad a wrong decision is; 1 low to 3 high.

    Credibility goals follow from it. ``by`` and ``date`` say who judged, and when.
    """

    influence: int = Field(ge=1, le=3)
    consequence: int = Field(ge=1, le=3)
    rationale: str = Field(min_length=1)
    by: str = Field(min_length=1)
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")


class TwinManifest(_Frozen):
    """The parsed manifest of one twin."""

    id: str = Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
    version: str
    title: str
    question: str
    context_of_use: str
    not_for: tuple[str, ...] = Field(min_length=1)
    inputs: tuple[VariableSpec, ...]
    outputs: tuple[VariableSpec, ...]
    exports: tuple[Port, ...] = ()
    imports: tuple[Port, ...] = ()
    domain: dict[str, tuple[float, float]] = Field(default_factory=dict)
    sources: tuple[str, ...] = ()
    max_compilations: int = Field(default=40, description="programs this room may compile in its tests; counts do not flake, times do")
    thin: str = Field(default="", description="where the truth is thin: what nobody can know yet")
    risk: Risk | None = Field(
        default=None, description="model influence and decision consequence in the context of use, as judged by a person"
    )


def load_manifest(path: Path) -> dict[str, TwinManifest]:
    """Read a ``twin.toml``.

    Raises
    ------
    ManifestError
        When the file cannot be read or a table lacks a field; the message names both.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ManifestError(f"cannot read {path.name}", seen=error, fix="write a twin.toml beside the package's __init__.py") from error
    tables: dict[str, Any] = raw.get("twin", {})
    if not tables:
        raise ManifestError(f"{path.name} registers no twin", expected="a table [twin.ID]")
    found = {}
    for name, table in tables.items():
        try:
            found[name] = TwinManifest(id=name, **(raw.get("defaults", {}) | table))
        except (ValidationError, GemelError) as error:
            raise ManifestError(
                f"[twin.{name}] in {path.name} is not valid", seen=error, fix="compare with docs: 'write a twin'"
            ) from error
    return found


def package_dir(point: EntryPoint) -> Path:
    """Return the folder of the package that an entry point names, without importing it.

    Raises
    ------
    ManifestError
        When it cannot be found.
    """
    top, *rest = point.module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ModuleNotFoundError, ValueError):
        spec = None
    # parents are not imported on the way down: that would run the twin
    for place in () if spec is None else (spec.submodule_search_locations or [Path(spec.origin or "").parent]):
        package = Path(place).joinpath(*rest)
        if package.is_dir():
            return package
        if rest and package.with_suffix(".py").is_file():
            return package.parent
        if not rest:
            return Path(place)
    raise ManifestError(
        f"entry point {point.name!r} names a module that cannot be found",
        seen=point.value,
        fix="reinstall the package that provides it",
    )


def entry_point(twin: str) -> EntryPoint:
    """Find the entry point of a twin.

    Raises
    ------
    TwinNotFoundError
        With the ids that are installed.
    """
    points = {p.name: p for p in entry_points(group=GROUP)}
    if twin not in points:
        raise TwinNotFoundError(
            f"no twin {twin!r} is installed", expected=f"one of {', '.join(sorted(points)) or 'none'}", fix="gemel twins lists them"
        )
    return points[twin]


@lru_cache(maxsize=64)
def _manifests(path: Path) -> dict[str, TwinManifest]:
    return load_manifest(path)


def manifest_of(twin: str) -> TwinManifest:
    """Return the manifest of an installed twin without importing its model."""
    tables = _manifests(package_dir(entry_point(twin)) / "twin.toml")
    if twin not in tables:
        raise ManifestError(f"twin {twin!r} has an entry point but no table [twin.{twin}] in its twin.toml", seen=sorted(tables))
    return tables[twin]


def installed() -> dict[str, TwinManifest | GemelError]:
    """Return every registered twin's manifest, or the error that keeps it from being read."""
    found: dict[str, TwinManifest | GemelError] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        try:
            found[point.name] = manifest_of(point.name)
        except GemelError as error:
            found[point.name] = error
    return found


def match_ports(exporter: TwinManifest, importer: TwinManifest) -> list[tuple[Port, Port, float]]:
    """Match exports of one twin with imports of another, by code and unit dimension, never by name.

    Returns
    -------
    (export, import, factor) with ``factor`` the number that turns the exporter's unit into the importer's.
    """
    from gemel.core.units import conversion_factor

    pairs = []
    for wanted in importer.imports:
        offers = [e for e in exporter.exports if e.code == wanted.code and e.kind == wanted.kind and is_convertible(e.unit, wanted.unit)]
        if len(offers) > 1:
            raise ManifestError(
                f"import {wanted.name!r} of {importer.id} has more than one exporter in {exporter.id}",
                seen=[o.name for o in offers],
                expected="one",
            )
        for offer in offers:
            pairs.append((offer, wanted, conversion_factor(offer.unit, wanted.unit)))
    return pairs
