"""The audit trail: who did what to whom, when and why, each entry chained to the one before by its hash, with signed Merkle roots anchored elsewhere.

An entry is one line of canonical JSON; ``hash_n = SHA256(hash_(n-1) || line_n without its hash)``, with 32 zero bytes before the first. What names people is
sealed before it is hashed, so that a patient's key can be destroyed and the chain still verifies. Every 1,000 entries or 60 s the root of the
Merkle tree over the hashes is signed and written beside the trail, and to an anchor on another file system: whoever cuts or rewrites the trail
must also reach that.

What is not seen: entries cut off after the newest anchored root, and a trail rewritten together with every copy of its anchor by whoever holds the key.

References
----------
RFC 6962, Certificate Transparency, section 2.1: Merkle trees.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, ValidationError

from gemel.core.errors import DataError, FormatError, StoreError
from gemel.core.lineage import digest
from gemel.core.time import SECOND
from gemel.platform.merkle import Frontier
from gemel.platform.signing import Signature, sign

__all__ = [
    "DISCLOSURES",
    "START",
    "AuditLog",
    "AuditRoot",
    "Sealer",
    "bound",
    "canonical",
    "entries",
    "link",
    "read_roots",
    "root_hash",
    "roots_path",
    "split",
]

START = bytes(32)
"""The hash before the first entry."""

DISCLOSURES = frozenset(
    {"read", "vread", "history", "search", "count", "export", "subscribe", "stream", "prefetch", "forecast", "posterior", "image", "audit"}
)
"""Actions after which something has left: their entry is on the disk before the answer goes."""

MEANING = "root of an audit trail"
_TAIL = len(',"hash":"') + 64 + len('"}')
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Sealer(Protocol):
    """Turns what names people into bytes that only a key opens."""

    def seal(self, patient: str, plain: bytes, bound: bytes) -> bytes:
        """Seal under the patient's key; ``bound`` is the place of the entry, so that two cannot be exchanged."""
        ...

    def open(self, patient: str, sealed: bytes, bound: bytes) -> bytes:
        """Open; a key that was destroyed raises ``StoreError``."""
        ...


class AuditRoot(BaseModel):
    """What was signed of a trail: its length, the Merkle root over the hashes of its entries, and the hash of the last (hexadecimal digits)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int
    root: str
    head: str
    time: int
    signature: Signature


def canonical(table: Mapping[str, Any]) -> bytes:
    """Return an object as JSON in its one form: keys in order, no spaces, UTF-8.

    Raises
    ------
    DataError
        When something in it is not JSON: bytes, a date, a number that is not finite.
    """
    try:
        return _ENCODER.encode(table).encode()
    except (TypeError, ValueError) as error:
        raise DataError(
            "an audit entry must be plain JSON", seen=str(error), expected="text, finite numbers, lists and mappings"
        ) from error


def link(previous: bytes, body: bytes) -> bytes:
    """Return the hash of an entry, 32 bytes, from that of the entry before and its canonical form without a hash."""
    return sha256(previous + body).digest()


def root_hash(size: int, root: str, head: str) -> str:
    """Return what a signature of a root is over."""
    return digest(["gemel audit root", size, root, head])


def roots_path(trail: Path) -> Path:
    """Return where the signed roots of a trail lie, beside it."""
    return trail.with_name(f"{trail.stem}.roots.jsonl")


def split(line: bytes) -> tuple[bytes, bytes] | None:
    """Return the body and the hash of a stored line, ``None`` when it has not its form."""
    if len(line) <= _TAIL or line[-_TAIL:-66] != b',"hash":"' or line[-2:] != b'"}':
        return None
    try:
        told = line[-66:-2].decode("ascii")
        found = bytes.fromhex(told)
    except ValueError:
        return None
    return (line[:-_TAIL] + b"}", found) if found.hex() == told else None


def entries(path: Path, *, sealer: Sealer | None = None) -> Iterator[dict[str, Any]]:
    """Read the entries of a trail, without judging it; sealed ones are opened where a sealer can.

    Raises
    ------
    FormatError
        When a line is not an entry.
    """
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            told = json.loads(line)
            _ = told["seq"], told["time"], told["hash"]
        except (ValueError, TypeError, KeyError) as error:
            raise FormatError(
                "a line of the trail is no entry", seen=f"line {number}", fix="gemel audit verify says what is wrong"
            ) from error
        if sealer is not None and "sealed" in told:
            with suppress(StoreError):
                sealed = base64.b64decode(told["sealed"])
                told |= json.loads(sealer.open(told["subject"], sealed, bound(told["seq"], told["time"])))
                del told["sealed"]
        yield told


def read_roots(path: Path) -> tuple[AuditRoot, ...]:
    """Read the signed roots of a trail, or an anchor; signatures are judged by :func:`gemel.platform.audit_check.verify_trail`.

    Raises
    ------
    FormatError
        When a line is not a root as it was written.
    """
    found = []
    *lines, rest = path.read_bytes().split(b"\n")
    for number, line in enumerate([*lines, rest] if rest else lines, 1):
        try:
            made = AuditRoot.model_validate_json(line)
        except ValidationError:
            made = None
        digits = "" if made is None else made.signature.signature + made.signature.key
        if made is None or number > len(lines) or canonical(made.model_dump()) != line or digits != digits.lower():
            raise FormatError(
                "a line is no root of an audit trail as it was written",
                seen=f"{path.name}, line {number}",
                fix="compare with the other anchors",
            )
        found.append(made)
    return tuple(found)


def bound(seq: int, time: int) -> bytes:
    """Return what a sealed entry is bound to: its place, so that two cannot be exchanged."""
    return b"audit|%d|%d" % (seq, time)


class AuditLog:
    """A trail in a file, as :class:`gemel.core.protocols.Audit`. One writer at a time; opening it follows the whole chain and refuses a broken one.

    Parameters
    ----------
    path : the trail; a new one is made. Its roots lie beside it, in ``NAME.roots.jsonl``.
    key : signs the roots. Without one there are none, and a trail that was cut at its end cannot be told from a shorter one.
    anchor : a file elsewhere, to which every root is appended too.
    sealer : seals who, action, patient, purpose and detail; ``seq``, ``time`` and a subject (a random patient id) stay open. Without one entries are open text:
        name people by pseudonyms.
    every, seconds : entries, or time, after which a root is due.

    Raises
    ------
    StoreError
        When the trail is broken, or another process writes to it.
    """

    def __init__(
        self, path: Path, *, key: Ed25519PrivateKey | None = None, anchor: Path | None = None, sealer: Sealer | None = None,
        every: int = 1000, seconds: float = 60.0, who: str = "gemel",
    ) -> None:  # fmt: skip
        self.path, self.roots, self.anchor = Path(path), roots_path(Path(path)), anchor
        self._key, self._sealer, self._every, self._pause, self._who = key, sealer, every, round(seconds * SECOND), who
        self._lock, self._tree, self._head, self._torn = threading.Lock(), Frontier(), START, b""
        self._rooted, self._rooted_at, self._unsynced = 0, None, False
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sink = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0)
        try:
            self._claim()
            self._follow()
        except BaseException:
            self._sink.close()
            raise

    def _claim(self) -> None:
        with suppress(ImportError):  # no fcntl: a system without advisory locks
            import fcntl

            try:
                fcntl.flock(self._sink, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError("another process writes to this audit trail", seen=self.path.name, fix="one writer at a time") from error

    def _follow(self) -> None:
        """Rebuild the head and the tree from the file; the rest of a line that a crash cut off was never acknowledged and goes."""
        self._sink.seek(0)
        *lines, self._torn = self._sink.read().split(b"\n")
        for number, line in enumerate(lines, 1):
            parts = split(line)
            if parts is None or link(self._head, parts[0]) != parts[1]:
                raise StoreError(
                    "the audit trail is broken, so that nothing is appended", seen=f"entry {number} of {self.path.name}",
                    expected="every line as it was written", fix="gemel audit verify; keep the file, and begin another trail",
                )  # fmt: skip
            self._head = parts[1]
            self._tree.append(self._head)
        if self._torn:
            self._sink.truncate(self._sink.tell() - len(self._torn))
        if self.roots.exists():
            body = self.roots.read_bytes()
            if not body.endswith(b"\n"):  # a root that a crash cut off: it is taken again
                os.truncate(self.roots, body.rfind(b"\n") + 1)
            kept = read_roots(self.roots)
            if kept:
                last = kept[-1]
                if last.size > self._tree.size:
                    raise StoreError(
                        "the audit trail is shorter than its signed root",
                        seen=self._tree.size,
                        expected=f">= {last.size} entries",
                        fix="restore it",
                    )
                self._rooted, self._rooted_at = last.size, last.time

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self._tree.size

    @property
    def head(self) -> str:
        """Hash of the last entry."""
        return self._head.hex()

    def write(self, *, who: str, action: str, patient: str, purpose: str, time: int, detail: Mapping[str, Any]) -> str:
        """Append one entry and return its hash. After a disclosure it is on the disk when this returns.

        Parameters
        ----------
        time : ns UTC.
        detail : plain JSON: resource, outcome, request, reason.

        Raises
        ------
        StoreError
            When it cannot be written: nothing may then be disclosed.
        """
        return self.write_many(({"who": who, "action": action, "patient": patient, "purpose": purpose, "time": time, "detail": detail},))[
            -1
        ]

    def write_many(self, tables: Iterable[Mapping[str, Any]]) -> list[str]:
        """Append many entries in one write: each with who, action, patient, purpose, time and detail."""
        with self._lock:
            tables = list(tables)
            if self._torn and tables:
                told = {"bytes": len(self._torn), "sha256": sha256(self._torn).hexdigest()}
                recovered = {"who": self._who, "action": "recover", "patient": "", "purpose": "", "time": tables[0]["time"], "detail": told}
                tables.insert(0, recovered)
            lines, hashes, head, disclosed = [], [], self._head, False
            for number, table in enumerate(tables, self._tree.size + 1):
                body = self._body(number, table)
                head = link(head, body)
                hashes.append(head)
                lines.append(b'%s,"hash":"%s"}\n' % (body[:-1], head.hex().encode()))
                disclosed = disclosed or table["action"] in DISCLOSURES
            self._append(b"".join(lines), sync=disclosed)
            self._torn = b""
            for made in hashes:
                self._tree.append(made)
            self._head = head
            if tables:
                self._anchor_if_due(tables[-1]["time"])
            return [made.hex() for made in hashes]

    def _body(self, number: int, table: Mapping[str, Any]) -> bytes:
        names = {name: table[name] for name in ("who", "action", "patient", "purpose", "detail")}
        place = {"seq": number, "time": int(table["time"])}
        if self._sealer is None:
            return canonical(place | names)
        sealed = self._sealer.seal(table["patient"], canonical(names), bound(number, place["time"]))
        return canonical(place | {"subject": table["patient"], "sealed": base64.b64encode(sealed).decode()})

    def _append(self, body: bytes, *, sync: bool) -> None:
        end = os.fstat(self._sink.fileno()).st_size
        try:
            written = 0
            while written < len(body):
                written += self._sink.write(body[written:]) or 0
            if sync:
                os.fsync(self._sink.fileno())
            self._unsynced = not sync
        except OSError as error:
            with suppress(OSError):
                self._sink.truncate(end)
            raise StoreError(
                "the audit entry cannot be written",
                seen=error.strerror,
                expected="space and a disk that answers",
                fix="disclose nothing until it can",
            ) from error

    def tick(self, now: int) -> None:
        """Take a root when one is due: for a clock, where nothing is written for long."""
        with self._lock:
            self._anchor_if_due(now)

    def _anchor_if_due(self, now: int) -> None:
        fresh = self._tree.size - self._rooted
        if self._rooted_at is None:
            self._rooted_at = now
        if self._key is not None and fresh and (fresh >= self._every or now - self._rooted_at >= self._pause):
            self._take_root(now)

    def _take_root(self, now: int) -> None:
        assert self._key is not None  # for the type checker: both callers ask
        root = self._tree.root().hex()
        signature = sign(root_hash(self.size, root, self.head), who=self._who, meaning=MEANING, time=now, key=self._key)
        line = canonical(AuditRoot(size=self.size, root=root, head=self.head, time=now, signature=signature).model_dump()) + b"\n"
        self.sync()
        for place in (self.roots, self.anchor):
            if place is None:
                continue
            try:
                with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:
                    sink.write(line)
                    sink.flush()
                    os.fsync(sink.fileno())
            except OSError as error:
                raise StoreError(
                    "the root of the audit trail cannot be anchored", seen=f"{place.name}: {error.strerror}", expected="a file that can be appended to",
                    fix="repair the anchor: entries are kept, and the root is taken again at the next one",
                ) from error  # fmt: skip
        self._rooted, self._rooted_at = self.size, now

    def sync(self) -> None:
        """Wait until the disk has every entry."""
        if self._unsynced:
            os.fsync(self._sink.fileno())
            self._unsynced = False

    def close(self, now: int | None = None) -> None:
        """Wait for the disk, take a last root when a time is given and there is a key, and let go of the file."""
        with self._lock:
            if self._sink.closed:
                return
            try:
                self.sync()
                if now is not None and self._key is not None and self.size > self._rooted:
                    self._take_root(now)
            finally:
                self._sink.close()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
