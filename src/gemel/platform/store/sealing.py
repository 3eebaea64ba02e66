"""Keys in the database: one per patient and per message, wrapped by the master key; what is stored is sealed by them, bound to its row."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from gemel.core.errors import StoreError
from gemel.platform.crypto import MOST_SEALS, DataKey, Secret, blind, derive, new_key, number_of, place
from gemel.platform.keys import Master
from gemel.platform.store.base import Database

__all__ = ["DEPLOYMENT", "Sealing"]

DEPLOYMENT = "deployment"
"""The subject whose key blinds what is searched for across patients."""

_CACHED = 20_000


@dataclass
class _Subject:
    keys: dict[int, DataKey]
    tokens: Secret
    seals: int
    fresh: int = field(default=0)

    @property
    def newest(self) -> int:
        return max(self.keys)


class Sealing:
    """Seals and opens what one store keeps. Keys are unwrapped when they are first needed, and held in this process.

    Parameters
    ----------
    database : the connection that the store uses.
    master : wraps the keys.
    most : seals per key, then it gets a successor; fewer than the default are for tests.
    """

    def __init__(self, database: Database, master: Master, *, most: int = MOST_SEALS) -> None:
        self._database, self.master, self._most = database, master, most
        self._subjects: OrderedDict[str, _Subject] = OrderedDict()
        self._touched: set[str] = set()

    def start(self) -> None:
        """Find the deployment's key, or make it: inside a transaction that writes.

        Raises
        ------
        StoreError
            When the store was sealed under another master key.
        """
        row = self._database.execute("SELECT kek FROM key_wrap WHERE subject = ?", (DEPLOYMENT,)).fetchone()
        if row is None:
            self.enrol(DEPLOYMENT)
        elif row[0] != self.master.id:
            raise StoreError(
                "the store is sealed under another master key", seen=f"key {self.master.id}", expected=f"key {row[0]}",
                fix="name the right key file: GEMEL_KEY_FILE",
            )  # fmt: skip

    def enrol(self, subject: str) -> None:
        """Make the first key of a subject, or the next."""
        last = self._database.execute("SELECT max(number) FROM key_wrap WHERE subject = ?", (subject,)).fetchone()[0]
        number, key = 0 if last is None else last + 1, new_key()
        self._database.execute(
            "INSERT INTO key_wrap (subject, number, kek, wrapped, seals) VALUES (?, ?, ?, ?, 0)",
            (subject, number, self.master.id, self.master.wrap(key)),
        )
        known = self._subjects.get(subject)
        if known is not None:
            known.keys[number], known.seals = DataKey(key, number), 0
        else:
            self._keep(subject, _Subject({number: DataKey(key, number)}, derive(key, "tokens"), 0))

    def _keep(self, subject: str, found: _Subject) -> _Subject:
        self._subjects[subject] = found
        while len(self._subjects) > _CACHED:
            oldest = next(iter(self._subjects))
            if oldest in self._touched:
                break
            del self._subjects[oldest]
        return found

    def _of(self, subject: str) -> _Subject:
        found = self._subjects.get(subject)
        if found is not None:
            return found
        rows = self._database.execute(
            "SELECT number, wrapped, seals FROM key_wrap WHERE subject = ? ORDER BY number", (subject,)
        ).fetchall()
        if not rows or rows[0][0] != 0:
            raise StoreError(
                "the key of this patient is gone",
                seen=subject,
                fix="if they were erased, this is how it must be; else restore the key backup",
            )
        first = self.master.unwrap(rows[0][1])
        keys = {rows[0][0]: DataKey(first, rows[0][0])}
        keys |= {number: DataKey(self.master.unwrap(wrapped), number) for number, wrapped, _ in rows[1:]}
        return self._keep(subject, _Subject(keys, derive(first, "tokens"), rows[-1][2]))

    def seal(self, table: str, subject: str, row: object, version: object, plain: bytes) -> bytes:
        """Seal bytes under the subject's newest key, bound to their row: inside a transaction that writes."""
        found = self._of(subject)
        if found.seals + found.fresh >= self._most:
            self.flush()
            self.enrol(subject)
        found.fresh += 1
        self._touched.add(subject)
        return found.keys[found.newest].seal(plain, place(table, subject, row, version))

    def open(self, table: str, subject: str, row: object, version: object, sealed: bytes) -> bytes:
        """Return what was sealed for this row.

        Raises
        ------
        StoreError
            When it is damaged, stands elsewhere, or its key is gone.
        """
        found = self._of(subject)
        number = number_of(sealed)
        if number not in found.keys:
            self._subjects.pop(subject, None)  # another process made a successor
            found = self._of(subject)
        key = found.keys.get(number)
        if key is None:
            raise StoreError(
                "a sealed value names a key that is not there", seen=f"key {number}", fix="restore the key backup, or the last backup"
            )
        return key.open(sealed, place(table, subject, row, version))

    def token(self, field: str, value: str | bytes) -> str:
        """Return the deployment's blind token of a value: for what is looked for without knowing whose it is."""
        return blind(self._of(DEPLOYMENT).tokens, field, value)

    def own(self, subject: str, field: str, value: str | bytes) -> str:
        """Return a subject's own blind token of a value: when their key is destroyed, no guess can be tried against it."""
        return blind(self._of(subject).tokens, field, value)

    def secret(self, use: str) -> Secret:
        """Return a secret of this deployment for one use, the same for every process that opens the store: for signing what the server hands out."""
        return derive(self._of(DEPLOYMENT).tokens, use)

    def flush(self) -> None:
        """Write down how often keys were used: at the end of a transaction."""
        for subject in self._touched:
            found = self._subjects.get(subject)
            if found is not None and found.fresh:
                self._database.execute(
                    "UPDATE key_wrap SET seals = seals + ? WHERE subject = ? AND number = ?", (found.fresh, subject, found.newest)
                )
                found.seals, found.fresh = found.seals + found.fresh, 0
        self._touched.clear()

    def forget(self, subject: str | None = None) -> None:
        """Drop a key from memory, or all: after a rollback, some may not be in the database."""
        self._touched.clear()
        if subject is None:
            self._subjects.clear()
        else:
            self._subjects.pop(subject, None)

    def rewrap(self, master: Master) -> int:
        """Wrap every key by another master key; return how many. Nothing that is sealed changes: inside a transaction that writes."""
        rows = self._database.execute("SELECT subject, number, wrapped FROM key_wrap ORDER BY subject, number").fetchall()
        for subject, number, wrapped in rows:
            again = master.wrap(self.master.unwrap(wrapped))
            self._database.execute(
                "UPDATE key_wrap SET kek = ?, wrapped = ? WHERE subject = ? AND number = ?", (master.id, again, subject, number)
            )
        self.master = master
        return len(rows)
