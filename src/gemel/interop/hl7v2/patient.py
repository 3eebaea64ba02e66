"""Who a message is about: PID, by identifier, never by name."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from gemel.core.errors import FormatError, TimeError
from gemel.core.record import Demographics
from gemel.core.time import DAY
from gemel.interop.hl7v2.parse import Message
from gemel.interop.hl7v2.site import Site
from gemel.interop.hl7v2.times import day_of
from gemel.interop.report import Tally

__all__ = ["demographics_of", "identifier_of", "patient_of"]

_SEX: dict[str, Literal["female", "male", "other", "unknown"]] = {
    "F": "female",
    "M": "male",
    "O": "other",
    "A": "other",
    "U": "unknown",
    "N": "unknown",
}
_YEAR = 365.25 * DAY


def identifier_of(message: Message, raw: str, site: Site) -> str:
    """Choose one of the identifiers of a list (CX, repeated) as ``authority:identifier``; empty when there is none.

    The site's authority first, then its preferred types, then the first that is valued: the same list gives the same one every time.
    """
    best: tuple[int, str] | None = None
    for piece in message.repetitions(raw):
        parts = message.components(piece)
        identifier = parts[0].strip()
        if not identifier or identifier == '""':
            continue
        authority = parts[3].partition(message.separators[3])[0] if len(parts) > 3 else ""
        kind = parts[4] if len(parts) > 4 else ""
        rank = site.identifier_types.index(kind) if kind in site.identifier_types else len(site.identifier_types)
        if site.authority:
            rank += 0 if authority == site.authority else 100
        if best is None or rank < best[0]:
            best = rank, f"{authority}:{identifier}" if authority else identifier
    return best[1] if best else ""


def patient_of(message: Message, pid: list[str], site: Site, tally: Tally) -> str:
    """Return the identifier of a PID segment.

    Raises
    ------
    FormatError
        When it holds none; a name is no identifier.
    """
    found = identifier_of(message, pid[3], site) if len(pid) > 3 else ""
    if found:
        return found
    for number in (2, 4):
        found = identifier_of(message, pid[number], site) if len(pid) > number else ""
        if found:
            tally.repair(f"patient taken from PID-{number}: PID-3 is empty")
            return found
    raise FormatError(
        "the patient has no identifier",
        seen="PID-3 is empty",
        expected="an identifier",
        fix="have the sender fill PID-3; a name is not used",
    )


@lru_cache(maxsize=4096)
def _person(sex: Literal["female", "male", "other", "unknown"], age: float | None, tz: str) -> Demographics:
    return Demographics(sex=sex, age=age, zone=tz)


def demographics_of(message: Message, pid: list[str], site: Site, at: int) -> Demographics:
    """Return sex and age (in years at ``at``, ns UTC) of a PID segment; what is not known or not readable stays unknown."""
    sex = _SEX.get(message.components(pid[8])[0].strip().upper()[:1], "unknown") if len(pid) > 8 else "unknown"
    age = None
    born = message.components(pid[7])[0] if len(pid) > 7 else ""
    if len(born) >= 8:
        try:
            years = (at - day_of(born[:8]) * DAY) / _YEAR
        except (TimeError, ValueError):
            years = -1.0
        age = round(years, 1) if 0 <= years <= 130 else None
    return _person(sex, age, site.zone)
