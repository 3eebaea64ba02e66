"""``gemel trace``: the matrix, its files, and how a build fails on orphans."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.requirement("R-G-TRACED")


@pytest.fixture
def orphaned(monkeypatch, tmp_path):
    """A copy of the toys' trace in which one test was renamed and one requirement has nothing."""
    from gemel.evidence.trace import data as trace
    from gemel.evidence.trace.data import trace_of

    folder = trace_of("toy-linear").folders["toy-linear"]
    copy = folder / "trace.toml"
    text = copy.read_text().replace("test_calibrate_meets_the_closed_form", "test_that_was_renamed")
    text += '[[requirement]]\nid = "R-TOY-NOTHING"\ntext = "nobody shows it"\nitems = ["S-TOY-MODEL"]\n'
    real = trace._read
    (tmp_path / "trace.toml").write_text(text)

    def read(path, origin):
        return real(tmp_path / "trace.toml" if path == copy else path, origin)

    monkeypatch.setattr(trace, "_read", read)


def test_the_matrix_as_table_and_files(gemel, tmp_path):
    ran = gemel("trace", "toy-linear")
    assert ran.code == 0
    assert "R-TOY-EXACT" in ran.out
    assert "0 orphans" in ran.out
    assert gemel("trace", "toy-linear", "-o", tmp_path / "t.html").code == 0
    assert "R-TOY-EXACT" in (tmp_path / "t.html").read_text()
    assert gemel("trace", "toy-linear", "-o", tmp_path / "t.json", "--check").code == 0
    told = gemel("trace", "toy-linear", "--json").json()
    assert told == json.loads((tmp_path / "t.json").read_text())
    assert told["passed"]


def test_stored_runs_stand_in_the_matrix(gemel, monkeypatch, tmp_path):
    from gemel.core.advice import ShownOn
    from gemel.evidence.fingerprint import model_hash
    from gemel.evidence.run import EvidenceRun, Measured, append

    figure = Measured(name="f", value=1.0, met=True, shown_on=ShownOn(kind="simulated", n=3))
    run = EvidenceRun(
        kind="loop", twin="toy-linear", study="loop", model_version="1", model_hash=model_hash("toy-linear"), time=1, figures=(figure,)
    )
    append(tmp_path / "toy-linear.jsonl", run)

    def said(*options):
        return {
            (s["study"], s["run"], s["state"])
            for r in gemel("trace", "toy-linear", "--json", *options).json()["requirements"]
            for s in r["studies"]
        }

    monkeypatch.setenv("GEMEL_EVIDENCE", str(tmp_path / "elsewhere"))
    assert ("loop", "", "no run") in said()
    assert ("loop", run.id, "limits met") in said("--runs", tmp_path / "toy-linear.jsonl")
    monkeypatch.setenv("GEMEL_EVIDENCE", str(tmp_path))
    assert ("loop", run.id, "limits met") in said()


def test_every_installed_twin(gemel):
    ran = gemel("trace", "--check", "--json")
    assert ran.code == 0
    assert {t["twin"] for t in ran.json()["twins"]} >= {
        "metabolic",
        "metabolic-t1d",
        "metabolic-t2d",
        "metabolic-slow",
        "toy-linear",
        "toy-growth",
    }


def test_orphans_end_in_one_when_asked(gemel, orphaned):
    assert gemel("trace", "toy-linear").code == 0
    ran = gemel("trace", "toy-linear", "--check")
    assert ran.code == 1
    assert "test_that_was_renamed" in ran.out
    assert "R-TOY-NOTHING" in ran.out
    assert gemel("trace", "--check").code == 1
    found = gemel("trace", "toy-linear", "--check", "--json").json()["orphans"]
    assert {(o["kind"], o["where"]) for o in found} == {
        ("test that does not exist", "R-TOY-EXACT"),
        ("requirement that nothing shows", "R-TOY-NOTHING"),
    }


def test_without_tests_it_neither_passes_nor_finds(gemel, monkeypatch):
    from gemel.evidence.trace import check as trace_check

    monkeypatch.setattr(trace_check, "project_of", lambda folder: None)
    ran = gemel("trace", "toy-linear", "--check")
    assert ran.code == 4
    assert "NOT CHECKED" in ran.out
    assert "nothing has passed" in ran.err
    assert gemel("trace", "toy-linear").code == 0


def test_what_is_not_there_is_said(gemel, tmp_path):
    assert gemel("trace", "no-such-twin").code == 4
    assert gemel("trace", "toy-linear", "--runs", tmp_path / "none.jsonl").code == 4
    assert gemel("trace", "toy-linear", "-o", tmp_path / "t.pdf").code == 2
    assert gemel("trace", "-o", tmp_path / "t.html").code == 2
