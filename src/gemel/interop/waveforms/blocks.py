"""A waveform in few bytes: blocks of ten seconds, 16-bit numbers with a scale and an offset of their own, differences, compressed. A gap stays a gap.

What came as whole numbers of at most 16 bits comes back bit for bit. Other values come back within half of 1/65,534 of the range of their block.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from gemel.core.errors import DataError, FormatError
from gemel.core.time import SECOND
from gemel.core.units import parse_unit

__all__ = ["BLOCK_S", "MEDIA_TYPE", "Channel", "Waveform", "pack", "unpack"]

BLOCK_S = 10
MEDIA_TYPE = "application/vnd.gemel.waveform"
_MAGIC = b"GWF1"
_GAP = -32768
_MOST = 1 << 30  # samples of all channels
_HEAD = struct.Struct("<ddI")


@dataclass(frozen=True, repr=False)
class Channel:
    """One signal.

    Parameters
    ----------
    values : (n,) in ``unit``; NaN where there is none.
    step : what one count of the converter is, where it is known: then nothing is lost. 0: not known.
    origin : the value at count 0.
    """

    name: str
    unit: str
    values: np.ndarray
    step: float = 0.0
    origin: float = 0.0

    def __repr__(self) -> str:
        return f"Channel({len(self.values)} samples)"


@dataclass(frozen=True, repr=False)
class Waveform:
    """Signals that were sampled together.

    Parameters
    ----------
    start : ns UTC of the first sample.
    rate : samples in a second.
    """

    start: int
    rate: float
    channels: tuple[Channel, ...]

    @property
    def end(self) -> int:
        """Ns UTC of the last sample."""
        count = max((len(one.values) for one in self.channels), default=1)
        return self.start + round((count - 1) / self.rate * SECOND)

    def __repr__(self) -> str:
        return f"Waveform({len(self.channels)} channels)"


def _counts(values: np.ndarray, step: float, origin: float) -> tuple[float, float, np.ndarray]:
    """Return scale, offset and counts of a block."""
    known = np.isfinite(values)
    counts = np.full(len(values), _GAP, np.int64)
    if not known.any():
        return 1.0, 0.0, counts
    some = values[known]
    if step > 0:
        exact = (some - origin) / step
        whole = np.round(exact)
        if np.abs(exact - whole).max() < 1e-3 and np.abs(whole).max() <= 32767:
            counts[known] = whole.astype(np.int64)
            return step, origin, counts
    low, high = float(some.min()), float(some.max())
    scale = (high - low) / 65534 or 1.0
    middle = (high + low) / 2
    counts[known] = np.clip(np.round((some - middle) / scale), -32767, 32767).astype(np.int64)
    return scale, middle, counts


def pack(waveform: Waveform) -> bytes:
    """Return the bytes of a waveform: the same waveform gives the same bytes.

    Raises
    ------
    DataError
        When channels are of different lengths, or the rate is none.

    Examples
    --------
    >>> import numpy as np
    >>> body = pack(Waveform(0, 100.0, (Channel("ECG", "mV", np.array([0.0, 0.1, np.nan])),)))
    >>> unpack(body).channels[0].values.round(4)
    array([0. , 0.1, nan])
    """
    lengths = {len(one.values) for one in waveform.channels}
    if len(lengths) != 1 or not np.isfinite(waveform.rate) or not 0 < waveform.rate <= 1e6:
        raise DataError("a waveform that is none", seen=f"lengths {sorted(lengths)}", expected="channels of one length, and a rate")
    for one in waveform.channels:
        parse_unit(one.unit)
    count = lengths.pop()
    head = {
        "start": waveform.start, "rate": waveform.rate, "count": count, "block_s": BLOCK_S,
        "channels": [{"name": one.name, "unit": one.unit, "step": one.step, "origin": one.origin} for one in waveform.channels],
    }  # fmt: skip
    text = json.dumps(head, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    parts = [_MAGIC, struct.pack("<I", len(text)), text]
    size = max(1, round(waveform.rate * BLOCK_S))
    for first in range(0, count, size):
        for one in waveform.channels:
            scale, offset, counts = _counts(np.asarray(one.values[first : first + size], float), one.step, one.origin)
            packed = zlib.compress(np.diff(counts, prepend=0).astype("<i4").tobytes(), 6)
            parts += [_HEAD.pack(scale, offset, len(packed)), packed]
    return b"".join(parts)


def unpack(body: bytes) -> Waveform:
    """Return the waveform of its bytes.

    Raises
    ------
    FormatError
        When they are none.
    """
    try:
        if body[:4] != _MAGIC:
            raise ValueError("another format")
        (length,) = struct.unpack_from("<I", body, 4)
        head = json.loads(body[8 : 8 + length])
        at, count, rate = 8 + length, int(head["count"]), float(head["rate"])
        size = max(1, round(rate * int(head["block_s"])))
        if count < 0 or count * len(head["channels"]) > _MOST or not head["channels"]:
            raise ValueError("too many samples")
        values = [np.full(count, np.nan) for _ in head["channels"]]
        for first in range(0, count, size):
            for column in values:
                scale, offset, packed = _HEAD.unpack_from(body, at)
                at += _HEAD.size
                n = min(size, count - first)
                inflater = zlib.decompressobj()
                raw = inflater.decompress(body[at : at + packed], 4 * n)
                if inflater.unconsumed_tail or len(raw) != 4 * n:
                    raise ValueError("a block of another length")
                at += packed
                counts = np.cumsum(np.frombuffer(raw, "<i4").astype(np.int64))
                column[first : first + n] = np.where(counts == _GAP, np.nan, counts * scale + offset)
        channels = tuple(
            Channel(str(one["name"]), str(one["unit"]), column, float(one["step"]), float(one["origin"]))
            for one, column in zip(head["channels"], values, strict=True)
        )
        return Waveform(int(head["start"]), rate, channels)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, zlib.error, MemoryError, OverflowError) as error:
        raise FormatError("no waveform", seen=type(error).__name__, expected="blocks of GWF1") from error
