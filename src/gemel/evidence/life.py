"""The life of a twin as a list of dated events: what conformance is computed from. Plain types, append-only, no clock."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Kind", "LifeEvent"]

Kind = Literal["calibrated", "assimilated", "forecast", "scored", "proposal", "delivered", "decision", "act", "outcome"]


class LifeEvent(BaseModel):
    """One thing that happened between a twin and its patient.

    Parameters
    ----------
    patient : pseudonym.
    kind : *calibrated* (values ``parameters``, ``divergence`` from the prior in nats), *assimilated* (``divergence`` from the twin before, ``seconds``,
        ``facts``), *forecast*, *scored* (``n``, ``crps``, ``naive``, ``population``, ``inside90``), *proposal* (``plans``, ``utility``, ``probability_best``;
        an abstention has ``abstained`` 1 and its reason as note), *delivered*, *decision* (note: accepted, changed or rejected), *act*, *outcome*.
    time, recorded : ns UTC; when it was true, and when it became known.
    id, of : of this event, and of the event that it answers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    patient: str
    kind: Kind
    time: int
    recorded: int
    id: str = ""
    of: str = ""
    values: dict[str, float] = Field(default_factory=dict)
    note: str = ""
