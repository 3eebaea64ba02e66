"""What a site knows and a message does not say: its zone, its charset, its own codes and units."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from gemel.core.code import Code
from gemel.core.errors import FormatError, UnitError
from gemel.core.time import zone
from gemel.core.units import parse_unit
from gemel.interop.hl7v2.parse import Message
from gemel.interop.ieee11073.nomenclature import UNITS as _MDC_UNITS

__all__ = ["SYSTEM_NAMES", "UNIT_NAMES", "Site"]

SYSTEM_NAMES: dict[str, str] = {
    "LN": "loinc",
    "LOINC": "loinc",
    "SCT": "snomed",
    "SNM": "snomed",
    "MDC": "mdc",
    "RXNORM": "rxnorm",
    "ATC": "atc",
}
"""Table 0396 -> our systems. Any other coding system is the site's own, and needs :attr:`Site.codes`."""

UNIT_NAMES: dict[str, str] = {
    "mmHg": "mm[Hg]", "mm(hg)": "mm[Hg]", "mm Hg": "mm[Hg]", "cmH2O": "cm[H2O]", "bpm": "/min", "beats/min": "/min", "breaths/min": "/min", "1/min": "/min",
    "degC": "Cel", "°C": "Cel", "DegC": "Cel", "degF": "[degF]", "°F": "[degF]", "sec": "s", "msec": "ms", "hr": "h", "ohm": "Ohm", "ohms": "Ohm",
    "10^9/L": "10*9/L", "10^12/L": "10*12/L", "x10^9/L": "10*9/L", "10^3/uL": "10*3/uL", "10*3/ul": "10*3/uL", "10^6/uL": "10*6/uL",
    "IU/L": "[iU]/L", "IU/mL": "[iU]/mL", "mIU/L": "m[iU]/L", "ug/L": "ug/L", "µg/L": "ug/L", "μg/L": "ug/L", "µmol/L": "umol/L", "μmol/L": "umol/L",
    "pct": "%", "percent": "%", "MG/DL": "mg/dL", "MMOL/L": "mmol/L", "G/DL": "g/dL", "lb": "[lb_av]", "lbs": "[lb_av]", "in": "[in_i]",
}  # fmt: skip
"""Spellings that can mean one thing only -> UCUM. ``C`` alone is not among them (UCUM: coulomb), nor ``U`` for insulin."""

_MOST = 10_000  # fields remembered of a sender; one that invents more is read again each time


@lru_cache(maxsize=4096)
def _known(unit: str) -> bool:
    try:
        parse_unit(unit)
    except UnitError:
        return False
    return True


@dataclass(frozen=True)
class Site:
    """Settings of one sender.

    Parameters
    ----------
    zone : IANA zone of times without an offset.
    charset : codec where MSH-18 is empty.
    codes : the site's own code -> ours: ``"GLU"`` or, with its coding system, ``"99LAB:GLU"`` -> ``"loinc:2345-7"``.
    units : the site's own spelling -> UCUM; it wins over :data:`UNIT_NAMES`.
    identifier_types : types of PID-3 in order of preference (table 0203).
    authority : the assigning authority whose identifier names the patient; empty: any.
    accept_tests : whether messages that MSH-11 says are no production (T, D) are mapped.

    Examples
    --------
    >>> Site(units={"mm/Hg": "mm[Hg]"}).unit_of("mmHg")
    ('mm[Hg]', 'unit mmHg written as mm[Hg]')
    """

    zone: str = "UTC"
    charset: str = "utf-8"
    codes: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    identifier_types: tuple[str, ...] = ("MR", "PI", "PT")
    authority: str = ""
    accept_tests: bool = False
    _codes_read: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _units_read: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        zone(self.zone)
        for code in self.codes.values():
            Code.parse(code)
        for unit in self.units.values():
            parse_unit(unit)
        try:
            codecs.lookup(self.charset)
        except LookupError as error:
            raise FormatError(
                "unknown character set of a site", seen=self.charset, expected="a codec such as utf-8 or iso8859-1"
            ) from error

    def unit_of(self, sent: str, system: str = "") -> tuple[str, str]:
        """Return the UCUM unit that a sender's unit means, and what was put right for it; an empty unit when it is not known."""
        if sent in self.units:
            meant = self.units[sent]
        elif system == "MDC":
            meant = _MDC_UNITS.get(int(sent), "") if sent.isascii() and sent.isdigit() and len(sent) < 12 else ""
        elif sent in UNIT_NAMES:
            meant = UNIT_NAMES[sent]
        else:
            return (sent, "") if sent and len(sent) < 40 and _known(sent) else ("", "")
        return meant, f"unit {sent} written as {meant}" if meant and meant != sent else ""

    def read_code(self, message: Message, raw: str) -> tuple[str, str]:
        """Return what :meth:`code_of` says of a field; the same field is looked at once."""
        key = raw, message.separators
        found = self._codes_read.get(key)
        if found is None:
            found = self.code_of(message.components(raw))
            if len(self._codes_read) < _MOST:
                self._codes_read[key] = found
        return found

    def read_unit(self, message: Message, raw: str) -> tuple[str, str]:
        """Return what :meth:`unit_of` says of a field, or of its alternate unit; the same field is looked at once."""
        key = raw, message.separators
        found = self._units_read.get(key)
        if found is None:
            parts = [part.strip() for part in message.components(raw)]
            found = self.unit_of(parts[0], parts[2] if len(parts) > 2 else "")
            if not found[0] and len(parts) > 3 and parts[3]:
                found = self.unit_of(parts[3], parts[5] if len(parts) > 5 else "")
            if len(self._units_read) < _MOST:
                self._units_read[key] = found
        return found

    def code_of(self, parts: list[str]) -> tuple[str, str]:
        """Return ``system:code`` and its text from the components of a coded element; the alternate code is the second choice, then the site's table."""
        for at in (0, 3):
            if at + 2 < len(parts) and parts[at] and (system := SYSTEM_NAMES.get(parts[at + 2])):
                if system == "loinc" and not _is_loinc(parts[at]):
                    continue
                return f"{system}:{parts[at]}", parts[at + 1]
        for at in (0, 3):
            if at < len(parts) and parts[at]:
                own = parts[at + 2] if at + 2 < len(parts) else ""
                meant = self.codes.get(f"{own}:{parts[at]}") or self.codes.get(parts[at])
                if meant:
                    return meant, parts[at + 1] if at + 1 < len(parts) else ""
        return "", parts[1] if len(parts) > 1 else ""


@lru_cache(maxsize=8192)
def _is_loinc(code: str) -> bool:
    """Whether the check digit is right (mod 10 as of a credit card): a mistyped code is another measurement."""
    body, _, check = code.partition("-")
    if not (code.isascii() and body.isdigit() and check.isdigit() and len(check) == 1 and len(body) <= 7):
        return False
    total = 0
    for i, digit in enumerate(reversed(body)):
        n = int(digit) * (2 if i % 2 == 0 else 1)
        total += n - 9 if n > 9 else n
    return (10 - total % 10) % 10 == int(check)
