"""FHIR R4: a language to read, ask, check and change; what a twin found, as resources that a hospital's systems can take in; sensor glucose by the CGM guide.

FHIRPath stands in ``fhirpath``, the definitions in ``schema``, the validator in ``validate``, JSON Patch in ``json_patch``.
"""

from gemel.interop.fhir.bundle import SUMMARY_KEYS, result_bundle
from gemel.interop.fhir.cgm import Quarantined, read_cgm_bundle, submission_bundle
from gemel.interop.fhir.cgm_validate import Violation, validate_cgm
from gemel.interop.fhir.codec import Element, decode, encode, freeze, thaw
from gemel.interop.fhir.files import read_resources
from gemel.interop.fhir.index import search_values
from gemel.interop.fhir.patch import fhirpath_patch
from gemel.interop.fhir.views import read_view
from gemel.interop.fhir.xml import decode_xml

__all__ = [
    "SUMMARY_KEYS",
    "Element",
    "Quarantined",
    "Violation",
    "decode",
    "decode_xml",
    "encode",
    "fhirpath_patch",
    "freeze",
    "read_cgm_bundle",
    "read_resources",
    "read_view",
    "result_bundle",
    "search_values",
    "submission_bundle",
    "thaw",
    "validate_cgm",
]
