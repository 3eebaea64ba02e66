"""Look for what must not be there, in every form in which it could be: text in three encodings, base64 at three offsets, numbers as bytes, compressed streams."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path


def forms(canary: str | float | bytes) -> set[bytes]:
    """Every way in which a value may stand in a file."""
    if isinstance(canary, float):
        return {struct.pack("<d", canary), struct.pack(">d", canary), repr(canary).encode(), repr(canary).encode("utf-16-le")}
    plain = [canary] if isinstance(canary, bytes) else [canary.encode(), canary.encode("utf-16-le"), canary.encode("utf-16-be")]
    found = set(plain)
    for raw in plain:
        found.add(raw.hex().encode())
        for shift in range(3):  # base64 of any text that holds it: the part that does not depend on its neighbours
            coded = base64.b64encode(b"\0" * shift + raw)
            found.add(coded[(0, 2, 3)[shift] : len(coded) - 4])
    return found


def streams(body: bytes) -> Iterable[bytes]:
    """What can be inflated out of a file: gzip and zlib streams wherever one begins."""
    for mark, bits in ((b"\x1f\x8b\x08", 31), (b"\x78\x01", 15), (b"\x78\x9c", 15), (b"\x78\xda", 15)):
        at = body.find(mark)
        while at >= 0:
            try:
                out = zlib.decompressobj(bits).decompress(body[at:], 1 << 22)
                if len(out) > 16:
                    yield out
            except zlib.error:
                pass
            at = body.find(mark, at + 1)


def find(files: Iterable[Path], canaries: Iterable[str | float | bytes]) -> list[str]:
    """Name each file in which a canary stands, and which."""
    wanted = {canary: forms(canary) for canary in canaries}
    found = []
    for path in files:
        body = path.read_bytes()
        for text in (body, *streams(body)):
            found += [f"{path.name}: {str(canary)[:24]}" for canary, shapes in wanted.items() if any(shape in text for shape in shapes)]
    return found
