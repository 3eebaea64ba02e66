"""What a search compares, as rows of the tables ``idx_*``: what names a person as blind tokens, what is ordered as numbers, the rest as it is.

Codes, identifiers, contacts and addresses of the web are compared whole: they stand as tokens (HMAC under the deployment's key), so that the tables do not tell a diagnosis.
Texts about persons stand as the tokens of their beginnings, days of birth as the tokens of year, month and day. Dates, numbers and quantities are compared by order and stand
open, under a row number: nothing in these tables says whose they are, and none of them is in a backup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any

from gemel.core.time import DAY
from gemel.interop.fhir import schema
from gemel.interop.fhir.search_values import (
    Composite,
    DateValue,
    NumberValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    UriValue,
    Value,
    base_unit,
    normalised,
)
from gemel.platform.store.base import Database
from gemel.platform.store.sealing import Sealing

__all__ = [
    "LONGEST",
    "NOBODYS",
    "TABLES",
    "Blinder",
    "Rows",
    "birth_tokens",
    "canonical_unit",
    "has_open_text",
    "is_birth",
    "param_of",
    "plain_text",
    "table_of",
]

LONGEST = 40
"""Characters of a blind text by which it can be found; what is asked beyond is not compared."""

NOBODYS = frozenset({
    "ActivityDefinition", "CapabilityStatement", "CatalogEntry", "ChargeItemDefinition", "CodeSystem", "CompartmentDefinition", "ConceptMap", "DeviceDefinition",
    "DeviceMetric", "EffectEvidenceSynthesis", "Endpoint", "EventDefinition", "Evidence", "EvidenceVariable", "ExampleScenario", "GraphDefinition",
    "HealthcareService", "ImplementationGuide", "InsurancePlan", "Library", "Location", "Measure", "Medication", "MedicationKnowledge", "MedicinalProduct",
    "MedicinalProductAuthorization", "MedicinalProductContraindication", "MedicinalProductIndication", "MedicinalProductIngredient", "MedicinalProductInteraction",
    "MedicinalProductManufactured", "MedicinalProductPackaged", "MedicinalProductPharmaceutical", "MedicinalProductUndesirableEffect", "MessageDefinition",
    "NamingSystem", "ObservationDefinition", "OperationDefinition", "Organization", "OrganizationAffiliation", "PlanDefinition", "Practitioner", "PractitionerRole",
    "Questionnaire", "ResearchDefinition", "ResearchElementDefinition", "ResearchStudy", "RiskEvidenceSynthesis", "SearchParameter", "Slot", "SpecimenDefinition",
    "StructureDefinition", "StructureMap", "Subscription", "Substance", "SubstanceNucleicAcid", "SubstancePolymer", "SubstanceProtein",
    "SubstanceReferenceInformation", "SubstanceSourceMaterial", "SubstanceSpecification", "TerminologyCapabilities", "TestReport", "TestScript", "ValueSet",
})  # fmt: skip
"""Resource types about nobody who is treated: definitions, places, organisations, staff, products. All others are somebody's."""

_STAFF = frozenset({"Practitioner", "PractitionerRole"})
_BIRTHS = frozenset({("Patient", "birthdate"), ("Patient", "death-date"), ("Person", "birthdate"), ("RelatedPerson", "birthdate")})
_WIDTH = 12
_UCUM = "http://unitsofmeasure.org"
_TYPES = {"token": "idx_token", "uri": "idx_token", "string": "idx_string", "date": "idx_date", "reference": "idx_ref", "number": "idx_quantity",
          "quantity": "idx_quantity"}  # fmt: skip

TABLES = ("idx_token", "idx_string", "idx_date", "idx_ref", "idx_quantity")
"""The tables, which follow from the resources."""

_INSERTS = {
    "idx_token": "INSERT INTO idx_token (param, value, num, grp, system) VALUES (?, ?, ?, ?, ?)",
    "idx_string": "INSERT INTO idx_string (param, value, num, grp, exact) VALUES (?, ?, ?, ?, ?)",
    "idx_date": "INSERT INTO idx_date (param, low, high, num, grp) VALUES (?, ?, ?, ?, ?)",
    "idx_ref": "INSERT INTO idx_ref (param, value, num, grp) VALUES (?, ?, ?, ?)",
    "idx_quantity": "INSERT INTO idx_quantity (param, num, grp, low, value, high, base_low, base, base_high, base_unit, unit)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
}


@cache
def param_of(kind: str, code: str) -> int:
    """Return the number of a search parameter of a resource type: the same everywhere, below 2**63."""
    return int.from_bytes(sha256(f"{kind}.{code}".encode()).digest()[:8], "big") >> 1


def has_open_text(kind: str) -> bool:
    """Say whether texts of a resource type stand as they are: those of things and places; those of persons are blind."""
    return kind in NOBODYS and kind not in _STAFF


def is_birth(kind: str, code: str) -> bool:
    """Say whether a parameter is a day of birth or death, which stands blind."""
    return (kind, code) in _BIRTHS


def canonical_unit(system: str | None, code: str | None, unit: str | None) -> tuple[float, float, bytes]:
    """Return factor and offset to base units and their name; 1, 0 and the unit itself where it is not known."""
    known = base_unit(code) if system == _UCUM and code is not None else None
    if known is not None:
        return known[0], known[1], b"=" + known[2].encode()
    return 1.0, 0.0, f"{system or ''}|{code or unit or ''}".encode()


def birth_tokens(low: int, high: int) -> list[str]:
    """Return what a day of birth may be found by: its year, month and day as far as they are known, and how far that is.

    Examples
    --------
    >>> birth_tokens(0, 31535999999999999)
    ['1970', '1970=']
    """
    first, last = _day(low), _day(high)
    texts = [first[:4]]
    if first[:7] == last[:7]:
        texts.append(first[:7])
    if first == last:
        texts.append(first)
    return [*texts, texts[-1] + "="]


@lru_cache(maxsize=65_536)
def _day(time: int) -> str:
    import datetime as dt

    return (dt.date(1970, 1, 1) + dt.timedelta(days=time // DAY)).isoformat()


class Blinder:
    """Makes blind tokens of values, and keeps those it made last.

    Parameters
    ----------
    sealing : of the store; its deployment's key is used.

    ``ref`` makes what a local reference is kept as: a patient's id is their pseudonym, and stands blind; other ids stand as they are.
    """

    def __init__(self, sealing: Sealing) -> None:
        self.token: Callable[[int, str], bytes] = lru_cache(maxsize=65_536)(
            lambda param, value: bytes.fromhex(sealing.token("index", f"{param}|{value}")[: 2 * _WIDTH])
        )
        self.ref: Callable[[str], str] = lru_cache(maxsize=65_536)(
            lambda ref: "Patient/" + sealing.token("logical id", ref)[: 2 * _WIDTH] if ref.startswith("Patient/") else ref
        )
        self.outside: Callable[[str], str] = lru_cache(maxsize=4096)(lambda url: "^" + sealing.token("index", url)[: 2 * _WIDTH])


@dataclass
class Rows:
    """Rows of the five tables, gathered over many resources and written at once.

    Parameters
    ----------
    blind : of the store.
    """

    blind: Blinder
    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {name: [] for name in TABLES})
    places: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, kind: str, num: int, values: Iterable[tuple[str, Value]]) -> None:
        """Add all values of one resource, as :func:`gemel.interop.fhir.index.search_values` finds them."""
        seen: set[tuple[str, tuple[Any, ...]]] = set()
        group = 0
        for code, value in values:
            if isinstance(value, Composite):
                group += 1
                for place, part in enumerate(value.parts):
                    self._one(kind, f"{code}${place}", num, group, part, seen)
            elif code not in ("_id", "_lastUpdated"):
                self._one(kind, code, num, 0, value, seen)

    def _put(self, table: str, row: tuple[Any, ...], seen: set[tuple[str, tuple[Any, ...]]]) -> None:
        if (table, row) not in seen:
            seen.add((table, row))
            self.tables[table].append(row)

    def _one(self, kind: str, code: str, num: int, group: int, value: Any, seen: set[tuple[str, tuple[Any, ...]]]) -> None:
        param = param_of(kind, code)
        if isinstance(value, TokenValue):
            if value.code is not None or value.system is not None:
                self._token(param, value.code or "", value.system, num, group, seen)
        elif isinstance(value, ReferenceValue):
            self._reference(kind, code, value, num, group, seen)
        elif isinstance(value, DateValue):
            if is_birth(kind, code):
                for text in birth_tokens(value.low, value.high):
                    self._token(param, text, None, num, group, seen)
            else:
                self._put("idx_date", (param, value.low, value.high, num, group), seen)
        elif isinstance(value, (QuantityValue, NumberValue)):
            self._quantity(param, value, num, group)
        elif isinstance(value, StringValue):
            self._string(kind, code, value, num, group, seen)
        elif isinstance(value, UriValue):
            self._token(param, value.value, None, num, group, seen)

    def _token(self, param: int, code: str, system: str | None, num: int, group: int, seen: set[tuple[str, tuple[Any, ...]]]) -> None:
        token = self.blind.token
        self._put("idx_token", (param, token(param, code), num, group, b"" if system is None else token(0, system)), seen)

    def _reference(self, kind: str, code: str, value: ReferenceValue, num: int, group: int, seen: set[tuple[str, tuple[Any, ...]]]) -> None:
        param = param_of(kind, code)
        if value.identifier is not None and value.identifier[1] is not None:
            self._token(param_of(kind, f"{code}:identifier"), value.identifier[1], value.identifier[0], num, group, seen)
        if value.id is not None and value.url is None:
            self._put("idx_ref", (param, self.blind.ref(f"{value.type}/{value.id}".replace("\0", "")), num, group), seen)
            return
        if value.url is None or value.url.startswith("#"):
            return
        whole = value.url if value.id is None else f"{value.url}/{value.type}/{value.id}"
        self._put("idx_ref", (param, self.blind.outside(whole), num, group), seen)
        if value.version is not None and value.id is None:
            self._put("idx_ref", (param, self.blind.outside(f"{whole}|{value.version}"), num, group), seen)

    def _string(self, kind: str, code: str, value: StringValue, num: int, group: int, seen: set[tuple[str, tuple[Any, ...]]]) -> None:
        param = param_of(kind, code)
        if has_open_text(kind):
            self._put("idx_string", (param, value.value.replace("\0", ""), num, group, value.exact.replace("\0", "")), seen)
            return
        text = value.value[:LONGEST]
        for end in range(1, len(text) + 1):
            self._token(param, text[:end], None, num, group, seen)
        self._token(param_of(kind, f"{code}:exact"), value.exact, None, num, group, seen)

    def _quantity(self, param: int, value: NumberValue | QuantityValue, num: int, group: int) -> None:
        low = high = value.value
        if math.isinf(value.low) or math.isinf(value.high):  # a comparator: only one end is known
            low, high = (value.low, high) if math.isinf(value.low) else (low, value.high)
        elif value.value in (value.low, value.high):  # a Range
            low, high = value.low, value.high
        factor, offset, name, unit = 1.0, 0.0, b"", ""
        if isinstance(value, QuantityValue):
            factor, offset, name = canonical_unit(value.system, value.code, value.unit)
            unit = value.code or value.unit or ""
        if group == 0:  # the place in the key: a resource may have the same value twice
            self.places[param, num] = group = self.places.get((param, num), 0) - 1
        base = [one * factor + offset for one in (low, value.value, high)]
        self.tables["idx_quantity"].append((param, num, group, low, value.value, high, *base, name, unit.encode()))

    def write(self, database: Database) -> None:
        """Write what was gathered: inside a transaction that writes."""
        for name, rows in self.tables.items():
            if rows:
                database.executemany(_INSERTS[name], rows)
                rows.clear()
        self.places.clear()


def table_of(kind: str, code: str) -> str:
    """Return the table in which the values of a search parameter lie."""
    type_ = schema.searches(kind)[code].type
    if (type_ == "string" and not has_open_text(kind)) or is_birth(kind, code):
        return "idx_token"
    return _TYPES[type_]


def plain_text(text: str) -> str:
    """Return a text as it is compared, and as far as it is."""
    return normalised(text)[:LONGEST]
