"""A predetermined change-control plan, ``pccp.toml``: what may change and how far, how it is tested, how it is undone, what it may do to people.

::

    [plan]
    twin = "my-model"
    version = "1"
    rollback = "1.0.0"                 # the version to go back to

    [[modification]]                   # (a) what may change
    type = "parameters"                # parameters, model, inputs, outputs, domain, ports or documentation
    why = "yearly recalibration"
    bump = "minor"                     # the largest step of the version
    names = ["intercept", "slope"]     # of parameters, inputs ...; all when left out
    relative = 0.2                     # largest relative change of a parameter, or widening of a range

    [protocol]                         # (b) how it is tested
    data = "the last twelve months, split by patient; nobody of the development data"
    practice = "recalibrate intercept and slope only"
    update = "all sites at once, after the gate passed"
    study = "recalibration"            # the run that is looked for
    subgroups = ["female", "male"]

    [[protocol.criterion]]
    figure = "coverage"
    low = 0.85
    high = 0.95
    per_subgroup = true
    smallest = 100

    [impact]                           # (c)
    benefit = "calibration is kept"
    risk = "a subgroup may lose"
    mitigation = "criteria per subgroup, roll-back within a day"

    [alarms]                           # chart -> what to do; "*" for all others
    "events, more than predicted" = "recalibrate"

The criteria are hashed; the run that is judged by them carries the hash in its settings. Whoever edits them afterwards voids the run.

References
----------
FDA, final guidance on predetermined change control plans for AI-enabled device software functions, 4 December 2024; our words.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gemel.core.errors import ManifestError
from gemel.core.lineage import digest

__all__ = ["ChangePlan", "ChangeType", "Criterion", "Impact", "Modification", "Protocol", "read_plan"]

ChangeType = Literal["parameters", "model", "inputs", "outputs", "domain", "ports", "documentation"]
Bump = Literal["patch", "minor", "major"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Modification(_Frozen):
    """One kind of change that was foreseen, and its bounds.

    Parameters
    ----------
    bump : the largest step of the version that it may come with.
    names : parameters, inputs, outputs or ranges that it is about; all when empty.
    relative : largest relative change of a parameter, or widening of a range as a share of its width; None for types without a size.
    """

    type: ChangeType
    why: str = Field(min_length=1)
    bump: Bump = "minor"
    names: tuple[str, ...] = ()
    relative: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _bounded(self) -> Modification:
        if self.type in ("parameters", "domain") and self.relative is None:
            raise ValueError(f"a modification of type {self.type!r} needs a bound: relative = ...")
        return self


class Criterion(_Frozen):
    """One figure of the protocol's run, and between which limits it must lie: overall, and in each subgroup where ``per_subgroup``."""

    figure: str = Field(min_length=1)
    low: float | None = None
    high: float | None = None
    per_subgroup: bool = True
    smallest: int = Field(default=20, ge=1, description="fewest cases behind the figure")

    @model_validator(mode="after")
    def _limited(self) -> Criterion:
        if self.low is None and self.high is None:
            raise ValueError(f"the criterion on {self.figure!r} has no limit: give low or high")
        return self


class Protocol(_Frozen):
    """How a change is made and tested."""

    data: str = Field(min_length=1)
    practice: str = Field(min_length=1)
    update: str = Field(min_length=1)
    study: str = Field(min_length=1)
    criterion: tuple[Criterion, ...] = Field(min_length=1)
    subgroups: tuple[str, ...] = ()


class Impact(_Frozen):
    """What a change may do to people."""

    benefit: str = Field(min_length=1)
    risk: str = Field(min_length=1)
    mitigation: str = Field(min_length=1)


class ChangePlan(_Frozen):
    """The plan of one twin."""

    twin: str
    version: str
    rollback: str = Field(min_length=1)
    modification: tuple[Modification, ...] = Field(min_length=1)
    protocol: Protocol
    impact: Impact
    alarms: dict[str, str] = Field(default_factory=dict)

    @property
    def criteria_hash(self) -> str:
        """First 32 hexadecimal digits of the hash of study, criteria and subgroups: what a run must carry."""
        p = self.protocol
        return digest([p.study, [c.model_dump() for c in p.criterion], sorted(p.subgroups)])[:32]


def read_plan(path: Path) -> ChangePlan:
    """Read a ``pccp.toml``.

    Raises
    ------
    ManifestError
        When it cannot be read or lacks a part; the message names it.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return ChangePlan(**raw.pop("plan", {}), **raw)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise ManifestError(f"cannot read {path.name}", seen=error, fix="see gemel.evidence.change.plan for a whole one") from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()[:3])
        raise ManifestError(
            f"{path.name} is no whole change-control plan", seen=told, fix="see gemel.evidence.change.plan for a whole one"
        ) from error
