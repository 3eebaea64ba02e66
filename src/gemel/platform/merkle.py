"""Merkle trees: one hash for many entries, and short proofs that an entry is among them, or that a tree grew without changing what it held.

References
----------
RFC 6962, Certificate Transparency, section 2.1: hash trees (2.1.1 audit paths, 2.1.2 consistency proofs).
RFC 9162, sections 2.1.3.2 and 2.1.4.2: the algorithms that verify them.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from gemel.core.errors import DataError

__all__ = ["EMPTY", "Frontier", "consistency_proof", "inclusion_proof", "root", "verify_consistency", "verify_inclusion"]

EMPTY = sha256(b"").digest()
"""The root of a tree without leaves."""


def _leaf(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that grows: the roots of its complete subtrees, largest first, and nothing else. Each leaf costs two hashes on average."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, data: bytes) -> None:
        """Add one leaf on the right."""
        node, size = _leaf(data), self.size
        while size & 1:
            node = _node(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of all leaves so far, 32 bytes."""
        if not self._peaks:
            return EMPTY
        found = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            found = _node(peak, found)
        return found


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of these leaves, 32 bytes."""
    tree = Frontier()
    for data in leaves:
        tree.append(data)
    return tree.root()


def _split(n: int) -> int:
    """Return the largest power of two below n, n > 1."""
    return 1 << ((n - 1).bit_length() - 1)


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the hashes that lead from one leaf to the root, the lowest first (RFC 6962, 2.1.1).

    Raises
    ------
    DataError
        When there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise DataError("no such leaf in the tree", seen=index, expected=f"0 <= index < {len(leaves)}")
    if len(leaves) == 1:
        return ()
    k = _split(len(leaves))
    if index < k:
        return (*inclusion_proof(leaves[:k], index), root(leaves[k:]))
    return (*inclusion_proof(leaves[k:], index - k), root(leaves[:k]))


def consistency_proof(leaves: Sequence[bytes], old: int) -> tuple[bytes, ...]:
    """Return the hashes that show the tree of the first ``old`` leaves to be the beginning of this one (RFC 6962, 2.1.2).

    Raises
    ------
    DataError
        When ``old`` is not a size that the tree once had; nothing can be shown of an empty tree.
    """
    if not 0 < old <= len(leaves):
        raise DataError("no such earlier tree", seen=old, expected=f"0 < size <= {len(leaves)}")

    def part(rows: Sequence[bytes], m: int, whole: bool) -> tuple[bytes, ...]:
        if m == len(rows):
            return () if whole else (root(rows),)
        k = _split(len(rows))
        if m <= k:
            return (*part(rows[:k], m, whole), root(rows[k:]))
        return (*part(rows[k:], m - k, False), root(rows[:k]))

    return part(leaves, old, True)


def verify_inclusion(data: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Say whether a proof leads from this leaf, at this place of a tree of this size, to the expected root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, node = index, size - 1, _leaf(data)
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = _node(sibling, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = _node(node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and node == expected


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether a proof shows that the tree of ``new`` leaves begins with that of ``old`` (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = _node(sibling, first), _node(sibling, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = _node(second, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root
