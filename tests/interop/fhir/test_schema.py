"""The generated tables: what they say, and that they are what the definitions give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from _data import require_dataset
from gemel.interop.fhir import schema

ROOT = Path(__file__).parents[3]


@pytest.mark.data
def test_the_tables_are_those_of_the_definitions(tmp_path):
    made = tmp_path / "r4.json"
    archive = require_dataset("fhir-r4-definitions")
    subprocess.run([sys.executable, str(ROOT / "tools" / "fhir_schema.py"), str(archive), str(made)], check=True)
    assert made.read_bytes() == (ROOT / "src/gemel/interop/fhir/schema/r4.json").read_bytes()


def test_types_elements_and_choices():
    resources = [name for name in schema.kinds() if (kind := schema.kind(name)) and kind.is_resource and not kind.abstract]
    assert len(resources) == 146  # https://hl7.org/fhir/R4/resourcelist.html: 148 with Resource and DomainResource
    field, type_ = schema.find("Observation", "valueQuantity") or pytest.fail("not found")
    assert (field.name, type_, field.least, field.most, field.choice) == ("value", "Quantity", 0, 1, True)
    assert schema.find("Observation", "value") is None
    assert schema.find("Observation", "valueAddress") is None
    assert schema.find("Observation", "id") is not None  # from Resource
    assert (schema.find("Observation.component", "referenceRange") or pytest.fail("not found"))[1] == "Observation.referenceRange"
    assert schema.fields("Observation")["subject"].targets == {"Reference": ("Patient", "Group", "Device", "Location")}
    assert schema.fields("Nothing") == {}
    assert schema.kind("Nothing") is None
    assert (schema.kind("code") or pytest.fail("not found")).is_primitive
    assert schema.is_a("Age", "Quantity")
    assert schema.is_a("code", "string")
    assert not schema.is_a("Patient", "Observation")
    assert "obs-6" in {rule.key for rule in (schema.kind("Observation") or pytest.fail("not found")).rules}


def test_codes_searches_and_compartments():
    assert schema.codes("http://hl7.org/fhir/ValueSet/administrative-gender") == {
        "http://hl7.org/fhir/administrative-gender": frozenset({"male", "female", "other", "unknown"})
    }
    assert schema.codes("http://hl7.org/fhir/ValueSet/mimetypes") is None  # of another body, not listed
    found = schema.searches("Observation")
    assert (found["combo-code"].type, found["combo-code"].expression) == ("token", "Observation.code | Observation.component.code")
    assert found["code-value-quantity"].components == (("code", "code"), ("value-quantity", "value.as(Quantity)"))
    assert found["_lastUpdated"].type == "date"
    assert schema.compartment("Patient")["Observation"] == ("subject", "performer")
