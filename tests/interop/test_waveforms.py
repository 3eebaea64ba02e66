"""Waveforms: blocks that give back what went in, gaps as gaps; records of WFDB read to their truth, hostile ones refused."""

import json
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gemel.core.errors import DataError, FormatError, UnitError
from gemel.interop.waveforms import Channel, Waveform, is_wfdb, pack, read_recording, recording_facts, unpack
from gemel.testing.wfdb import write_recording

pytest.importorskip("wfdb", reason="wfdb is not installed")


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int16, st.integers(1, 400), elements=st.integers(-32767, 32767)),
    st.floats(1, 60),
    st.integers(-2000, 2000),
    st.floats(0.5, 2000),
)
def test_counts_of_a_converter_come_back_bit_for_bit(counts, rate, baseline, gain):
    values = (counts.astype(float) - baseline) / gain
    values[:: max(3, len(values) // 3)] = np.nan
    back = unpack(pack(Waveform(5, rate, (Channel("a", "mV", values, 1 / gain, -baseline / gain),)))).channels[0]
    known = np.isfinite(values)
    assert (np.isfinite(back.values) == known).all()
    assert (np.round(back.values[known] * gain + baseline) == counts[known]).all()


@settings(max_examples=60, deadline=None)
@given(arrays(float, st.integers(1, 300), elements=st.floats(-1e6, 1e6)))
def test_other_values_come_back_within_what_is_promised(values):
    back = unpack(pack(Waveform(0, 10.0, (Channel("a", "1", values),)))).channels[0].values
    for first in range(0, len(values), 100):
        part = values[first : first + 100]
        # half of a step of the block's range, and what a double loses in the sum
        assert np.abs(back[first : first + 100] - part).max() <= (part.max() - part.min()) / 65534 * 0.5001 + 1e-9


def test_gaps_and_nothing_at_all_are_kept():
    values = np.full(250, np.nan)
    back = unpack(pack(Waveform(7, 10.0, (Channel("a", "1", values), Channel("b", "mV", np.arange(250.0))))))
    assert np.isnan(back.channels[0].values).all()
    assert (back.start, back.rate, back.end) == (7, 10.0, 7 + 24_900_000_000)
    assert [c.unit for c in back.channels] == ["1", "mV"]


def test_what_is_no_waveform_is_refused():
    with pytest.raises(DataError):
        pack(Waveform(0, 10.0, (Channel("a", "1", np.zeros(3)), Channel("b", "1", np.zeros(4)))))
    with pytest.raises(DataError):
        pack(Waveform(0, 0.0, (Channel("a", "1", np.zeros(3)),)))
    with pytest.raises(UnitError):
        pack(Waveform(0, 1.0, (Channel("a", "furlongs", np.zeros(3)),)))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 400), st.integers(0, 255), st.integers(0, 400))
def test_damage_is_refused_or_harmless(place, value, cut):
    body = bytearray(pack(Waveform(0, 10.0, (Channel("a", "1", np.sin(np.arange(250.0))),))))
    body[place % len(body)] = value
    try:
        unpack(bytes(body[: len(body) - cut]))
    except FormatError:
        return


def test_a_block_that_inflates_beyond_its_length_is_refused():
    head = json.dumps(
        {"start": 0, "rate": 1.0, "count": 10, "block_s": 10, "channels": [{"name": "a", "unit": "1", "step": 0, "origin": 0}]}
    ).encode()
    bomb = zlib.compress(b"\0" * 50_000_000)
    with pytest.raises(FormatError):
        unpack(b"GWF1" + struct.pack("<I", len(head)) + head + struct.pack("<ddI", 1.0, 0.0, len(bomb)) + bomb)
    huge = head.replace(b'"count": 10', b'"count": 99999999999')
    with pytest.raises(FormatError):
        unpack(b"GWF1" + struct.pack("<I", len(huge)) + huge)


@pytest.fixture
def written(tmp_path):
    return tmp_path / "r1.hea", write_recording(tmp_path, "r1", seconds=25)


def test_a_record_is_read_to_its_truth(written):
    path, truth = written
    assert is_wfdb(path)
    found = read_recording(path)
    for k, channel in enumerate(found.waveform.channels):
        expected = np.where(truth.counts[:, k] == -32768, np.nan, (truth.counts[:, k] - truth.baseline) / truth.gain)
        assert np.allclose(channel.values, expected, rtol=0, atol=1e-12, equal_nan=True)  # the same two operations on doubles
        assert channel.unit == "mV"
    assert np.isnan(found.waveform.channels[1].values).sum() == 120
    assert (np.round((found.beats[0] - found.waveform.start) / 1e9 * truth.rate) == truth.beats).all()
    assert found.waveform.start == 1_793_874_030_000_000_000  # 2026-11-05 10:20:30 UTC
    assert found.report.mapped == 2 + len(truth.beats)
    assert "99" not in repr(found)


def test_a_record_becomes_one_document_and_one_series(written):
    found = read_recording(written[0])
    record, body = recording_facts(found)
    (document,) = record.documents
    assert (len(record.series), len(record.series[0]), document.title) == (1, len(written[1].beats), "waveform: I, V5")
    assert len(body) < written[1].counts.nbytes / 4
    # the same counts; count x step + origin against (count - baseline) / gain differ in the last bit of a double
    assert np.allclose(unpack(body).channels[0].values, found.waveform.channels[0].values, rtol=0, atol=1e-12)
    assert record.as_of(found.waveform.start).documents == ()  # known when it had ended


def test_a_record_that_does_not_say_when_it_began_is_refused_until_somebody_does(tmp_path):
    write_recording(tmp_path, "r2", when="")
    with pytest.raises(FormatError, match="when it began"):
        read_recording(tmp_path / "r2.hea")
    assert read_recording(tmp_path / "r2.hea", start=10**18).waveform.start == 10**18


@pytest.mark.parametrize(
    "change",
    [
        ("r1.dat", "../../etc/passwd"),
        ("r1.dat", "/etc/passwd"),
        ("r1.dat", "missing.dat"),
        ("r1 2", "../r1 2"),
        ("r1 2", "other 2"),
        (" 16 ", " 99 "),
        ("200(1024)", "0(1024)/furlong"),
    ],
)
def test_a_hostile_header_is_refused(written, change):
    path, _ = written
    path.write_text(path.read_text().replace(*change))
    try:
        refused = read_recording(path).report.refusals
    except DataError:
        refused = 1
    assert refused


def test_a_link_out_of_the_folder_is_not_followed(written, tmp_path):
    path, _ = written
    (path.parent / "r1.dat").unlink()
    (path.parent / "r1.dat").symlink_to("/etc/hostname")
    with pytest.raises(FormatError, match="not there"):
        read_recording(path)


@pytest.mark.parametrize("kind", ["cut", "annotations"])
def test_a_record_that_is_cut_off_is_refused(written, kind):
    path, _ = written
    name = path.with_suffix(".dat" if kind == "cut" else ".atr")
    name.write_bytes(name.read_bytes()[:101] if kind == "cut" else b"\xff" * 3)
    try:
        found = read_recording(path)
    except FormatError:
        return
    assert kind == "annotations"
    assert len(found.beats[0]) <= 1


def test_the_library_writes_what_is_read(tmp_path):
    """A record of the peer's own writer, in another format and with a rhythm."""
    import wfdb

    warnings.simplefilter("ignore")  # the library warns of its own use of another; pytest puts the filters back
    signal = np.round(np.sin(np.arange(5000)[:, None] / 20) * 900) / 1000
    wfdb.wrsamp(
        "w1",
        fs=360,
        units=["mV"],
        sig_name=["MLII"],
        p_signal=signal,
        fmt=["212"],
        adc_gain=[1000.0],
        baseline=[0],
        write_dir=str(tmp_path),
    )
    wfdb.wrann("w1", "atr", np.array([100, 500, 900]), symbol=["N", "V", "+"], aux_note=["", "", "(AFIB"], write_dir=str(tmp_path))
    found = read_recording(tmp_path / "w1.hea", start=0)
    assert np.allclose(found.waveform.channels[0].values, signal[:, 0], rtol=0, atol=1e-9)
    assert found.beats[1].tolist() == [1.0, 5.0]
    assert [symbol for _, symbol in found.marks] == ["+"]
