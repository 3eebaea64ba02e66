"""FHIRPath: the official suite, what it leaves out, limits, and patterns that would stop another engine."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ElementTree
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _data import require_dataset
from gemel.core.errors import DataError, FormatError, GemelError
from gemel.interop.fhir.codec import decode
from gemel.interop.fhir.fhirpath import Quantity, Temporal, evaluate, holds, root, type_of, value_of
from gemel.interop.fhir.fhirpath.regex import compiled
from gemel.interop.fhir.xml import decode_xml

NOW = "2026-11-20T16:00:00.000+00:00"
PATIENT = decode(
    '{"resourceType":"Patient","id":"p","active":true,"birthDate":"1974-12-25","gender":"male","contained":[{"resourceType":"Organization","id":"o","name":"O"}],'
    '"managingOrganization":{"reference":"#o"},"deceasedBoolean":false,"name":[{"use":"official","family":"A","given":["B","C"]},{"given":["D"]}]}'
)
OBSERVATION = decode(
    '{"resourceType":"Observation","status":"final","code":{"text":"w"},"valueQuantity":{"value":185,"unit":"lbs",'
    '"system":"http://unitsofmeasure.org","code":"[lb_av]"}}'
)  # fmt: skip


def shown(item):
    value = value_of(item)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Temporal):
        return ("@T" if value.kind == "time" else "@") + str(value)
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def passes(test, read):
    expression, wanted = test.find("expression"), [(one.get("type"), one.text or "") for one in test.findall("output")]
    focus = read(test.get("inputfile")) if test.get("inputfile") else None
    try:
        found = evaluate(expression.text, focus, now=NOW, strict=test.get("mode") == "strict")
    except GemelError:
        return bool(expression.get("invalid"))
    if test.get("predicate") == "true":
        found = [bool(found)]
    types = all(not kind or type_of(item).name.lower() == kind.lower() for (kind, _), item in zip(wanted, found, strict=False))
    return not expression.get("invalid") and [shown(item) for item in found] == [text for _, text in wanted] and types


@pytest.mark.data
def test_the_official_suite():
    folder = require_dataset("fhir-test-cases") / "fhirpath"
    kept = {}

    def read(name):
        if name not in kept:
            kept[name] = (decode_xml if name.endswith(".xml") else decode)((folder / "inputs" / name).read_bytes())
        return kept[name]

    groups = ElementTree.parse(folder / "tests-r4-shared.xml").getroot().findall("group")
    tests = [(group.get("name"), test) for group in groups for test in group.findall("test")]
    failing = [(group, test.get("name")) for group, test in tests if not passes(test, read)]
    assert (len(groups), len(tests)) == (50, 438)  # the data's own count
    assert failing == []


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("name[0].given[1]", ["C"]), ("name.given.count()", ["3"]), ("deceased", ["false"]), ("deceased.ofType(boolean)", ["false"]),
        ("Patient.name.where(use = 'official').family", ["A"]), ("name.given.where($index = 1)", ["C"]), ("name.given.skip(1).first()", ["C"]),
        ("active and {}", []), ("active or {}", ["true"]), ("{} or false", []), ("name.exists(use = 'official')", ["true"]),
        ("(1 | 2 | 3).aggregate($this + $total, 0)", ["6"]), ("(3 | 1 | 2).aggregate(iif($total.empty(), $this, iif($this < $total, $this, $total)))", ["1"]),
        ("'abc'.indexOf('c')", ["2"]), ("'a\\u0062c'", ["abc"]), ("'http://fhir.org/x'.matches('fhir')", ["true"]), ("'abc'.matchesFull('b')", ["false"]),
        ("'A\\n\\tB'.matches('A.*B')", ["true"]), ("'11/30/1972'.replaceMatches('([0-9]+)/([0-9]+)/([0-9]+)', '$3-$1-$2')", ["1972-11-30"]),
        ("4.0000 'g' = 4000.0 'mg'", ["true"]), ("4 'g' ~ 4000 'mg'", ["true"]), ("4 'g' ~ 4040 'mg'", ["true"]), ("4 'g' != 4040 'mg'", ["true"]),
        ("7 days = 1 week", ["true"]), ("1 year = 12 months", ["true"]), ("1 year = 1 'a'", []), ("1 year ~ 1 'a'", ["true"]), ("6 days < 1 week", ["true"]),
        ("(2.0 'cm' * 2.0 'm') = 0.040 'm2'", ["true"]), ("4.0 'g' / 2.0 'm' = 2 'g/m'", ["true"]), ("1.0 'm' / 1.0 'm' = 1 '1'", ["true"]),
        ("@2012-04-15T15:00:00+02:00 = @2012-04-15T16:00:00+03:00", ["true"]), ("@2012-04-15T15:00:00Z = @2012-04-15T10:00:00", []),
        ("@2012 = @2012-04", []), ("@2012 != @2013-04", ["true"]), ("@2016-02-29 + 1 year", ["@2017-02-28"]), ("@2014 + 24 months", ["@2016"]),
        ("@T23:00:00 + 2 hours", ["@T01:00:00"]), ("@2014-01-31 - 1 month", ["@2013-12-31"]), ("@2014-01-01T00:30 - 1 hour", ["@2013-12-31T23:30"]),
        ("1.2 / 1.8 ~ 0.67", ["true"]), ("'  A  b' ~ 'a B'", ["true"]), ("(1 | 2) ~ (2 | 1)", ["true"]), ("(1 | 2) = (2 | 1)", ["false"]),
        ("1 + 2 * 3", ["7"]), ("-1 + 2", ["1"]), ("true.is(Boolean)", ["true"]), ("active.is(boolean)", ["true"]), ("active.is(System.Boolean)", ["false"]),
        ("gender.is(string)", ["true"]), ("gender.is(id)", ["false"]), ("type().name", []), ("is(DomainResource)", ["true"]), ("is(Observation)", ["false"]),
        ("managingOrganization.resolve().name", ["O"]), ("%sct", ["http://snomed.info/sct"]), ("%`vs-a-b`", ["http://hl7.org/fhir/ValueSet/a-b"]),
        ("1.587.highBoundary()", ["1.58750000"]), ("@2014.highBoundary(6)", ["@2014-12"]), ("@2014-02.highBoundary()", ["@2014-02-28"]),
        ("@2014-01-01T08.highBoundary(17)", ["@2014-01-01T08:59:59.999-12:00"]), ("@T10:30.highBoundary(9)", ["@T10:30:59.999"]),
        ("1.58700.precision()", ["5"]), ("@2014-01-05T10:30:00.000.precision()", ["17"]), ("@T10:30.precision()", ["4"]), ("2147483648 * 2", ["4294967296"]),
        ("9223372036854775807 * 3", []), ("10.power(400)", []), ("'dGVzdA=='.decode('base64')", ["test"]), ("'test'.encode('hex')", ["74657374"]),
        ("'<a>'.escape('html')", ["&lt;a&gt;"]), ("defineVariable('n', name.count()).select(%n)", ["2"]), ("name.given.distinct().isDistinct()", ["true"]),
        ("'x' in name.given", ["false"]), ("name.given contains 'B'", ["true"]), ("name.first().given.subsetOf(name.given)", ["true"]),
        ("(3 | 1 | 2).sort()", ["1", "2", "3"]), ("conformsTo('http://hl7.org/fhir/StructureDefinition/Patient')", ["true"]),
        ("repeat(contained).count()", ["1"]), ("1.convertsToString() and '1 day'.convertsToQuantity()", ["true"]), ("timeOfDay()", ["@T16:00:00.000"]),
        ("16.log(2)", ["4.0"]), ("0.exp()", ["1.0"]), ("5.5.abs()", ["5.5"]), ("7.sqrt().round(3)", ["2.646"]), ("name.select(given.first())", ["B", "D"]),
        ("@2014-03-05.yearOf()", ["2014"]), ("iif({}, 1, 2)", ["2"]), ("(true | true).allTrue()", ["true"]), ("'a,b'.split(',').join('-')", ["a-b"]),
    ],
)  # fmt: skip
def test_answers_that_the_specification_gives(expression, wanted):
    if expression == "type().name":
        assert [one.name for one in evaluate("type()", PATIENT)] == ["Patient"]
        return
    assert [shown(item) for item in evaluate(expression, PATIENT, now=NOW)] == wanted


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("active.type().namespace & '.' & active.type().name", ["FHIR.boolean"]), ("true.type().name", ["Boolean"]), ("1 'mg'.value", ["1"]), ("4 days.unit", ["day"]),
        ("name.given.sort(-$this)", ["D", "C", "B"]), ("name.sort(given.first()).given.first()", ["B"]), ("(3 | 1 | 2).sort(-$this).first()", ["3"]),
        ("@1974-12-25 - 1 'month'", ["@1974-11-25"]), ("defineVariable(defineVariable('p', 'q').select(%p), 7).select(%q)", ["7"]),
        ("defineVariable('a', 'x').select(%a).defineVariable('b', 'y').select($this & %a & %b)", ["xxy"]), ("@2015T.is(DateTime)", ["true"]),
        ("(1 | 2).select(defineVariable('v', $this).select(%v + 1))", ["2", "3"]), ("name.take(2) = name.first() | name.last()", ["true"]),
    ],
)  # fmt: skip
def test_types_parts_order_and_scopes(expression, wanted):
    assert [shown(item) for item in evaluate(expression, PATIENT, now=NOW)] == wanted


def test_choices_are_named_without_their_type():
    assert holds("value > 180 '[lb_av]' and value.is(Quantity)", OBSERVATION)
    assert [shown(one) for one in evaluate("Observation.value.as(Quantity).unit", OBSERVATION)] == ["lbs"]
    assert evaluate("value.as(Period).start", OBSERVATION) == []
    with pytest.raises(DataError, match="valueQuantity is a name of JSON only"):
        evaluate("valueQuantity.unit", OBSERVATION)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "name.",
        "a..b",
        "(1",
        "'open",
        "`open",
        "@2014-13",
        "@2014-02-30",
        "1 2",
        "$that",
        "name[",
        "/* open",
        "a.1b",
        "'\\q'",
        "@",
        "{1}",
    ],
)
def test_what_cannot_be_read_is_named(expression):
    with pytest.raises(FormatError, match="FHIRPath"):
        evaluate(expression, PATIENT)


@pytest.mark.parametrize(
    ("expression", "what"),
    [
        ("name.single()", "more than one"), ("nothing()", "no such function"), ("name.where()", "arguments"), ("1 + 'a'", "cannot be added"),
        ("'a' < 1", "no order"), ("%unknown", "no such variable"), ("name.memberOf('x')", "not supported"), ("now()", "no clock"), ("name.ofType({})", "missing"), ("name.first().is(1)", "needs text"),
        ("conformsTo('http://x')", "profiles"), ("iif('a', 1, 2)", "truth value"), ("'a'.encode('rot13')", "no such encoding"), ("name.length()", "more than one"),
        ("name.first().length()", "needs text"), ("-'a'", "needs a number"), ("@2014-01-01 + 1 'mo'", "cannot be moved"), ("@9999-12-31 + 1 day", "outside the calendar"),
        ("defineVariable('a', 1).defineVariable('a', 2)", "already"), ("1.round(-1)", "digits"), ("('a' | 'b') & 'c'", "more than one"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_named(expression, what):
    with pytest.raises(DataError, match=what):
        evaluate(expression, PATIENT)


def test_strict_reading_knows_the_types():
    assert evaluate("name.given1", PATIENT) == []
    for expression in ("name.given1", "Encounter.name", "name.where(nothing = 1)", "children().skip(1)"):
        with pytest.raises(DataError):
            evaluate(expression, PATIENT, strict=True)
    assert len(evaluate("name.where(use = 'official').given | contained.id", PATIENT, strict=True)) == 3


def test_limits_end_what_would_not():
    with pytest.raises(DataError, match="too long"):
        evaluate("repeatAll($this)", PATIENT)
    with pytest.raises(DataError, match="too long"):
        evaluate("(1|2|3|4|5|6|7|8|9).select(%t.select(%t.select(%t.select(%t.select(%t)))))", PATIENT, variables={"t": list(range(30))})
    with pytest.raises(DataError, match="grows too long"):
        evaluate(".replace('a', 'aaaaaaaaaaaaaaaaaaaa')".join(["'aaaaaaaaaaaa'", "", "", "", "", "", ""]), PATIENT)
    for expression in (
        "(" * 5000 + "1" + ")" * 5000,
        "-" * 5000 + "1",
        "a" + ".a" * 5000,
        "1" + "+1" * 5000,
        "x" * 30_000,
        "a" + "[0]" * 5000,
    ):
        with pytest.raises(FormatError):
            evaluate(expression, PATIENT)
    assert evaluate("1" + "+1" * 98, PATIENT) == [99]  # a chain just inside the limit


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|aa)+b", "(a*)*b", "(.*)*x", "(a|a)*b", "a*a*a*a*a*a*b"])
def test_patterns_that_stop_others_take_no_time(pattern):
    start = time.process_time()
    assert evaluate(f"'{'a' * 2000}'.matches('^{pattern}$')", PATIENT) == [False]
    assert time.process_time() - start < 5  # Python's own engine needs more than 2^60 steps for the first


@given(st.from_regex(r"\A(?:[ab.]|\[ab\]|\(a\|b\)|\(?:ab\)|a[*+?]|b\{1,2\}){0,6}\Z"), st.text("abc", max_size=8))
def test_the_engine_of_patterns_agrees_with_python(pattern, text):
    try:
        theirs = re.compile(pattern, re.DOTALL)
    except re.error:
        return
    found = theirs.search(text)
    ours = compiled(pattern).find(text, 0)
    assert (None if ours is None else ours[:2]) == (None if found is None else found.span())
    assert (compiled(pattern).full(text) is None) == (theirs.fullmatch(text) is None)


@pytest.mark.parametrize(
    ("pattern", "text", "span"),
    [
        (r"\d{3}-\d+", "ab 123-4567", (3, 11)), (r"[^\s.,]{1,3}\b", "  ab", (2, 4)), (r"a+?", "aaa", (0, 1)), (r"\p{Lu}x", "äÄx", (1, 3)),
        (r"x{,2}", "x{,2}", (0, 5)), (r"[]a]+", "x]a", (1, 3)), (r"\u0041\x42", "AB", (0, 2)), (r"^$", "", (0, 0)), (r"(?<n>a)b", "ab", (0, 2)),
    ],
)  # fmt: skip
def test_patterns_with_known_answers(pattern, text, span):
    found = compiled(pattern).find(text, 0)
    assert found is not None
    assert found[:2] == span


@pytest.mark.parametrize(
    "pattern", ["(?=a)", r"(a)\1", "(a", "a)", "*a", "[a", r"\q", "a{2,1}", "((a{99}){99}){99}", "(" * 90 + ")" * 90, "[b-a]", r"\u12"]
)
def test_patterns_that_are_refused(pattern):
    with pytest.raises(FormatError, match="regular expression"):
        compiled(pattern)


@given(st.text(st.sampled_from("abc.()[]{}'\"`@0123456789-+*/|&=<>%$ ,TZ:\\\n")))
def test_no_text_breaks_it(expression):
    try:
        evaluate(expression, PATIENT, now=NOW)
    except GemelError:
        return


def test_traces_go_where_they_are_asked_to_go(capsys):
    told = []
    evaluate("name.trace('names', given).count()", PATIENT, tracer=lambda name, items: told.append((name, len(items))))
    assert told == [("names", 3)]
    assert capsys.readouterr().out == ""


def test_nodes_know_where_they_stand_and_keep_silent():
    found = evaluate("name.given", PATIENT)
    assert [one.path for one in found] == ["Patient.name[0].given[0]", "Patient.name[0].given[1]", "Patient.name[1].given[0]"]
    assert "B" not in repr(found[0]).removeprefix("Node(string at ")  # a value may be a patient's
    assert root(PATIENT).path == "Patient"
    assert str(Quantity.parse("4 days")) == "4 days"
    with pytest.raises(DataError, match="not a resource"):
        root({"id": "x"})


def test_references_lead_inside_a_bundle_or_where_the_caller_says():
    bundle = decode(
        '{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","id":"p"}},'
        '{"resource":{"resourceType":"Observation","subject":{"reference":"urn:uuid:1"},"performer":[{"reference":"Patient/p"}]}}]}'
    )
    assert holds("entry.resource.ofType(Observation).all(subject.resolve() is Patient and performer.resolve().id = 'p')", bundle)
    assert not holds("managingOrganization.reference.resolve().exists()", decode('{"resourceType":"Patient"}'))
    alone = decode('{"resourceType":"Observation","subject":{"reference":"Patient/q"}}')
    assert evaluate("subject.resolve()", alone) == []
    assert holds("subject.resolve().id = 'q'", alone, resolver=lambda reference, _: root({"resourceType": "Patient", "id": reference[8:]}))
