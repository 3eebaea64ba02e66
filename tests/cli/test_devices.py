"""Messages and devices in, recognised by their content."""

from __future__ import annotations

import pytest

from gemel.interop.hl7v2 import enframe
from gemel.testing.messages import result_messages


def test_messages_are_recognised_counted_and_stored_once(gemel, tmp_path):
    bodies = list(result_messages(30, seed=2, patients=2))
    (tmp_path / "lab.dat").write_bytes(b"".join(enframe(body) for body, _ in bodies) + enframe(bodies[0][0]) + enframe(b"garbage"))
    first = gemel("import", "lab.dat", "--db", "s.sqlite", "--json")
    people = first.json()["people"]
    total = sum(len(truth) for _, truth in bodies)
    report = people[0]["report"]
    assert (report["format"], report["mapped"], report["duplicates"]) == ("hl7v2", total, len(bodies[0][1]))
    assert sum(person["new_facts"] for person in people) == total
    again = gemel("import", "lab.dat", "--db", "s.sqlite", "--json").json()["people"]
    assert [person["new_facts"] for person in again] == [0] * len(again)
    assert "hl7v2" in gemel("import", "lab.dat", "--format", "hl7v2").out


def test_a_file_without_a_fact_is_refused_with_the_first_reason(gemel, tmp_path):
    (tmp_path / "x.hl7").write_bytes(b"MSH|^~\\&|LAB|H|||20260131||MDM^T02|1|P|2.5\r")
    told = gemel("import", "x.hl7")
    assert told.code != 0
    assert "a type of message that is not read" in told.err


def test_a_folder_of_images_is_recognised(gemel, tmp_path):
    pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    folder = tmp_path / "study"
    folder.mkdir()
    with open(get_testdata_file("CT_small.dcm"), "rb") as stream:
        (folder / "a").write_bytes(stream.read())
    told = gemel("import", "study", "--json").json()["people"]
    assert (told[0]["report"]["format"], told[0]["report"]["mapped"]) == ("dicom", 1)
