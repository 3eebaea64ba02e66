"""``gemel readiness`` as a hospital's data scientist would use it."""

from __future__ import annotations

import pytest

from _data import require_dataset
from test_startup import HEAVY, loaded, probe


def table(path, hours=48):
    rows = ["time,glucose_mg_dl"]
    rows += [f"2026-03-{2 + h // 24:02d}T{h % 24:02d}:{m:02d}:00Z,{110 + h % 7}" for h in range(hours) for m in range(0, 60, 5)]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_one_file_by_the_manifest(gemel, tmp_path):
    told = gemel("readiness", table(tmp_path / "a.csv"), "--manifest-only", "--json").json()
    twins = {t["twin"]: t for t in told["twins"]}
    assert twins["metabolic"]["ready"] == 1
    assert twins["toy-linear"]["ready"] == 0
    glucose = next(i for i in twins["metabolic"]["patients"][0]["inputs"] if i["name"] == "glucose")
    assert (glucose["count"], glucose["interval"]) == (576, 5.0)


def test_the_twin_abstains_where_the_record_is_short(gemel, tmp_path):
    ran = gemel("readiness", table(tmp_path / "a.csv", hours=6), "--twin", "metabolic", "--by-patient")
    assert ran.code == 1
    assert "at least" in ran.out
    assert "no twin would answer" in ran.out


def test_bad_sources(gemel, tmp_path):
    assert gemel("readiness", tmp_path / "nothing.csv").code == 4
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    ran = gemel("readiness", empty)
    assert ran.code == 2
    assert "error:" in ran.err
    assert gemel("readiness", table(tmp_path / "a.csv"), "--twin", "nobody").code == 4


def test_the_manifest_is_read_without_the_numeric_stack(tmp_path):
    path = table(tmp_path / "a.csv")
    found = loaded(probe("from gemel.cli import main; main()", ["gemel", "readiness", str(path), "--manifest-only", "--json"]), HEAVY)
    assert not found


@pytest.mark.data
def test_a_real_folder(gemel):
    told = gemel("readiness", require_dataset("shanghai"), "--manifest-only", "--twin", "metabolic", "--json").json()
    assert told["twins"][0]["ready"] == told["patients"] > 50
