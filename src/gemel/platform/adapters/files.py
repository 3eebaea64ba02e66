"""Files of sensors, pumps, watches and diaries, one person each, for :mod:`gemel.platform.intake`.

Their readers want a file with its name: it is written for its owner alone, into memory where the system has a place for that, and gone when it was read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from gemel.core.errors import FormatError
from gemel.core.record import Fact
from gemel.core.series import Series
from gemel.interop.report import MessageReport
from gemel.platform.intake import Adapter, Context, Normalised

__all__ = ["adapter"]

_MEMORY = Path("/dev/shm")


def _name(name: str) -> str:
    """Return a file name that leads nowhere else; its ending tells what it is."""
    ending = "".join(PurePosixPath(name.replace("\\", "/")).suffixes[-2:]).lower()
    return "message" + (ending if len(ending) <= 16 and all(c.isalnum() or c == "." for c in ending) else "")


def adapter(patients: Mapping[str, str] | None = None, *, format: str | None = None, tz: str | None = None) -> Adapter:
    """Return the adapter of files of one person.

    Parameters
    ----------
    patients : pseudonym by source: whose file it is, whatever it calls them. A source that is not there is refused, for nobody can tell whose it is.
    format : a layout of :data:`gemel.interop.wearables.FORMATS`; left out, recognised from the content.
    tz : IANA zone of times that carry none.
    """
    known = dict(patients or {})

    def read(body: bytes, context: Context) -> Normalised:
        from gemel.interop import wearables

        if context.source not in known:
            raise FormatError("nobody can tell whose file this is", expected="a patient", fix="send it with ?patient=ID")
        with tempfile.TemporaryDirectory(prefix="gemel-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            path = Path(folder) / _name(context.name)
            path.touch(mode=0o600)
            path.write_bytes(body)
            record, told = wearables.read(path, format=format, tz=tz, id=known[context.source])
        facts: list[Fact] = list(record.facts())
        n = sum(len(fact) if isinstance(fact, Series) else 1 for fact in facts)
        report = MessageReport(
            source=context.source, format=told.format, read=n, mapped=n, repaired={repair.what: repair.count for repair in told.repairs},
            warnings=(*(f"left out: {what}" for what in told.ignored), *(f"not understood: {what}" for what in told.unparsed), *told.warnings),
        )  # fmt: skip
        return Normalised(report=report, facts={record.id: facts}, demographics={record.id: record.demographics})

    return Adapter("file", read, is_numbered=False)
