"""``gemel audit``: what a reader of a trail sees, and what a trail that was changed costs."""

import json

import pytest

from _audit_mutations import trail
from gemel.platform.audit import roots_path


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "audit.jsonl"
    key = trail(path, 25, every=10, anchor=tmp_path / "anchor.jsonl")
    return path, key.public_key().public_bytes_raw().hex()


def test_a_trail_that_holds(gemel, kept, tmp_path):
    path, key = kept
    ran = gemel("audit", "verify", path, "--anchor", tmp_path / "anchor.jsonl", "--key", key)
    assert ran.code == 0
    assert "25 entries; 6 signed roots, the newest of 25 entries" in ran.out
    assert "every entry is as it was written" in ran.out
    told = gemel("audit", "verify", path, "--json").json()
    assert (told["holds"], told["entries"], told["anchored"], told["keys"]) == (True, 25, 25, [key])


def test_the_first_bad_entry_is_named(gemel, kept):
    path, _ = kept
    path.write_bytes(path.read_bytes().replace(b"Observation/12", b"Observation/13", 1))
    ran = gemel("audit", "verify", path)
    assert ran.code == 1
    assert "first bad entry: 13" in ran.out
    assert gemel("audit", "verify", path, "--json").json()["first_bad"] == 13


def test_what_was_cut_is_seen_against_the_anchor(gemel, kept, tmp_path):
    path, _ = kept
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:10]))
    roots_path(path).unlink()
    ran = gemel("audit", "verify", path)
    assert ran.code == 0
    assert "nobody could tell" in ran.out
    ran = gemel("audit", "verify", path, "--anchor", tmp_path / "anchor.jsonl")
    assert ran.code == 1
    assert "25 were signed, 10 are there" in ran.out


def test_a_key_that_is_not_the_one_is_seen(gemel, kept):
    ran = gemel("audit", "verify", kept[0], "--key", "00" * 32)
    assert ran.code == 1
    assert "not a trusted one" in ran.out


def test_files_that_are_not_there_or_are_none(gemel, tmp_path, kept):
    assert gemel("audit", "verify", tmp_path / "none").code == 4
    assert gemel("audit", "verify", kept[0], "--anchor", tmp_path / "none").code == 4
    (tmp_path / "x").write_text("hello\n")
    assert gemel("audit", "verify", tmp_path / "x").code == 1
    ran = gemel("audit", "show", tmp_path / "x")
    assert ran.code == 2
    assert "no entry" in ran.err


def test_show_chooses(gemel, kept):
    path, _ = kept
    told = gemel("audit", "show", path, "--who", "u3", "--last", "2", "--json").json()["entries"]
    assert [e["seq"] for e in told] == [18, 25]
    assert [e["seq"] for e in gemel("audit", "show", path, "--patient", "p5", "--action", "deny", "--json").json()["entries"]] == [6]
    assert "Observation/24" in gemel("audit", "show", path, "--last", "1").out


def test_show_as_fhir(gemel, kept):
    events = [json.loads(line) for line in gemel("audit", "show", kept[0], "--fhir").out.splitlines()]
    assert len(events) == 25
    assert {e["resourceType"] for e in events} == {"AuditEvent"}
    assert events[2]["type"]["code"] == "110113"
