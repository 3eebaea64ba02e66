"""The verbs at the command line say what the library says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest_names import FIRST

import gemel as library
from gemel.cli.files import read_forecasts, read_twin
from gemel.platform.store import Store


def test_calibrate_is_the_librarys(gemel, people):
    ran = gemel("calibrate", "toy-growth", people, "--id", FIRST, "--seed", 5, "-o", "b.twin", "--json")
    told = ran.json()
    assert (ran.code, told["patient"], told["file"]) == (0, FIRST, "b.twin")
    with Store(people) as store:
        record = store.record(FIRST)
    twin, _ = read_twin(Path("b.twin"))
    ours = library.calibrate("toy-growth", record, twin.now, key=5)
    assert ours.lineage.id == twin.lineage.id == told["lineage"]["id"]
    a, b = (library.forecast(t, None, t.times(60, 120), n=16, key=1).draws for t in (ours, twin))
    assert np.array_equal(a, b)


def test_forecast_files_hold_the_same_draws_and_score_alike(gemel, twin_file, people):
    scores = []
    for name in ("f.json", "f.parquet", "f.csv"):
        assert gemel("forecast", twin_file, "--at", "60,120,180", "--draws", 32, "-o", name, "--keep-draws").code == 0
        scored = gemel("score", name, people, "--json")
        assert scored.code == 0
        scores.append(scored.json())
    first, *rest = (read_forecasts(Path(n))[0] for n in ("f.json", "f.parquet", "f.csv"))
    for other in rest:
        assert np.array_equal(first.draws, other.draws)
        assert other.lineage == first.lineage
    assert scores[0] == scores[1] == scores[2]
    (one,) = scores[0]["scores"]
    assert len(one["rows"]) == 3
    assert one["means"][0]["crps"] >= 0
    assert "CRPS" in gemel("score", "f.json", people).out


def test_a_table_of_quantiles_is_not_scored(gemel, twin_file, people):
    assert gemel("forecast", twin_file, "-o", "q.csv").code == 0
    assert "draws" not in Path("q.csv").read_text().partition("\n")[0]
    ran = gemel("score", "q.csv", people)
    assert ran.code == 2
    assert "--keep-draws" in ran.err


def test_seeds_are_obeyed(gemel, twin_file):
    a, b, c = (gemel("forecast", twin_file, "--at", "60", "--draws", 16, "--seed", s, "--json").json() for s in (1, 1, 2))
    assert a == b
    assert a["quantiles"] != c["quantiles"]


def test_compare_pairs_the_draws(gemel, twin_file, tmp_path):
    spec = {"events": [{"channel": "dose", "after_min": 30, "amount": 0.006, "unit": "g"}]}
    (tmp_path / "dose.json").write_text(json.dumps(spec))
    ran = gemel(
        "compare",
        twin_file,
        "--plan",
        "wait",
        "--plan",
        "again=wait",
        "--plan",
        "own=dose.json",
        "--plan",
        "room=one dose of 6 mg",
        "--at",
        "60,240",
        "--json",
    )
    told = ran.json()
    assert ran.code == 0
    by = {(d["plan"], d["horizon"]): d for d in told["differences"]}
    assert by["again", 240.0]["low"] == by["again", 240.0]["high"] == 0.0
    assert by["again", 240.0]["probability_better"] == 0.5
    assert told["forecasts"]["own"]["quantiles"] == told["forecasts"]["room"]["quantiles"]  # 0.006 g in half an hour is the room's plan
    assert by["own", 240.0]["median"] < 0


def test_recommend_chooses_or_abstains(gemel, twin_file):
    ran = gemel("recommend", twin_file, "--draws", 64, "--json", "-o", "p.json")
    told = ran.json()
    assert ran.code == (0 if told["choice"] else 3)
    assert json.loads(Path("p.json").read_text()) == told
    assert {row["plan"] for row in told["ranking"]} == {"wait", "one dose of 6 mg", "three doses of 6 mg", "30 mg at once"}
    only = gemel("recommend", twin_file, "--draws", 64, "--plan", "30 mg at once")
    assert only.code == 3
    assert "no feasible plan" in only.out


def test_an_abstaining_twin_ends_in_three(gemel, people):
    assert gemel("calibrate", "toy-growth", people, "--id", FIRST, "--now", "2027-01-01T00:00:00Z", "-o", "old.twin").code == 0
    ran = gemel("forecast", "old.twin", "--json", "-o", "old.csv")
    assert ran.code == 3
    assert ran.json()["status"] == "ABSTAINED"
    assert "abstained" in ran.err
    assert gemel("recommend", "old.twin").code == 3
    assert "ABSTAINED" in Path("old.csv").read_text()


def test_assimilate_goes_on_and_refuses_another_person(gemel, twin_file, people):
    before = twin_file.read_bytes()
    ran = gemel("assimilate", twin_file, people, "--id", FIRST, "-o", "next.twin", "--json")
    assert ran.code == 0
    assert ran.json()["now"] > "2026-01-05T20:00:00Z"
    assert twin_file.read_bytes() == before
    other = gemel("assimilate", twin_file, people, "--id", "simulated-00000001", "-o", "no.twin")
    assert (other.code, "another person" in other.err) == (2, True)
    back = gemel("assimilate", "next.twin", people, "--id", FIRST, "--now", "2026-01-05T10:00:00Z", "-o", "no.twin")
    assert (back.code, "backwards" in back.err) == (2, True)


def test_diagnose_shows_gates_and_what_the_prior_says(gemel, twin_file):
    ran = gemel("diagnose", twin_file, "--json")
    told = ran.json()
    assert ran.code == (0 if told["usable"] else 1)
    assert "psis_k" in told["diagnostics"]
    assert all({"median", "prior_dominated", "unit"} <= set(p) for p in told["parameters"].values())
    assert told["stream"]["members"] > 1
    assert "every gate passed" in gemel("diagnose", twin_file).out


@pytest.mark.parametrize(
    "method", ["laplace", "importance", "eki", "ladder", *(pytest.param(m, marks=pytest.mark.slow) for m in ("adaptive", "smc", "nuts"))]
)
def test_methods_by_name_are_stored_with_the_twin(gemel, people, method):
    told = gemel("calibrate", "toy-growth", people, "--id", FIRST, "--method", method, "-o", "m.twin", "--json").json()
    assert told["method"].startswith({"importance": "laplace", "ladder": "ladder: laplace"}.get(method, method))
    assert ("weighted draws" in told["validity"]) == (method == "importance")
    assert gemel("forecast", "m.twin", "--at", "60", "--draws", 8).code == 0
    assert gemel("assimilate", "m.twin", people, "--id", FIRST, "-o", "n.twin").code == 0
