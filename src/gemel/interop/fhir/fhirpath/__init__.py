"""FHIRPath 2.0 on resources of FHIR R4: read once, evaluated with limits, no clock and no network of its own."""

from gemel.interop.fhir.fhirpath.context import STEPS
from gemel.interop.fhir.fhirpath.evaluate import evaluate, holds
from gemel.interop.fhir.fhirpath.nodes import Node, TypeName, as_element, root, type_of, value_of
from gemel.interop.fhir.fhirpath.parser import parse
from gemel.interop.fhir.fhirpath.quantity import Quantity
from gemel.interop.fhir.fhirpath.temporal import Temporal

__all__ = ["STEPS", "Node", "Quantity", "Temporal", "TypeName", "as_element", "evaluate", "holds", "parse", "root", "type_of", "value_of"]
