"""Status codes: integers inside compiled code, sentences outside."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Status", "sentence", "usable", "worst"]


class Status(IntEnum):
    """What happened, in rising order of trouble. Up to ``USABLE_LIMIT`` a result may be used (with its note); beyond it may not."""

    OK = 0
    PRIOR_ONLY = 1
    RECALIBRATED = 2
    FUTURE_IGNORED = 3
    RETRIED = 4
    USABLE_LIMIT = 49
    ABSTAINED = 50
    NOT_CONVERGED = 51
    NOT_POSITIVE_DEFINITE = 52
    PSIS_TOO_HEAVY = 53
    RHAT_TOO_HIGH = 54
    ESS_TOO_LOW = 55
    DIVERGENT = 56
    ENERGY_FRACTION_LOW = 57
    TEMPERING_STALLED = 58
    COLLAPSED = 59
    INNOVATIONS_INCONSISTENT = 60
    PRIOR_DATA_CONFLICT = 61
    SITE_REFUSED = 62
    SEVERAL_MODES = 63
    NOT_FINITE = 70
    SOLVER_FAILED = 71
    CANCELLED = 80


_SENTENCES = {
    Status.OK: "all gates passed",
    Status.PRIOR_ONLY: "no observation before now: this is the prior",
    Status.RECALIBRATED: "a fact older than the oldest checkpoint arrived: recalibrated from the record",
    Status.FUTURE_IGNORED: "observations later than now were ignored",
    Status.RETRIED: "passed after a retry that is on record",
    Status.ABSTAINED: "outside what this twin is validated for: no number is given",
    Status.NOT_CONVERGED: "the optimiser did not converge",
    Status.NOT_POSITIVE_DEFINITE: "the curvature at the mode is not positive definite",
    Status.PSIS_TOO_HEAVY: "importance weights are too heavy-tailed (PSIS k > 0.7)",
    Status.RHAT_TOO_HIGH: "chains disagree (R-hat > 1.01)",
    Status.ESS_TOO_LOW: "too few effective draws (< 400)",
    Status.DIVERGENT: "divergent transitions remained after the retries",
    Status.ENERGY_FRACTION_LOW: "energy fraction below 0.3",
    Status.TEMPERING_STALLED: "rejuvenation reached its limit of moves",
    Status.COLLAPSED: "particle weights collapsed (ESS < 5 %)",
    Status.INNOVATIONS_INCONSISTENT: "innovations lie outside their 99 % band: model or sensor has changed",
    Status.PRIOR_DATA_CONFLICT: "the data are improbable under the prior: check units and identity",
    Status.SITE_REFUSED: "a message was refused after six halvings",
    Status.SEVERAL_MODES: "other starts ended in another mode that holds as much: one Gaussian will not do",
    Status.NOT_FINITE: "a number that is not finite appeared",
    Status.SOLVER_FAILED: "the solver reported failure",
    Status.CANCELLED: "stopped on request; can be resumed",
}


def sentence(code: int | Status) -> str:
    """Return the sentence that belongs to a status code."""
    return _SENTENCES.get(Status(int(code)), Status(int(code)).name.lower().replace("_", " "))


def worst(*codes: int | Status) -> Status:
    """Return the gravest of several status codes."""
    return Status(max((int(c) for c in codes), default=0))


def usable(code: int | Status) -> bool:
    """Say whether a result of this status may be used."""
    return int(code) <= Status.USABLE_LIMIT
