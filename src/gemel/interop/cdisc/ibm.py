"""Numbers of the IBM 360, as SAS transport files hold them: exactly to IEEE 754 and back, and the 28 ways to be missing.

A number is a sign, a power of 16 (excess 64) and 56 bits of fraction. Every float64 between 16⁻⁶⁵ and 16⁶³ has an exact counterpart;
the other way the last three bits of a fraction may have to be rounded. Zero is all bits zero, and nothing else is.

References
----------
SAS Institute, TS-140, "The record layout of a data set in SAS transport (XPORT) format" (numeric data fields, missing values).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from gemel.core.errors import ValueRangeError

__all__ = ["MISSING", "from_ibm", "to_ibm"]

MISSING = {".": 0x2E, "._": 0x5F} | {f".{chr(c)}": c for c in range(0x41, 0x5B)}
"""Kinds of missing value -> their first byte; the others are zero."""

_KINDS = {byte: kind for kind, byte in MISSING.items()}
_FRACTION = np.uint64((1 << 56) - 1)


def from_ibm(body: UInt8[np.ndarray, "row byte"]) -> tuple[Float[np.ndarray, " row"], dict[int, str]]:
    """Return the numbers of one column, NaN where missing, and which kind of missing each gap is.

    Parameters
    ----------
    body : (row, byte) big-endian, 2 to 8 bytes each; bytes left out at the end are zero.

    Returns
    -------
    (row,) the unit of the column; row -> ``.``, ``._`` or ``.A`` to ``.Z``.
    """
    raw = np.zeros((body.shape[0], 8), np.uint8)
    raw[:, : body.shape[1]] = body
    words = raw.view(">u8")[:, 0].astype(np.uint64)
    fraction = words & _FRACTION
    power = ((words >> np.uint64(56)) & np.uint64(0x7F)).astype(np.int64)
    values = np.ldexp(fraction.astype(np.float64), (4 * (power - 64) - 56).astype(np.int32))
    values = np.where((words >> np.uint64(63)) == 1, -values, values)
    gap = (fraction == 0) & (raw[:, 0] != 0)
    kinds = {int(i): _KINDS[int(raw[i, 0])] for i in np.flatnonzero(gap) if int(raw[i, 0]) in _KINDS}
    values[list(kinds)] = np.nan
    values[values == 0] = 0.0  # no negative zero
    return values, kinds


def to_ibm(values: Float[np.ndarray, " row"], kinds: dict[int, str] | None = None) -> UInt8[np.ndarray, "row 8"]:
    """Return a column as eight bytes a number, exactly; NaN becomes ``.``, or the kind that is named.

    Parameters
    ----------
    values : (row,)
    kinds : row -> kind of missing value, for rows that are NaN.

    Raises
    ------
    ValueRangeError
        For a number that the format cannot hold: infinite, 16⁶³ (7.2e75) or more, or nearer to zero than 16⁻⁶⁵ (5.4e-79).

    Examples
    --------
    >>> import numpy as np
    >>> to_ibm(np.array([0.0, 1.0, -118.625, np.nan]))[:, :4].tobytes().hex(" ", 4)
    '00000000 41100000 c276a000 2e000000'
    """
    found = np.asarray(values, np.float64)
    gap = np.isnan(found)
    plain = np.where(gap, 0.0, found)
    size = np.abs(plain)
    outside = ~np.isfinite(plain) | (size >= 16.0**63) | ((size > 0) & (size < 16.0**-65))
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        raise ValueRangeError(
            "a number does not fit into a transport file", seen=f"row {i + 1}: {found[i]}", expected="0, or 5.4e-79 to 7.2e75 in size"
        )
    mantissa, power = np.frexp(size)
    sixteens = -(-power // 4)
    fraction = np.ldexp(mantissa, 53).astype(np.uint64) << (3 - (4 * sixteens - power)).astype(np.uint64)
    words = (np.signbit(plain).astype(np.uint64) << np.uint64(63)) | ((sixteens + 64).astype(np.uint64) << np.uint64(56)) | fraction
    words = np.where(size == 0, np.uint64(0), words)
    out = words.astype(">u8").view(np.uint8).reshape(-1, 8).copy()
    for i in np.flatnonzero(gap):
        out[i] = 0
        out[i, 0] = MISSING[(kinds or {}).get(int(i), ".")]
    return out
