"""Whether a store is sound: pages, references, gaps, keys, and every sealed value in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gemel.core.errors import GemelError, StoreError
from gemel.core.lineage import digest
from gemel.platform.store import chunks, facts
from gemel.platform.store.base import Database
from gemel.platform.store.facts import TABLES as FACTS
from gemel.platform.store.reindexing import find_index_problems
from gemel.platform.store.sealing import DEPLOYMENT, Sealing
from gemel.platform.store.versions import KINDS, content_of

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
    except (GemelError, ValueError) as error:
        return [f"{what}: {type(error).__name__}"]


def _rows(database: Database, table: str, columns: str) -> Iterator[tuple]:
    """Yield rows patient by patient, so that not all are held at once."""
    for (pid,) in database.execute("SELECT pid FROM patient ORDER BY number").fetchall():
        for row in database.execute(f"SELECT {columns} FROM {table} WHERE pid = ?", (pid,)).fetchall():
            yield pid, *row


def find_problems(database: Database, sealing: Sealing) -> tuple[str, ...]:
    """Look at everything in an open store; return what is wrong, one sentence each."""
    found = database.faults()
    first, last, n = database.execute("SELECT coalesce(min(seq), 1), coalesce(max(seq), 0), count(*) FROM event").fetchone()
    if first != 1 or last != n:
        found.append(f"events: {n} of them, numbered {first} to {last}")
    found += _keys(database)
    for pid, token, name in _rows(database, "patient", "token, name"):
        if token is not None:
            found += _trouble(
                f"patient {pid}", lambda p=pid, t=token, b=name: sealing.token("patient", sealing.open("patient", p, p, 0, b)) == t
            )
    for pid, rev, body in _rows(database, "demographics", "rev, body"):
        found += _trouble(f"demographics {pid}/{rev}", lambda p=pid, r=rev, b=body: bool(sealing.open("demographics", p, r, 0, b)))
    for pid, sid, token, head in _rows(database, "series", "sid, token, head"):
        found += _trouble(
            f"series {sid}", lambda p=pid, s=sid, t=token, h=head: _series_token(sealing, p, sealing.open("series", p, s, 0, h)) == t
        )
        for day, rev, count, block in database.execute("SELECT day, rev, n, block FROM series_chunk WHERE sid = ?", (sid,)).fetchall():
            found += _trouble(
                f"series_chunk {sid}/{day}/{rev}",
                lambda p=pid, a=f"{sid}/{day}", r=rev, b=block, k=count: (
                    len(chunks.decode(sealing.open("series_chunk", p, a, r, b))["time"]) == k
                ),
            )
    for table in FACTS:
        for pid, token, body in _rows(database, table, "token, body"):
            found += _trouble(
                f"{table} {token[:12]}",
                lambda t=table, p=pid, k=token, b=body: sealing.own(p, t, digest(facts.decode(t, sealing.open(t, p, k, 0, b)))) == k,
            )
    for table in KINDS.values():
        for pid, key, content, head, body in _rows(database, table, "id, content, head, body"):
            found += _trouble(
                f"{table} {key}",
                lambda t=table, p=pid, k=key, c=content, h=head, b=body: (
                    bool(sealing.open(t, p, k, "head", h)) and content_of(sealing, p, sealing.open(t, p, k, "body", b)) == c
                ),
            )
    for table in ("decision", "outcome"):
        for pid, key, body in _rows(database, table, "id, body"):
            found += _trouble(f"{table} {key}", lambda t=table, p=pid, k=key, b=body: bool(sealing.open(t, p, k, 0, b)))
    for pid, key, server, rev, body in _rows(database, "delivery", "proposal, server, rev, told"):
        found += _trouble(
            f"delivery {key}", lambda p=pid, k=f"{key}/{server}", r=rev, b=body: bool(json.loads(sealing.open("delivery", p, k, r, b)))
        )
    for pid, key, body in _rows(database, "image", "token, body"):
        found += _trouble(
            f"image {key[:12]}",
            lambda p=pid, k=key, b=body: sealing.token("image", json.loads(sealing.open("image", p, k, 0, b))["instance"]) == k,
        )
    found += find_index_problems(database, sealing)
    for key, subject, told, body in database.execute("SELECT seq, subject, told, body FROM inbox ORDER BY seq").fetchall():
        found += _trouble(
            f"inbox {key}",
            lambda s=subject, t=told, b=body: (
                bool(sealing.open("inbox", s, s, "told", t)) | (sealing.open("inbox", s, s, "body", b) is not None)
            ),
        )
    return tuple(found)


def _series_token(sealing: Sealing, pid: str, head: bytes) -> str:
    code, _, unit, source = json.loads(head)
    return sealing.own(pid, "series", json.dumps([code, unit, source]))


def _keys(database: Database) -> list[str]:
    """Every patient has a key, unless erased; every key has somebody."""
    lacking = database.execute(
        "SELECT pid FROM patient WHERE pid NOT IN (SELECT subject FROM key_wrap) AND pid NOT IN (SELECT pid FROM erasure) ORDER BY number"
    ).fetchall()
    undead = database.execute("SELECT pid FROM erasure WHERE pid IN (SELECT subject FROM key_wrap) ORDER BY pid").fetchall()
    orphans = database.execute(
        "SELECT subject FROM key_wrap WHERE subject <> ? AND subject NOT IN (SELECT pid FROM patient) AND subject NOT IN (SELECT subject FROM inbox)"
        " ORDER BY subject",
        (DEPLOYMENT,),
    ).fetchall()
    masters = database.execute("SELECT count(DISTINCT kek) FROM key_wrap").fetchone()[0]
    found = [f"patient {pid}: has no key" for (pid,) in lacking] + [f"patient {pid}: erased, and still has a key" for (pid,) in undead]
    found += [f"key of {subject}: belongs to nobody" for (subject,) in orphans]
    return found + ([f"keys: wrapped by {masters} master keys"] if masters > 1 else [])
