"""The demonstrations of the slow axis and of the type 2 twin: everything is written, and who was simulated is marked."""

import json

import pytest

from _data import data_environment, require_dataset
from gemel.cli.progress import Bar


@pytest.mark.slow
def test_two_years_of_a_virtual_person(tmp_path):
    from gemel.cli.demo import metabolic_slow

    said: list[str] = []
    told = metabolic_slow.run(output=tmp_path / "slow", seed=1, say=said.append, progress=Bar())
    page = (tmp_path / "slow" / "report.html").read_text()
    assert "SIMULATED" in page
    assert "stated assumptions" in page
    assert json.loads((tmp_path / "slow" / "scores.json").read_text())["person"] == told["person"]
    assert told["shown_on"]["kind"] == "simulated"
    assert len(told["replayed"]) >= 3
    assert all(row["low"] < row["median"] < row["high"] and row["crps"] >= 0 for row in told["replayed"])
    assert any("advice" in line for line in said)
    assert (tmp_path / "slow" / "twin.gemel").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.data
def test_one_real_person_with_type_2_diabetes(tmp_path, monkeypatch):
    from gemel.cli.demo import metabolic_t2d

    require_dataset("shanghai")
    for name, value in data_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(metabolic_t2d, "READINGS", 12)
    said: list[str] = []
    told = metabolic_t2d.run(output=tmp_path / "t2d", seed=1, say=said.append, progress=Bar())
    assert told["person"] == metabolic_t2d.PERSON
    assert told["shown_on"]["kind"] == "replayed"
    assert told["streamed"] == 12
    assert [row["horizon"] for row in told["scores"]] == [30.0, 60.0, 120.0]
    assert "SIMULATED" not in (tmp_path / "t2d" / "report.html").read_text()
    assert set(told["files"]) == {"report", "twin", "scores"}
