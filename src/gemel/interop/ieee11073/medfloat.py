"""FLOAT, the decimal 32-bit number of IEEE 11073-20601: 8 bits of signed exponent, 24 bits of signed mantissa."""

from __future__ import annotations

import math

from gemel.core.errors import FormatError, ValueRangeError
from gemel.interop.ieee11073.sfloat import Special

__all__ = ["decode_float", "encode_float"]

_SPECIAL = {
    0x007FFFFE: Special.POSITIVE_INFINITY,
    0x007FFFFF: Special.NOT_A_NUMBER,
    0x00800000: Special.NOT_AT_THIS_RESOLUTION,
    0x00800001: Special.RESERVED,
    0x00800002: Special.NEGATIVE_INFINITY,
}
_RAW = {special: raw for raw, special in _SPECIAL.items()}
_LARGEST = 0x7FFFFD  # mantissas beyond it are special values when the exponent is 0; kept free for every exponent


def decode_float(raw: int) -> float | Special:
    """Return the number that 32 bits stand for, correctly rounded, or a special value.

    Raises
    ------
    FormatError
        When ``raw`` is no unsigned 32-bit integer.

    Examples
    --------
    >>> decode_float(0xFF00016C), decode_float(0x007FFFFF)
    (36.4, <Special.NOT_A_NUMBER: 2047>)
    """
    if not 0 <= raw <= 0xFFFFFFFF:
        raise FormatError("a FLOAT is 32 bits", seen=raw, expected="0 to 4294967295")
    if raw in _SPECIAL:
        return _SPECIAL[raw]
    exponent, mantissa = raw >> 24, raw & 0xFFFFFF
    exponent -= 256 if exponent >= 128 else 0
    mantissa -= 1 << 24 if mantissa >= 1 << 23 else 0
    return float(mantissa * 10**exponent) if exponent >= 0 else mantissa / 10**-exponent


def encode_float(value: float | Special, *, decimals: int = 2) -> int:
    """Return the 32 bits of a number with so many decimals.

    Raises
    ------
    ValueRangeError
        When it is not finite, or does not fit with these decimals.

    Examples
    --------
    >>> hex(encode_float(36.4, decimals=1))
    '0xff00016c'
    """
    if isinstance(value, Special):
        return _RAW[value]
    if not math.isfinite(value) or not 0 <= decimals <= 20:
        raise ValueRangeError("no finite number, or too many decimals", seen=value, expected="a number with at most 20 decimals")
    mantissa = round(value * 10**decimals)
    if abs(mantissa) > _LARGEST:
        raise ValueRangeError(
            "too large for a FLOAT with these decimals", seen=value, expected=f"at most {_LARGEST / 10**decimals:g}", fix="fewer decimals"
        )
    return (-decimals & 0xFF) << 24 | mantissa & 0xFFFFFF
