"""The demonstration of ``metabolic-t1d``: everything is written, SIMULATED stands on it, and what each plan would truly have done stands beside."""

import json

import pytest

import gemel.engine  # noqa: F401  sets the numerics before the demonstration imports JAX


@pytest.mark.slow
def test_the_demonstration_of_a_virtual_adult_writes_everything(tmp_path, monkeypatch):
    from gemel.cli.demo import metabolic_t1d

    monkeypatch.setattr(metabolic_t1d, "LEARN_DAYS", 2)
    monkeypatch.setattr(metabolic_t1d, "EVERY", 12)
    said = []
    told = metabolic_t1d.run(output=tmp_path, seed=0, say=said.append, progress=None)
    assert told["shown_on"]["kind"] == "simulated"
    assert told["streamed"] == 12
    assert {k for k, v in told["files"].items() if (tmp_path / v).is_file()} == {"report", "forecasts", "twin", "scores"}
    page = (tmp_path / "report.html").read_text()
    assert "SIMULATED" in page
    assert "metabolic-t1d" in page
    less, more = told["plans"]["bolus 30 % less"], told["plans"]["bolus 30 % more"]
    assert less["truth"] > 0 > more["truth"]  # the other lives really differ
    assert less["said"][1] > 0 > more["said"][1]
    assert json.loads((tmp_path / "scores.json").read_text())["person"] == told["person"] == "simulated-adult-004"
    assert any("in truth" in line for line in said)
