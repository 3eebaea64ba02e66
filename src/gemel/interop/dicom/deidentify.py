"""Objects of DICOM without whom they are of: the Basic Profile, and stricter where it leaves text to hope.

What the profile names is done as it says. Beyond it, any text that is not on a short list goes, any UID that is not of the standard itself is replaced, any private element and overlay goes, and codes keep
their number but get their meaning from a dictionary. Dates move by days that are one person's own, so that intervals stay: that is a limited data set, not safe harbour. What
cannot be made safe without looking at it (writing in the picture, a document inside) is refused.

References
----------
DICOM PS3.15 2024b, E.1 to E.3.6, table E.1-1; PS3.16 2024b, CID 7050 (codes 113100 and 113107); PS3.5 2024e, B.2 (UIDs 2.25).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import io
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from gemel.core.errors import DataError, FormatError
from gemel.interop.dicom.instance import parse
from gemel.interop.dicom.part10 import is_uid

__all__ = ["Pseudonyms", "actions", "deidentify"]

_STANDARD = "1.2.840.10008."  # classes, transfer syntaxes, well known instances: of the standard, of nobody
_PATIENT_ID, _PATIENT_NAME = 0x00100020, 0x00100010
_TEXT = frozenset(("LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE"))
_BYTES = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN"))
_KEPT_TEXT = frozenset(("CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodeMeaning", "RescaleType"))
_KEPT_BYTES = frozenset(
    ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "LUTData", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
     "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
     "SegmentedBluePaletteColorLookupTableData", "ICCProfile", "WaveformData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
     "LongPrimitivePointIndexList", "PointCoordinatesData", "DoublePointCoordinatesData", "VectorGridData", "PixelPaddingValue")
)  # fmt: skip
_RESCALED = frozenset(("HU", "OD", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"))  # PS3.3, C.11.1.1.2
_BIRTH = frozenset(
    ("PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar")
)
_SCHEMES = frozenset(
    ("DCM", "SCT", "SRT", "SNM3", "LN", "UCUM", "RADLEX", "FMA", "MDC", "BI", "ACR", "ISO3166_1", "RFC5646", "UMLS", "NCIt", "I10", "UNS")
)
_CODE = re.compile(r"[A-Za-z]?[A-Za-z0-9\-.]{0,2}[0-9][A-Za-z0-9\-./{}\[\]%*']{0,60}|[A-Za-z%\[\]{}/0-9.*'\-]{1,16}")
_NEEDS_A_LOOK = frozenset(("US", "XA", "RF", "SC", "OT", "ES", "XC", "DOC"))
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_DATE = re.compile(r"[0-9]{8}")
_DUMMY = {"DA": "19000101", "DT": "19000101000000", "TM": "000000", "CS": "REMOVED", "AS": "000Y", "DS": "0", "IS": "0"}


@cache
def actions() -> dict[int, str]:
    """Return the profile's action for each attribute: ``D``, ``Z``, ``X``, ``U``, or several of which the strictest that keeps an object valid is taken."""
    table = json.loads(resources.files("gemel.interop.dicom").joinpath("basic_profile.json").read_text(encoding="utf-8"))["actions"]
    return {int(tag, 16): action for action, tags in table.items() for tag in tags.split()}


@dataclass(frozen=True, repr=False)
class Pseudonyms:
    """Names, UIDs and days that nobody can lead back without the secret, and that are the same each time.

    Parameters
    ----------
    secret : 32 bytes of a project: objects of two projects cannot be put side by side.
    shift : days by which dates of a patient move back; left out, 1 to 3650, from the secret and the patient.

    Examples
    --------
    >>> one = Pseudonyms(b"0" * 32)
    >>> one.uid("1.2.3") == one.uid("1.2.3"), one.uid("1.2.3").startswith("2.25."), one.days("p1") == one.days("p1")
    (True, True, True)
    """

    secret: bytes
    shift: Callable[[str], int] | None = None

    def __post_init__(self) -> None:
        if len(self.secret) < 32:
            raise DataError(
                "a secret that can be guessed", seen=f"{len(self.secret)} bytes", expected="32 or more", fix="secrets.token_bytes(32)"
            )

    def _of(self, field: str, value: str) -> bytes:
        return hmac.new(self.secret, f"{field}\0{value}".encode(), hashlib.sha256).digest()

    def name(self, patient: str) -> str:
        """Return what a patient is called."""
        return "P" + self._of("patient", patient).hex()[:15].upper()

    def uid(self, uid: str) -> str:
        """Return the UID that takes the place of one: ``2.25.`` and 128 bits."""
        return f"2.25.{int.from_bytes(self._of('uid', uid)[:16], 'big')}"

    def days(self, patient: str) -> int:
        """Return by how many days dates of a patient move back."""
        return self.shift(patient) if self.shift is not None else 1 + int.from_bytes(self._of("days", patient)[:8], "big") % 3650

    def __repr__(self) -> str:
        return "Pseudonyms(...)"


class _Cleaner:
    def __init__(self, names: Pseudonyms, patient: str) -> None:
        self._names, self._patient, self._days = names, patient, dt.timedelta(days=names.days(patient))
        self._actions = actions()
        self.counts: dict[str, int] = {}

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def clean(self, data: Any) -> None:
        """Clean a data set in place, and those inside it."""
        self._codes(data)
        for tag in list(data.keys()):
            group = tag >> 16
            if group % 2 or 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF or (tag & 0xFFFF) == 0 or group == 0xFFFC:
                del data[tag]
                self._count("private, overlay or curve")
                continue
            self._one(data, tag)

    def _one(self, data: Any, tag: int) -> None:
        element = data[tag]
        vr, keyword, action = str(element.VR), element.keyword, self._actions.get(int(tag), "")
        if int(tag) in (_PATIENT_ID, _PATIENT_NAME):
            element.value = self._names.name(self._patient)
        elif keyword in _BIRTH:
            element.value = ""
        elif vr in ("DA", "DT") and action in ("", "Z", "D", "X", "Z/D", "X/D", "X/Z/D", "X/Z"):
            element.value = self._moved(element.value)
            self._count("date moved")
        elif vr == "TM":
            return  # times of day stay: the option for modified dates moves whole days
        elif vr == "UI":
            element.value = self._uids(element.value)
        elif keyword == "CodingSchemeIdentificationSequence" or (keyword == "RescaleType" and str(element.value) not in _RESCALED):
            self._remove(data, tag, element, None)  # free text beside codes, and a word that is none of the defined ones
        elif vr == "SQ":
            self._sequence(data, tag, element, action)
        elif action in ("X", "Z", "X/Z"):
            self._remove(data, tag, element, "" if "Z" in action else None)
        elif action in ("D", "Z/D", "X/D", "X/Z/D", "X/Z/U*"):
            self._remove(data, tag, element, _DUMMY.get(vr, "REMOVED" if vr in _TEXT or vr == "PN" else ""))
        elif vr == "PN":
            element.value = ""
            self._count("text")
        elif (vr in _TEXT and keyword not in _KEPT_TEXT) or (vr in _BYTES and keyword not in _KEPT_BYTES):
            self._remove(data, tag, element, None)

    def _remove(self, data: Any, tag: int, element: Any, dummy: str | None) -> None:
        self._count("text" if dummy is None else "emptied or replaced")
        if dummy is None or element.VR in _BYTES or element.VR in ("US", "SS", "UL", "SL", "FL", "FD", "AT", "UV", "SV"):
            del data[tag]
        else:
            element.value = dummy

    def _sequence(self, data: Any, tag: int, element: Any, action: str) -> None:
        if action == "X":
            del data[tag]
            self._count("sequence")
        elif action in ("Z", "X/Z", "X/Z/D", "X/D", "Z/D") or (
            action == "D" and element.keyword not in ("ContentSequence", "GraphicAnnotationSequence")
        ):
            element.value = []
            self._count("sequence")
        elif element.keyword == "GraphicAnnotationSequence":
            del data[tag]
        else:
            for item in element.value:
                self.clean(item)

    def _codes(self, data: Any) -> None:
        """Give a code its meaning from the dictionary: what was written there may say anything."""
        if "CodeMeaning" not in data and "CodeValue" not in data and "LongCodeValue" not in data:
            return
        scheme, value = str(data.get("CodingSchemeDesignator", "")), str(data.get("CodeValue", "") or data.get("LongCodeValue", ""))
        meaning = _meaning(scheme, value)
        if scheme not in _SCHEMES or (meaning is None and not _CODE.fullmatch(value)) or (meaning is None and scheme in ("DCM", "UCUM")):
            for keyword in ("CodeValue", "LongCodeValue"):
                if keyword in data:
                    setattr(data, keyword, "REMOVED")
            data.CodingSchemeDesignator = "99REMOVED"
            self._count("private code")
        elif meaning is None and not any(c.isdigit() for c in value):
            data.CodeValue = "REMOVED"
        if "CodeMeaning" in data:
            data.CodeMeaning = meaning or "removed"

    def _moved(self, value: Any) -> Any:
        if value is None or value == "":
            return value
        if not isinstance(value, str) and hasattr(value, "__iter__"):
            return [self._moved(one) for one in value]
        text = str(value)
        found = _DATE.match(text.replace(".", "", 2) if len(text) == 10 and text[4:5] == "." else text)
        if found is None:
            return ""
        try:
            moved = dt.date(int(found[0][:4]), int(found[0][4:6]), int(found[0][6:8])) - self._days
        except (ValueError, OverflowError):
            return ""
        rest = text[8:] if re.fullmatch(r"[0-9]{0,6}(\.[0-9]{1,6})?([+-][0-9]{4})?", text[8:]) else ""
        return f"{moved.year:04d}{moved:%m%d}{rest}"

    def _uids(self, value: Any) -> Any:
        if value is None or value == "":
            return value
        if not isinstance(value, str) and hasattr(value, "__iter__"):
            return [self._uids(one) for one in value]
        text = str(value)
        if text.startswith(_STANDARD) and is_uid(text) and _is_of_the_standard(text):
            return text
        self._count("identifier")
        return self._names.uid(text)


def _is_of_the_standard(uid: str) -> bool:
    from pydicom._uid_dict import UID_dictionary

    return uid in UID_dictionary


@cache
def _meanings() -> dict[tuple[str, str], str]:
    from pydicom.sr._concepts_dict import concepts

    found: dict[tuple[str, str], str] = {}
    for scheme, names in concepts.items():
        for codes in names.values():
            for value, told in codes.items():
                found[scheme, value] = str(told[0])[:64]
    return found


def _meaning(scheme: str, value: str) -> str | None:
    return _meanings().get((scheme, value))


def deidentify(body: bytes, names: Pseudonyms) -> tuple[bytes, dict[str, int]]:
    """Return a file without whom it is of, and what was done how often.

    Raises
    ------
    FormatError
        When it is no whole DICOM file.
    DataError
        When it cannot be made safe without looking at it: a person's name may be written in the picture, or a document is inside. Whoever gets this
        keeps the object back.
    """
    data, part = parse(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _check(data)
            patient = str(data.get("PatientID", "") or "")
            cleaner = _Cleaner(names, patient)
            cleaner.clean(data)
            _declare(data)
            return _write(data, part.syntax), cleaner.counts
        except (DataError, FormatError):
            raise
        except Exception as error:  # a hostile file can break the library anywhere; its message may hold a patient's values
            raise FormatError(
                "the file cannot be written without its identifiers", seen=type(error).__name__, expected="a whole DICOM file"
            ) from error


def _check(data: Any) -> None:
    modality, sop_class = str(data.get("Modality", "") or ""), str(data.get("SOPClassUID", "") or "")
    burnt = str(data.get("BurnedInAnnotation", "") or "").upper()
    look = DataError(
        "a name may be written in the picture", seen=f"burned-in annotation {'said' if burnt == 'YES' else 'not denied'}", expected="BurnedInAnnotation NO",
        fix="look at it, blank it, and set BurnedInAnnotation to NO",
    )  # fmt: skip
    has_picture = "PixelData" in data
    if burnt == "YES" or (has_picture and burnt != "NO" and (modality in _NEEDS_A_LOOK or sop_class.startswith(_SECONDARY))):
        raise look
    if "EncapsulatedDocument" in data:
        raise DataError(
            "a document is inside", seen="EncapsulatedDocument", expected="an image, a report or measurements", fix="keep it back"
        )
    if str(data.get("PatientIdentityRemoved", "") or "") not in ("", "NO", "YES"):
        raise FormatError("the file says neither that identity was removed nor that it was not", seen="another word", expected="YES or NO")


def _declare(data: Any) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    data.PatientIdentityRemoved = "YES"
    data.DeidentificationMethod = "DICOM PS3.15 2024b Basic Profile, dates moved per patient"
    codes = []
    for value in ("113100", "113107"):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", _meaning("DCM", value)
        codes.append(item)
    data.DeidentificationMethodCodeSequence = Sequence(codes)
    data.LongitudinalTemporalInformationModified = "MODIFIED"


def _write(data: Any, syntax: str) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    data.file_meta, data.preamble = meta, None
    sink = io.BytesIO()
    data.save_as(sink, enforce_file_format=True)
    return sink.getvalue()
