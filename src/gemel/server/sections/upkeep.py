"""Settings of what a server does to its store from time to time."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Upkeep"]


class Upkeep(BaseModel):
    """``[upkeep]``: what is done to the store from time to time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_min: float = Field(default=10.0, gt=0)
    """Between two rounds: readings of a day are merged, old answers and unused files go."""
    jobs_days: float = Field(default=30.0, gt=0)
    """How long work that ended is listed."""
