"""FHIR R4: what a twin found, as resources that a hospital's systems can take in."""

from gemel.interop.fhir.bundle import SUMMARY_KEYS, result_bundle

__all__ = ["SUMMARY_KEYS", "result_bundle"]
