"""Follow an audit trail from its first line, and name the first that does not hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gemel.core.errors import FormatError
from gemel.platform.audit import MEANING, START, AuditRoot, link, read_roots, root_hash, roots_path, split
from gemel.platform.merkle import Frontier
from gemel.platform.signing import verify

__all__ = ["TrailCheck", "verify_lines", "verify_trail"]


@dataclass(frozen=True)
class TrailCheck:
    """What verifying a trail found.

    Parameters
    ----------
    entries : how many lines there are.
    first_bad : number of the first entry that does not hold, from 1; ``None`` when all do.
    wrong : what does not hold, in words; empty when everything does.
    anchored : entries that a signed root covers; what was cut off after them cannot be seen.
    roots : how many signed roots were held against the trail.
    keys : public keys that signed them, in hexadecimal digits: whose they are, people must know.
    """

    entries: int
    first_bad: int | None
    wrong: tuple[str, ...]
    anchored: int
    roots: int
    keys: tuple[str, ...] = field(default=())

    @property
    def holds(self) -> bool:
        """Nothing is wrong."""
        return not self.wrong


def _judge(roots: Sequence[AuditRoot], keys: frozenset[str]) -> list[str]:
    wrong = []
    for told in roots:
        why = verify(told.signature, root_hash(told.size, told.root, told.head))
        if why is None and told.signature.meaning != MEANING:
            why = f"it was signed as {told.signature.meaning!r}"
        if why is None and keys and told.signature.key not in keys:
            why = f"it was signed with the key {told.signature.key[:16]}, which is not a trusted one"
        if why is not None:
            wrong.append(f"the root of {told.size} entries does not hold: {why}")
    return wrong


def verify_lines(data: bytes, roots: Sequence[AuditRoot] = (), *, keys: Iterable[str] = ()) -> TrailCheck:
    """Verify the bytes of a trail against signed roots.

    Parameters
    ----------
    data : the file as it is.
    roots : from the file beside it, from anchors, or both.
    keys : public keys that are trusted, in hexadecimal digits; none: any key, and the check tells which.
    """
    *lines, rest = data.split(b"\n")
    wrong = _judge(roots, frozenset(keys))
    by_size: dict[int, set[tuple[str, str]]] = {}
    for told in roots:
        by_size.setdefault(told.size, set()).add((told.root, told.head))
    first, head, tree, held = None, START, Frontier(), 0
    for number, line in enumerate(lines, 1):
        parts = split(line)
        if parts is None or link(head, parts[0]) != parts[1]:
            first = number
            wrong.append(f"entry {number} is not as it was written, or one before it is missing")
            break
        head = parts[1]
        tree.append(head)
        for root, last in by_size.get(number, ()):
            if (root, last) != (tree.root().hex(), head.hex()):
                first = held + 1
                wrong.append(f"entries {held + 1} to {number} are others than those that were signed")
                break
        if first is not None:
            break
        if number in by_size:
            held = number
    size = max(by_size, default=0)
    if first is None and rest:
        first = len(lines) + 1
        wrong.append(f"entry {first} was not written to its end")
    if size > len(lines) and (first is None or first > len(lines)):
        first = len(lines) + 1
        wrong.append(f"entries from {first} on are missing: {size} were signed, {len(lines)} are there")
    return TrailCheck(len(lines), first, tuple(wrong), size, len(roots), tuple(sorted({r.signature.key for r in roots})))


def verify_trail(path: Path, *, anchors: Iterable[Path] = (), keys: Iterable[str] = ()) -> TrailCheck:
    """Verify a trail, the roots beside it, and those in its anchors.

    Raises
    ------
    FileNotFoundError
        When the trail or an anchor that was named is not there.
    """
    roots: list[AuditRoot] = []
    unread = []
    beside = roots_path(path)
    for place in (*((beside,) if beside.exists() else ()), *anchors):
        try:
            roots += read_roots(place)
        except FormatError as error:
            unread.append(f"{error.what}: {error.seen}")
    found = verify_lines(path.read_bytes(), roots, keys=keys)
    return TrailCheck(found.entries, found.first_bad, (*unread, *found.wrong), found.anchored, found.roots, found.keys)
