"""Defined daily doses of glucose-lowering drugs: what turns milligrams into days of a usual dose. Shared by the twins in which drugs act by class."""

from __future__ import annotations

from collections.abc import Mapping

from gemel.core.code import Code
from gemel.engine.carry_out import Written

__all__ = ["DAILY_DOSE", "usual", "written_drugs"]

DAILY_DOSE: dict[str, float] = {
    "A10BA02": 2000.0, "A10BF01": 300.0, "A10BF02": 300.0, "A10BF03": 0.6, "A10BB01": 7.0, "A10BB07": 10.0, "A10BB08": 60.0, "A10BB09": 60.0,
    "A10BB12": 2.0, "A10BX02": 4.0, "A10BX03": 360.0, "A10BG03": 30.0, "A10BH01": 100.0, "A10BH02": 100.0, "A10BH03": 5.0, "A10BH04": 25.0,
    "A10BH05": 5.0, "A10BJ01": 0.015, "A10BJ02": 1.5, "A10BJ05": 0.16, "A10BJ06": 0.11, "A10BK01": 10.0, "A10BK02": 200.0, "A10BK03": 17.5,
}  # fmt: skip
"""Defined daily doses, mg (WHO Collaborating Centre for Drug Statistics Methodology, ATC/DDD index; semaglutide injected)."""


def usual(codes: tuple[str, ...]) -> str:
    """Return the first substance of a class of drugs that has a defined daily dose."""
    return next(code for code in DAILY_DOSE if code.startswith(codes))


def written_drugs(codes: Mapping[int, tuple[str, ...]], unit: str, *, is_rate: bool = False) -> dict[int, Written]:
    """Return how usual doses are written: channel -> its class of drugs by the first substance that has a defined daily dose.

    Parameters
    ----------
    codes : channel -> ATC codes of the class.
    unit : ``mg``, or ``mg/d`` of a rate.
    """
    substances = {channel: usual(of) for channel, of in codes.items()}
    return {c: Written(Code.parse(f"atc:{s}"), unit, factor=DAILY_DOSE[s], is_rate=is_rate) for c, s in substances.items()}
