"""Evidence runs: what was measured, on whom, with which model, and when. Append-only JSON lines; time is an argument, here is no clock."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemel import __version__
from gemel.core.advice import ShownOn
from gemel.core.errors import FormatError
from gemel.core.lineage import digest
from gemel.engine.model import AbstractModel

__all__ = ["EvidenceRun", "Measured", "append", "latest", "model_hash", "read"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Measured(_Frozen):
    """One figure of evidence: a number with its unit, its limits if it has any, whether it met them, and on whom it was shown."""

    name: str
    value: float
    unit: str = "1"
    low: float | None = None
    high: float | None = None
    met: bool | None = None
    shown_on: ShownOn
    note: str = ""


class EvidenceRun(_Frozen):
    """One run that measured something about a twin.

    ``kind`` is *verification*, *calibration*, *validation*, ...; ``model_hash`` as :func:`model_hash` gives it; ``time`` ns UTC.
    """

    kind: str
    twin: str
    model_version: str
    model_hash: str
    data_hash: str = ""
    code_version: str = __version__
    seed: int | None = None
    machine: str = ""
    time: int
    figures: tuple[Measured, ...] = Field(min_length=1)
    note: str = ""

    @property
    def id(self) -> str:
        """First 16 hexadecimal digits of the hash of all fields."""
        return digest(self)[:16]

    @property
    def met(self) -> bool:
        """Whether every figure that has limits met them."""
        return all(f.met is not False for f in self.figures)

    def stale(self, model: AbstractModel | str) -> bool:
        """Say whether the model (or its hash) is another than the one that was measured."""
        return self.model_hash != (model if isinstance(model, str) else model_hash(model))


def _parameters(model: AbstractModel) -> list[Any]:
    return [[p.name, p.unit, type(p.bijector).__name__, p.location, p.scale, p.drift, p.source] for p in model.prior.parameters]


def model_hash(model: AbstractModel) -> str:
    """Return the hash of a model: its identity, its prior, and the source of its package (``*.py`` and ``*.toml``).

    Any change of the room makes its evidence stale.
    """
    folder = Path(inspect.getfile(type(model))).parent
    sources = [[p.name, p.read_bytes()] for p in sorted(folder.iterdir()) if p.suffix in (".py", ".toml")]
    moments = [np.asarray(model.prior.mean), np.asarray(model.prior.cholesky)]
    return digest([model.id, model.version, _parameters(model), moments, sources])[:32]


def append(path: Path, run: EvidenceRun) -> str:
    """Append a run to a file of JSON lines; the same run enters once. Return its id."""
    if path.exists() and any(old.id == run.id for old in read(path)):
        return run.id
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as sink:
        sink.write(json.dumps({"id": run.id, **run.model_dump(mode="json")}, sort_keys=True) + "\n")
    return run.id


def read(path: Path) -> tuple[EvidenceRun, ...]:
    """Read all runs of a file, oldest first.

    Raises
    ------
    FormatError
        When a line cannot be read, or is not what was appended.
    """
    runs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            table = json.loads(line)
            told = table.pop("id", None)
            run = EvidenceRun(**table)
        except (json.JSONDecodeError, ValidationError, TypeError, AttributeError) as error:
            raise FormatError(
                "not an evidence run", seen=f"{path.name}, line {number}: {type(error).__name__}", expected="one JSON object per line"
            ) from error
        if told != run.id:
            raise FormatError(
                "an evidence run was edited",
                seen=f"{path.name}, line {number}: {told}",
                expected=run.id,
                fix="run it again; runs are appended, never edited",
            )
        runs.append(run)
    return tuple(runs)


def latest(runs: Iterable[EvidenceRun], *, twin: str, kind: str) -> EvidenceRun | None:
    """Return the newest run of a kind about a twin."""
    found = [r for r in runs if r.twin == twin and r.kind == kind]
    return max(found, key=lambda r: r.time) if found else None
