"""What the tests of FHIR read: archives of resources, and a reader of JSON that keeps numbers as text."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator
from functools import cache
from typing import Any

from _data import require_dataset


@cache
def examples(package: str = "") -> tuple[tuple[str, bytes], ...]:
    """Name and bytes of every example resource of the packages whose file name holds ``package``."""
    found = []
    for archive in sorted(require_dataset("fhir-r4-examples").glob(f"*{package}*.tar.gz" if package else "*.tar.gz")):
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                stream = tar.extractfile(member) if member.name.endswith(".json") else None
                if stream is not None:
                    found.append((f"{archive.name}:{member.name}", stream.read()))
    return tuple(found)


def synthea() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each simulated patient's Bundle."""
    for path in sorted(require_dataset("synthea-r4").glob("*.json.gz")):
        yield path.name, gzip.decompress(path.read_bytes())


def as_text(raw: bytes) -> Any:
    """Read JSON by the standard library alone: objects as lists of pairs in their order, numbers as their text."""
    return json.loads(
        raw.decode("utf-8-sig"), parse_float=lambda t: ("number", t), parse_int=lambda t: ("number", t), object_pairs_hook=lambda pairs: ("object", pairs)
    )  # fmt: skip
