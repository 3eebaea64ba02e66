"""Settings of the API: how consents are read, what is sent to it, which evidence is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Consents", "Evidence", "Imports"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Consents(_Section):
    """``[consents]``: how consents are read here, and who answers for the processing."""

    profile: Literal["validity", "exception"] | None = None
    """What a root rule with a period only means: the consent holds in it, or data of it are withheld. Without one it is ambiguous, and denies."""
    zone: str = "UTC"
    """IANA zone of dates that have none."""
    register_answers: dict[str, str] = Field(default_factory=dict)
    """Answers of the site to the questions of the register of processing, by their keys."""


class Imports(_Section):
    """``[imports]``: files that are sent to the API."""

    zone: str = "UTC"
    """IANA zone of times that carry none."""
    parallel: int = Field(default=1, ge=1, le=16)
    """How many are read at once."""


class Evidence(_Section):
    """``[evidence]``: the runs that are shown with each twin."""

    folder: Path | None = None
    """Where ``gemel evidence`` keeps its runs on this machine; left out, none are shown, and no twin earns a label here."""
