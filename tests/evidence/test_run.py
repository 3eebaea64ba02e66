"""Evidence runs: appended, never edited, stale when the model is another."""

import json

import pytest
from pydantic import ValidationError

from gemel.core.advice import ShownOn
from gemel.core.errors import FormatError
from gemel.evidence.run import EvidenceRun, Measured, append, latest, read, standing


def a_run(time=1, value=0.9, met=True, **changes):
    figure = Measured(name="coverage", value=value, low=0.85, high=0.95, met=met, shown_on=ShownOn(kind="simulated", n=100))
    given = {
        "kind": "calibration",
        "twin": "toy-linear",
        "model_version": "0.1.0",
        "model_hash": "abc",
        "seed": 1,
        "time": time,
        "figures": (figure,),
    }
    return EvidenceRun(**given | changes)


def test_runs_are_appended_once_and_come_back(tmp_path):
    path = tmp_path / "evidence" / "runs.jsonl"
    first, second = a_run(1), a_run(2, value=0.8, met=False)
    assert append(path, first) == first.id
    append(path, second)
    append(path, first)
    assert read(path) == (first, second)
    assert len(path.read_text().splitlines()) == 2
    assert first.met
    assert not second.met
    assert latest(read(path), twin="toy-linear", kind="calibration") == second
    assert latest(read(path), twin="toy-linear", kind="validation") is None


def test_an_edited_line_is_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    append(path, a_run())
    table = json.loads(path.read_text())
    table["figures"][0]["value"] = 0.99
    path.write_text(json.dumps(table) + "\n")
    with pytest.raises(FormatError, match="was edited"):
        read(path)
    path.write_text("rubbish\n")
    with pytest.raises(FormatError, match="line 1"):
        read(path)


def test_a_figure_says_on_whom_and_there_is_no_clock():
    with pytest.raises(ValidationError):
        Measured(name="x", value=1.0)
    with pytest.raises(ValidationError):
        EvidenceRun(kind="k", twin="t", model_version="1", model_hash="h", figures=a_run().figures)
    with pytest.raises(ValidationError):
        a_run(figures=())


def test_it_says_what_has_changed_since():
    run = a_run(model_hash="m", code_hash="c", data_hash="d")
    assert run.stale("m") == ()
    assert run.stale("m", code_hash="c", data_hash="d") == ()
    assert run.stale("other", code_hash="other", data_hash="d") == ("model", "code")
    assert run.stale("m", data_hash="other") == ("data",)


def test_a_kind_of_evidence_that_is_none_of_the_eight_is_refused():
    assert a_run(category="code verification").category == "code verification"
    with pytest.raises(ValidationError, match="none of"):
        a_run(category="opinion")


def test_the_newest_of_a_study(tmp_path):
    runs = (a_run(1, study="coverage"), a_run(3, study="coverage", value=0.88), a_run(5, study="other"))
    assert latest(runs, twin="toy-linear", study="coverage") is runs[1]
    assert latest(runs, twin="toy-linear") is runs[2]
    assert latest(runs, twin="another", study="coverage") is None


def test_a_whole_run_of_this_model_counts_before_a_newer_quick_one():
    whole, quick = a_run(1, study="s", model_hash="m"), a_run(2, study="s", model_hash="m", settings={"quick": True})
    old, other = a_run(3, study="s", model_hash="before"), a_run(4, study="t", model_hash="m")
    assert standing([whole, quick, old, other], twin="toy-linear", model_hash="m") == (whole, other)
    assert standing([quick, old], twin="toy-linear", model_hash="m") == (quick,)
    assert standing([old], twin="toy-linear", model_hash="m") == (old,)
    assert standing([whole], twin="another", model_hash="m") == ()
