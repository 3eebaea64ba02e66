"""FHIR R4: what a twin found, as resources that a hospital's systems can take in, and sensor glucose by the CGM guide, in and out."""

from gemel.interop.fhir.bundle import SUMMARY_KEYS, result_bundle
from gemel.interop.fhir.cgm import Quarantined, read_cgm_bundle, submission_bundle
from gemel.interop.fhir.cgm_validate import Violation, validate_cgm

__all__ = ["SUMMARY_KEYS", "Quarantined", "Violation", "read_cgm_bundle", "result_bundle", "submission_bundle", "validate_cgm"]
