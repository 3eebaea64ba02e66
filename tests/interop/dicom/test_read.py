import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from gemel.core.errors import DataError, FormatError
from gemel.core.time import to_ns
from gemel.interop.dicom import is_dicom, read_folder, read_slice

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
SERIES = generate_uid(entropy_srcs=["series"])


def image(k=0, *, values=None, **more):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=[str(k)])
    data.SeriesInstanceUID, data.PatientID, data.PatientName = SERIES, "sim1", "SIMULATED^PERSON"
    data.Modality, data.SeriesNumber = "CT", 3
    data.AcquisitionDate, data.AcquisitionTime, data.TimezoneOffsetFromUTC = "20260131", "090507", "+0100"
    data.ImagePositionPatient, data.ImageOrientationPatient = [10, 20, 30 + 2 * k], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [0.5, 0.25], 2
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    pixels = np.full((4, 3), 1000 + k, np.uint16) if values is None else values
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation, data.SamplesPerPixel, data.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    data.PixelData = pixels.tobytes()
    for name, value in more.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def save(folder, images):
    for n, data in enumerate(images):
        data.save_as(folder / f"{n}.dcm", enforce_file_format=True)
    return folder


def test_images_are_put_in_order_by_place_whatever_their_names(tmp_path):
    pixels = np.arange(12, dtype=np.uint16).reshape(4, 3)
    ((record, report),) = read_folder(save(tmp_path, [image(2), image(0, values=pixels), image(1)]))
    (volume,) = record.geometry
    assert (report.read, report.mapped, report.repaired) == (3, 3, {})
    assert (volume.values.shape, volume.values.dtype, volume.unit, volume.name) == ((3, 4, 3), np.int16, "[hnsf'U]", "CT series 3")
    assert (volume.values[:, :, 0].T == pixels.astype(int) - 1024).all()
    assert volume.values[0, 0, 1] == -23
    # from PS3.3, equation C.7.6.2.1-1: index along a row moves by the distance between columns
    assert np.allclose(volume.affine @ [1, 2, 2, 1], [0.01025, 0.021, 0.034, 1], atol=1e-12)  # doubles in metres
    assert volume.time == to_ns("2026-01-31T08:05:07Z")


def test_a_tilted_gantry_is_a_sheared_grid(tmp_path):
    images = [image(k, ImagePositionPatient=[0, 0.5 * k, 2 * k]) for k in range(4)]
    ((record, _),) = read_folder(save(tmp_path, images))
    assert np.allclose(record.geometry[0].affine[:3, 2], [0, 0.0005, 0.002])


@pytest.mark.parametrize(
    ("images", "what"),
    [
        (lambda: [image(k) for k in (0, 1, 3, 4)], "images are missing"),
        (lambda: [image(0), image(1), image(9, ImagePositionPatient=[10, 20, 32])], "several images at one place"),
        (lambda: [image(0, SliceThickness=None)], "without its thickness"),
        (lambda: [image(k, ImagePositionPatient=[5 * (k == 1), 0, 2 * k]) for k in range(4)], "do not lie on one line"),
    ],
)
def test_what_is_no_regular_grid_is_refused_by_name(tmp_path, images, what):
    with pytest.raises(FormatError, match=what):
        read_folder(save(tmp_path, images()))


def test_doubles_are_counted_and_an_identifier_used_twice_is_refused(tmp_path):
    other = image(1, values=np.zeros((4, 3), np.uint16))
    ((_, report),) = read_folder(save(tmp_path, [image(0), image(1), image(1), other]))
    assert (report.read, report.mapped, report.duplicates) == (4, 2, 1)
    assert [r.reason for r in report.refused] == ["identifier-reused"]


def test_two_patients_in_one_folder_are_kept_apart(tmp_path):
    images = [image(k) for k in range(2)] + [image(k + 5, PatientID="sim2") for k in range(2)]
    assert sorted(record.id for record, _ in read_folder(save(tmp_path, images))) == ["sim1", "sim2"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"PatientID": ""}, "without a patient"),
        ({"PixelData": b"\0" * 10}, "not the length"),
        ({"Rows": 60_000}, "not the length|too large"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"ImagePositionPatient": None}, "no image with a place"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "orientation"),
        ({"BitsStored": 20}, "kind that is not read"),
        ({"HighBit": 3}, "bits of a pixel"),
        ({"SamplesPerPixel": 3}, "kind that is not read"),
        ({"AcquisitionDate": None}, "readable time"),
        ({"AcquisitionDate": "20260230"}, "no date"),
        ({"PixelData": None}, "without an image"),
    ],
)
def test_an_image_that_lies_about_itself_is_refused(tmp_path, change, what):
    save(tmp_path, [image(0, **change)])
    with pytest.raises(DataError, match=what):
        read_slice(tmp_path / "0.dcm", tz="UTC")


def test_signed_pixels_shifted_bits_and_fractions(tmp_path):
    save(
        tmp_path,
        [image(0, values=np.array([[0xFFF0, 0x0010]], np.uint16), PixelRepresentation=1, HighBit=15, RescaleSlope=0.5, RescaleIntercept=1)],
    )
    found = read_slice(tmp_path / "0.dcm", tz="UTC")
    assert found.values.tolist() == [[0.5, 1.5]]


def test_files_cut_off_anywhere_are_refused_and_the_process_lives(tmp_path):
    save(tmp_path, [image(0)])
    whole = (tmp_path / "0.dcm").read_bytes()
    for length in range(0, len(whole) - 1, 7):
        (tmp_path / "0.dcm").write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_slice(tmp_path / "0.dcm", tz="UTC")


def test_changed_bytes_never_crash(tmp_path):
    save(tmp_path, [image(0)])
    whole, rng = (tmp_path / "0.dcm").read_bytes(), np.random.default_rng(5)
    refused = 0
    for _ in range(400):
        broken = bytearray(whole)
        for at in rng.integers(128, len(whole), 3):
            broken[at] = int(rng.integers(256))
        (tmp_path / "0.dcm").write_bytes(bytes(broken))
        try:
            read_slice(tmp_path / "0.dcm", tz="UTC")
        except DataError:
            refused += 1
    assert 0 < refused < 400


@pytest.mark.parametrize("depth", [40, 600, 5000])
def test_nested_sequences_are_refused_at_the_limit(tmp_path, depth):
    path = save(tmp_path, [image(0)]) / "0.dcm"
    whole, start = path.read_bytes(), _start(path)
    opened = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"  # a sequence and an item, both without a length
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    path.write_bytes(whole[:start] + opened * depth + closed * depth + whole[start:])
    with pytest.raises(FormatError, match="nested too deeply"):
        read_slice(path, tz="UTC")


def _start(path):
    """Where the data set begins: after the preamble and the group of file meta information."""
    return 132 + 12 + int(read_file_meta_info(path).FileMetaInformationGroupLength)


def test_a_deflate_bomb_is_refused_before_it_is_inflated(tmp_path, monkeypatch):
    from gemel.interop.dicom import part10

    monkeypatch.setattr(part10, "MAX_INFLATED", 1 << 20)
    source = FILES / "image_dfl.dcm"
    body, start = source.read_bytes(), _start(source)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(b"\0" * (1 << 24)) + packer.flush()
    (tmp_path / "bomb.dcm").write_bytes(body[:start] + bomb)
    with pytest.raises(FormatError, match="inflates beyond"):
        read_slice(tmp_path / "bomb.dcm", tz="UTC")


def test_every_file_that_pydicom_carries_is_read_or_refused_by_name():
    files = sorted(FILES.glob("*.dcm"))
    read, refused = 0, {}
    for path in files:
        try:
            found = read_slice(path, tz="UTC")
            reference = pydicom.dcmread(path).pixel_array
            slope, intercept = (float(pydicom.dcmread(path).get(n, d)) for n, d in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
            assert np.array_equal(found.values, reference * slope + intercept)
            read += 1
        except DataError as error:
            refused[path.name] = error.what
    assert len(files) > 20
    assert read >= 2
    assert all(refused.values())


def test_a_folder_is_recognised_and_one_without_images_refused(tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    assert not is_dicom(tmp_path)
    with pytest.raises(FormatError, match="no image that can be placed"):
        read_folder(tmp_path)
    assert is_dicom(save(tmp_path, [image(0)]))
