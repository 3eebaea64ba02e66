"""Blocks of readings made fewer: what came one by one is merged into one block of its day.

A stream appends a block for every reading; a year of them would be a hundred thousand to open. Merging changes nothing that can be read: rows keep their order
and the event by which they came, so that a record as of any event is the same, bit for bit.
"""

from __future__ import annotations

from gemel.core.time import DAY
from gemel.platform.store import chunks
from gemel.platform.store.base import Database
from gemel.platform.store.sealing import Sealing

__all__ = ["compact", "find_loose"]

MOST_LOOSE = 32
"""Blocks of a day that is not over, above which they are merged: each row is written again about nine times a day, and at most so many are opened."""


def find_loose(database: Database, now: int, limit: int) -> list[tuple[int, int, str]]:
    """Return series, day and owner of what is worth merging: days that are over with two blocks, others with more than :data:`MOST_LOOSE`."""
    return database.execute(
        "SELECT series_chunk.sid, series_chunk.day, series.pid FROM series_chunk JOIN series ON series.sid = series_chunk.sid"
        " WHERE NOT EXISTS (SELECT 1 FROM erasure WHERE erasure.pid = series.pid) GROUP BY series_chunk.sid, series_chunk.day, series.pid"
        " HAVING count(*) > CASE WHEN series_chunk.day < ? THEN 1 ELSE ? END ORDER BY series_chunk.sid, series_chunk.day LIMIT ?",
        (now // DAY - 1, MOST_LOOSE, limit),
    ).fetchall()


def compact(database: Database, sealing: Sealing, now: int, limit: int) -> int:
    """Merge blocks inside an open transaction, of at most so many days of series; return how many blocks there are fewer.

    Parameters
    ----------
    now : ns UTC.
    limit : days of series in this transaction, so that none is long.
    """
    fewer = 0
    for sid, day, pid in find_loose(database, now, limit):
        rows = database.execute("SELECT rev, seq, block FROM series_chunk WHERE sid = ? AND day = ? ORDER BY rev", (sid, day)).fetchall()
        place = f"{sid}/{day}"
        whole = chunks.merged([(seq, chunks.decode(sealing.open("series_chunk", pid, place, rev, block))) for rev, seq, block in rows])
        first, last = rows[0][1], rows[-1][0]
        database.execute(
            "INSERT INTO series_chunk (sid, day, rev, seq, n, block, covers) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sid, day, last + 1, first, len(whole["time"]), sealing.seal("series_chunk", pid, place, last + 1, chunks.encode(whole)), last),
        )
        database.execute("DELETE FROM series_chunk WHERE sid = ? AND day = ? AND rev <= ?", (sid, day, last))
        fewer += len(rows) - 1
    return fewer
