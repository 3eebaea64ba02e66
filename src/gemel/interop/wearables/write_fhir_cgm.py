"""A record out as the submission of the HL7 CGM guide; the Bundle is made by :mod:`gemel.interop.fhir`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gemel.core import PatientRecord
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._save import Left, current, save_json

__all__ = ["write_fhir_cgm"]


def write_fhir_cgm(
    record: PatientRecord, path: str | os.PathLike[str], *, summary: Mapping[str, Any] | None = None, simulated: bool = False
) -> tuple[str, ...]:
    """Write a record's sensor glucose as a ``$submit-cgm-bundle`` transaction, as known when its last reading became known.

    Parameters
    ----------
    summary : see :func:`gemel.interop.fhir.submission_bundle`.
    simulated : mark every resource as test data of no real person.

    Returns
    -------
    What the guide has no place for, with counts: nothing is left out in silence.

    Raises
    ------
    DataError
        When the record has no sensor glucose, or the file cannot be written.
    """
    from gemel.interop.fhir import submission_bundle  # here: the two packages read each other's tables

    left = Left()
    known = current(record, left)
    for series in known.series:
        if series.code not in facts.CGM.values():
            left.add(f"series {series.code}", len(series))
    for exposure in known.exposures:
        left.add(f"exposure {exposure.code}")
    created = max((int(series.recorded.max()) for series in known.find_series(*facts.CGM.values())), default=0)
    save_json(path, submission_bundle(record, summary=summary, created=created, simulated=simulated))
    return left.listed()
