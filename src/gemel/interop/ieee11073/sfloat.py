"""SFLOAT, the decimal 16-bit number of IEEE 11073-20601: 4 bits of signed exponent, 12 bits of signed mantissa."""

from __future__ import annotations

import enum
import math

from gemel.core.errors import FormatError, ValueRangeError

__all__ = ["Special", "decode_sfloat", "encode_sfloat"]

_LARGEST = 2045  # mantissas beyond it are special values when the exponent is 0; kept free for every exponent
_EXPONENTS = range(-8, 8)


class Special(enum.Enum):
    """What is no number: the values that IEEE 11073-20601 reserves."""

    POSITIVE_INFINITY = 0x07FE
    NOT_A_NUMBER = 0x07FF
    NOT_AT_THIS_RESOLUTION = 0x0800
    RESERVED = 0x0801
    NEGATIVE_INFINITY = 0x0802


_SPECIAL = {special.value: special for special in Special}


def decode_sfloat(raw: int) -> float | Special:
    """Return the number that 16 bits stand for, exact to the last bit of a double, or a special value.

    Raises
    ------
    FormatError
        When ``raw`` is no unsigned 16-bit integer.

    Examples
    --------
    >>> decode_sfloat(0x006E), decode_sfloat(0xF455), decode_sfloat(0x07FF)
    (110.0, 110.9, <Special.NOT_A_NUMBER: 2047>)
    """
    if not 0 <= raw <= 0xFFFF:
        raise FormatError("an SFLOAT is 16 bits", seen=raw, expected="0 to 65535")
    if raw in _SPECIAL:
        return _SPECIAL[raw]
    exponent, mantissa = raw >> 12, raw & 0x0FFF
    exponent -= 16 if exponent >= 8 else 0
    mantissa -= 4096 if mantissa >= 2048 else 0
    return float(mantissa * 10**exponent) if exponent >= 0 else mantissa / 10**-exponent


def encode_sfloat(value: float | Special) -> int:
    """Return the 16 bits that come closest to a number, with as many digits as fit.

    Raises
    ------
    ValueRangeError
        When it is larger than 2.045e10 (use ``Special.POSITIVE_INFINITY``), or not a number.

    Examples
    --------
    >>> hex(encode_sfloat(110.9)), hex(encode_sfloat(Special.NOT_A_NUMBER)), hex(encode_sfloat(-2.0))
    ('0xf455', '0x7ff', '0xffe')
    """
    if isinstance(value, Special):
        return value.value
    if not math.isfinite(value):
        raise ValueRangeError("no finite number", seen=value, expected="a number, or a Special value")
    best: tuple[float, int, int, int] | None = None
    for exponent in _EXPONENTS:
        scaled = value / 10**exponent if exponent >= 0 else value * 10**-exponent
        if abs(scaled) > _LARGEST + 0.5:
            continue
        mantissa = round(scaled)
        if abs(mantissa) > _LARGEST:
            continue
        written = float(mantissa * 10**exponent) if exponent >= 0 else mantissa / 10**-exponent
        candidate = (abs(written - value), abs(exponent), exponent, mantissa)
        if best is None or candidate < best:
            best = candidate
    if best is None:
        raise ValueRangeError("too large for an SFLOAT", seen=value, expected="at most 2.045e10", fix="send Special.POSITIVE_INFINITY")
    _, _, exponent, mantissa = best
    return (exponent & 0xF) << 12 | mantissa & 0xFFF
