"""The FHIR server: what a request asks, who may, what is written, and how it is answered."""
