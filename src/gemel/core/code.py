"""Codes: LOINC, SNOMED CT, RxNorm, ATC, ICD-10, CVX, NDC, DICOM and the house vocabulary, as identifiers only."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, model_validator

from gemel.core.errors import CodeError

__all__ = ["SYSTEMS", "Code", "vocabulary"]

SYSTEMS: dict[str, str] = {
    "loinc": "http://loinc.org",
    "snomed": "http://snomed.info/sct",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "atc": "http://www.whocc.no/atc",
    "ucum": "http://unitsofmeasure.org",
    "mdc": "urn:iso:std:iso:11073:10101",
    "icd10": "http://hl7.org/fhir/sid/icd-10",
    "icd10cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "cvx": "http://hl7.org/fhir/sid/cvx",
    "ndc": "http://hl7.org/fhir/sid/ndc",
    "dicom": "http://dicom.nema.org/resources/ontology/DCM",
    "ncit": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    "hgnc": "http://www.genenames.org",
    "hgvs": "http://varnomen.hgvs.org",
    "so": "http://www.sequenceontology.org",
    "refseq": "http://www.ncbi.nlm.nih.gov/refseq",
    "genomics": "http://hl7.org/fhir/uv/genomics-reporting/CodeSystem/tbd-codes-cs",
    "absent": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    "gemel": "urn:gemel:vocabulary",
}
_LOINC = re.compile(r"^(?:L[AP])?\d{1,7}-\d$")  # LA: an answer, LP: a part


class Code(BaseModel):
    """A code in a system. Two codes are equal when system and code are; the display is for people.

    Examples
    --------
    >>> str(Code.parse("loinc:99504-3"))
    'loinc:99504-3'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    system: str
    code: str
    display: str = ""

    @model_validator(mode="after")
    def _known(self) -> Code:
        if self.system not in SYSTEMS:
            raise CodeError(
                f"unknown code system {self.system!r}", expected=f"one of {', '.join(SYSTEMS)}", fix="map the code to a known system"
            )
        if not self.code or (self.system == "loinc" and not _LOINC.match(self.code)):
            raise CodeError(f"not a code of {self.system}", seen=self.code, expected="for LOINC digits, a hyphen and a check digit")
        return self

    @classmethod
    def parse(cls, text: str, display: str = "") -> Code:
        """Read ``system:code``; a house code with a known display gets it."""
        system, _, code = text.partition(":")
        return cls(system=system, code=code, display=display or vocabulary.get(text, ""))

    def __str__(self) -> str:
        return f"{self.system}:{self.code}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Code) and (self.system, self.code) == (other.system, other.code)

    def __hash__(self) -> int:
        return hash((self.system, self.code))


# Identifiers only (facts); displays are our own words. LOINC codes are (c) Regenstrief Institute, used under its licence.
vocabulary: dict[str, str] = {
    "loinc:99504-3": "Glucose in interstitial fluid, mass",
    "loinc:105272-9": "Glucose in interstitial fluid, amount",
    "loinc:41653-7": "Glucose in capillary blood by glucometer, mass",
    "loinc:97507-8": "Mean glucose of a reporting period",
    "loinc:1558-6": "Fasting glucose in serum or plasma, mass",
    "loinc:4548-4": "Haemoglobin A1c share of total haemoglobin",
    "loinc:8867-4": "Heart rate",
    "loinc:9279-1": "Breathing rate",
    "loinc:29463-7": "Body weight",
    "loinc:8302-2": "Body height",
    "loinc:9059-7": "Carbohydrate intake, estimated",
    "loinc:9052-2": "Energy intake, total",
    "loinc:55423-8": "Steps",
    "atc:A10AB": "Insulin, fast acting",
    "atc:A10AC": "Insulin, intermediate acting",
    "atc:A10AD": "Insulin, premixed",
    "atc:A10AE": "Insulin, long acting",
    "gemel:meal-unquantified": "Meal of unknown size",
    "gemel:heart-rate-variability": "Heart rate variability as the device reports it",
    "gemel:activity-level": "Activity as the device reports it",
    "gemel:energy-change": "Change of energy intake against balance",
    "gemel:activity-change": "Change of the physical activity level",
    "gemel:insulin-sensitivity": "Insulin sensitivity against the typical one in type 2 diabetes",
    "gemel:beta-cell-function": "Beta-cell function against the typical one in type 2 diabetes",
    "gemel:decision": "What a person decided about a proposal",
    "gemel:outcome": "What came of a decision",
    "gemel:toy-dose": "Dose of the toy twins",
    "gemel:toy-signal": "Signal of the toy twins",
}
