"""One study each of Ada and Bob."""

from __future__ import annotations

from _images import slice_of

WEB = "/dicom-web"
NUMBERS = {"ada-canary-7781": 1, "bob-canary-9915": 2}


def uids(patient: str) -> dict[str, str]:
    number = NUMBERS.get(patient, 9)
    return {"study": f"1.2.3.{number}", "series": f"1.2.3.{number}.1", "instance": f"1.2.3.{number}.1.1"}


def image_of(patient: str) -> bytes:
    found = uids(patient)
    return slice_of(
        0, patient=patient, StudyInstanceUID=found["study"], SeriesInstanceUID=found["series"], SOPInstanceUID=found["instance"]
    )
