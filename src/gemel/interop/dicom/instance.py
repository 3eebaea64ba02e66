"""One stored object of DICOM (image, report, segmentation): who it is, whose it is, and its few attributes that a search asks for."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gemel.core.errors import DataError, FormatError
from gemel.interop.dicom.part10 import MAX_DEPTH, Part10, assemble_file, is_uid, scan

__all__ = ["LEVELS", "Instance", "parse", "read_instance", "searchable", "silence"]

LEVELS: dict[str, tuple[str, ...]] = {
    "study": (
        "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "PatientName", "PatientID", "PatientBirthDate",
        "PatientSex", "StudyInstanceUID", "StudyID",
    ),
    "series": (
        "Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "BodyPartExamined", "SeriesDate", "SeriesTime", "Laterality",
        "TimezoneOffsetFromUTC",
    ),
    "instance": ("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames", "ContentDate", "ContentTime",
        "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime"),
}  # fmt: skip
"""Attributes that a search returns and matches, by level (PS3.18 2024e, 10.6.3.3, those that objects carry themselves)."""


@dataclass(frozen=True, repr=False)
class Instance:
    """What a stored object says of itself.

    Parameters
    ----------
    patient : ``PatientID``; a name is never used.
    study, series, instance, sop_class, syntax : UIDs.
    modality : two or more letters.
    digest : SHA-256 of transfer syntax and data set, without what the last sender wrote before it: the same object by another way is the same.
    attributes : of :data:`LEVELS`, in the DICOM JSON model.
    """

    patient: str
    study: str
    series: str
    instance: str
    sop_class: str
    syntax: str
    modality: str
    digest: str
    attributes: dict[str, Any]

    def __repr__(self) -> str:
        return f"Instance({self.modality})"


def silence() -> None:
    """Turn off the messages of the libraries: they hold values, which are a patient's, and what decides is said by our own errors."""
    for name in ("pydicom", "pynetdicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def parse(body: bytes) -> tuple[Any, Part10]:
    """Decode a file whose lengths were checked, as pydicom sees it.

    Raises
    ------
    FormatError
        When it is no whole DICOM file, or breaks a limit.
    DataError
        When the extra is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise DataError(
            "DICOM cannot be read here", seen="no pydicom", expected="the extra [dicom]", fix="pip install 'gemel[dicom]'"
        ) from error
    silence()
    part = scan(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom warns of is a matter of style; what decides is checked here
        try:
            return pydicom.dcmread(io.BytesIO(body)), part
        except RecursionError as error:
            raise FormatError("sequences are nested too deeply", seen="beyond what can be read", expected=f"at most {MAX_DEPTH}") from error
        except Exception as error:  # a hostile file can break the reader anywhere; its message may hold a patient's values
            raise _unreadable(error) from error


def _unreadable(error: Exception) -> FormatError:
    return FormatError("the file is cut off or broken", seen=type(error).__name__, expected="a whole DICOM file", fix="export it again")


def searchable(data: Any) -> dict[str, Any]:
    """Return the attributes of :data:`LEVELS` that a data set has, in the DICOM JSON model; what cannot be read is left out."""
    found: dict[str, Any] = {}
    for keyword in (k for names in LEVELS.values() for k in names):
        try:
            element = data.get_item(keyword) and data[keyword]
            if element is not None:
                found[f"{int(element.tag):08X}"] = element.to_json_dict(None, 0)
        except Exception:  # a broken value of one attribute does not hide the others
            continue
    return found


def read_instance(body: bytes, *, patient: str = "", note: Callable[[str], None] | None = None) -> Instance:
    """Say what a file is.

    Parameters
    ----------
    patient : whose it is, where somebody knows better than the file.
    note : called with what was odd, in words.

    Raises
    ------
    FormatError
        When it is no whole DICOM file, or breaks a limit.
    DataError
        When it names no patient, study, series or instance.
    """
    data, part = parse(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            uids = {
                name: str(data.get(name, "") or "").strip()
                for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
            }
            patient = patient or str(data.get("PatientID", "") or "").strip()
            modality = str(data.get("Modality", "") or "OT")[:16]
            attributes = searchable(data)
        except Exception as error:  # values are decoded when they are first asked for
            raise _unreadable(error) from error
    for name, uid in uids.items():
        if not is_uid(uid):
            raise DataError("an object without its identifiers", seen=f"{name} is {'no UID' if uid else 'empty'}", expected="a UID")
    if not patient or len(patient) > 64 or any(ord(c) < 32 for c in patient):
        raise DataError(
            "an object without a patient", seen="PatientID is empty or unusable", expected="an identifier", fix="a name is not used"
        )
    if note is not None and any(
        part.meta.get(number, uids[name]) != uids[name] for number, name in ((2, "SOPClassUID"), (3, "SOPInstanceUID"))
    ):
        note("header and content name different objects: the content counts")
    digest = hashlib.sha256(part.syntax.encode() + b"\0" + part.dataset).hexdigest()
    if note is not None and data.get("SpecificCharacterSet") is None:
        note("no character set: ASCII assumed")
    return Instance(
        patient=patient, study=uids["StudyInstanceUID"], series=uids["SeriesInstanceUID"], instance=uids["SOPInstanceUID"],
        sop_class=uids["SOPClassUID"], syntax=part.syntax, modality=modality, digest=digest, attributes=attributes,
    )  # fmt: skip


def as_file(dataset: bytes, *, sop_class: str, instance: str, syntax: str) -> bytes:
    """Return the file of a data set that came over the network."""
    return assemble_file(dataset, sop_class=sop_class, instance=instance, syntax=syntax)
