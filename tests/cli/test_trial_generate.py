"""``gemel trial generate`` as a user would: from a table to files, on with more, a plan, a target, the refusals."""

from __future__ import annotations

import json

import pytest

from _virtual import controls, long_table
from test_startup import HEAVY, loaded, probe

pytest.importorskip("pyarrow")
CALL = ("trial", "generate")
SCALES = ("--baseline", "age,carrier", "--scale", "adas=continuous,0,70,1,{score}", "--scale", "weight=continuous,30,150,0.1,kg")


@pytest.fixture
def table(tmp_path):
    columns = long_table(controls(80))
    rows = [",".join(columns), *(",".join(r) for r in zip(*columns.values(), strict=True))]
    path = tmp_path / "controls.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_help_and_refusals_load_nothing_heavy():
    found = probe("from gemel.cli import main; main()", ["gemel", "trial", "generate", "--help"])
    assert found["code"] == 0
    assert loaded(found, (*HEAVY, "numpy")) == set()
    assert "Synthetic is not anonymous" in found["out"]


def test_from_a_table_to_files_and_on(gemel, table, tmp_path):
    told = gemel(
        *CALL, "--history", table, *SCALES, "--save", "model.npz", "--records", 1500, "--shard", 1000, "--out", "vp", "--json"
    ).json()
    assert told["manifest"]["records"] == 1500
    assert any("falls: taken as zero-inflated" in n for n in told["generator"]["notes"])
    again = gemel(
        *CALL, "--model", "model.npz", "--records", 1500, "--shard", 1000, "--out", "two", "--executor", "processes:2", "-o", "told.json"
    )
    assert again.code == 0, again.err
    assert told["manifest"]["sha256"] in again.out
    assert "synthetic is not anonymous" in again.out
    assert json.loads((tmp_path / "told.json").read_text())["manifest"]["sha256"] == told["manifest"]["sha256"]
    more = gemel(*CALL, "--model", "model.npz", "--records", "3e3", "--shard", 1000, "--out", "vp", "--json").json()
    assert more["manifest"]["shards"][0] == told["manifest"]["shards"][0]
    assert gemel(*CALL, "--verify", "--out", "vp", "--json").json()["records"] == 3000


def test_a_design_file_says_the_same(gemel, table, tmp_path):
    (tmp_path / "design.toml").write_text(
        '[generate]\nhistory = "controls.csv"\nbaseline = ["age", "carrier"]\nrecords = 500\nshard = 500\nout = "vp"\n'
    )
    ran = gemel(*CALL, "--design", "design.toml")
    assert ran.code == 0, ran.err
    assert (tmp_path / "vp/_manifest.json").exists()


def test_a_prior_for_the_live_twin(gemel, table, tmp_path):
    ran = gemel(*CALL, "--history", table, *SCALES, "--save-prior", "controls.json", "--prior-of", "adas")
    assert ran.code == 0, ran.err
    assert "80 control patients" in ran.out
    level, slope, _ = json.loads((tmp_path / "controls.json").read_text())["mean"]
    assert level == pytest.approx(24, abs=3)  # SD of 7 over 80 patients
    assert slope == pytest.approx(0.0156 * 365.25, abs=2.0)
    ran = gemel(*CALL, "--history", table, *SCALES, "--save-prior", "controls.json", "--prior-of", "mmse")
    assert "no such variable" in ran.err


def test_a_target_population(gemel, table, tmp_path):
    (tmp_path / "target.toml").write_text("[mean]\nage = 76\n[share]\ncarrier = 0.7\n")
    told = gemel(
        *CALL, "--history", table, *SCALES, "--records", 500, "--shard", 500, "--out", "vp", "--target-population", "target.toml", "--json"
    ).json()
    assert told["target"]["reached"] == pytest.approx([76, 0.7], rel=0.02)
    assert {g["variable"] for g in told["target"]["groups"]} == {"age", "carrier"}
    (tmp_path / "target.toml").write_text("[median]\nage = 76\n")
    ran = gemel(*CALL, "--history", table, *SCALES, "--records", 500, "--out", "other", "--target-population", "target.toml")
    assert ran.code == 2
    assert "nobody reads" in ran.err


def test_a_plan_from_a_shard_measured_now(gemel, table, tmp_path):
    ran = gemel(
        *CALL,
        "--history",
        table,
        *SCALES,
        "--shard",
        100_000,
        "--plan",
        "300e6",
        "--page",
        "plan.html",
        "--price-core-hour",
        0.04,
        "-o",
        "plan.json",
    )
    assert ran.code == 0, ran.err
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["records"] == 300_000_000
    assert plan["cost_of_a_month"] is None
    assert plan["cost_of_computing"] == pytest.approx(plan["core_hours"] * 0.04)
    assert "300,000,000 virtual patients" in (tmp_path / "plan.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "one source"),
        (("--model", "a", "--history", "b"), "one source"),
        (("--history", "controls.csv"), "nothing is asked for"),
        (("--history", "controls.csv", "--records", "10"), "need a folder"),
        (("--history", "controls.csv", "--records", "10", "--out", "x", "--executor", "threads"), "no executor"),
        (("--history", "controls.csv", "--subject", "id", "--save", "x"), "column is missing"),
        (("--history", "controls.csv", "--scale", "adas=nominal,0,70", "--save", "x"), "instrument cannot be read"),
        (("--model", "controls.csv", "--records", "10", "--out", "x"), "no generator is in this file"),
        (("--verify",), "a folder is needed"),
    ],
)
def test_refusals(gemel, table, arguments, said):
    ran = gemel(*CALL, *arguments)
    assert ran.code == 2
    assert said in ran.err
