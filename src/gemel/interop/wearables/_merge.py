"""Boluses that were uploaded twice: merged only when the caller says so."""

from __future__ import annotations

from gemel.core import Exposure, PatientRecord
from gemel.core.time import SECOND

__all__ = ["merge_boluses"]

_WINDOW = 60 * SECOND


def merge_boluses(record: PatientRecord) -> tuple[PatientRecord, int]:
    """Drop every bolus that repeats the amount of one at most 60 s before it.

    Returns
    -------
    The record, and how many were dropped.
    """
    kept: list[Exposure] = []
    last: dict[tuple[str, float], Exposure] = {}
    for exposure in sorted(record.exposures, key=lambda e: e.start):
        amount = exposure.quantity
        if amount is not None and amount.unit == "[iU]" and exposure.start == exposure.end:
            place = (str(exposure.code), amount.value)
            before = last.get(place)
            if before is not None and 0 < exposure.start - before.start <= _WINDOW:
                continue
            last[place] = exposure
        kept.append(exposure)
    return record.model_copy(update={"exposures": tuple(kept)}), len(record.exposures) - len(kept)
