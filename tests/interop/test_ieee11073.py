"""SFLOAT, checksum, characteristics of the Bluetooth CGM service and MDC codes: known answers and round trips."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gemel.core import Code, Series, iso, to_ns
from gemel.core.errors import CodeError, DataError, FormatError, GemelError, TimeError, UnitError, ValueRangeError
from gemel.interop import ieee11073 as mdc
from gemel.interop.ieee11073 import Feature, Measurement, SessionStart, Special

MINUTE = 60_000_000_000


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (0x0000, 0.0), (0x0001, 1.0), (0x006E, 110.0), (0x07FD, 2045.0), (0x0803, -2045.0), (0x0FFF, -1.0), (0xF455, 110.9), (0xF001, 0.1),
        (0xE44C, 11.0), (0x8001, 1e-8), (0x7001, 1e7), (0x77FD, 2.045e10), (0xB072, 0.00114), (0xC000, 0.0),
    ],
)  # fmt: skip
def test_sfloat_known_answers(raw, value):
    assert mdc.decode_sfloat(raw) == value  # decimal numbers are read as the nearest double, exactly


@pytest.mark.parametrize(
    ("raw", "special"),
    [
        (0x07FF, Special.NOT_A_NUMBER), (0x0800, Special.NOT_AT_THIS_RESOLUTION), (0x07FE, Special.POSITIVE_INFINITY),
        (0x0802, Special.NEGATIVE_INFINITY), (0x0801, Special.RESERVED),
    ],
)  # fmt: skip
def test_sfloat_special_values(raw, special):
    assert mdc.decode_sfloat(raw) is special
    assert mdc.encode_sfloat(special) == raw


def test_every_sfloat_survives():
    """All 65,536 patterns: what is decoded encodes to the same number again (0x1000 and 0x0000 are both zero)."""
    for raw in range(0x10000):
        value = mdc.decode_sfloat(raw)
        if isinstance(value, Special):
            continue
        if raw & 0x0FFF in (0x7FE, 0x7FF, 0x800, 0x801, 0x802) and raw >> 12 == 7:
            with pytest.raises(ValueRangeError):  # mantissas that are special at exponent 0 are never written, and 7 is the last exponent
                mdc.encode_sfloat(value)
            continue
        again = mdc.decode_sfloat(mdc.encode_sfloat(value))
        assert not isinstance(again, Special)
        assert again == value or abs(again - value) <= 10.0 ** (1 + (raw >> 12 if raw >> 12 < 8 else (raw >> 12) - 16)) / 2


@given(st.floats(-2.045e10, 2.045e10))
def test_sfloat_is_the_nearest(value):
    found = mdc.decode_sfloat(mdc.encode_sfloat(value))
    assert not isinstance(found, Special)
    assert abs(found - value) <= max(
        abs(value) / 400, 0.5e-8
    )  # a mantissa of at least 204.5 unless the exponent is -8: half a step of 1/204.5


def test_sfloat_refuses_what_does_not_fit():
    for bad in (float("nan"), float("inf"), 3e10, -3e10):
        with pytest.raises(ValueRangeError):
            mdc.encode_sfloat(bad)
    for raw in (-1, 0x10000):
        with pytest.raises(FormatError):
            mdc.decode_sfloat(raw)


def test_checksum_known_answers():
    assert mdc.crc16(b"123456789") == 0x6F91  # CRC catalogue, CRC-16/MCRF4XX
    assert mdc.crc16(b"") == 0xFFFF
    assert mdc.crc16(bytes.fromhex("3e01050a0f")) == _by_table(bytes.fromhex("3e01050a0f"))


def _by_table(data):
    """The same checksum the other way round: most significant bit first on reversed bits."""

    def reverse(x, bits):
        return int(f"{x:0{bits}b}"[::-1], 2)

    crc = 0xFFFF
    for byte in data:
        crc ^= reverse(byte, 8) << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return reverse(crc, 16)


@given(st.binary(max_size=40))
def test_checksum_agrees_with_another_way_to_compute_it(data):
    assert mdc.crc16(data) == _by_table(data)
    assert mdc.crc16(data + mdc.crc16(data).to_bytes(2, "little")) == 0  # the residue of this checksum


sfloats = st.one_of(
    st.builds(lambda m, e: m * 10**e if e >= 0 else m / 10**-e, st.integers(-2045, 2045), st.integers(-8, 7)),
    st.sampled_from(list(Special)),
)
measurements = st.builds(
    Measurement, glucose=sfloats, offset=st.integers(0, 0xFFFF), annunciation=st.integers(0, 0xFFFFFF),
    trend=st.none() | sfloats, quality=st.none() | sfloats,
)  # fmt: skip


@given(st.lists(measurements, min_size=1, max_size=4), st.booleans())
def test_measurements_round_trip(items, crc):
    data = b"".join(mdc.encode_measurement(item, crc=crc) for item in items)
    assert mdc.decode_measurements(data, crc=crc) == tuple(items)


@given(measurements, st.integers(0, 200), st.integers(0, 7))
def test_one_flipped_bit_never_passes_the_checksum(item, place, bit):
    data = bytearray(mdc.encode_measurement(item, crc=True))
    place %= len(data)
    assume(place != 0)  # the size says where the record ends: another size is another record
    data[place] ^= 1 << bit
    with pytest.raises(FormatError):
        mdc.decode_measurements(bytes(data), crc=True)


@given(st.binary(max_size=40), st.booleans())
def test_any_bytes_give_measurements_or_an_error(data, crc):
    for decode in (
        lambda: mdc.decode_measurements(data, crc=crc),
        lambda: mdc.decode_feature(data),
        lambda: mdc.decode_session_start(data, crc=crc),
    ):
        try:
            decode()
        except GemelError:
            continue


def test_measurement_by_hand():
    """Size 14, trend, quality, status and warning octets; 110.9 mg/dL at minute 300; malfunction and too low; 1.5 mg/dL/min; 98 %."""
    data = bytes.fromhex("0c a3 55f4 2c01 08 40 0ff0 6200".replace(" ", ""))
    [found] = mdc.decode_measurements(data, crc=False)
    assert found == Measurement(110.9, 300, 1 << 3 | 1 << 22, 1.5, 98.0)
    assert found.states == ("sensor malfunction", "result lower than the device can process")


@pytest.mark.parametrize(
    "text",
    ["", "06", "0500000000", "06006e000500ff", "07006e000500", "06006e0005", "06046e000500", "06016e000500", "08006e0005000000"],
)
def test_broken_measurements_are_refused(text):
    with pytest.raises(FormatError):
        mdc.decode_measurements(bytes.fromhex(text), crc=text.startswith("08"))


@given(st.integers(0, 0xFFFFFF), st.integers(0, 15), st.integers(0, 15))
def test_feature_round_trip(bits, kind, place):
    feature = Feature(bits, kind, place)
    assert mdc.decode_feature(mdc.encode_feature(feature)) == feature


def test_feature_refuses():
    for text in ("0080005900", "00800059fffe", "001000590000"):
        with pytest.raises(FormatError):
            mdc.decode_feature(bytes.fromhex(text))
    with pytest.raises(ValueRangeError):
        mdc.encode_feature(Feature(1 << 24, 9, 5))


@given(
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 12, 31)).map(lambda t: t.replace(microsecond=0)),
    st.none() | st.integers(-48, 56).map(lambda q: 15 * q),
    st.none() | st.sampled_from([0, 30, 60, 120]),
    st.booleans(),
)
def test_session_start_round_trip(wall, zone, saving, crc):
    start = SessionStart(wall, zone, saving)
    assert mdc.decode_session_start(mdc.encode_session_start(start, crc=crc), crc=crc) == start


def test_session_start_in_utc():
    summer = SessionStart(dt.datetime(2026, 7, 1, 8, 0), 60, 60)  # Berlin
    assert iso(summer.to_ns()) == "2026-07-01T06:00:00Z"
    unknown = SessionStart(dt.datetime(2026, 7, 1, 8, 0), None, None)
    assert unknown.to_ns(tz="Europe/Berlin") == summer.to_ns()
    with pytest.raises(TimeError, match="without a zone"):
        unknown.to_ns()
    for text in ("000001010000000400", "ea070d010000000400", "ea0701010000006000", "ea0701010000000401"):
        with pytest.raises(TimeError):
            mdc.decode_session_start(bytes.fromhex(text), crc=False)
    with pytest.raises(TimeError):
        mdc.encode_session_start(SessionStart(dt.datetime(2026, 1, 1), 7, 0), crc=False)


def test_a_session_becomes_a_series_and_says_what_it_leaves_out():
    start = to_ns("2026-01-01T08:00Z")
    items = [
        Measurement(110.0, 10), Measurement(105.0, 0), Measurement(40.0, 15, 1 << 22), Measurement(400.0, 20, 1 << 23),
        Measurement(Special.NOT_A_NUMBER, 25), Measurement(99.0, 30, 1 << 3), Measurement(120.0, 5),
    ]  # fmt: skip
    arrived = [start + 60 * MINUTE] * 7
    series, left = mdc.session_series(start, items, recorded=arrived)
    assert series is not None
    assert series.code == Code.parse("loinc:99504-3")
    assert series.value.tolist() == [105, 120, 110, 40, 400]
    assert series.censored.tolist() == [0, 0, 0, -1, 1]
    assert set(left) == {"not a number (1)", "sensor malfunction (1)"}
    assert len(series.as_of(start + 59 * MINUTE)) == 0
    assert mdc.session_series(start, items[4:6])[0] is None
    with pytest.raises(DataError):
        mdc.session_series(start, items, recorded=[start])


@given(st.lists(st.integers(40, 400), min_size=1, max_size=30), st.booleans())
def test_series_to_bytes_and_back(values, crc):
    start = to_ns("2026-01-01T08:00Z")
    time = start + 5 * MINUTE * np.arange(len(values))
    series = Series(code=Code.parse("loinc:99504-3"), unit="mg/dL", time=time, value=np.array(values, float), source="ble-cgm")
    data = b"".join(mdc.encode_measurement(item, crc=crc) for item in mdc.measurements_of(series, start))
    again, left = mdc.session_series(start, mdc.decode_measurements(data, crc=crc))
    assert left == ()
    assert again is not None
    assert again.time.tolist() == series.time.tolist()
    assert again.value.tolist() == series.value.tolist()
    with pytest.raises(DataError, match="does not fit"):
        mdc.measurements_of(series, start + MINUTE // 2)


def test_codes():
    assert mdc.find_term(160184).reference == "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD"
    assert {term.code for term in mdc.TERMS.values()} == set(mdc.TERMS)
    assert str(mdc.code_of(160212, "mmol/L")) == "loinc:105272-9"
    assert mdc.UNITS[264274] == "mg/dL"
    assert mdc.UNITS[266866] == "mmol/L"
    assert mdc.find_term(8418060).reference == "MDC_CGM_DEV_STAT"  # as the HL7 personal health device guide has it
    assert mdc.find_term(1) is None
    for code in (1, 160208, 160188, 8418060):  # unknown, control solution, plasma, a status
        with pytest.raises(CodeError, match="not mapped"):
            mdc.code_of(code, "mg/dL")
    with pytest.raises(UnitError):
        mdc.code_of(160212, "g/L")
