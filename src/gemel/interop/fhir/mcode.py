"""What mCODE adds for people with cancer: histology of a tumour, dose of radiotherapy by volume, and measurements of one tumour among several.

References
----------
HL7 minimal Common Oncology Data Elements (mCODE) 4.0.0, https://hl7.org/fhir/us/mcode. Elements were held against its 179 examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gemel.core.code import Code
from gemel.core.record import Quantity
from gemel.interop.fhir.mapping.base import Site
from gemel.interop.fhir.mapping.values import answer_of, items, plain_number, quantity_of, text_of

__all__ = ["HISTOLOGY", "Dose", "doses_of", "histology_of"]

_MCODE = "http://hl7.org/fhir/us/mcode/StructureDefinition/"
HISTOLOGY = Code.parse("loinc:31206-6", "Histology and behaviour of a tumour")
_TOTAL, _FRACTIONS, _VOLUME = "totalDoseDelivered", "fractionsDelivered", "volume"


class Dose(NamedTuple):
    """What a volume received: which one, the total dose, and in how many fractions."""

    volume: str
    total: Quantity | None
    fractions: int | None


def _extensions(element: Mapping[str, Any], url: str) -> Iterator[Mapping[str, Any]]:
    for one in items(element.get("extension")):
        if isinstance(one, Mapping) and one.get("url") == url:
            yield one


def histology_of(condition: Mapping[str, Any], site: Site) -> Code | str | None:
    """Return the histology that stands at a Condition of cancer."""
    for one in _extensions(condition, f"{_MCODE}mcode-histology-morphology-behavior"):
        return answer_of(one.get("valueCodeableConcept"), site)
    return None


def doses_of(procedure: Mapping[str, Any], site: Site) -> list[Dose]:
    """Return the doses that a course of radiotherapy delivered, one for each volume."""
    found = []
    for one in _extensions(procedure, f"{_MCODE}mcode-radiotherapy-dose-delivered-to-volume"):
        parts = {text_of(part.get("url")): part for part in items(one.get("extension")) if isinstance(part, Mapping)}
        total = quantity_of(parts.get(_TOTAL, {}).get("valueQuantity"), site)
        number = plain_number(parts.get(_FRACTIONS, {}).get("valueUnsignedInt"))
        volume = parts.get(_VOLUME, {}).get("valueReference")
        name = (text_of(volume.get("reference")) or text_of(volume.get("display"))) if isinstance(volume, Mapping) else ""
        found.append(
            Dose(name, None if total is None else Quantity(value=total[0], unit=total[1]), None if number is None else int(number))
        )
    return found
