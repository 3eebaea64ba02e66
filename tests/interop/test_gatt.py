import datetime as dt

import pytest

from gemel.core.errors import FormatError, TimeError, ValueRangeError
from gemel.core.time import to_ns
from gemel.interop.ieee11073 import (
    CHARACTERISTICS,
    Special,
    decode_characteristic,
    decode_float,
    decode_sfloat,
    encode_float,
    encode_sfloat,
    gatt_series,
)  # fmt: skip

NOW = to_ns("2026-01-31T12:00:00Z")
STAMP = bytes([0xEA, 0x07, 1, 31, 9, 5, 7])  # 2026-01-31 09:05:07
WALL = dt.datetime(2026, 1, 31, 9, 5, 7)


def sf(*values):
    return b"".join(encode_sfloat(v).to_bytes(2, "little") for v in values)


@pytest.mark.parametrize(("raw", "value"), [(0x0072, 114.0), (0xF472, 113.8), (0xB05F, 0.00095)])
def test_v3_sfloat(raw, value):
    assert decode_sfloat(raw) == value


def test_v3_float_and_its_special_values():
    assert decode_float(0xFF00016C) == 36.4
    assert [decode_float(raw) for raw in (0x007FFFFE, 0x007FFFFF, 0x00800000, 0x00800001, 0x00800002)] == [
        Special.POSITIVE_INFINITY, Special.NOT_A_NUMBER, Special.NOT_AT_THIS_RESOLUTION, Special.RESERVED, Special.NEGATIVE_INFINITY
    ]  # fmt: skip
    assert all(decode_float(encode_float(s)) is s for s in Special)
    assert all(decode_float(encode_float(v, decimals=2)) == v for v in (-40.0, 0.0, 36.62, 99.99, 1234.5))
    for bad in (float("nan"), 1e6):
        with pytest.raises(ValueRangeError):
            encode_float(bad, decimals=2)
    with pytest.raises(FormatError):
        decode_float(1 << 32)


def test_heart_rate_in_both_widths_with_contact_energy_and_intervals():
    value = decode_characteristic(0x2A37, bytes([0b11110, 61, 10, 0, 0, 4, 0, 2]))
    assert (value.numbers["heart rate"], value.numbers["energy"]) == ((61.0, "/min"), (10.0, "kJ"))
    assert (value.intervals, value.contact) == ((1.0, 0.5), True)
    value = decode_characteristic(0x2A37, bytes([0b1, 44, 1]))
    assert (value.numbers["heart rate"][0], value.contact) == (300.0, None)


def test_blood_pressure_with_everything():
    data = bytes([0b11110]) + sf(120, 80, 93) + STAMP + sf(61) + bytes([2, 4, 0])
    value = decode_characteristic(0x2A35, data)
    assert value.numbers == {"systolic": (120, "mm[Hg]"), "diastolic": (80, "mm[Hg]"), "mean": (93, "mm[Hg]"), "heart rate": (61, "/min")}
    assert (value.wall, value.user, value.status) == (WALL, 2, 4)
    assert decode_characteristic(0x2A35, bytes([1]) + sf(16.0, 10.7, 12.4)).numbers["systolic"] == (16.0, "kPa")
    assert decode_characteristic(0x2A35, bytes([8]) + sf(1, 1, 1) + b"\xff").user is None


def test_glucose_in_both_units_with_its_offset():
    data = bytes([0b0011, 7, 0]) + STAMP + (-5).to_bytes(2, "little", signed=True) + (0xB05F).to_bytes(2, "little") + b"\x11"
    value = decode_characteristic(0x2A18, data)
    assert value.numbers["glucose"] == (95.0, "mg/dL")  # 0.00095 kg/L
    assert (value.wall, value.sequence, value.sample) == (WALL - dt.timedelta(minutes=5), 7, 1)
    data = bytes([0b1110, 8, 0]) + STAMP + sf(0.0061) + b"\x19\x01\x00"
    value = decode_characteristic(0x2A18, data)
    assert (value.numbers["glucose"], value.sample, value.status) == ((6.1, "mmol/L"), 9, 1)


def test_oximeter_scale_and_thermometer():
    value = decode_characteristic(0x2A5E, bytes([0b1111]) + sf(97, 61) + STAMP + bytes([0, 1, 0, 0, 0]) + sf(2.5))
    assert (value.numbers["oxygen saturation"], value.numbers["pulse amplitude"], value.wall) == ((97, "%"), (2.5, "%"), WALL)
    assert decode_characteristic(0x2A5E, bytes([0b10001]) + sf(97, 61) + STAMP).wall is None  # its clock is not set
    value = decode_characteristic(0x2A5F, bytes([0b00011]) + sf(97, 61, 96, 62, 98, 60))
    assert (value.numbers["heart rate, fast"][0], value.numbers["oxygen saturation, slow"][0]) == (62, 98)
    value = decode_characteristic(0x2A9D, bytes([0b1110]) + (14_000).to_bytes(2, "little") + STAMP + bytes([1]) + bytes([229, 0, 214, 6]))
    assert (value.numbers["weight"], value.numbers["height"], value.numbers["body mass index"]) == (
        (70.0, "kg"),
        (1.75, "m"),
        (22.9, "kg/m2"),
    )
    assert decode_characteristic(0x2A9D, bytes([1, 0x50, 0x3C])).numbers["weight"] == (154.4, "[lb_av]")
    assert decode_characteristic(0x2A9D, b"\x00\xff\xff").numbers["weight"][0] is Special.NOT_A_NUMBER
    value = decode_characteristic(0x2A1C, bytes([0b110]) + (0xFF00016C).to_bytes(4, "little") + STAMP + b"\x02")
    assert (value.numbers["temperature"], value.wall) == ((36.4, "Cel"), WALL)
    assert decode_characteristic(0x2A1C, b"\x01" + encode_float(97.5, decimals=1).to_bytes(4, "little")).numbers["temperature"] == (
        97.5,
        "[degF]",
    )


@pytest.mark.parametrize("number", sorted(CHARACTERISTICS))
def test_any_bytes_are_decoded_or_refused_by_name(number):
    import random

    rng = random.Random(number)
    decoded = 0
    for _ in range(3000):
        try:
            decode_characteristic(number, rng.randbytes(rng.randrange(0, 24)))
            decoded += 1
        except FormatError:
            pass
    assert decode_short(number)
    assert decoded < 3000


def decode_short(number):
    with pytest.raises(FormatError, match="cut off"):
        decode_characteristic(number, b"")
    return True


def test_a_characteristic_that_is_not_read_is_named():
    with pytest.raises(FormatError, match="0x2A19"):
        decode_characteristic(0x2A19, b"\x64")


def test_values_become_series_with_both_times_and_a_report_that_adds_up():
    pressure = decode_characteristic(0x2A35, bytes([2]) + sf(120, 80, Special.NOT_A_NUMBER) + STAMP)
    series, report = gatt_series([(pressure, NOW), (pressure, NOW + 1)], source="cuff", tz="Europe/Berlin")
    assert {str(s.code): list(s.value) for s in series} == {"loinc:8480-6": [120.0], "loinc:8462-4": [80.0]}
    assert (series[0].time[0], series[0].recorded[0]) == (to_ns("2026-01-31T08:05:07Z"), NOW)
    assert (report.read, report.mapped, report.duplicates, report.refusals) == (6, 2, 2, 2)


def test_what_is_no_patients_value_is_refused():
    meter = bytes([0b0010, 7, 0]) + STAMP + sf(0.00095)
    cases = {
        "zone-missing": (decode_characteristic(0x2A35, bytes([2]) + sf(1, 1, 1) + STAMP), {}),
        "not-a-patient": (decode_characteristic(0x2A18, meter + b"\x1a"), {"tz": "UTC"}),
        "not-mapped": (decode_characteristic(0x2A18, meter + b"\x17"), {"tz": "UTC"}),
        "no-number": (decode_characteristic(0x2A18, bytes([0, 7, 0]) + STAMP), {"tz": "UTC"}),
        "no-contact": (decode_characteristic(0x2A37, bytes([4, 61])), {}),
        "another-user": (decode_characteristic(0x2A9D, bytes([4, 1, 0, 2])), {"user": 1}),
        "out-of-range": (decode_characteristic(0x2A35, bytes([0]) + sf(*[Special.POSITIVE_INFINITY] * 3)), {}),
    }
    for reason, (value, settings) in cases.items():
        series, report = gatt_series([(value, NOW)], source="d", **settings)
        assert series == []
        assert {r.reason for r in report.refused} == {reason}
    demonstration = decode_characteristic(0x2A5F, bytes([4]) + sf(97, 61) + b"\x00\x04")
    assert gatt_series([(demonstration, NOW)], source="d")[1].refused[0].reason == "not-a-patient"
    ahead = decode_characteristic(0x2A35, bytes([2]) + sf(1, 1, 1) + STAMP)
    assert gatt_series([(ahead, 0)], source="d", tz="UTC")[1].refused[0].reason == "time-ahead"
    with pytest.raises(ValueRangeError):
        gatt_series([], source="")
    with pytest.raises(TimeError):
        gatt_series([(ahead, NOW)], source="d", tz="Mars/Olympus")


def test_glucose_is_coded_by_its_sample_and_unit():
    def coded(sample: int, flags: int = 0b0010) -> str:
        data = bytes([flags, 7, 0]) + STAMP + sf(0.006 if flags & 4 else 0.00095) + bytes([sample])
        return str(gatt_series([(decode_characteristic(0x2A18, data), NOW)], source="m", tz="UTC")[0][0].code)

    assert coded(0x11) == "loinc:41653-7"
    assert coded(0x11, 0b0110) == "loinc:14743-9"
    assert coded(0x19) == "loinc:99504-3"
    assert coded(0x12) == "mdc:160188"  # capillary plasma: kept under its own code, not taken for whole blood
