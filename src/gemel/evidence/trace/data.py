"""What a twin must do, what could go wrong, which software does it and what shows it: requirements, hazards, items and tests, as data beside the twin.

``trace.toml`` lies beside ``twin.toml``. What every twin must do, whatever it models, stands once, in the ``trace.toml`` of this package, and is part of each
twin's trace. Hazards are rated in the style of ISO 14971 and items classed in that of IEC 62304; neither text was available, and the matrix of risk is ours.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemel.core.errors import EvidenceError, FormatError
from gemel.core.manifest import entry_point, manifest_of, package_dir

__all__ = ["PROBABILITIES", "SEVERITIES", "Acceptance", "Control", "Hazard", "Item", "Rating", "Requirement", "Trace", "read_trace", "trace_of"]  # fmt: skip

SEVERITIES = ("negligible", "minor", "serious", "critical", "catastrophic")
PROBABILITIES = ("improbable", "remote", "occasional", "probable", "frequent")
SHARED = "gemel"
"""Origin of what every twin must do."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Item(_Frozen):
    """A software item: its modules, and its safety class A (no injury), B (no serious injury) or C, with the reason."""

    id: str = Field(min_length=1)
    what: str = Field(min_length=1)
    modules: tuple[str, ...] = ()
    safety_class: Literal["A", "B", "C"] | None = Field(default=None, alias="class")
    why: str = ""
    origin: str = ""


class Requirement(_Frozen):
    """What the software must do, the items that do it, and what shows that they do.

    Parameters
    ----------
    tests : pytest node ids, from the root of the project.
    promises : names of checks of the contract that every twin keeps (``gemel check``).
    studies : ids of studies of the evidence.
    """

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    items: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    promises: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    note: str = ""
    origin: str = ""


class Rating(_Frozen):
    """Severity and probability of a harm, 1 to 5 each."""

    severity: int = Field(ge=1, le=5)
    probability: int = Field(ge=1, le=5)

    @property
    def risk(self) -> int:
        """Severity times probability, 1 to 25."""
        return self.severity * self.probability

    @property
    def words(self) -> str:
        """Such as ``serious x remote = 6``."""
        return f"{SEVERITIES[self.severity - 1]} x {PROBABILITIES[self.probability - 1]} = {self.risk}"


class Control(_Frozen):
    """What makes a hazard smaller: by design, by a barrier, or by telling; the requirements that state it, and tests beyond theirs."""

    what: str = Field(min_length=1)
    kind: Literal["design", "barrier", "information"]
    requirements: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


class Acceptance(_Frozen):
    """A person's acceptance of what remains."""

    by: str = Field(min_length=1)
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    why: str = Field(min_length=1)


class Hazard(_Frozen):
    """A hazardous situation and its harm, before control and after."""

    id: str = Field(min_length=1)
    situation: str = Field(min_length=1)
    harm: str = Field(min_length=1)
    before: Rating
    controls: tuple[Control, ...] = ()
    residual: Rating
    accepted: Acceptance | None = None
    origin: str = ""


class _File(_Frozen):
    contract: str = ""
    item: tuple[Item, ...] = ()
    requirement: tuple[Requirement, ...] = ()
    hazard: tuple[Hazard, ...] = ()


@dataclass(frozen=True)
class Trace:
    """Requirements, hazards and items of one twin, with those of every twin.

    Parameters
    ----------
    twin, version : of the release.
    contract : node id of the test that holds the twin to the contract; empty where there is none.
    folders : origin -> folder of the file it was read from.
    """

    twin: str
    version: str
    contract: str
    items: tuple[Item, ...]
    requirements: tuple[Requirement, ...]
    hazards: tuple[Hazard, ...]
    folders: dict[str, Path]

    def hazards_of(self, requirement: str) -> tuple[Hazard, ...]:
        """Return the hazards that a requirement helps to control."""
        return tuple(h for h in self.hazards if any(requirement in c.requirements for c in h.controls))


def _read(path: Path, origin: str) -> _File:
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"{path.name} cannot be read", seen=error, expected="TOML") from error
    try:
        file = _File(**raw)
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        raise FormatError(
            f"{path.name} does not say what it must", seen=f"{'.'.join(map(str, first['loc']))}: {first['msg']}", fix="compare with docs: 'trace requirements'"
        ) from error  # fmt: skip
    parts = {
        name: tuple(x.model_copy(update={"origin": origin}) for x in getattr(file, name)) for name in ("item", "requirement", "hazard")
    }
    return file.model_copy(update=parts)


def read_trace(path: Path, *, twin: str, version: str = "", shared: Path | None = None) -> Trace:
    """Read a ``trace.toml``, and join it to what every twin must do.

    Parameters
    ----------
    path : the file.
    twin, version : whose it is.
    shared : the file of what every twin must do; left out, Gemel's.

    Raises
    ------
    FormatError
        When a file cannot be read, lacks a field, or one id stands twice.
    """
    common_path = Path(__file__).parent / "trace.toml" if shared is None else shared
    common, own = _read(common_path, SHARED), _read(path, twin)
    seen: set[str] = set()
    for thing in (x for f in (common, own) for group in (f.item, f.requirement, f.hazard) for x in group):
        if thing.id in seen:
            raise FormatError(
                "an id stands twice in a trace",
                seen=f"{thing.id} in {path.name} of {twin}",
                expected="each once, and none of those of every twin",
            )
        seen.add(thing.id)
    return Trace(
        twin, version, own.contract, (*common.item, *own.item), (*common.requirement, *own.requirement), (*common.hazard, *own.hazard),
        {SHARED: common_path.parent, twin: path.parent},
    )  # fmt: skip


def trace_of(twin: str) -> Trace:
    """Return the trace of an installed twin, without importing it.

    Raises
    ------
    TwinNotFoundError
        When no twin of that id is installed.
    EvidenceError
        When its package has no ``trace.toml``.
    """
    path = package_dir(entry_point(twin)) / "trace.toml"
    if not path.is_file():
        raise EvidenceError(
            f"twin {twin!r} traces nothing", seen=f"no {path.name} beside its twin.toml", fix="write one: docs, 'trace requirements'"
        )
    return read_trace(path, twin=twin, version=manifest_of(twin).version)
