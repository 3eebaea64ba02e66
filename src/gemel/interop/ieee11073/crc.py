"""The checksum of the Bluetooth CGM profile: CRC-16/MCRF4XX."""

from __future__ import annotations

__all__ = ["crc16"]

_POLYNOMIAL = 0x8408  # 0x1021 with its bits reversed: the least significant bit goes first


def crc16(data: bytes) -> int:
    """Return CRC-16/MCRF4XX: polynomial 0x1021, start 0xFFFF, reflected, nothing added at the end.

    References
    ----------
    Bluetooth CGM Service 1.0.1 (E2E-CRC); CRC catalogue, check value 0x6F91.

    Examples
    --------
    >>> hex(crc16(b"123456789"))
    '0x6f91'
    """
    remainder = 0xFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (_POLYNOMIAL if remainder & 1 else 0)
    return remainder
