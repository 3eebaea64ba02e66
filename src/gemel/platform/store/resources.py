"""Resources of FHIR in the store: every version of each, sealed under its patient's key, as it came but for its id and what the server says of it.

A change is an event and a row; what the newest version is follows from the rows, so that nothing is edited. A search as of an event sees what was there then, whatever
has been written since (:mod:`gemel.platform.store.search`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gemel.core.errors import ConflictError, FormatError
from gemel.core.time import iso
from gemel.interop.fhir.codec import Element, encode
from gemel.interop.fhir.index import search_values
from gemel.platform.consent import Datum
from gemel.platform.store.base import Database
from gemel.platform.store.described import NOBODY, Described, datum_of, describe
from gemel.platform.store.index_rows import Blinder, Rows
from gemel.platform.store.reindexing import BODY, RESOURCE
from gemel.platform.store.sealing import DEPLOYMENT
from gemel.platform.store.store import Store
from gemel.platform.store.versions import content_of

__all__ = ["Change", "Place", "Resources", "Stored", "id_of", "instant"]

_COLUMNS = "num, pid, ref, vid, kind, codes, labels, time_ns, author, basis, research, recorded_ns, deleted"
_MILLISECOND = 1_000_000
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to write.

    Parameters
    ----------
    kind, rid : resource type and id.
    tree : the resource; ``None`` deletes it.
    is_new : the id was made for it, so that there is nothing to look for.
    match : the version that must be the newest; ``None`` when any may be.
    """

    kind: str
    rid: str
    tree: Mapping[str, Any] | None
    is_new: bool = False
    match: int | None = None

    @property
    def ref(self) -> str:
        """Return ``Type/id``."""
        return f"{self.kind}/{self.rid}"


class Stored(NamedTuple):
    """One version of a resource: its number (that of its event), whose it is (random id), reference, version, when it was written (ns UTC).

    ``ref`` is what the store calls it: ``Type/id``, and for a patient, whose id is their pseudonym, a blind token of it (:func:`id_of` has the id).
    """

    num: int
    pid: str
    ref: str
    vid: int
    kind: str
    found: Described
    is_research: bool
    recorded: int
    deleted: bool

    @property
    def datum(self) -> Datum:
        """Return what the guard is asked about."""
        return datum_of(self.pid, self.ref, self.kind, self.found, is_research=self.is_research)

    @property
    def is_nobodys(self) -> bool:
        """Whether it is about nobody who is treated."""
        return self.pid == DEPLOYMENT


class Place(NamedTuple):
    """What a write came to: the version, its bytes, whether there was none before, the resource (``None`` when deleted), and the version before."""

    stored: Stored
    body: bytes
    created: bool
    tree: Mapping[str, Any] | None = None
    before: Stored | None = None


Allow = Callable[[str, Datum], None]
"""Asked with ``create``, ``update`` or ``delete`` and what it is about, before it is written; raises when it may not be."""


def instant(time: int) -> str:
    """Return a time (ns UTC) as an instant of FHIR, to the millisecond.

    Examples
    --------
    >>> instant(1_500_000_000_123_456_789)
    '2017-07-14T02:40:00.123Z'
    """
    whole, rest = divmod(time // _MILLISECOND, 1000)
    return f"{iso(whole * 1_000_000_000)[:19]}.{rest:03d}Z"


def stamped(tree: Mapping[str, Any], rid: str, vid: int, recorded: int) -> Element:
    """Return a resource with its id, version and time; all else in its place, as it was."""
    meta = tree.get("meta")
    told = {"versionId": str(vid), "lastUpdated": instant(recorded)}
    if isinstance(meta, Mapping):
        told = {**told, **{key: value for key, value in meta.items() if key not in told}}
    head = {"resourceType": tree["resourceType"], "id": rid, "meta": Element(told)}
    return Element({**head, **{key: value for key, value in tree.items() if key not in head}})


def id_of(body: bytes) -> str:
    """Return the id of a version from its bytes: it stands second, after the type.

    Examples
    --------
    >>> id_of(b'{"resourceType":"Basic","id":"a.1","meta":{}}')
    'a.1'
    """
    return body.split(b'"', 8)[7].decode()


def _stored(row: Sequence[Any]) -> Stored:
    num, pid, ref, vid, kind, codes, labels, time, author, basis, research, recorded, deleted = row
    return Stored(num, pid, ref, vid, kind, Described("", codes, labels, time, author, basis), bool(research), recorded, bool(deleted))


@dataclass
class _Work:
    """What one transaction gathers before it is written."""

    rows: Rows
    num: int
    events: list[tuple[Any, ...]] = field(default_factory=list)
    resources: list[tuple[Any, ...]] = field(default_factory=list)
    bodies: list[tuple[Any, ...]] = field(default_factory=list)
    pids: dict[str, str] = field(default_factory=dict)
    newest: dict[str, Stored] = field(default_factory=dict)


class Resources:
    """The resources of a store.

    Parameters
    ----------
    store : open; every method is one transaction, or part of its :meth:`~gemel.platform.store.Store.batch`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.blind: Blinder = blinder(store)

    def write(self, changes: Sequence[Change], *, recorded: int, allow: Allow | None = None) -> list[Place]:
        """Write versions, all or none, in their order; return what each came to.

        Parameters
        ----------
        recorded : ns UTC; kept to the millisecond.
        allow : asked about each, of what stands and of what will; left out, everything may be written.

        Raises
        ------
        ConflictError
            When the newest version is not the one that was to be changed, or the same resource is changed twice.
        """
        recorded -= recorded % _MILLISECOND
        with self.store._transaction("write") as database:
            work = _Work(Rows(self.blind), database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0])
            places, seen = [], set()
            for change in changes:
                if not _ID.fullmatch(change.rid):
                    raise FormatError("not an id", seen=change.kind, expected="1 to 64 letters, digits, - and .")
                if change.ref in seen:
                    raise ConflictError(
                        "a resource is changed twice at once", seen=change.kind, fix="send one change of it, or one after the other"
                    )
                seen.add(change.ref)
                before = None if change.is_new else self.find(change.kind, change.rid)
                if change.match is not None and (before is None or before.vid != change.match):
                    raise ConflictError(
                        "the resource has changed since", seen=f"version {0 if before is None else before.vid}", expected=f"version {change.match}",
                        fix="read it again, then change that", is_stale=True,
                    )  # fmt: skip
                if change.tree is None and (before is None or before.deleted):
                    if before is not None:
                        places.append(Place(before, self.body(before), False))
                    continue
                places.append(self._one(work, change, before, recorded, allow))
            self._flush(database, work)
        return places

    def _one(self, work: _Work, change: Change, before: Stored | None, recorded: int, allow: Allow | None) -> Place:
        vid = 1 if before is None else before.vid + 1
        created = before is None or before.deleted
        if before is not None and allow is not None and not before.deleted:
            allow("delete" if change.tree is None else "update", before.datum)
        if change.tree is None:
            assert before is not None  # for the type checker: what is not there was passed over
            return Place(*self._deletion(work, change, before, vid, recorded), created, None, before)
        values = search_values({**change.tree, "id": change.rid})
        found = describe(change.kind, change.rid, change.tree, values)
        pid = self._pid(work, found.owner, recorded)
        if before is not None and not before.deleted and before.pid != pid:
            # it becomes another's: deleted for the one, new for the other, so that erasing the other does not bring back what the one had
            self._deletion(work, change, before, vid, recorded)
            vid += 1
        tree = stamped(change.tree, change.rid, vid, recorded)
        work.num += 1
        stored = Stored(work.num, pid, self.blind.ref(change.ref), vid, change.kind, found, False, recorded, False)
        if allow is not None:
            allow("create" if created else "update", stored.datum)
        body = encode(tree)
        work.rows.add(change.kind, work.num, values)
        self._put(work, stored, body)
        return Place(stored, body, created, tree, before)

    def _deletion(self, work: _Work, change: Change, before: Stored, vid: int, recorded: int) -> tuple[Stored, bytes]:
        work.num += 1
        stored = before._replace(num=work.num, vid=vid, recorded=recorded, deleted=True)
        body = encode(stamped({"resourceType": change.kind}, change.rid, vid, recorded))
        self._put(work, stored, body)
        return stored, body

    def _put(self, work: _Work, stored: Stored, body: bytes) -> None:
        sealing, told = self.store._sealing, stored.found
        sealed = sealing.seal("resource_body", stored.pid, stored.num, 0, body)
        work.bodies.append((stored.num, stored.pid, content_of(sealing, stored.pid, body), sealed))
        work.events.append((stored.num, "resource", stored.pid, stored.kind, stored.recorded))
        work.resources.append(
            (stored.num, stored.pid, stored.ref, stored.vid, stored.kind, told.codes, told.labels, told.time, told.author, told.basis, 0, stored.recorded, int(stored.deleted))
        )  # fmt: skip

    def _pid(self, work: _Work, owner: str, recorded: int) -> str:
        found = work.pids.get(owner)
        if found is None:
            found = work.pids[owner] = enrol(self.store, owner, recorded)
        return found

    def _flush(self, database: Database, work: _Work) -> None:
        database.executemany("INSERT INTO event (seq, kind, pid, ref, recorded_ns) VALUES (?, ?, ?, ?, ?)", work.events)
        database.executemany(RESOURCE, work.resources)
        database.executemany(BODY, work.bodies)
        work.rows.write(database)

    def find(self, kind: str, rid: str, vid: int | None = None) -> Stored | None:
        """Return the newest version of a resource, or one by its number; ``None`` when there is none."""
        ref = self.blind.ref(f"{kind}/{rid}")
        where, values = ("", (ref,)) if vid is None else (" AND vid = ?", (ref, vid))
        with self.store._transaction("read") as database:
            row = database.execute(f"SELECT {_COLUMNS} FROM resource WHERE ref = ?{where} ORDER BY vid DESC LIMIT 1", values).fetchone()
        return None if row is None else _stored(row)

    def body(self, stored: Stored) -> bytes:
        """Return a version as it is sent: JSON of FHIR."""
        return self.bodies([stored])[0]

    def bodies(self, versions: Sequence[Stored]) -> list[bytes]:
        """Return several versions; of a deleted one there are type, id and version."""
        sealing, found = self.store._sealing, {}
        wanted = [one.num for one in versions]
        with self.store._transaction("read") as database:
            for at in range(0, len(wanted), 256):
                part = wanted[at : at + 256]
                marks = ", ".join("?" * (1 << (len(part) - 1).bit_length()))  # few lengths, so that few statements are prepared
                filled = [*part, *[part[0]] * (marks.count("?") - len(part))]
                for num, pid, body in database.execute(
                    f"SELECT num, pid, body FROM resource_body WHERE num IN ({marks})", filled
                ).fetchall():
                    found[num] = sealing.open("resource_body", pid, num, 0, body)
        return [found[num] for num in wanted]

    def rows(self, nums: Sequence[int]) -> list[Stored]:
        """Return versions by their numbers, in that order."""
        found = {}
        with self.store._transaction("read") as database:
            for at in range(0, len(nums), 256):
                part = list(nums[at : at + 256])
                width = 1 << (len(part) - 1).bit_length()
                marks = ", ".join("?" * width)
                for row in database.execute(
                    f"SELECT {_COLUMNS} FROM resource WHERE num IN ({marks})", [*part, *[part[0]] * (width - len(part))]
                ).fetchall():
                    found[row[0]] = _stored(row)
        return [found[num] for num in nums]

    def last(self) -> int:
        """Return the number of the last event: a search as of it sees what is there now."""
        with self.store._transaction("read") as database:
            return database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]


def blinder(store: Store) -> Blinder:
    """Return what makes the blind tokens of a store: one for each, so that what it keeps is kept."""
    found = getattr(store, "_blinder", None)
    if found is None:
        found = store._blinder = Blinder(store._sealing)  # type: ignore[attr-defined]
    return found


def enrol(store: Store, owner: str, recorded: int) -> str:
    """Return the random id of a pseudonym, enrolled when it is new; what is nobody's belongs to the deployment."""
    database = store._database
    if owner == NOBODY:
        if database.execute("SELECT 1 FROM patient WHERE pid = ?", (DEPLOYMENT,)).fetchone() is None:
            number = database.execute("SELECT coalesce(max(number), 0) + 1 FROM patient").fetchone()[0]
            database.execute(
                "INSERT INTO patient (pid, token, name, number, recorded_ns) VALUES (?, NULL, NULL, ?, ?)", (DEPLOYMENT, number, recorded)
            )
        return DEPLOYMENT
    token = store._sealing.token("patient", owner)
    row = database.execute("SELECT pid FROM patient WHERE token = ?", (token,)).fetchone()
    return row[0] if row else store._enrol(owner, token, recorded)
