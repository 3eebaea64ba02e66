"""``gemel demo`` on a simulated person: everything is written, and SIMULATED stands on it."""

import json

import pytest


@pytest.mark.slow
def test_the_simulated_demonstration_writes_everything(gemel, tmp_path):
    out = tmp_path / "demo"
    ran = gemel("demo", "--simulated", "--readings", "12", "--json", "-o", out)
    assert ran.code == 0, ran.err
    told = ran.json()
    assert told["shown_on"]["kind"] == "simulated"
    assert told["streamed"] == 12
    assert {"report", "bundle", "forecasts", "twin", "scores"} <= set(told["files"])
    report = (out / "report.html").read_text()
    assert "SIMULATED" in report
    bundle = json.loads((out / "bundle.json").read_text())
    assert bundle["resourceType"] == "Bundle"
    assert "SIMULATED" in json.dumps(bundle).upper()
    assert len((out / "forecasts.csv").read_text().splitlines()) > 12
    assert (out / "twin.gemel").stat().st_size > 1000
    assert json.loads((out / "scores.json").read_text())["person"] == told["person"]
