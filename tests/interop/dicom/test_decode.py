"""Compressed pixels, decoded in a process of their own: the same values as the library's, and hostile ones harm nobody."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from gemel.core.errors import FormatError, ValueRangeError
from gemel.interop.dicom.decode import Decoder
from gemel.interop.dicom.part10 import assemble_file, scan

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
GREY = ("MR_small_RLE.dcm", "JPEG2000.dcm", "693_J2KI.dcm", "MR_small_jp2klossless.dcm")


@pytest.fixture(scope="module")
def decoder():
    with Decoder() as one:
        yield one


def test_values_are_those_of_the_library(decoder):
    read = 0
    for name in GREY:
        path = FILES / name
        if not path.is_file():
            continue
        try:
            theirs = pydicom.dcmread(path).pixel_array
        except Exception:  # the library has no decoder for it here
            with pytest.raises(FormatError):
                decoder.decode(path.read_bytes())
            continue
        assert (decoder.decode(path.read_bytes()) == theirs).all()
        read += 1
    assert read >= 2
    assert decoder.is_running  # one process for all


def test_a_series_that_is_compressed_is_what_it_was_before(decoder):
    raw = pydicom.dcmread(FILES / "MR_small.dcm").pixel_array
    assert (decoder.decode((FILES / "MR_small_RLE.dcm").read_bytes()) == raw).all()


def test_what_is_no_grey_image_is_refused_by_name(decoder):
    with pytest.raises(FormatError, match="cannot be decoded here"):
        decoder.decode((FILES / "SC_rgb_rle.dcm").read_bytes())
    assert decoder.is_running


def test_a_decoder_that_wants_too_much_is_refused_and_the_next_image_is_read():
    """A header that promises 8192 x 8192 values of four bytes against a limit of 32 MiB."""
    data = pydicom.dcmread(FILES / "MR_small_RLE.dcm")
    data.Rows = data.Columns = 8192
    data.BitsAllocated, data.BitsStored, data.HighBit = 32, 32, 31
    import io

    sink = io.BytesIO()
    data.save_as(sink, enforce_file_format=True)
    good = (FILES / "MR_small_RLE.dcm").read_bytes()
    with Decoder(memory=1 << 25) as decoder:
        with pytest.raises(FormatError):
            decoder.decode(sink.getvalue())
        assert decoder.decode(good).shape == (64, 64)


def test_a_decoder_that_hangs_is_ended(monkeypatch):
    good = (FILES / "MR_small_RLE.dcm").read_bytes()
    with Decoder(seconds=0.05) as decoder:  # no time to start in
        with pytest.raises(FormatError, match="within the limits"):
            decoder.decode(good)
        assert not decoder.is_running


@pytest.mark.parametrize("body", [b"", b"no DICOM", b"\0" * 1000])
def test_bytes_that_are_none_are_refused(decoder, body):
    with pytest.raises(FormatError):
        decoder.decode(body)


def test_damaged_streams_are_refused_or_read_but_nobody_dies(decoder):
    body = (FILES / "MR_small_RLE.dcm").read_bytes()
    part, rng = scan(body), np.random.default_rng(0)
    data = pydicom.dcmread(FILES / "MR_small_RLE.dcm")
    for _ in range(30):
        broken = bytearray(part.dataset)
        for place in rng.integers(len(broken) - 3000, len(broken), 20):
            broken[place] = int(rng.integers(256))
        try:
            file = assemble_file(bytes(broken), sop_class=data.SOPClassUID, instance=data.SOPInstanceUID, syntax=part.syntax)
            assert decoder.decode(file).shape == (64, 64)
        except FormatError:
            continue
    assert decoder.decode(body).shape == (64, 64)


@pytest.mark.parametrize("more", [{"memory": 1}, {"seconds": 0}])
def test_limits_that_cannot_be_are_refused(more):
    with pytest.raises(ValueRangeError):
        Decoder(**more)
