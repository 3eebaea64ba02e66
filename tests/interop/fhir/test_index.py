"""What a search may find a resource by: each kind of value, and the walk against FHIRPath itself."""

from __future__ import annotations

import json
import math

import pytest

from _fhir import examples
from gemel.core import to_ns
from gemel.core.errors import DataError
from gemel.interop.fhir import schema
from gemel.interop.fhir.codec import Element, decode
from gemel.interop.fhir.fhirpath import Node, evaluate, root
from gemel.interop.fhir.index import DateValue, NumberValue, QuantityValue, ReferenceValue, StringValue, TokenValue, UriValue, search_values
from gemel.interop.fhir.search_values import FIRST, LAST, MAKERS, date_range, normalised, parsed_reference

SECOND = 10**9


def found(tree, parameter):
    return [value for name, value in search_values(tree if isinstance(tree, Element) else decode(json.dumps(tree))) if name == parameter]


def test_tokens():
    patient = {
        "resourceType": "Patient", "id": "p", "active": True, "gender": "female", "telecom": [{"system": "phone", "value": "1"}, {"value": "2"}],
        "identifier": [{"system": "urn:a", "value": "7"}], "deceasedDateTime": "2020", "meta": {"profile": ["http://p"], "tag": [{"code": "t"}]},
    }  # fmt: skip
    assert found(patient, "_id") == [TokenValue(None, "p")]
    assert found(patient, "active") == [TokenValue(None, "true")]
    assert found(patient, "gender") == [TokenValue("http://hl7.org/fhir/administrative-gender", "female")]
    assert found(patient, "telecom") == [TokenValue("phone", "1"), TokenValue(None, "2")]
    assert found(patient, "phone") == [TokenValue("phone", "1")]  # the definition's where(system='phone')
    assert found(patient, "identifier") == [TokenValue("urn:a", "7")]
    assert found(patient, "deceased") == [TokenValue(None, "true")]  # exists() and != false
    assert found(patient, "_profile") == [UriValue("http://p")]
    assert found(patient, "_tag") == [TokenValue(None, "t")]
    concept = {"resourceType": "Condition", "code": {"text": "x"}, "subject": {}}
    assert found(concept, "code") == [TokenValue(None, None, "x")]


def test_a_blood_pressure_is_found_by_its_components():
    panel = {
        "resourceType": "Observation", "status": "final", "code": {"coding": [{"code": "55284-4"}]},
        "component": [
            {"code": {"coding": [{"code": "8480-6"}]}, "valueQuantity": {"value": 120, "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}},
            {"code": {"coding": [{"code": "8462-4"}]}, "valueQuantity": {"value": 80, "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}},
        ],
    }  # fmt: skip
    assert [one.code for one in found(panel, "combo-code")] == ["55284-4", "8480-6", "8462-4"]
    assert [one.code for one in found(panel, "code")] == ["55284-4"]
    pairs = [(one.parts[0].code, one.parts[1].value) for one in found(panel, "combo-code-value-quantity")]
    assert pairs == [("8480-6", 120.0), ("8462-4", 80.0)]  # a value stays with its own code


def test_quantities_keep_their_digits_and_have_a_common_unit():
    def observation(value, **more):
        quantity = {"system": "http://unitsofmeasure.org", "code": "mg/dL", "unit": "mg/dl"} | more
        return decode(f'{{"resourceType":"Observation","valueQuantity":{json.dumps(quantity)[:-1]},"value":{value}}}}}')

    one = found(observation("5.40"), "value-quantity")
    assert one == [QuantityValue(5.4, 5.4 - 0.005, 5.405, "http://unitsofmeasure.org", "mg/dL", "mg/dl", 54.0, "g.m-3")]
    other = found(observation("0.054", code="g/L"), "value-quantity")[0]
    assert math.isclose(other.canonical, one[0].canonical, rel_tol=1e-12)  # doubles, one multiplication each
    assert found(observation("5", comparator="<"), "value-quantity")[0].low == -math.inf
    assert found(observation("1", code="furlong"), "value-quantity")[0].canonical is None
    assert found(observation('"x"'), "value-quantity") == []


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("1974", "1974-01-01T00:00:00Z", "1975-01-01T00:00:00Z"), ("1974-12", "1974-12-01T00:00:00Z", "1975-01-01T00:00:00Z"),
        ("1974-12-25", "1974-12-25T00:00:00Z", "1974-12-26T00:00:00Z"), ("2013-04-02T09:30:10+01:00", "2013-04-02T08:30:10Z", "2013-04-02T08:30:11Z"),
        ("2013-04-02T09:30Z", "2013-04-02T09:30:00Z", "2013-04-02T09:31:00Z"), ("2013-04-02T09:30:10", "2013-04-02T09:30:10Z", "2013-04-02T09:30:11Z"),
    ],
)  # fmt: skip
def test_dates_cover_what_they_leave_open(text, low, high):
    assert date_range(text) == (to_ns(low), to_ns(high) - 1)


def test_fractions_periods_and_timings():
    start = to_ns("2015-02-07T13:28:17Z")
    assert date_range("2015-02-07T13:28:17.239Z") == (start + 239 * 10**6, start + 240 * 10**6 - 1)
    for text in ("2015-13", "2015-02-30", "x", "2015-02-07T25:00:00Z", "0001", "9999-12-31", ""):
        assert date_range(text) is None
    encounter = {"resourceType": "Encounter", "status": "planned", "class": {}, "period": {"start": "2020-01-01"}}
    assert found(encounter, "date") == [DateValue(to_ns("2020-01-01T00:00:00Z"), LAST)]
    encounter["period"] = {"end": "2020"}
    assert found(encounter, "date") == [DateValue(FIRST, to_ns("2021-01-01T00:00:00Z") - 1)]
    request = {
        "resourceType": "ServiceRequest",
        "occurrenceTiming": {"event": ["2020", "2022"], "repeat": {"boundsPeriod": {"start": "2019"}}},
    }
    assert [one.high for one in found(request, "occurrence")] == [to_ns("2023-01-01T00:00:00Z") - 1, LAST]


def test_references_say_what_they_lead_to():
    assert parsed_reference("Patient/1") == ReferenceValue("Patient", "1", None, None)
    assert parsed_reference("urn:uuid:1") == ReferenceValue(None, None, "urn:uuid:1", None)
    assert parsed_reference("#p") == ReferenceValue(None, None, "#p", None)
    observation = {
        "resourceType": "Observation",
        "subject": {"reference": "Group/g"},
        "performer": [{"identifier": {"system": "s", "value": "v"}}],
    }
    assert found(observation, "subject") == [ReferenceValue("Group", "g", None, None)]
    assert found(observation, "patient") == []  # where(resolve() is Patient)
    assert found(observation, "performer")[0].identifier == ("s", "v")
    plan = {"resourceType": "PlanDefinition", "url": "http://x", "library": ["http://l|2"]}
    assert found(plan, "url") == [UriValue("http://x")]


def test_names_are_found_without_case_and_accents():
    patient = {
        "resourceType": "Patient",
        "name": [{"family": "Müller", "given": ["Élise", "B"]}],
        "address": [{"city": "Örebro", "line": ["A  1"]}],
    }
    assert [one.value for one in found(patient, "name")] == ["muller", "elise", "b"]
    assert found(patient, "family") == [StringValue("muller", "Müller")]
    assert [one.value for one in found(patient, "address")] == ["a 1", "orebro"]
    assert normalised("STRASSE") == normalised("Straße")


def test_what_is_no_resource_is_refused():
    for tree in ({"resourceType": "Nothing"}, {"id": "x"}, {"resourceType": "HumanName"}):
        with pytest.raises(DataError):
            search_values(tree)
    odd = {"resourceType": "Patient", "name": "not a list", "gender": 7, "birthDate": {"a": 1}, "identifier": [None, 3]}
    assert search_values(odd) == [("deceased", TokenValue(None, "false"))]  # who is not said to be dead is found by deceased=false


@pytest.mark.data
def test_the_walk_finds_what_fhirpath_finds():
    """Every parameter of every official example: as many values by the walk over JSON as by evaluating its expression."""
    compared = 0
    for name, raw in examples("r4-examples-583"):
        tree = decode(raw)
        values = search_values(tree)
        for code, one in schema.searches(tree["resourceType"]).items():
            if not one.expression or one.type in ("composite", "special"):
                continue
            expression = one.expression.replace("DateTime", "dateTime").replace("as String", "as string")
            wanted = []
            for item in evaluate(expression, tree, resolver=_typed):
                if not isinstance(item, Node):
                    item = Node(item, "boolean")
                make = MAKERS[one.type].get(item.type)
                wanted += [] if make is None else make(item.value, None)
            got = [value for parameter, value in values if parameter == code]
            assert set(map(_bare, got)) - {None} == set(map(_bare, wanted)) - {None}, (name, code)
            compared += len(got)
    assert compared > 5000


def _bare(value):
    """What FHIRPath can tell apart: it knows no implied system, no digits of a number, and of a contained resource its type."""
    if isinstance(value, TokenValue):
        return value._replace(system=None)
    if isinstance(value, (QuantityValue, NumberValue)):
        return value._replace(low=0, high=0)
    return None if isinstance(value, ReferenceValue) and str(value.url).startswith("#") else value


def _typed(reference, _):
    value = parsed_reference(reference)
    return root({"resourceType": value.type, "id": value.id}) if value.type else None
