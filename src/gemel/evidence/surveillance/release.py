"""What was true at release, frozen: the mix of risks, the scores and the inputs against which a deployed model is watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemel.core.errors import EvidenceError, FormatError
from gemel.core.lineage import digest
from gemel.evidence.change.device import UdiFields
from gemel.evidence.surveillance.drift import Reference
from gemel.evidence.surveillance.prediction_log import PredictionLog

__all__ = ["InputReference", "Release", "freeze", "read_release"]

FORMAT = "gemel-release/1"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class InputReference(_Frozen):
    """Quantiles of one input at release; no row of anybody."""

    quantiles: tuple[float, ...] = ()
    n: int = 0
    missing: int = 0
    rows: int = 0

    def reference(self) -> Reference:
        """Return it as :mod:`gemel.evidence.surveillance.drift` takes it."""
        return Reference(self.quantiles, self.n, self.missing, self.rows)


class Release(_Frozen):
    """A released version of a model and its baseline.

    Parameters
    ----------
    model, version, model_hash : what was released.
    udi : device identifiers, where there are any.
    level : of the predictive interval in the log, such as 0.9.
    mix, group_mix : predicted probabilities, of everybody and of each subgroup: thresholds come from them, and are the same as long as they are.
    crps : quantiles of the CRPS.
    inputs, categories : the inputs: quantiles; counts of each category.
    parameters : named constants of the model, for change control.
    n : rows that the baseline was taken from; ``frozen`` ns UTC, when.
    """

    format: Literal["gemel-release/1"] = FORMAT
    model: str
    version: str
    model_hash: str = ""
    udi: UdiFields | None = None
    kind: Literal["event", "value"]
    level: float = Field(default=0.9, gt=0, lt=1)
    mix: tuple[float, ...] = ()
    group_mix: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    crps: tuple[float, ...] = ()
    crps_n: int = 0
    inputs: dict[str, InputReference] = Field(default_factory=dict)
    categories: dict[str, dict[str, int]] = Field(default_factory=dict)
    parameters: dict[str, float] = Field(default_factory=dict)
    n: int = 0
    frozen: int = 0

    @property
    def id(self) -> str:
        """First 16 hexadecimal digits of the hash of all fields."""
        return digest(self)[:16]


def _middles(values: np.ndarray, points: int = 1000) -> tuple[float, ...]:
    """Return quantiles at the middles of equal shares: their mean is that of the values, nearly."""
    if not len(values):
        return ()
    if len(values) <= points:
        return tuple(np.sort(values).tolist())
    return tuple(np.sort(values)[np.floor((np.arange(points) + 0.5) / points * len(values)).astype(int)].tolist())


def freeze(
    log: PredictionLog, *, model: str, version: str, now: int, level: float = 0.9, model_hash: str = "", udi: UdiFields | None = None,
    parameters: dict[str, float] | None = None,
) -> Release:  # fmt: skip
    """Take the baseline of a release from a log of a period in which the model was right, such as its validation.

    With more than 1,000 rows only quantiles of scores and risks are kept, and always only quantiles of inputs.

    Raises
    ------
    EvidenceError
        With fewer than 50 known outcomes.
    """
    known = log.known
    if known.sum() < 50:
        raise EvidenceError("a baseline needs outcomes", seen=f"{known.sum()} known", expected="50 or more")
    p = log.numbers["prediction"]
    crps = log.numbers.get("crps", np.full(len(log), np.nan))
    crps = crps[np.isfinite(crps)]
    predicted, is_event = np.isfinite(p), log.kind == "event"
    groups = {str(g): _middles(p[predicted & (log.group == g)]) for g in np.unique(log.group) if g} if is_event else {}
    return Release(
        model=model, version=version, model_hash=model_hash, udi=udi, kind=log.kind, level=level,
        mix=_middles(p[predicted]) if is_event else (), group_mix={g: m for g, m in groups.items() if m}, crps=_middles(crps), crps_n=len(crps),
        inputs={k: InputReference(**vars(Reference.of(v))) for k, v in log.inputs.items()},
        categories={k: {str(w): int((v == w).sum()) for w in np.unique(v)} for k, v in log.categories.items()},
        parameters=parameters or {}, n=len(log), frozen=now,
    )  # fmt: skip


def read_release(path: Path) -> Release:
    """Read a release written as JSON.

    Raises
    ------
    FormatError
        When it is none; the message names the field.
    """
    try:
        return Release(**json.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
        raise FormatError(f"{path.name} is no release", seen=type(error).__name__, expected=f"JSON of format {FORMAT}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise FormatError(
            f"{path.name} is no release", seen=f"{'.'.join(map(str, first['loc']))}: {first['msg']}", expected=f"format {FORMAT}", fix="gemel surveil --freeze writes one"
        ) from error  # fmt: skip
