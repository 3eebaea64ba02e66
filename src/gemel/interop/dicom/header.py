"""One DICOM file into one image, with limits: a file may be hostile, and is then refused by name.

References
----------
DICOM PS3.5 2024e, A.5 (deflated transfer syntax); PS3.3, C.7.6.3 (Image Pixel), C.11.1 (Modality LUT), C.12.1 (SOP Common: time zone).
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core.errors import DataError, FormatError, TimeError
from gemel.core.time import to_ns
from gemel.interop.dicom.assemble import Slice
from gemel.interop.dicom.decode import Decoder
from gemel.interop.dicom.instance import parse
from gemel.interop.dicom.part10 import DEFLATED, MAX_DEPTH, MAX_INFLATED

__all__ = ["MAX_DEPTH", "MAX_INFLATED", "read_slice", "time_of"]

_PLAIN = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", DEFLATED: "<", "1.2.840.10008.1.2.2": ">"}
_MOST_VOXELS = 1 << 26  # of one image: 8192 x 8192
_TIMES = {
    "00080201": "TimezoneOffsetFromUTC", "0008002A": "AcquisitionDateTime", "00080022": "AcquisitionDate", "00080032": "AcquisitionTime",
    "00080023": "ContentDate", "00080033": "ContentTime", "00080021": "SeriesDate", "00080031": "SeriesTime", "00080020": "StudyDate",
    "00080030": "StudyTime",
}  # fmt: skip
_OFFSET = re.compile(r"[+-][0-9]{4}")


def _quiet(words: str) -> None:
    """Nobody asked what was assumed."""
    del words


def read_slice(source: Path | bytes, *, tz: str, note: Callable[[str], None] | None = None, decoder: Decoder | None = None) -> Slice:
    """Read the one image of a file.

    Parameters
    ----------
    source : the file, or its bytes.
    tz : IANA zone of times for which the file names none.
    note : called with what was assumed, in words.
    decoder : of compressed pixels; without one they are refused.

    Raises
    ------
    FormatError
        When it is no DICOM file, is cut off, inflates or nests beyond the limits, or its pixels are compressed or not of the length they must have.
    DataError
        When it is no image with a place, a patient and a time; or the extra is not installed.
    """
    if isinstance(source, Path) and (size := source.stat().st_size) > MAX_INFLATED:
        raise FormatError(
            "the file is too large", seen=f"{size} bytes", expected=f"at most {MAX_INFLATED}", fix="read it with another tool"
        )
    body = source.read_bytes() if isinstance(source, Path) else source
    data, part = parse(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom warns of is a matter of names; what decides is checked here
        try:
            _check_depth(data, 0)
            decode = None if decoder is None else lambda: decoder.decode(body)
            return _slice(data, part.syntax, tz, note or _quiet, decode)
        except RecursionError as error:
            raise FormatError("sequences are nested too deeply", seen="beyond what can be read", expected=f"at most {MAX_DEPTH}") from error
        except DataError:
            raise
        except Exception as error:  # a hostile file can break the reader anywhere; its message may hold a patient's values
            raise FormatError(
                "the file is cut off or broken", seen=type(error).__name__, expected="a whole DICOM file", fix="export it again"
            ) from error


def time_of(attributes: Mapping[str, Any], tz: str, default: int) -> int:
    """Return when an object was made, ns UTC, from attributes of the DICOM JSON model; ``default`` where they do not say.

    Examples
    --------
    >>> time_of({"00080020": {"vr": "DA", "Value": ["19700102"]}}, "UTC", 0)
    86400000000000
    """
    told = {name: str((attributes.get(tag, {}).get("Value") or [""])[0] or "") for tag, name in _TIMES.items()}
    try:
        return _time(told, tz, _quiet)
    except (TimeError, ValueError, OverflowError):
        return default


def _check_depth(data: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise FormatError("sequences are nested too deeply", seen=f"more than {MAX_DEPTH}", expected=f"at most {MAX_DEPTH}")
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                _check_depth(item, depth + 1)


def _numbers(data: Any, name: str, count: int) -> np.ndarray:
    found = data.get(name)
    if found is None or (count > 1 and len(found) != count):
        raise DataError(
            "no image with a place in the patient",
            seen=f"no {name}",
            expected=f"{name}, {count} numbers",
            fix="only images with a place are read",
        )
    array = np.atleast_1d(np.asarray(found, float))
    if not np.isfinite(array).all():
        raise FormatError(f"{name} is no number", seen="not finite", expected="millimetres")
    return array


def _slice(data: Any, syntax: str, tz: str, note: Callable[[str], None], decode: Callable[[], np.ndarray] | None) -> Slice:
    if "PixelData" not in data:
        raise DataError(
            "a file without an image",
            seen=str(data.get("Modality", "no modality"))[:4],
            expected="an image",
            fix="reports and plans are not read here",
        )
    if int(data.get("NumberOfFrames", 1) or 1) != 1 or "PerFrameFunctionalGroupsSequence" in data:
        raise DataError("an image of several frames", seen="multi-frame", expected="one image a file", fix="export it as single frames")
    patient = str(data.get("PatientID", "") or "").strip()
    if not patient:
        raise DataError("an image without a patient", seen="PatientID is empty", expected="an identifier", fix="a name is not used")
    position, orientation = _numbers(data, "ImagePositionPatient", 3), _numbers(data, "ImageOrientationPatient", 6)
    spacing = _numbers(data, "PixelSpacing", 2)
    row, column = orientation[:3], orientation[3:]
    if abs(row @ row - 1) > 1e-3 or abs(column @ column - 1) > 1e-3 or abs(row @ column) > 1e-3 or (spacing <= 0).any():
        raise FormatError(
            "the orientation of an image is none", seen="cosines that are not of two perpendicular directions", expected="unit vectors"
        )
    modality = str(data.get("Modality", "OT"))[:16]
    thickness = data.get("SliceThickness")
    number = data.get("SeriesNumber")
    return Slice(
        patient=patient, series=str(data.get("SeriesInstanceUID", "")), instance=str(data.get("SOPInstanceUID", "")),
        name=f"{modality} series {number}" if number not in (None, "") else modality, values=_pixels(data, syntax, decode), position=position,
        orientation=orientation, spacing=(float(spacing[0]), float(spacing[1])), thickness=float(thickness) if thickness else None,
        unit=_unit(data, modality), time=_time(data, tz, note),
    )  # fmt: skip


def _unit(data: Any, modality: str) -> str:
    kind = str(data.get("RescaleType", "") or "").strip()
    is_hounsfield = kind == "HU" or (modality == "CT" and not kind and "RescaleSlope" in data)  # C.8.2.1: CT without a type is HU
    return "[hnsf'U]" if is_hounsfield else "1"


def _pixels(data: Any, syntax: str, decode: Callable[[], np.ndarray] | None) -> np.ndarray:
    if syntax not in _PLAIN and decode is None:
        raise FormatError(
            "the pixels are compressed",
            seen=syntax or "no transfer syntax",
            expected="uncompressed",
            fix="decompress the file (dcmdjpeg, gdcmconv --raw)",
        )
    rows, columns, allocated = (int(data.get(name, 0) or 0) for name in ("Rows", "Columns", "BitsAllocated"))
    stored = int(data.get("BitsStored", allocated) or 0)
    if (
        int(data.get("SamplesPerPixel", 1) or 1) != 1
        or allocated not in (8, 16, 32)
        or not 0 < stored <= allocated
        or rows < 1
        or columns < 1
    ):
        raise FormatError(
            "pixels of a kind that is not read", seen=f"{rows} x {columns}, {allocated} bits", expected="grey, 8, 16 or 32 bits"
        )
    if rows * columns > _MOST_VOXELS:
        raise FormatError("an image too large", seen=f"{rows} x {columns}", expected=f"at most {_MOST_VOXELS} pixels")
    if syntax in _PLAIN:
        values = _stored(data, syntax, rows, columns, allocated, stored)
    else:
        assert decode is not None  # refused above
        values = decode().astype(np.int64)
        if values.shape != (rows, columns):
            raise FormatError("the pixels have not the shape that the header says", seen=values.shape, expected=(rows, columns))
    slope, intercept = float(data.get("RescaleSlope", 1) or 1), float(data.get("RescaleIntercept", 0) or 0)
    if not np.isfinite([slope, intercept]).all():
        raise FormatError("the rescaling is no number", seen="not finite", expected="slope and intercept")
    if slope == 1.0 and intercept.is_integer():
        shifted = values + int(intercept)
        small = np.iinfo(np.int16)
        return shifted.astype(np.int16 if shifted.min() >= small.min and shifted.max() <= small.max else np.int32)
    return (values * slope + intercept).astype(np.float32)


def _stored(data: Any, syntax: str, rows: int, columns: int, allocated: int, stored: int) -> np.ndarray:
    raw, needed = bytes(data.PixelData), rows * columns * allocated // 8
    if len(raw) != needed + needed % 2:
        raise FormatError(
            "the pixels have not the length that the header says",
            seen=f"{len(raw)} bytes",
            expected=f"{needed} bytes",
            fix="export it again",
        )
    signed = bool(int(data.get("PixelRepresentation", 0) or 0))
    order = _PLAIN[syntax] if allocated > 8 else "|"
    values = np.frombuffer(raw[:needed], dtype=f"{order}{'i' if signed else 'u'}{allocated // 8}").reshape(rows, columns).astype(np.int64)
    shift = int(data.get("HighBit", stored - 1) or 0) + 1 - stored
    if shift < 0 or shift + stored > allocated:
        raise FormatError(
            "the bits of a pixel lie outside it", seen=f"{stored} bits up to bit {shift + stored - 1}", expected=f"within {allocated}"
        )
    values = (values >> shift) & ((1 << stored) - 1)
    if signed:
        values = np.where(values >> (stored - 1) & 1, values - (1 << stored), values)
    return values


def _time(data: Any, tz: str, note: Callable[[str], None]) -> int:
    offset = str(data.get("TimezoneOffsetFromUTC", "") or "").strip()
    whole = str(data.get("AcquisitionDateTime", "") or "").strip()
    if whole[-5:-4] in ("+", "-"):
        whole, offset = whole[:-5], whole[-5:]
    if not whole:
        for name in ("Acquisition", "Content", "Series", "Study"):
            date, clock = (str(data.get(f"{name}{part}", "") or "").strip() for part in ("Date", "Time"))
            if date:
                if name != "Acquisition":
                    note(f"{name.lower()} time taken: no time of acquisition")
                whole = date.replace(".", "") + clock.replace(":", "")
                break
    digits, _, fraction = whole.partition(".")
    if len(digits) not in (8, 10, 12, 14) or not (digits + fraction).isascii() or not (digits + fraction).isdigit() or len(fraction) > 6:
        raise TimeError("an image without a readable time", seen=f"{len(whole)} characters", expected="AcquisitionDate and AcquisitionTime")
    if len(digits) == 8:
        note("time of day missing: start of the day taken")
    try:
        hour, minute, second = (int(digits[a:b] or 0) for a, b in ((8, 10), (10, 12), (12, 14)))
        moment = dt.datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:8]), hour, minute, second, int(fraction.ljust(6, "0")))
    except ValueError as error:
        raise TimeError("an image of no date", seen=f"{len(digits)} digits", expected="a date and a time") from error
    if _OFFSET.fullmatch(offset):
        ahead = dt.timedelta(hours=int(offset[1:3]), minutes=int(offset[3:])) * (-1 if offset[0] == "-" else 1)
        if abs(ahead) <= dt.timedelta(hours=14):
            return to_ns(moment.replace(tzinfo=dt.timezone(ahead)))
    note(f"time without a zone: {tz} assumed")
    return to_ns(moment, tz=tz)
