"""How twins are kept current."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LiveSettings", "Standing"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Standing(_Settings):
    """What is made of one room's twins after each assimilation.

    Parameters
    ----------
    minutes : at which they are forecast; left out, the room's own.
    draws : of the standing forecast.
    plans : names of the room's plans among which a proposal is made; ``["*"]``: all of them; none: no proposals.
    proposal_min : minutes between two proposals.
    proposal_draws : of the comparison behind a proposal.
    score_min : minutes between two standing forecasts that are scored when their outcomes arrive; 0: none is.
    tolerance_min : minutes a reading may lie from a forecast time to be its outcome.
    recalibrate_h : hours after which a twin is calibrated anew; 0: only when it must be.
    """

    minutes: tuple[float, ...] | None = None
    draws: int = Field(128, ge=2, le=100_000)
    plans: tuple[str, ...] = ()
    proposal_min: float = Field(60.0, gt=0)
    proposal_draws: int = Field(256, ge=2, le=100_000)
    score_min: float = Field(60.0, ge=0)
    tolerance_min: float = Field(2.5, gt=0)
    recalibrate_h: float = Field(0.0, ge=0)


class LiveSettings(_Settings):
    """``[live]``: how twins follow what arrives.

    Parameters
    ----------
    debounce_ms : after the first of several facts, before a twin is brought up to date.
    batch : twins leased at once. group : results in one transaction, so that others may write in between.
    keep_every : versions between two that hold the whole state; those between name it, and are made again from it.
    cached : twins held in memory.
    poll_ms : between two looks at the store when there is nothing to do.
    lease_s : after which the work of a worker that says nothing is taken up by another.
    seed : of forecasts; folded with each twin's own.
    redis : address of a Redis server that tells workers what has arrived; left out, they ask the store.
    standing : by room; ``*`` is for the others.
    """

    debounce_ms: float = Field(100.0, ge=0)
    batch: int = Field(1000, ge=1)
    group: int = Field(128, ge=1)
    keep_every: int = Field(12, ge=1)
    cached: int = Field(2000, ge=0)
    poll_ms: float = Field(100.0, gt=0)
    lease_s: float = Field(30.0, gt=0)
    seed: int = 0
    redis: str = ""
    standing: dict[str, Standing] = Field(default_factory=dict)

    def of(self, room: str) -> Standing:
        """Return what is made of a room's twins."""
        return self.standing.get(room) or self.standing.get("*") or Standing.model_validate({})
