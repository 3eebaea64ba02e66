"""``gemel change`` between versions of any model."""

from __future__ import annotations

import json

import numpy as np
import pytest

PLAN = """
[plan]
twin = "risk-model"
version = "1"
rollback = "1.0.0"
[[modification]]
type = "parameters"
why = "yearly recalibration"
relative = 0.2
[protocol]
data = "the last twelve months"
practice = "intercept only"
update = "all sites at once"
study = "recalibration"
subgroups = ["f", "m"]
[[protocol.criterion]]
figure = "AUROC"
low = 0.6
[impact]
benefit = "b"
risk = "r"
mitigation = "m"
"""


@pytest.fixture
def place(tmp_path):
    for name, version, slope in (("old", "1.0.0", 1.0), ("new", "1.1.0", 1.1)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "twin.toml").write_text(
            f'[twin.risk-model]\nversion = "{version}"\ntitle = "t"\nquestion = "q"\ncontext_of_use = "c"\nnot_for = ["n"]\ninputs = []\noutputs = []\n'
        )
        (folder / "release.json").write_text(json.dumps({"parameters": {"slope": slope}}))
    (tmp_path / "new" / "pccp.toml").write_text(PLAN)
    rng = np.random.default_rng(0)
    z = rng.normal(size=500)
    y = rng.random(500) < 1 / (1 + np.exp(-z))
    rows = [
        f"2026-01-01T00:00:00Z,p{i},{1 / (1 + np.exp(-a)):.6f},{int(b)},{'fm'[i % 2]}" for i, (a, b) in enumerate(zip(z, y, strict=True))
    ]
    (tmp_path / "log.csv").write_text("time,patient,prediction,outcome,group\n" + "\n".join(rows) + "\n")
    return tmp_path


def test_from_two_folders_and_logs_to_a_verdict(gemel, place):
    ran = gemel("change", place / "old", place / "new")
    assert ran.code == 1
    assert "blocked" in ran.out
    ran = gemel(
        "change", place / "old", place / "new", "--log", place / "log.csv", "--rollback", place / "log.csv", place / "log.csv", "--runs", place / "runs.jsonl", "-o", place / "out",
        "--shown-on", "simulated",
    )  # fmt: skip
    assert ran.code == 0, ran.out + ran.err
    assert "for a person to judge" in ran.out
    assert len((place / "runs.jsonl").read_text().splitlines()) == 2
    assert "All 11 rows passed" in (place / "out" / "change.html").read_text()
    told = gemel("change", place / "old", place / "new", "--runs", place / "runs.jsonl", "--json")
    assert told.code == 0
    assert told.json()["passed"]
    plan = place / "new" / "pccp.toml"
    before = gemel("change", place / "old", place / "new", "--criteria").out.strip()
    assert before == told.json()["criteria_hash"]
    plan.write_text(PLAN.replace("low = 0.6", "low = 0.5"))
    voided = gemel("change", place / "old", place / "new", "--runs", place / "runs.jsonl", "--json")
    assert voided.code == 1
    assert [r["id"] for r in voided.json()["rows"] if r["status"] == "failed"] == ["criteria"]


def test_what_is_not_there_is_said(gemel, place):
    assert gemel("change", place / "old", place / "nowhere").code == 4
    ran = gemel("change", "no-such-twin", place / "new")
    assert ran.code == 2
    assert "no version of a model" in ran.err
    assert gemel("change", place / "old", place / "old", "--plan", place / "new" / "pccp.toml").code == 2


def test_the_plan_of_an_installed_twin_lies_in_its_room(gemel):
    same = gemel("change", "metabolic", "metabolic")
    assert same.code == 2
    assert "nothing changed" in same.err
    assert len(gemel("change", "metabolic", "metabolic", "--criteria").out.strip()) == 32
    assert gemel("change", "no-such-twin", "no-such-twin").code == 4
