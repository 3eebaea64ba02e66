"""What is written, other readers read, and a validator that we did not write finds no error in it."""

import io
import shutil
import subprocess
import warnings

import numpy as np
import pydicom
import pytest

from _images import slice_of
from gemel.core.errors import DataError, FormatError
from gemel.interop.dicom.deidentify import Pseudonyms, deidentify
from gemel.interop.dicom.part10 import scan
from gemel.interop.dicom.write import (
    Coded,
    Identity,
    Measured,
    Segment,
    write_measurements,
    write_parametric_map,
    write_pdf,
    write_segmentation,
)

pytest.importorskip("highdicom", reason="highdicom is not installed")
NOW = 1_790_000_000_000_000_000
TISSUE, LUNG = Coded("85756007", "SCT", "Tissue"), Coded("39607008", "SCT", "Lung structure")
PLACE = {"FrameOfReferenceUID": "1.2.3.4", "SliceThickness": 2.5, "PatientBirthDate": "", "PatientSex": "", "StudyID": "1", "SeriesNumber": 1, "InstanceNumber": 1,
         "Manufacturer": "x", "AccessionNumber": "", "ReferringPhysicianName": "", "PositionReferenceIndicator": "", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}  # fmt: skip


def identity(k):
    return Identity(series=f"2.25.{k}0", instance=f"2.25.{k}1", number=100 + k, model="coronary", version="1", made=NOW)


@pytest.fixture(scope="module")
def images():
    return [slice_of(k, **PLACE) for k in (2, 0, 1)]  # not in the order of their places


def read(body):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(body))


def faults(body, tmp_path):
    """Errors that dicom3tools' validator names."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dicom3tools is not installed")
    path = tmp_path / "one.dcm"
    path.write_bytes(body)
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def made(images):
    mask = np.zeros((3, 8, 8), bool)
    mask[1, 2:5, 3:6] = True
    yield "segmentation", write_segmentation(images, [Segment("lung", TISSUE, LUNG, mask)], identity(1))
    values = np.arange(192, dtype=float).reshape(3, 8, 8) / 7
    yield (
        "map",
        write_parametric_map(
            images, values, quantity=Coded("113041", "DCM", "Apparent Diffusion Coefficient"), unit="mm2/s", identity=identity(2)
        ),
    )
    length = Measured(Coded("410668003", "SCT", "Length"), 12.5, "mm", Coded("4147007", "SCT", "Mass"), LUNG)
    yield "measurements", write_measurements(images, [length], identity(3))
    yield "pdf", write_pdf(images, b"%PDF-1.4\n%%EOF", identity(4), title="Report")


def test_a_mask_comes_back_where_it_was(images):
    import highdicom

    mask = np.zeros((3, 8, 8), bool)
    mask[0, 1, 2] = mask[2, 6, 7] = True
    body = write_segmentation(images, [Segment("lung", TISSUE, LUNG, mask)], identity(1))
    found = highdicom.seg.segread(io.BytesIO(body))
    places = {tuple(int(x) for x in i.PlanePositionSequence[0].ImagePositionPatient) for i in found.PerFrameFunctionalGroupsSequence}
    assert places == {(0, 0, 0), (0, 0, 5)} or len(found.PerFrameFunctionalGroupsSequence) == 3
    names = [read(body).SOPInstanceUID for body in (images[1], images[2], images[0])]  # by place
    back = found.get_pixels_by_source_instance(source_sop_instance_uids=names, ignore_spatial_locations=True)
    assert (back[..., 0].astype(bool) == mask).all()
    assert (found.StudyInstanceUID, found.PatientID) == (read(images[0]).StudyInstanceUID, "p1")
    assert found.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "39607008"


def test_values_come_back_as_they_went(images):
    values = np.linspace(-1, 3, 192).reshape(3, 8, 8).astype(np.float32)
    body = write_parametric_map(images, values, quantity=LUNG, unit="1", identity=identity(2))
    data = read(body)
    back = np.frombuffer(data.FloatPixelData, np.float32).reshape(3, 8, 8)
    order = np.argsort([f.PlanePositionSequence[0].ImagePositionPatient[2] for f in data.PerFrameFunctionalGroupsSequence])
    assert (back[order] == values).all()


def test_measurements_come_back_with_code_and_unit(images):
    import highdicom

    length = Measured(Coded("410668003", "SCT", "Length"), 12.5, "mm", Coded("4147007", "SCT", "Mass"), LUNG)
    report = highdicom.sr.srread(io.BytesIO(write_measurements(images, [length], identity(3))))
    (group,) = report.content.get_image_measurement_groups()
    (one,) = group.get_measurements()
    assert (one.name.value, float(one.value), one.unit.value) == ("410668003", 12.5, "mm")
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert report.VerificationFlag == "UNVERIFIED"
    assert len(report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence) == 3


def test_a_document_comes_back_byte_for_byte(images):
    data = read(write_pdf(images, b"%PDF-1.4\nodd", identity(4), title="Report"))
    assert data.EncapsulatedDocument[: data.EncapsulatedDocumentLength] == b"%PDF-1.4\nodd"


@pytest.mark.peer
def test_a_validator_finds_no_error(images, tmp_path):
    for name, body in made(images):
        assert faults(body, tmp_path) == [], name


def test_the_same_content_makes_the_same_object(images):
    for (name, one), (_, again) in zip(made(images), made(images), strict=True):
        assert scan(one).dataset == scan(again).dataset, name


def test_what_is_written_can_be_walked_and_made_anonymous(images):
    names = Pseudonyms(b"s" * 32)
    for name, body in made(images):
        assert scan(body).elements > 20
        if name == "pdf":
            with pytest.raises(DataError):
                deidentify(body, names)
        else:
            assert b"Canary" not in deidentify(body, names)[0]


def test_what_does_not_fit_is_refused(images):
    mask = np.ones((2, 8, 8), bool)
    with pytest.raises(DataError, match="do not fit"):
        write_segmentation(images, [Segment("lung", TISSUE, LUNG, mask)], identity(1))
    with pytest.raises(DataError, match="of nothing"):
        write_segmentation(images, [Segment("lung", TISSUE, LUNG, np.zeros((3, 8, 8), bool))], identity(1))
    with pytest.raises(DataError, match="finite"):
        write_parametric_map(images, np.full((3, 8, 8), np.nan), quantity=LUNG, unit="1", identity=identity(2))
    with pytest.raises(DataError, match="no measurements"):
        write_measurements(images, [], identity(3))
    with pytest.raises(DataError, match="several studies"):
        write_pdf([*images, slice_of(0, patient="p2")], b"%PDF-1", identity(4), title="x")
    with pytest.raises(FormatError, match="no PDF"):
        write_pdf(images, b"text", identity(4), title="x")
    with pytest.raises(DataError, match="no images"):
        write_pdf([], b"%PDF-1", identity(4), title="x")
