"""A day of one series as one block of bytes: columns, delta-coded times, shuffled bytes, deflated."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from gemel.core.errors import StoreError
from gemel.core.series import Series
from gemel.core.time import DAY

__all__ = ["COLUMNS", "decode", "encode", "merged", "rows_of", "split_days"]

COLUMNS = ("time", "value", "recorded", "status", "censored")
_MAGIC = b"GS1\0"
_MERGED = b"GS2\0"
"""A block of several appends: a further column says by which event of the store each row came."""


def _shuffle(column: np.ndarray) -> bytes:
    return np.ascontiguousarray(column.astype(column.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, column.itemsize).T).tobytes()


def _unshuffle(raw: bytes, n: int, dtype: str) -> np.ndarray:
    size = np.dtype(dtype).itemsize
    return np.ascontiguousarray(np.frombuffer(raw, np.uint8).reshape(size, n).T).view(dtype).reshape(n)


def encode(columns: dict[str, np.ndarray]) -> bytes:
    """Return the block of some rows, in their order.

    Parameters
    ----------
    columns : ``time`` and ``recorded`` (n,) ns UTC, ``value`` (n,), ``status`` (n,), ``censored`` (n,); of a block that was merged also ``event`` (n,).
    """
    time = np.asarray(columns["time"], np.int64)
    zero = np.zeros(1, np.int64)
    with np.errstate(over="ignore"):  # differences wrap around and are undone by sums that do
        step = np.diff(np.diff(time, prepend=zero), prepend=zero)
        delay = np.asarray(columns["recorded"], np.int64) - time
    body = _shuffle(step) + _shuffle(np.asarray(columns["value"], np.float64)) + _shuffle(delay)
    body += np.asarray(columns["status"], np.uint8).tobytes() + np.asarray(columns["censored"], np.int8).tobytes()
    if "event" in columns:
        body += _shuffle(np.diff(np.asarray(columns["event"], np.int64), prepend=zero))
    return (_MERGED if "event" in columns else _MAGIC) + len(time).to_bytes(4, "little") + zlib.compress(body, 6)


def decode(block: bytes) -> dict[str, np.ndarray]:
    """Return the columns that :func:`encode` was given, bit for bit.

    Raises
    ------
    StoreError
        When the block is damaged.
    """
    try:
        if block[:4] not in (_MAGIC, _MERGED):
            raise ValueError("another format")
        is_merged = block[:4] == _MERGED
        n = int.from_bytes(block[4:8], "little")
        body = zlib.decompress(block[8:])
        if len(body) != (34 if is_merged else 26) * n:
            raise ValueError("another length")
    except (zlib.error, ValueError) as error:
        raise StoreError(
            "a block of readings is damaged", seen=str(error), fix="restore the last backup, and import again what came since"
        ) from error
    with np.errstate(over="ignore"):
        time = np.cumsum(np.cumsum(_unshuffle(body[: 8 * n], n, "<i8")))
        recorded = _unshuffle(body[16 * n : 24 * n], n, "<i8") + time
    columns = {
        "time": time,
        "value": _unshuffle(body[8 * n : 16 * n], n, "<f8"),
        "recorded": recorded,
        "status": np.frombuffer(body[24 * n : 25 * n], np.uint8),
        "censored": np.frombuffer(body[25 * n : 26 * n], np.int8),
    }
    return columns | {"event": np.cumsum(_unshuffle(body[26 * n :], n, "<i8"))} if is_merged else columns


def merged(parts: Sequence[tuple[int, dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    """Return several blocks as the columns of one: the rows in their order, each with the event by which it came.

    Parameters
    ----------
    parts : the event and the columns of each block, in the order of their revisions; one that was merged before keeps its events.
    """
    events = [columns.get("event", np.full(len(columns["time"]), event, np.int64)) for event, columns in parts]
    return {name: np.concatenate([columns[name] for _, columns in parts]) for name in COLUMNS} | {"event": np.concatenate(events)}


def rows_of(columns: dict[str, np.ndarray]) -> list[bytes]:
    """Return each row as bytes, so that identical rows can be told (values by their bits)."""
    wide = np.column_stack(
        [
            np.ascontiguousarray(columns["value"], np.float64).view(np.int64)
            if name == "value"
            else np.asarray(columns[name]).astype(np.int64)
            for name in COLUMNS
        ]
    )
    return [row.tobytes() for row in wide]


def split_days(series: Series) -> dict[int, dict[str, np.ndarray]]:
    """Return the rows of each UTC day, in their order within the series."""
    if not len(series):
        return {}
    days = series.time // DAY
    order = np.argsort(days, kind="stable")
    marks, starts = np.unique(days[order], return_index=True)
    pieces = np.split(order, starts[1:])
    return {int(day): {name: getattr(series, name)[piece] for name in COLUMNS} for day, piece in zip(marks, pieces, strict=True)}
