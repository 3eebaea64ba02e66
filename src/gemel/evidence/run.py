"""Evidence runs: what was measured, on whom, with which model, and when. Append-only JSON lines; time is an argument, here is no clock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gemel import __version__
from gemel.core.advice import ShownOn
from gemel.core.errors import FormatError
from gemel.core.lineage import digest
from gemel.evidence.json_lines import append_lines, read_lines
from gemel.evidence.life import LifeEvent

__all__ = ["CATEGORIES", "EvidenceRun", "Measured", "append", "latest", "read", "standing"]

CATEGORIES = (
    "code verification",
    "model calibration",
    "bench validation",
    "in-vivo validation",
    "population-based validation",
    "emergent behaviour",
    "plausibility",
    "calculation verification and UQ",
)
"""The eight kinds of evidence of the FDA guidance on computational modelling (17 Nov 2023), in its order and our words."""


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

    Parameters
    ----------
    kind : *verification*, *calculation*, *calibration*, *sensitivity*, *validation*, *loop*, *fairness*, *surveillance*, ...
    study, claim : which study it was, and what it is about, in one sentence.
    model_hash : of the twin that was measured (:func:`gemel.evidence.fingerprint.model_hash`).
    code_hash : of the code that measured (:func:`gemel.evidence.fingerprint.code_hash`).
    data_hash : of the records that were used; empty where the people were drawn from a model.
    command : what prints these figures again.
    category : one of :data:`CATEGORIES`; empty where none of the eight fits.
    factors : numbers of the credibility factors it speaks to.
    settings : what was chosen for the run, plain values.
    time : ns UTC, when it ended.
    tables : columns behind the figures, by name: what the pictures of a dossier are drawn from.
    life : what happened between twins and patients in this run: what conformance is computed from.
    """

    kind: str
    twin: str
    study: str = ""
    claim: str = ""
    model_version: str
    model_hash: str
    code_hash: str = ""
    data_hash: str = ""
    code_version: str = __version__
    command: str = ""
    category: str = ""
    factors: tuple[int, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int | None = None
    machine: str = ""
    seconds: float = 0.0
    time: int
    figures: tuple[Measured, ...] = Field(min_length=1)
    tables: dict[str, dict[str, list[Any]]] = Field(default_factory=dict)
    life: tuple[LifeEvent, ...] = ()
    note: str = ""

    @field_validator("category")
    @classmethod
    def _known(cls, given: str) -> str:
        if given and given not in CATEGORIES:
            raise ValueError(f"category {given!r} is none of {CATEGORIES}")
        return given

    @property
    def id(self) -> str:
        """First 16 hexadecimal digits of the hash of all fields."""
        return digest(self)[:16]

    @property
    def met(self) -> bool:
        """Whether every figure that has limits met them."""
        return all(f.met is not False for f in self.figures)

    def stale(self, model_hash: str, *, code_hash: str | None = None, data_hash: str | None = None) -> tuple[str, ...]:
        """Say what is another than what was measured: *model*, *code* (that measured) or *data*; nothing when the run still speaks of the twin."""
        told = {"model": (self.model_hash, model_hash), "code": (self.code_hash, code_hash), "data": (self.data_hash, data_hash)}
        return tuple(what for what, (then, now) in told.items() if now is not None and then != now)


def append(path: Path, run: EvidenceRun) -> str:
    """Append a run to a file of JSON lines; the same run enters once. Return its id."""
    if path.exists() and any(old.id == run.id for old in read(path)):
        return run.id
    append_lines(path, [{"id": run.id, **run.model_dump(mode="json")}])
    return run.id


def read(path: Path) -> tuple[EvidenceRun, ...]:
    """Read all runs of a file, oldest first.

    Raises
    ------
    FormatError
        When a line cannot be read, or is not what was appended.
    """
    runs = []
    for place, table in read_lines(path, "an evidence run"):
        told = table.pop("id", None)
        try:
            run = EvidenceRun(**table)
        except (ValidationError, TypeError) as error:
            raise FormatError(
                "not an evidence run", seen=f"{place}: {type(error).__name__}", expected="what gemel evidence wrote"
            ) from error
        if told != run.id:
            raise FormatError(
                "an evidence run was edited",
                seen=f"{place}: {told}",
                expected=run.id,
                fix="run it again; runs are appended, never edited",
            )
        runs.append(run)
    return tuple(runs)


def latest(runs: Iterable[EvidenceRun], *, twin: str, kind: str | None = None, study: str | None = None) -> EvidenceRun | None:
    """Return the newest run about a twin, of a kind or a study."""
    found = [r for r in runs if r.twin == twin and kind in (None, r.kind) and study in (None, r.study)]
    return max(found, key=lambda r: r.time) if found else None


def standing(runs: Iterable[EvidenceRun], *, twin: str, model_hash: str) -> tuple[EvidenceRun, ...]:
    """Return the one run of each study that counts, in the order of time: one of the model as it is rather than of another, a whole one rather than a quick one, and then the newest.

    Parameters
    ----------
    model_hash : of the twin as it is now.
    """
    best: dict[str, EvidenceRun] = {}

    def rank(run: EvidenceRun) -> tuple[bool, bool, int]:
        return not run.stale(model_hash), not run.settings.get("quick", False), run.time

    for run in runs:
        if run.twin != twin:
            continue
        place = run.study or run.id
        if place not in best or rank(run) >= rank(best[place]):
            best[place] = run
    return tuple(sorted(best.values(), key=lambda r: r.time))
