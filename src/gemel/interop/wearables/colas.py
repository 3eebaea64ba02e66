"""Colas 2019: ``id,time,gl``, mg/dL every 5 min, 208 people at risk of type 2 diabetes.

The dates are placeholders (2012-01-01): neither weekday nor season is known, and the time of day is not certain.

References
----------
Colas A et al. 2019, doi:10.1371/journal.pone.0225817 (CC BY 4.0), as processed for GlucoBench.
"""

from __future__ import annotations

from collections.abc import Sequence

from gemel.core.errors import FormatError
from gemel.interop.wearables._text import decode, header_cells
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source
from gemel.interop.wearables.generic_csv import read_people

__all__ = ["LAYOUT"]


def _sniff(name: str, head: bytes) -> bool:
    try:
        return header_cells(decode(head, name).lstrip("\ufeff\r\n").splitlines()[0]) == ["id", "time", "gl"]
    except (FormatError, IndexError):
        return False


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        notes = Notes(source.base, "colas")
        text = decode(source.read(), source.base, notes).lstrip("\ufeff\r\n")
        head, _, body = text.partition("\n")
        if "gl" not in header_cells(head):
            raise FormatError(f"{source.base} is not the Colas layout", seen=head[:60], expected="id,time,gl", fix="leave format out")
        notes.warn("dates are placeholders: no weekday, no season, time of day not certain")
        renamed = ",".join("glucose_mg_dl" if cell == "gl" else cell for cell in header_cells(head))
        parsed += read_people(
            f"{renamed}\n{body}", source, options, notes, settings={"origin": "colas", "traits": {"dates": "placeholder"}}
        )
    return parsed


LAYOUT = Layout("colas", "Colas 2019 (id, time, gl; placeholder dates)", _sniff, _parse)
