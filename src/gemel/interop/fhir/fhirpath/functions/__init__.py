"""The functions of FHIRPath, by name."""

from __future__ import annotations

from gemel.interop.fhir.fhirpath.context import Function
from gemel.interop.fhir.fhirpath.functions import boundaries, collections, conversion, mathematics, resources, strings

__all__ = ["FUNCTIONS"]

FUNCTIONS: dict[str, Function] = {
    **collections.FUNCTIONS,
    **conversion.FUNCTIONS,
    **strings.FUNCTIONS,
    **mathematics.FUNCTIONS,
    **boundaries.FUNCTIONS,
    **resources.FUNCTIONS,
}
"""Every function that is known; those that are not supported say so when they are called."""
