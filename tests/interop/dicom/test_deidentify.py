"""Nothing of a person is left in any file of the library, wherever it was planted; intervals stay; what cannot be made safe is kept back."""

import io
import re
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage

from _images import slice_of
from gemel.core.errors import DataError, FormatError
from gemel.interop.dicom import read_slice
from gemel.interop.dicom.deidentify import Pseudonyms, actions, deidentify
from gemel.interop.dicom.part10 import scan

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NAMES = Pseudonyms(b"s" * 32)
CANARY = "Zqxcanary"
FREE = {
    "LO": CANARY,
    "SH": CANARY,
    "ST": CANARY,
    "LT": CANARY,
    "UT": CANARY,
    "UC": CANARY,
    "PN": f"{CANARY}^{CANARY}",
    "AE": CANARY,
    "UR": f"http://{CANARY}",
}


def opened(body):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(body))


def files():
    for path in sorted(FILES.iterdir()):
        if path.is_file() and path.read_bytes()[128:132] == b"DICM":
            yield path


def save(data):
    sink = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def plant(data, depth=0):
    """A canary in every element that can hold text, and a UID and a date of one's own in each that holds those."""
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                plant(item, depth + 1)
        elif element.tag.group != 2 and element.VR in FREE:
            element.value = FREE[element.VR]
        elif element.VR == "UI" and element.tag.group != 2 and element.keyword not in ("SOPClassUID", "ReferencedSOPClassUID"):
            element.value = "1.2.76.0.555.777"
        elif element.VR == "DA":
            element.value = "20310203"
        elif element.VR == "UN" and not isinstance(element.value, str):
            element.value = CANARY.encode() + b" "
    data.add_new(0x00091010, "LO", CANARY)
    data.add_new(0x00104000, "LT", CANARY)
    data.add_new(0x00081070, "PN", CANARY)
    data.add_new(0x00321060, "LO", CANARY)
    data.add_new(0x60003000, "OW", CANARY.encode() + b" ")
    if depth == 0:
        item = Dataset()
        item.add_new(0x0040A160, "UT", CANARY)
        item.add_new(0x0040A123, "PN", CANARY)
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = CANARY, "99LAB", CANARY
        data.add_new(0x0040A730, "SQ", Sequence([item]))


def test_nothing_that_was_planted_is_left_in_any_file():
    told: dict[str, int] = {}
    for path in files():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                data = pydicom.dcmread(path)
                plant(data)
                data.BurnedInAnnotation = "NO"
                for name in ("SOPClassUID", "SOPInstanceUID"):
                    if name not in data:
                        setattr(data, name, CTImageStorage if name == "SOPClassUID" else "1.2.76.0.555.777")
                data.pop("EncapsulatedDocument", None)
                body = save(data)
                scan(body)
            except Exception:  # the library cannot write what it read, or the file is broken: other tests are about that
                told["not planted"] = told.get("not planted", 0) + 1
                continue
            clean, counts = deidentify(body, NAMES)
            told["clean"] = told.get("clean", 0) + 1
            plain = scan(clean).plain
            for canary in (CANARY.encode(), CANARY.encode("utf-16-le"), b"1.2.76.0.555.777", b"20310203"):
                assert canary not in plain, (path.name, canary)
            after = opened(clean)
            assert (after.PatientIdentityRemoved, after.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
            assert [c.CodeValue for c in after.DeidentificationMethodCodeSequence] == ["113100", "113107"]
            assert sum(counts.values()) > 3
            assert after.get("PixelData") == data.get("PixelData"), path.name
    assert told["clean"] >= 60
    assert told.get("not planted", 0) <= 25


def test_the_codes_of_the_method_are_the_standard_s():
    assert codes.DCM.BasicApplicationConfidentialityProfile.value == "113100"
    meanings = [c.CodeMeaning for c in opened(deidentify(slice_of(0), NAMES)[0]).DeidentificationMethodCodeSequence]
    assert meanings[0] == "Basic Application Confidentiality Profile"
    assert "Longitudinal" in meanings[1]
    assert "Modified Dates" in meanings[1]


def test_intervals_stay_and_days_do_not():
    def dates(day, patient="p1"):
        return opened(deidentify(slice_of(0, patient=patient, StudyDate=day, PatientBirthDate="19600101", PatientAge="066Y"), NAMES)[0])

    one, two, other = dates("20260131"), dates("20260302"), dates("20260131", "p2")
    apart = (pydicom.valuerep.DA(two.StudyDate) - pydicom.valuerep.DA(one.StudyDate)).days
    assert apart == 30
    assert one.StudyDate != "20260131"
    assert one.StudyDate != other.StudyDate
    assert one.StudyTime == "0800"
    assert one.PatientBirthDate == ""
    assert "PatientAge" not in one


def test_identifiers_are_new_the_same_each_time_and_fit_together():
    raw = [slice_of(k) for k in range(3)]
    clean = [opened(deidentify(body, NAMES)[0]) for body in raw]
    before = [opened(body) for body in raw]
    assert len({one.SeriesInstanceUID for one in clean}) == 1
    assert len({one.SOPInstanceUID for one in clean}) == 3
    assert all(re.fullmatch(r"2\.25\.[1-9][0-9]{0,38}", one.SOPInstanceUID) for one in clean)
    assert clean[0].SOPClassUID == before[0].SOPClassUID
    assert deidentify(raw[0], NAMES) == deidentify(raw[0], NAMES)
    assert opened(deidentify(raw[0], Pseudonyms(b"t" * 32))[0]).SOPInstanceUID != clean[0].SOPInstanceUID
    assert {one.PatientID for one in clean} == {NAMES.name("p1")}
    assert clean[0].file_meta.MediaStorageSOPInstanceUID == clean[0].SOPInstanceUID


def test_the_picture_and_its_place_are_the_same():
    one = slice_of(3)
    before, after = read_slice(one, tz="UTC"), read_slice(deidentify(one, NAMES)[0], tz="UTC")
    assert (before.values == after.values).all()
    assert (before.position == after.position).all()
    assert before.unit == after.unit


@pytest.mark.parametrize(
    "more",
    [
        {"BurnedInAnnotation": "YES"},
        {"Modality": "US"},
        {"Modality": "XA"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"},
        {"EncapsulatedDocument": b"%PDF"},
    ],
)
def test_what_cannot_be_made_safe_unseen_is_kept_back(more):
    with pytest.raises(DataError, match=r"written in the picture|document is inside"):
        deidentify(slice_of(0, **more), NAMES)


def test_an_ultrasound_that_denies_writing_passes():
    assert opened(deidentify(slice_of(0, Modality="US", BurnedInAnnotation="NO"), NAMES)[0]).Modality == "US"


def test_codes_keep_their_number_and_lose_what_somebody_wrote_beside_it():
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "39607008", "SCT", f"lung of {CANARY}"
    odd = Dataset()
    odd.CodeValue, odd.CodingSchemeDesignator, odd.CodeMeaning = CANARY, "SCT", CANARY
    after = opened(deidentify(slice_of(0, AnatomicRegionSequence=Sequence([item, odd])), NAMES)[0]).AnatomicRegionSequence
    assert (after[0].CodeValue, after[0].CodeMeaning) == ("39607008", "Lung structure (body structure)")
    assert CANARY not in str(after[1])


def test_the_table_has_every_row():
    table = actions()
    assert len(table) == 643
    assert {table[0x00100010], table[0x00080018], table[0x00102160], table[0x0040A730]} == {"Z", "U", "X", "D"}


def test_a_short_secret_and_a_broken_file_are_refused():
    with pytest.raises(DataError, match="guessed"):
        Pseudonyms(b"short")
    with pytest.raises(FormatError):
        deidentify(slice_of(0)[:300], NAMES)
    assert "s" * 32 not in repr(NAMES)
