"""The quick reader of Observations says the same as the long way, whatever it is given."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from _fhir import examples, synthea
from gemel.core.errors import GemelError
from gemel.core.time import to_ns
from gemel.interop.fhir import decode, encode, search_values
from gemel.interop.fhir.fast import ObservationReader
from gemel.interop.fhir.mapping import map_resource

NOW = to_ns("2026-01-31T12:00:00Z")


def resolve(reference: str) -> dict[str, str] | None:
    return {"resourceType": "Patient", "id": reference[9:]} if reference.startswith("urn:") else None


@cache
def bodies() -> tuple[bytes, ...]:
    found = [encode(e["resource"]) for _, raw in synthea() for e in decode(raw)["entry"] if e["resource"]["resourceType"] == "Observation"]
    return (*found, *(raw for _, raw in examples() if decode(raw).get("resourceType") == "Observation"))


def the_long_way(raw: bytes) -> Any:
    tree = decode(raw)
    mapped = map_resource(tree, received=NOW, resolve=resolve)
    return Counter(map(repr, search_values(tree))), mapped.patient, mapped.points, mapped.findings


def told(way: Any, raw: bytes) -> Any:
    try:
        return way(raw)
    except GemelError as error:
        return type(error).__name__


def quick(reader: ObservationReader):
    def way(raw: bytes) -> Any:
        found = reader.read(raw)
        return Counter(map(repr, found.values)), found.patient, found.points, found.findings

    return way


def test_every_observation_reads_the_same_both_ways_new_and_known() -> None:
    reader = ObservationReader(received=NOW, resolve=resolve)
    slow = 0
    for _ in range(2):
        for raw in bodies():
            assert quick(reader)(raw) == the_long_way(raw)
    for raw in bodies()[:1588]:
        slow += reader.read(raw).slow is not None
    assert slow < 20  # those whose unit is put right, which is said each time


READER = ObservationReader(received=NOW, resolve=resolve)
PIECES = [b'"', b"\\", b"{", b"}", b",", b"1e400", b"-", b"0", b".5", b"NaN", b' "value', b'"subject":{', b'"status":"final",', b'"value":1', b"\xff", b"[", b"\n", b'"issued":"']  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_whatever_is_changed_in_the_bytes_both_ways_say_the_same(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from(bodies()[::37]))
    READER._credit = 1000  # never the long way for lack of luck
    told(quick(READER), raw)
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.sampled_from((0, 1, 4, 40)))
        raw = raw[:at] + data.draw(st.sampled_from(PIECES) | st.just(b"")) + raw[at + cut :]
    assert told(quick(READER), raw) == told(the_long_way, raw)


def test_numbers_keep_what_their_digits_leave_open() -> None:
    body = next(raw for raw in bodies() if b'"valueQuantity":{"value":' in raw)
    head, _, tail = body.partition(b'"valueQuantity":{"value":')
    for text in (b"1.00", b"1.0", b"1", b"-0.5", b"100", b"0.000001", b"1e3", b"1E-7", b"-0", b"123456789012345678901", b"01", b"1."):
        raw = head + b'"valueQuantity":{"value":' + text + tail[tail.index(b",") :]
        assert told(quick(READER), raw) == told(the_long_way, raw), text


def test_a_byte_between_two_elements_is_looked_at() -> None:
    body = bodies()[0]
    for mark in (b',"status"', b',"subject"', b',"effective', b',"issued', b',"value'):
        raw = body.replace(mark, b"\xff" + mark[1:], 1)
        assert told(quick(READER), raw) == told(the_long_way, raw) == "FormatError"


def test_nothing_is_kept_without_end() -> None:
    reader = ObservationReader(received=NOW)
    body = bodies()[0]
    for i in range(3000):
        reader.read(body.replace(b'"status":"final"', b'"status":"final","code%d":1' % i))
    assert reader._credit < 1000
    assert len(reader._what) < 3000  # it gave up cutting long before
