"""Promise: simulated truth is recovered with calibrated ranks."""

from __future__ import annotations

from gemel.engine.status import sentence
from gemel.evidence.calibration import LEAST_P, MOST_REFUSED, sbc, uniformity
from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["check_calibration"]


def check_calibration(subject: Subject) -> str:
    """Rank the truth of simulated people among posterior draws; ranks of parameters, log likelihood and distance must be uniform."""
    found = sbc(subject.room, subject.replicas, method=subject.method, model=subject.model, key=subject.key("calibration"))
    refused = sum(found.refused.values())
    told = ", ".join(f"{n} times {sentence(code)!r}" for code, n in found.refused.items())
    require(
        refused <= MOST_REFUSED * subject.replicas,
        "the default method refuses too many simulated people",
        seen=told,
        expected=f"at most {MOST_REFUSED:.0%}",
    )
    result = uniformity(found)
    quantity, test = result.worst
    broken = sorted({q for (q, _), p in result.adjusted.items() if p < LEAST_P})
    require(
        not broken, f"ranks of {', '.join(map(repr, broken))} are not uniform: the posterior is not the posterior of this prior and likelihood",
        seen=f"p = {result.p_value:.1e} adjusted ({quantity}, {test}), {found.replicas} replicas", expected=f">= {LEAST_P:g}",
        fix="simulate_record must draw the truth from the prior and the data from the likelihood; then look at the likelihood",
    )  # fmt: skip
    return f"smallest adjusted p {result.p_value:.2g} ({quantity}, {test}); {found.replicas} replicas" + (
        f", {refused} refused: {told}" if refused else ""
    )
