"""Small resources of somebody, for the tests of the FHIR server."""

from __future__ import annotations

JSON = {"Content-Type": "application/fhir+json"}


def tree(kind: str, patient: str, **more) -> dict:
    """A resource of a patient; an Observation is a pulse."""
    told = {"resourceType": kind, "id": patient if kind == "Patient" else f"o-{patient}", **more}
    if kind == "Observation":
        told |= {
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "subject": {"reference": f"Patient/{patient}"},
        }
    return told
