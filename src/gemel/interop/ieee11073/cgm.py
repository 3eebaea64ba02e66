"""Characteristics of the Bluetooth CGM service: Measurement (0x2AA7), Feature (0x2AA8) and Session Start Time (0x2AAA), bytes in and out.

Little-endian. Whether a value ends with a checksum is not said by the value itself: the Feature says it, so it comes in as an argument.

References
----------
Bluetooth CGM Profile and Service 1.0.1, GATT Specification Supplement; IEEE 11073-10425.
"""

from __future__ import annotations

import datetime as dt
import struct
from dataclasses import dataclass

from gemel.core.errors import FormatError, TimeError, ValueRangeError
from gemel.core.time import MINUTE, to_ns
from gemel.interop.ieee11073.crc import crc16
from gemel.interop.ieee11073.sfloat import Special, decode_sfloat, encode_sfloat

__all__ = [
    "ANNUNCIATIONS",
    "FEATURES",
    "Feature",
    "Measurement",
    "SessionStart",
    "decode_feature",
    "decode_measurements",
    "decode_session_start",
    "encode_feature",
    "encode_measurement",
    "encode_session_start",
]

_TREND, _QUALITY, _WARNING, _CALIBRATION, _STATUS = 0x01, 0x02, 0x20, 0x40, 0x80
_RESERVED = 0xFF ^ (_TREND | _QUALITY | _WARNING | _CALIBRATION | _STATUS)
_NO_CRC = 0xFFFF  # of a Feature without checksums
_UNKNOWN_ZONE, _UNKNOWN_SAVING = -128, 255
_SAVING = {0: 0, 2: 30, 4: 60, 8: 120}  # code -> minutes

ANNUNCIATIONS: dict[int, str] = {
    0: "session stopped",
    1: "device battery low",
    2: "sensor type incorrect for device",
    3: "sensor malfunction",
    4: "device specific alert",
    5: "general device fault",
    8: "time synchronisation required",
    9: "calibration not allowed",
    10: "calibration recommended",
    11: "calibration required",
    12: "sensor temperature too high",
    13: "sensor temperature too low",
    16: "result below the patient's low level",
    17: "result above the patient's high level",
    18: "result below the hypoglycaemia level",
    19: "result above the hyperglycaemia level",
    20: "rate of decrease exceeded",
    21: "rate of increase exceeded",
    22: "result lower than the device can process",
    23: "result higher than the device can process",
}
"""Bits of the Sensor Status Annunciation: octets for status, calibration and temperature, warnings."""

FEATURES: dict[int, str] = {
    0: "calibration",
    1: "patient high and low alerts",
    2: "hypoglycaemia alerts",
    3: "hyperglycaemia alerts",
    4: "rate alerts",
    5: "device specific alert",
    6: "sensor malfunction detection",
    7: "sensor temperature detection",
    8: "sensor result detection",
    9: "low battery detection",
    10: "sensor type error detection",
    11: "general device fault",
    12: "E2E-CRC",
    13: "multiple bonds",
    14: "multiple sessions",
    15: "trend",
    16: "quality",
}
"""Bits of the Feature."""
_CRC_BIT = 12


@dataclass(frozen=True)
class Measurement:
    """One record of the CGM Measurement.

    Parameters
    ----------
    glucose : mg/dL, or why there is no number.
    offset : minutes since the session began.
    annunciation : bits of :data:`ANNUNCIATIONS`.
    trend : mg/dL/min, where sent.
    quality : %, where sent.
    """

    glucose: float | Special
    offset: int
    annunciation: int = 0
    trend: float | Special | None = None
    quality: float | Special | None = None

    @property
    def states(self) -> tuple[str, ...]:
        """What the sensor announces, in words."""
        return tuple(words for bit, words in ANNUNCIATIONS.items() if self.annunciation >> bit & 1)


@dataclass(frozen=True)
class Feature:
    """What a sensor can do: bits of :data:`FEATURES`; type of sample and its place as numbers of the service (9 and 5: interstitial fluid, subcutaneous)."""

    bits: int
    sample_type: int
    sample_location: int

    @property
    def has_crc(self) -> bool:
        """Whether the other characteristics end with a checksum."""
        return bool(self.bits >> _CRC_BIT & 1)


@dataclass(frozen=True)
class SessionStart:
    """When a session began, on the wall clock of the collector.

    Parameters
    ----------
    wall : local time.
    zone_minutes : offset of the zone from UTC without daylight saving; None: unknown.
    saving_minutes : daylight saving in force, 0, 30, 60 or 120; None: unknown.
    """

    wall: dt.datetime
    zone_minutes: int | None
    saving_minutes: int | None

    def to_ns(self, *, tz: str | None = None) -> int:
        """Return the moment in ns UTC; wall clock = UTC + zone + saving.

        Raises
        ------
        TimeError
            When zone or saving is unknown and ``tz`` is not given.
        """
        if self.zone_minutes is None or self.saving_minutes is None:
            return to_ns(self.wall, tz=tz)
        return to_ns(self.wall.replace(tzinfo=dt.UTC)) - (self.zone_minutes + self.saving_minutes) * MINUTE


def _checked(data: bytes, crc: bool, what: str) -> bytes:
    """Return the payload before the checksum."""
    if not crc:
        return data
    if len(data) < 3:
        raise FormatError(f"{what} is too short for a checksum", seen=f"{len(data)} bytes", expected="a payload and two bytes")
    payload, sent = data[:-2], int.from_bytes(data[-2:], "little")
    if crc16(payload) != sent:
        raise FormatError(
            f"the checksum of {what} does not agree",
            seen=f"0x{sent:04x}",
            expected=f"0x{crc16(payload):04x}",
            fix="ask the sensor for the record again",
        )
    return payload


def _sealed(payload: bytes, crc: bool) -> bytes:
    return payload + crc16(payload).to_bytes(2, "little") if crc else payload


def _sfloat(data: bytes, at: int) -> float | Special:
    return decode_sfloat(int.from_bytes(data[at : at + 2], "little"))


def _measurement(record: bytes, crc: bool, number: int) -> Measurement:
    what = f"CGM measurement {number}"
    body = _checked(record, crc, what)
    if len(body) < 6:
        raise FormatError(f"{what} is too short", seen=f"{len(body)} bytes", expected="at least 6")
    flags = body[1]
    octets = [shift for flag, shift in ((_STATUS, 0), (_CALIBRATION, 8), (_WARNING, 16)) if flags & flag]
    expected = 6 + len(octets) + 2 * bool(flags & _TREND) + 2 * bool(flags & _QUALITY)
    if len(body) != expected:
        raise FormatError(
            f"{what} is not as long as its flags say",
            seen=f"{len(body)} bytes, flags 0x{flags:02x}{'' if crc else ', read without checksum'}",
            expected=f"{expected} bytes",
            fix="check whether the sensor's Feature announces E2E-CRC",
        )
    if flags & _RESERVED:
        raise FormatError(f"{what} sets reserved flags", seen=f"0x{flags:02x}", expected="bits 2 to 4 clear")
    annunciation, at = 0, 6
    for shift in octets:
        annunciation |= body[at] << shift
        at += 1
    trend = quality = None
    if flags & _TREND:
        trend, at = _sfloat(body, at), at + 2
    if flags & _QUALITY:
        quality = _sfloat(body, at)
    return Measurement(_sfloat(body, 2), int.from_bytes(body[4:6], "little"), annunciation, trend, quality)


def decode_measurements(data: bytes, *, crc: bool) -> tuple[Measurement, ...]:
    """Read the records of one CGM Measurement value (0x2AA7).

    Parameters
    ----------
    data : one or several records, each beginning with its size.
    crc : whether each record ends with a checksum (:attr:`Feature.has_crc`).

    Raises
    ------
    FormatError
        When a size, a flag or a checksum does not agree. Nothing is returned then.
    """
    if not data:
        raise FormatError("an empty CGM measurement", seen="0 bytes", expected="at least one record")
    found: list[Measurement] = []
    at = 0
    while at < len(data):
        size = data[at]
        if size < 6 or at + size > len(data):
            raise FormatError(
                f"CGM measurement {len(found) + 1} has an impossible size",
                seen=f"{size}, {len(data) - at} bytes left",
                expected="6 or more, within the value",
            )
        found.append(_measurement(data[at : at + size], crc, len(found) + 1))
        at += size
    return tuple(found)


def encode_measurement(measurement: Measurement, *, crc: bool) -> bytes:
    """Write one record; octets of the annunciation that are zero are left out.

    Raises
    ------
    ValueRangeError
        When the offset or the annunciation does not fit.

    Examples
    --------
    >>> encode_measurement(Measurement(110.0, 5), crc=True).hex(" ")
    '08 00 6e 00 05 00 36 60'
    """
    if not 0 <= measurement.offset <= 0xFFFF:
        raise ValueRangeError(
            "a time offset is 16 bits of minutes", seen=measurement.offset, expected="0 to 65535", fix="begin a session anew"
        )
    if not 0 <= measurement.annunciation <= 0xFFFFFF:
        raise ValueRangeError("an annunciation is 24 bits", seen=measurement.annunciation, expected="0 to 0xffffff")
    flags = (_TREND if measurement.trend is not None else 0) | (_QUALITY if measurement.quality is not None else 0)
    rest = b""
    for flag, shift in ((_STATUS, 0), (_CALIBRATION, 8), (_WARNING, 16)):
        octet = measurement.annunciation >> shift & 0xFF
        if octet:
            flags |= flag
            rest += bytes([octet])
    for optional in (measurement.trend, measurement.quality):
        if optional is not None:
            rest += encode_sfloat(optional).to_bytes(2, "little")
    size = 6 + len(rest) + 2 * crc
    return _sealed(struct.pack("<BBHH", size, flags, encode_sfloat(measurement.glucose), measurement.offset) + rest, crc)


def decode_feature(data: bytes) -> Feature:
    """Read a CGM Feature (0x2AA8): six bytes, the last two a checksum or 0xFFFF.

    Raises
    ------
    FormatError
        When the length or the checksum does not agree.
    """
    if len(data) != 6:
        raise FormatError("a CGM feature has another length", seen=f"{len(data)} bytes", expected="6 bytes")
    found = Feature(int.from_bytes(data[:3], "little"), data[3] & 0x0F, data[3] >> 4)
    if found.has_crc:
        _checked(data, True, "the CGM feature")
    elif int.from_bytes(data[4:], "little") != _NO_CRC:
        raise FormatError("a CGM feature without E2E-CRC ends otherwise", seen=data[4:].hex(), expected="ffff")
    return found


def encode_feature(feature: Feature) -> bytes:
    """Write a CGM Feature.

    Examples
    --------
    >>> encode_feature(Feature(bits=1 << 15, sample_type=9, sample_location=5)).hex(" ")
    '00 80 00 59 ff ff'
    """
    if not (0 <= feature.bits <= 0xFFFFFF and 0 <= feature.sample_type <= 15 and 0 <= feature.sample_location <= 15):
        raise ValueRangeError("a CGM feature does not fit", seen=repr(feature), expected="24 bits, and two numbers of 4 bits")
    payload = feature.bits.to_bytes(3, "little") + bytes([feature.sample_location << 4 | feature.sample_type])
    return payload + (crc16(payload) if feature.has_crc else _NO_CRC).to_bytes(2, "little")


def decode_session_start(data: bytes, *, crc: bool) -> SessionStart:
    """Read a CGM Session Start Time (0x2AAA).

    Raises
    ------
    FormatError
        When the length or the checksum does not agree.
    TimeError
        When date, zone or daylight saving is not possible; an unknown date (zeros) is refused.
    """
    body = _checked(data, crc, "the session start time")
    if len(body) != 9:
        raise FormatError("a session start time has another length", seen=f"{len(body)} bytes", expected="9 bytes, and 2 with a checksum")
    year, month, day, hour, minute, second, zone, saving = struct.unpack("<HBBBBBbB", body)
    try:
        if not 1900 <= year <= 2200:
            raise ValueError
        wall = dt.datetime(year, month, day, hour, minute, second)
    except ValueError as error:
        seen = f"{year}-{month}-{day} {hour}:{minute}:{second}"
        raise TimeError(
            "the session start is no date", seen=seen, expected="a date from 1900 to 2200", fix="write it to the sensor first"
        ) from error
    if zone != _UNKNOWN_ZONE and not -48 <= zone <= 56:
        raise TimeError("the session's zone is not possible", seen=f"{zone} quarters of an hour", expected="-48 to 56, or -128 for unknown")
    if saving != _UNKNOWN_SAVING and saving not in _SAVING:
        raise TimeError("the session's daylight saving is not possible", seen=saving, expected="0, 2, 4, 8, or 255 for unknown")
    return SessionStart(wall, None if zone == _UNKNOWN_ZONE else 15 * zone, None if saving == _UNKNOWN_SAVING else _SAVING[saving])


def encode_session_start(start: SessionStart, *, crc: bool) -> bytes:
    """Write a CGM Session Start Time; seconds are the finest it holds.

    Raises
    ------
    TimeError
        When the zone is no multiple of 15 min, or the daylight saving not one of the service's.

    Examples
    --------
    >>> encode_session_start(SessionStart(dt.datetime(2026, 1, 31, 8, 5), 60, 0), crc=False).hex(" ")
    'ea 07 01 1f 08 05 00 04 00'
    """
    zone = _UNKNOWN_ZONE if start.zone_minutes is None else start.zone_minutes // 15
    if start.zone_minutes is not None and (start.zone_minutes % 15 or not -48 <= zone <= 56):
        raise TimeError("a session's zone is a multiple of 15 min", seen=start.zone_minutes, expected="-720 to 840 min")
    codes = {minutes: code for code, minutes in _SAVING.items()}
    if start.saving_minutes is not None and start.saving_minutes not in codes:
        raise TimeError("daylight saving is one of the service's", seen=start.saving_minutes, expected="0, 30, 60 or 120 min")
    saving = _UNKNOWN_SAVING if start.saving_minutes is None else codes[start.saving_minutes]
    wall = start.wall
    return _sealed(struct.pack("<HBBBBBbB", wall.year, wall.month, wall.day, wall.hour, wall.minute, wall.second, zone, saving), crc)
