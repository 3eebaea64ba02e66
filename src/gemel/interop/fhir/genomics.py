"""Variants, genotypes, haplotypes and what follows from them, by HL7's Genomics Reporting guide: the components of one result stay together.

Each component is a finding of its own; that they belong to one variant is said by their ``site``: build, chromosome, position, reference and alternative, the same as from a variant
call file, where the resource says all of it, else the variant's HGVS name, else its gene. The variant itself is the finding ``loinc:69548-6``, whose value begins with ``present``, ``absent`` or what else was
found. Numbers of a variant (allele fraction, read depth) are findings too: two variants of one sample have the same code and moment.

References
----------
HL7 Genomics Reporting guide 3.0.0 (STU 3), https://hl7.org/fhir/uv/genomics-reporting. Codes were held against its 204 examples, and mCODE's 179.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gemel.core.code import Code
from gemel.interop.fhir.mapping.base import Site
from gemel.interop.fhir.mapping.values import code_of, concept_text, items, plain_number, text_of

__all__ = ["UNITS", "VARIANT", "is_genomic", "place_of", "said_of"]

VARIANT = "loinc:69548-6"
_RESULTS = frozenset({VARIANT, "loinc:84413-4", "loinc:84414-2", "loinc:82120-7"})  # variant, genotype, haplotype, phase of two variants
_GUIDE = "genomics"  # the guide's own codes: implications and consequences
UNITS: dict[str, str] = {
    "loinc:82121-5": "1", "loinc:82155-3": "1", "loinc:81258-6": "", "loinc:94076-7": "1/1000000{Base}", "genomics:repeat-number": "1",
}  # fmt: skip
"""Code -> the unit that the guide fixes for it, where a sender leaves it out: read depth, copy number, tumour mutation burden per megabase, repeats. An allele fraction may be a fraction or per cent: it must say."""
_GENE, _BUILD, _CHROMOSOME, _REFERENCE = "48018-6", "62374-4", "48000-4", "48013-7"
_START, _REF, _ALT, _COUNTING = "81254-5", "69547-8", "69551-0", "92822-6"
_HGVS = ("81290-9", "48004-6", "48005-3")  # genomic, of the transcript, of the protein
_ACCESSION = re.compile(r"NC_0000([0-9]{2})\.[0-9]+\Z")
_NAMED = re.compile(r"[Cc]hr(?:omosome)?\s*([0-9]{1,2}|[XYM])\b")
_BUILDS = {"LA14029-5": "GRCh37", "LA26806-2": "GRCh38", "LA14028-7": "NCBI36"}
_LETTERS = {23: "X", 24: "Y"}
_ZERO_BASED = "LA30100-4"
_SUMMARY = (_GENE, "48004-6", "48005-3", "48002-0", "53034-5", "48019-4")  # gene, names, source, allelic state, type of change


def is_genomic(code: Code | None) -> bool:
    """Say whether an Observation of this code is a genomic result, whose components belong together."""
    return code is not None and (str(code) in _RESULTS or code.system == _GUIDE)


def _parts(resource: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Components by their LOINC code, the first of each."""
    found: dict[str, Mapping[str, Any]] = {}
    for one in items(resource.get("component")):
        concept = one.get("code") if isinstance(one, Mapping) else None
        if isinstance(concept, Mapping):
            for coding in items(concept.get("coding")):
                if isinstance(coding, Mapping) and coding.get("system") == "http://loinc.org":
                    found.setdefault(text_of(coding.get("code")), one)
    return found


def _answer(part: Mapping[str, Any] | None) -> str:
    if part is None:
        return ""
    value = part.get("valueCodeableConcept")
    return concept_text(value) if isinstance(value, Mapping) else text_of(part.get("valueString"))


def _codes(part: Mapping[str, Any] | None) -> list[str]:
    value = None if part is None else part.get("valueCodeableConcept")
    return (
        [text_of(one.get("code")) for one in items(value.get("coding")) if isinstance(one, Mapping)] if isinstance(value, Mapping) else []
    )


def _chromosome(parts: Mapping[str, Mapping[str, Any]]) -> str:
    for code in _codes(parts.get(_REFERENCE)):
        if (found := _ACCESSION.match(code)) is not None:
            number = int(found[1])
            return _LETTERS.get(number, str(number)) if 1 <= number <= 24 else ""
    named = _NAMED.search(_answer(parts.get(_CHROMOSOME)))
    return named[1] if named is not None else ""


def _position(parts: Mapping[str, Mapping[str, Any]]) -> int | None:
    part = parts.get(_START)
    span = None if part is None else part.get("valueRange")
    low = span.get("low") if isinstance(span, Mapping) else None
    number = plain_number(low.get("value")) if isinstance(low, Mapping) else None
    if number is None or number != int(number):
        return None
    return int(number) + (_ZERO_BASED in _codes(parts.get(_COUNTING)))


def place_of(resource: Mapping[str, Any]) -> str:
    """Return what ties the findings of one genomic result together.

    Examples
    --------
    >>> gene = {"code": {"coding": [{"system": "http://loinc.org", "code": "48018-6"}]}, "valueCodeableConcept": {"text": "EGFR"}}
    >>> place_of({"component": [gene]})
    'EGFR'
    """
    parts = _parts(resource)
    build = next((_BUILDS[code] for code in _codes(parts.get(_BUILD)) if code in _BUILDS), "")
    chromosome, position = _chromosome(parts), _position(parts)
    reference, alternative = _answer(parts.get(_REF)), _answer(parts.get(_ALT))
    if build and chromosome and position is not None and reference and alternative:
        return f"{build}:{chromosome}:{position}:{reference}:{alternative}"
    for code in _HGVS:
        found = next((name for name in _codes(parts.get(code)) if name), "") or _answer(parts.get(code))
        if found:
            return found[:200]
    gene = _answer(parts.get(_GENE))
    if gene:
        return gene[:200]
    derived = next((text_of(one.get("reference")) for one in items(resource.get("derivedFrom")) if isinstance(one, Mapping)), "")
    return derived[:200]


def said_of(resource: Mapping[str, Any], answer: Code | str | None, code: Code) -> Code | str | None:
    """Return the value of a genomic result: of a variant what was found, then what it is; of anything else the answer."""
    if str(code) != VARIANT:
        return answer
    parts = _parts(resource)
    found = (answer.display or answer.code) if isinstance(answer, Code) else (answer or "not said")
    rest = [text for name in _SUMMARY if (text := _answer(parts.get(name)))]
    fraction = parts.get("81258-6")
    quantity = None if fraction is None else fraction.get("valueQuantity")
    if isinstance(quantity, Mapping) and quantity.get("value") is not None:
        rest.append(f"allele fraction {quantity['value']} {text_of(quantity.get('code')) or text_of(quantity.get('unit'))}".strip())
    return ", ".join((found.lower(), *dict.fromkeys(rest)))


def conclusion_of(resource: Mapping[str, Any], site: Site) -> Code | str | None:
    """Return what an implication concludes: the answer of the component that carries it."""
    for one in items(resource.get("component")):
        concept = one.get("code") if isinstance(one, Mapping) else None
        code = code_of(concept, site)
        if code is not None and code.system == _GUIDE and ("implication" in code.code or code.code == "conclusion-string"):
            value = one.get("valueCodeableConcept")
            return (
                (code_of(value, site) or concept_text(value) or None)
                if isinstance(value, Mapping)
                else text_of(one.get("valueString")) or None
            )
    return None
