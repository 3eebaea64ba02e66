"""Files that lie about their lengths are refused before a library sees them; whole ones are walked to their end."""

import io
import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from gemel.core.errors import DataError, FormatError, GemelError
from gemel.interop.dicom.instance import as_file, read_instance
from gemel.interop.dicom.multipart import boundary_of, join_parts, media_type_of, split_parts
from gemel.interop.dicom.part10 import MAX_DEPTH, assemble_file, scan

FILES = Path(pydicom.__file__).parent / "data"
WHOLE = [p for p in sorted(FILES.rglob("*")) if p.is_file() and p.read_bytes()[128:132] == b"DICM"]
BROKEN = {"MR_truncated.dcm", "SC_rgb_jpeg.dcm", "DICOMDIR-nooffset", "meta_missing_tsyntax.dcm", "rtplan_truncated.dcm"}
SMALL = (FILES / "test_files" / "CT_small.dcm").read_bytes()


def made(**more):
    data = Dataset()
    data.PatientID, data.Modality, data.SOPClassUID = "p1", "CT", CTImageStorage
    data.StudyInstanceUID = data.SeriesInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=["x"])
    for name, value in more.items():
        setattr(data, name, value)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    return data


def body_of(data):
    sink = io.BytesIO()
    data.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_every_whole_file_is_walked_and_every_broken_one_named(path):
    if path.name in BROKEN:
        with pytest.raises(FormatError):
            scan(path.read_bytes())
    else:
        part = scan(path.read_bytes())
        assert part.elements > 0
        assert part.syntax == pydicom.dcmread(path).file_meta.TransferSyntaxUID


def test_every_prefix_of_a_file_is_refused_or_ends_between_elements():
    whole = scan(SMALL).elements
    for end in range(0, len(SMALL) - 1, 97):
        try:
            assert scan(SMALL[:end]).elements < whole
        except FormatError:
            continue


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(132, 6000), st.integers(0, 255)), min_size=1, max_size=8))
def test_no_damage_breaks_anything_but_the_file(changes):
    body = bytearray(SMALL)
    for place, value in changes:
        body[place] = value
    said = ""
    try:
        read_instance(bytes(body))
    except GemelError as error:
        said = str(error)
    assert "CompressedSamples" not in said  # the name in the file


def nested(depth):
    data = made()
    for _ in range(depth):
        outer = made()
        outer.RequestAttributesSequence = [data]
        del data.file_meta
        data = outer
    return body_of(data)


def test_depth_is_bounded():
    assert scan(nested(MAX_DEPTH)).depth == MAX_DEPTH
    with pytest.raises(FormatError, match="nested too deeply"):
        scan(nested(MAX_DEPTH + 1))


def test_a_thousand_levels_of_undefined_length_do_not_exhaust_the_stack():
    level = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    body = assemble_file(level * 100_000, sop_class="1.2", instance="1.3", syntax=ExplicitVRLittleEndian)
    with pytest.raises(FormatError, match="nested too deeply"):
        scan(body)


def test_a_deflate_bomb_is_refused_without_being_inflated():
    packed = zlib.compressobj(9, wbits=-15)
    piece = packed.compress(b"\0" * (1 << 24))
    bomb = piece + b"".join(packed.compress(b"\0" * (1 << 24)) for _ in range(20)) + packed.flush()
    body = assemble_file(bomb, sop_class="1.2", instance="1.3", syntax=DeflatedExplicitVRLittleEndian)
    assert len(body) < 1 << 20
    with pytest.raises(FormatError, match="inflates beyond"):
        scan(body)
    with pytest.raises(FormatError, match="does not end"):
        scan(assemble_file(bomb[:200], sop_class="1.2", instance="1.3", syntax=DeflatedExplicitVRLittleEndian))


def test_a_length_beyond_the_file_is_refused_wherever_it_stands():
    element = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 20) + struct.pack("<HHI", 0xFFFE, 0xE000, 4_000_000_000) + b"\0" * 12
    for bad in (
        element,
        struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 60000) + b"A",
        struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 1 << 31),
    ):
        with pytest.raises(FormatError, match="beyond the file"):
            scan(assemble_file(bad, sop_class="1.2", instance="1.3", syntax=ExplicitVRLittleEndian))


def test_an_object_is_known_by_what_it_says_inside():
    told = read_instance(body_of(made(PatientName="Somebody^Real")))
    assert (told.patient, told.modality) == ("p1", "CT")
    assert "Somebody" not in repr(told)
    assert told.attributes["00080060"] == {"vr": "CS", "Value": ["CT"]}
    again = as_file(
        scan(body_of(made(PatientName="Somebody^Real"))).dataset, sop_class=told.sop_class, instance=told.instance, syntax=told.syntax
    )
    assert read_instance(again).digest == told.digest  # by another way, the same object
    assert read_instance(body_of(made())).digest != told.digest


@pytest.mark.parametrize("missing", ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_an_object_without_an_identifier_is_refused(missing):
    data = made(**{missing: ""})
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    with pytest.raises(DataError, match="without"):
        read_instance(body_of(data))


def test_uids_that_are_none_are_refused():
    notes = []
    with pytest.raises(FormatError, match="not a UID"):
        as_file(b"", sop_class="../1", instance="1.2", syntax=ExplicitVRLittleEndian)
    read_instance(body_of(made()), note=notes.append)
    assert notes == ["no character set: ASCII assumed"]


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_parts_come_back_as_they_went(parts):
    kind = 'multipart/related; type="application/dicom"; boundary=0a1b2c3d4e5f6a7b'
    found = split_parts(join_parts(parts, "0a1b2c3d4e5f6a7b"), boundary_of(kind))
    assert found == [("application/dicom", part) for part in parts]
    assert media_type_of(kind) == "application/dicom"


@pytest.mark.parametrize(
    "body", [b"", b"--x", b"--x\r\n", b"--x\r\nContent-Type: a\r\n\r\nabc", b"--x\r\nno end" + b"a" * 20000 + b"\r\n--x--"]
)
def test_a_body_that_is_cut_off_is_refused(body):
    with pytest.raises(FormatError):
        split_parts(body, "x")


@pytest.mark.parametrize("kind", ["application/dicom", "multipart/related", "multipart/related; boundary=" + "a" * 80])
def test_a_type_without_boundary_is_refused(kind):
    with pytest.raises(FormatError, match="boundary"):
        boundary_of(kind)
