"""Stores on the command line: a file or a URL, and what arrives in one."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import existing

if TYPE_CHECKING:
    from gemel.platform.store import Store

__all__ = ["StorePlace", "hold", "now", "open_store", "raw_of"]

MOST_RAW = 64 * 1024 * 1024
"""Bytes of a source above which it is not kept as it came."""


class _Place(click.ParamType):
    name = "store"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:  # noqa: ARG002  click's signature
        return value if isinstance(value, Path) or str(value).startswith(("postgresql://", "postgres://")) else Path(value)


StorePlace = _Place()


def now() -> int:
    """Return the time, ns UTC."""
    return time.time_ns()


def open_store(place: str | Path, *, new: bool = False) -> Store:
    """Open a store; a file that is not there is made only where it may be."""
    from gemel.platform.store import Store

    return Store(place if new or isinstance(place, str) else existing(place))


def raw_of(source: Path) -> bytes | None:
    """Return what lies at a source as bytes, a folder as a zip; ``None`` when it is too much to keep."""
    if source.is_file():
        return source.read_bytes() if source.stat().st_size <= MOST_RAW else None
    files = sorted(path for path in source.rglob("*") if path.is_file())
    if sum(path.stat().st_size for path in files) > MOST_RAW:
        return None
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in files:
            info = zipfile.ZipInfo(path.relative_to(source).as_posix(), (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(info, path.read_bytes())
    return sink.getvalue()


def hold(store: Store, source: Path) -> int | None:
    """Take a source into the inbox as it came, before it is read; return its number, ``None`` when it is too much to keep."""
    raw = raw_of(source)
    return None if raw is None else store.receive("import", raw, received=now(), name=source.name)[0]
