"""Codes, times, numbers and references of FHIR as a record holds them; what is ambiguous is refused.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/datatypes.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from gemel.core.code import SYSTEMS, Code
from gemel.core.errors import GemelError, TimeError, UnitError
from gemel.core.series import ABOVE, BELOW, EXACT
from gemel.core.time import DAY, iso, to_ns
from gemel.core.units import parse_unit
from gemel.interop.fhir.mapping.base import SYSTEM_NAMES, Refused, Site
from gemel.interop.fhir.search_values import date_range, parsed_reference
from gemel.interop.hl7v2.site import UNIT_NAMES

__all__ = [
    "answer_of", "code_of", "concept_text", "first_moment", "interval_of", "items", "number_of", "patient_of", "plain_number", "quantity_of", "text_of",
    "unit_of",
]  # fmt: skip

_UCUM = SYSTEMS["ucum"]
_COMPARATORS = {"<": BELOW, "<=": BELOW, ">": ABOVE, ">=": ABOVE}
_ZONE = re.compile(r"(Z|[+-][0-9]{2}:[0-9]{2})\Z")
_SPELLED = UNIT_NAMES | {
    "(score)": "{score}",
    "pH": "[pH]",
    "m^2": "m2",
    "mcg": "ug",
    "mEq": "meq",
    "mEq/L": "meq/L",
    "ml/hr": "mL/h",
    "mL/hr": "mL/h",
}
"""Spellings seen in resources that can mean one thing only -> UCUM."""
# The order in which one of several codings is taken: measurements, then devices, then findings and drugs.
_RANK = {name: i for i, name in enumerate(("loinc", "mdc", "snomed", "atc", "rxnorm", "cvx", "icd10", "icd10cm", "ncit", "hgnc", "hgvs", "so", "genomics", "refseq", "dicom", "ndc", "gemel", "absent", "ucum"))}  # fmt: skip


def items(value: Any) -> Sequence[Any]:
    """Return an array, or nothing."""
    return value if isinstance(value, (tuple, list)) else ()


def text_of(value: Any) -> str:
    """Return a text, or an empty one."""
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=8192)
def _checked(system: str, code: str, display: str) -> Code | None:
    try:
        return Code(system=system, code=code, display=display)
    except GemelError:
        return None


@lru_cache(maxsize=8192)
def is_loinc(code: str) -> bool:
    """Say whether the check digit is right (mod 10, Luhn): a mistyped code is another measurement. Of answers (LA) and parts (LP) only the form is looked at.

    Examples
    --------
    >>> is_loinc("8867-4"), is_loinc("8867-5")
    (True, False)
    """
    body, _, check = code.partition("-")
    if body[:2] in ("LA", "LP"):
        return body[2:].isdecimal() and check.isdecimal() and len(check) == 1
    if not (body.isascii() and body.isdigit() and check.isascii() and check.isdigit() and len(check) == 1 and len(body) <= 7):
        return False
    total = 0
    for place, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return (10 - total % 10) % 10 == int(check)


def _coded(coding: Any, site: Site) -> Code | None:
    if not isinstance(coding, Mapping):
        return None
    system, code = text_of(coding.get("system")), text_of(coding.get("code"))
    if not code:
        return None
    own = site.codes.get(f"{system}|{code}")
    if own is not None:
        name, _, code = own.partition(":")
        return _checked(name, code, text_of(coding.get("display")))
    name = SYSTEM_NAMES.get(system, "")
    if not name or (name == "loinc" and not is_loinc(code)):
        return None
    return _checked(name, code, text_of(coding.get("display")))


def code_of(concept: Any, site: Site) -> Code | None:
    """Return the code of a CodeableConcept, a Coding or a CodeableReference of R5 in a system that a record holds: the site's own table first, then by rank."""
    if not isinstance(concept, Mapping):
        return None
    found = [code for one in items(concept.get("coding")) if (code := _coded(one, site)) is not None]
    if not found and "code" in concept:
        alone = _coded(concept, site)
        found = [] if alone is None else [alone]
    if not found:
        return None
    best = min(found, key=lambda code: _RANK.get(code.system, 99))
    said = text_of(concept.get("text"))
    return best if best.display or not said else Code(system=best.system, code=best.code, display=said)


def concept_text(concept: Any) -> str:
    """Return what a person reads: the text, else the first display, else system and code."""
    if not isinstance(concept, Mapping):
        return ""
    said = text_of(concept.get("text"))
    codings = [one for one in items(concept.get("coding")) if isinstance(one, Mapping)] or [concept]
    return said or next((d for one in codings if (d := text_of(one.get("display")))), "") or next(
        ("|".join(p for p in (text_of(one.get("system")), text_of(one.get("code"))) if p) for one in codings if one.get("code")), ""
    )  # fmt: skip


def answer_of(concept: Any, site: Site) -> Code | str | None:
    """Return a coded answer: a code where its system is known, else its text; None where nothing is said."""
    return code_of(concept, site) or concept_text(concept) or None


def plain_number(value: Any) -> float | None:
    """Return a finite number as a float; None for anything else."""
    if isinstance(value, (int, Decimal, float)) and not isinstance(value, bool):
        number = float(value)
        return number if number - number == 0 else None
    return None


@lru_cache(maxsize=4096)
def _is_unit(unit: str) -> bool:
    try:
        parse_unit(unit)
    except UnitError:
        return False
    return True


def unit_of(quantity: Mapping[str, Any], site: Site) -> tuple[str, str]:
    """Return the UCUM unit of a Quantity, and what was put right for it.

    Raises
    ------
    Refused
        When it has none, or none that is known. A unit is never guessed.
    """
    system, code, unit = text_of(quantity.get("system")), text_of(quantity.get("code")), text_of(quantity.get("unit"))
    for sent in (code, unit):
        if sent and sent in site.units:
            return site.units[sent], "" if site.units[sent] == sent else "unit by the site's table"
    if code and system == _UCUM and len(code) < 60 and _is_unit(code):
        return code, ""
    for sent in (code, unit):
        if sent in _SPELLED:
            return _SPELLED[sent], f"unit {sent} written as {_SPELLED[sent]}"
        if sent and len(sent) < 60 and _is_unit(sent) and system in ("", _UCUM):
            return sent, "unit without its system read as UCUM"
    if not code and not unit:
        raise Refused("unit-missing", "a quantity without a unit", "have the sender state it: a unit is never guessed")
    raise Refused("unit-unknown", "a unit that is not in the table", "add it to the site's units")


def number_of(quantity: Any, site: Site) -> tuple[float, str, int, str]:
    """Return value, unit, whether it is a limit (``EXACT``, ``BELOW``, ``ABOVE``), and what was put right.

    Raises
    ------
    Refused
        When value or unit cannot be used.
    """
    if not isinstance(quantity, Mapping) or (value := plain_number(quantity.get("value"))) is None:
        raise Refused("value-missing", "a quantity without a number", "have the sender leave it out, with a data-absent-reason")
    sign = quantity.get("comparator")
    if sign is not None and not (isinstance(sign, str) and sign in _COMPARATORS):
        raise Refused("comparator", "a comparator that a record does not hold", "<, <=, > and >= are read")
    unit, repaired = unit_of(quantity, site)
    return value, unit, EXACT if sign is None else _COMPARATORS[sign], repaired


def quantity_of(quantity: Any, site: Site) -> tuple[float, str] | None:
    """Return value and unit of an exact quantity; None where there is none that can be used."""
    try:
        value, unit, censored, _ = number_of(quantity, site)
    except Refused:
        return None
    return (value, unit) if censored == EXACT else None


@lru_cache(maxsize=65_536)
def interval_of(text: str, tz: str) -> tuple[int, int]:
    """Return the first and last nanosecond (UTC) that a date or time of FHIR covers; one without an offset lies in the site's zone.

    Raises
    ------
    Refused
        When it is no date, or outside 1678 to 2261.

    Examples
    --------
    >>> interval_of("1970-01-01", "Europe/Berlin")
    (-3600000000000, 82799999999999)
    """
    found = date_range(text)
    if found is None:
        raise Refused("time-unreadable", "a date that cannot be read", "correct it at its source")
    if tz == "UTC" or _ZONE.search(text, 16):
        return found
    try:  # the ends as wall-clock times of the zone
        return to_ns(iso(found[0])[:-1], tz=tz), to_ns(iso(found[1] + 1)[:-1], tz=tz) - 1
    except TimeError as error:
        raise Refused("time-unreadable", "a date that cannot be read", "correct it at its source") from error


def first_moment(text: Any, site: Site) -> int | None:
    """Return the first moment (ns UTC) of a date or time; None where there is none that can be read."""
    try:
        return interval_of(text, site.zone)[0] if isinstance(text, str) else None
    except Refused:
        return None


def is_day(text: str) -> bool:
    """Say whether a date names a day, without a time."""
    return len(text) == 10


def is_coarse(text: str) -> bool:
    """Say whether a date is a year or a month."""
    return len(text) < 10


def span_days(low: int, high: int) -> float:
    """Return the length of an interval in days."""
    return (high - low) / DAY


def patient_of(reference: Any, site: Site, resolve: Any = None) -> str:
    """Return the pseudonym of the person that a reference names: their logical id, behind the site's prefix.

    Raises
    ------
    Refused
        When it names nobody, somebody by a name alone, or something that is no Patient.
    """
    if not isinstance(reference, Mapping):
        raise Refused("patient-missing", "nobody is named whom it is about", "have the sender fill the subject")
    text = text_of(reference.get("reference"))
    if not text:
        what = "the person is named by an identifier or in words, not by a reference"
        raise Refused("patient-unclear", what, "load it through a server, which knows the identifier")
    found = parsed_reference(text)
    if found.type is None and resolve is not None and (target := resolve(text)) is not None:
        return _named(text_of(target.get("resourceType")), text_of(target.get("id")), site)
    if found.type is None or not found.id:
        what = "a reference that leads to no resource with an id"
        raise Refused("patient-unclear", what, "send the Bundle that holds the person")
    return _named(found.type, found.id, site)


def _named(type_: str, id_: str, site: Site) -> str:
    if type_ != "Patient":
        raise Refused("not-a-person", f"it is about a {type_[:40] or 'resource'}, not a person")
    if not id_:
        raise Refused("patient-unclear", "the person has no id", "load it through a server, which gives one")
    return f"{site.prefix}{id_}"
