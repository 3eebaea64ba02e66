"""Ways to spoil an audit trail, each with the first entry that is then wrong."""

from __future__ import annotations

import random
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gemel.platform.audit import AuditLog

KINDS = ("flip", "delete", "reorder", "duplicate", "truncate bytes", "truncate entries")


def trail(path: Path, n: int, *, every: int = 100, anchor: Path | None = None, **settings) -> Ed25519PrivateKey:
    """Write a trail of n entries with roots, the last over all of them."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    with AuditLog(path, key=key, anchor=anchor, every=every, **settings) as log:
        for i in range(n):
            log.write_many([entry(i)])
        log.close(n)
    return key


def entry(i: int) -> dict[str, object]:
    return {
        "who": f"u{i % 7}", "action": ("create", "update", "deny")[i % 3], "patient": f"p{i % 11}", "purpose": "TREAT", "time": i,
        "detail": {"resource": f"Observation/{i}"},
    }  # fmt: skip


def mutate(data: bytes, kind: str, rng: random.Random) -> tuple[bytes, int] | None:
    """Return the spoilt bytes and the number of the first entry that no longer holds; None where nothing was changed."""
    lines = data.split(b"\n")[:-1]
    n = len(lines)
    if kind == "flip":
        place = rng.randrange(len(data))
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << rng.randrange(8)
        return bytes(spoilt), data.count(b"\n", 0, place) + 1
    if kind == "truncate bytes":
        end = rng.randrange(len(data))
        return data[:end], data.count(b"\n", 0, end) + 1
    i = rng.randrange(n)
    if kind == "truncate entries":
        return b"".join(line + b"\n" for line in lines[:i]), i + 1
    if kind == "delete":
        del lines[i]
    elif kind == "duplicate":
        lines.insert(i + 1, lines[i])
        i += 1
    else:
        j = rng.randrange(n)
        if i == j:
            return None
        lines[i], lines[j] = lines[j], lines[i]
        i = min(i, j)
    return b"".join(line + b"\n" for line in lines), i + 1
