"""Whether a store is sound: pages, references, gaps, blocks and hashes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from gemel.core.errors import StoreError
from gemel.core.lineage import digest
from gemel.platform.store import chunks, facts
from gemel.platform.store.versions import KINDS

__all__ = ["StoreCheck", "find_problems"]


@dataclass(frozen=True)
class StoreCheck:
    """What :meth:`gemel.platform.store.Store.check` found: how many rows of each table, and what is wrong."""

    counts: dict[str, int]
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def _trouble(what: str, is_sound: Callable[[], bool]) -> list[str]:
    try:
        return [] if is_sound() else [f"{what}: not what was stored"]
    except StoreError as error:
        return [f"{what}: {error.what}"]


def find_problems(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Look at everything in an open store; return what is wrong, one sentence each."""
    found = [f"pages: {row[0]}" for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
    found += [f"reference: row {row[1]} of {row[0]} points nowhere in {row[2]}" for row in connection.execute("PRAGMA foreign_key_check")]
    first, last, n = connection.execute("SELECT coalesce(min(seq), 1), coalesce(max(seq), 0), count(*) FROM event").fetchone()
    if first != 1 or last != n:
        found.append(f"events: {n} of them, numbered {first} to {last}")
    for sid, day, rev, n, block in connection.execute("SELECT sid, day, rev, n, block FROM series_chunk"):
        found += _trouble(f"series_chunk {sid}/{day}/{rev}", lambda b=block, k=n: len(chunks.decode(b)["time"]) == k)
    for table in ("exposure", "finding", "document", "geometry"):
        for key, body in connection.execute(f"SELECT digest, body FROM {table}"):
            found += _trouble(f"{table} {key[:12]}", lambda t=table, b=body, k=key: digest(facts.decode(t, b)) == k)
    for table in KINDS.values():
        for key, sha, body in connection.execute(f"SELECT id, sha256, body FROM {table}"):
            found += _trouble(f"{table} {key}", lambda b=body, s=sha: hashlib.sha256(b).hexdigest() == s)
    return tuple(found)
