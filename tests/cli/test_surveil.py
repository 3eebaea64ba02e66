"""``gemel surveil`` on logs of other people's models."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys

import numpy as np
import pytest

from gemel.evidence.run import read


def write_log(path, n=1200, seed=0, at=None, ratio=1.0, **cells):
    """A log of probabilities, one an hour, outcomes known a day later; from row ``at`` on odds are ``ratio`` times those predicted."""
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(-2, 1, n)))
    odds = np.where(np.arange(n) >= (n if at is None else at), ratio, 1.0)
    y = rng.random(n) < odds * p / (1 - p + odds * p)
    lines = ["time,recorded,patient,prediction,outcome,age"]
    for i in range(n):
        time = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=i)
        row = {"time": time.isoformat(), "recorded": (time + dt.timedelta(days=1)).isoformat(), "patient": f"p{i % 40}", "prediction": f"{p[i]:.5f}", "outcome": str(int(y[i])), "age": f"{rng.normal(60, 10):.1f}"}  # fmt: skip
        lines.append(",".join((row | cells.get(f"row{i + 1}", {})).values()))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def frozen(gemel, tmp_path):
    ran = gemel(
        "surveil",
        "--log",
        write_log(tmp_path / "base.csv"),
        "--freeze",
        tmp_path / "release.json",
        "--model",
        "other",
        "--model-version",
        "2.1.0",
    )
    assert ran.code == 0, ran.err
    return tmp_path / "release.json"


def test_a_drift_opens_incidents_that_a_person_closes(gemel, tmp_path, frozen):
    log, out = write_log(tmp_path / "log.csv", seed=1, at=500, ratio=3.0), tmp_path / "out"
    plan = tmp_path / "pccp.toml"
    plan.write_text(
        '[plan]\ntwin="other"\nversion="1"\nrollback="2.0.0"\n[[modification]]\ntype="parameters"\nwhy="x"\nrelative=0.1\n[protocol]\ndata="d"\npractice="p"\nupdate="u"\nstudy="s"\n'
        '[[protocol.criterion]]\nfigure="AUROC"\nlow=0.6\n[impact]\nbenefit="b"\nrisk="r"\nmitigation="m"\n[alarms]\n"*"="recalibrate"\n'
    )
    call = (
        "surveil",
        "--log",
        log,
        "--release",
        frozen,
        "--plan",
        plan,
        "--owner",
        "Ada",
        "--as-of",
        "2026-03-01T00:00:00Z",
        "-o",
        out,
        "--shown-on",
        "simulated",
    )
    ran = gemel(*call)
    assert ran.code == 1, ran.err
    assert "events, more than predicted" in ran.out
    first = (out / "incidents.jsonl").read_bytes()
    assert gemel(*call).code == 1
    assert (out / "incidents.jsonl").read_bytes() == first, "the same alarm opens one incident"
    told = gemel(*call, "--json").json()
    assert told["release"]
    incident = told["incidents"][0]
    assert (incident["owner"], incident["branch"], incident["rollback"], incident["version"]) == (
        "Ada",
        "recalibrate",
        "2.0.0",
        "other 2.1.0",
    )
    page = (out / "report.html").read_text()
    assert "CUSUM: events, more than predicted" in page
    assert "once in" in page
    assert "UDI-DI" in page
    assert "p17" not in page, "pseudonyms stay in the log"
    assert json.loads((out / "surveillance.json").read_text())["predictions"] == 1200
    ids = [i["id"] for i in told["incidents"]]
    assert gemel("surveil", "-o", out, "--close", ids[0], "--who", "Ada", "--reason", "").code == 2
    for k, name in enumerate(ids):
        ran = gemel(
            "surveil", "-o", out, "--close", name, "--who", "Ada", "--reason", "a new ward; recalibrated", "--as-of", "2026-03-02T00:00:00Z"
        )
        assert ran.code == (1 if k < len(ids) - 1 else 0), ran.err
    assert gemel(*call[:10], "2026-03-03T00:00:00Z", *call[11:]).code == 0


def test_before_the_drift_nothing_is_open(gemel, tmp_path, frozen):
    log = write_log(tmp_path / "log.csv", seed=1, at=500, ratio=3.0)
    ran = gemel("surveil", "--log", log, "--release", frozen, "--as-of", "2026-01-15T00:00:00Z", "--json")
    assert ran.code == 0, ran.err
    told = ran.json()
    assert (told["predictions"], told["known"], told["missing"], told["open"]) == (337, 313, 24, 0)
    due = gemel("surveil", "--log", log, "--release", frozen, "--as-of", "2026-01-15T00:00:00Z", "--due", "2", "--json").json()
    assert (due["pending"], due["missing"]) == (24, 0)


def test_a_baseline_in_place_of_a_release(gemel, tmp_path):
    base, log = write_log(tmp_path / "base.csv"), write_log(tmp_path / "log.csv", n=500, seed=3)
    told = gemel("surveil", "--log", log, "--baseline", base, "--arl", "20000", "--json").json()
    assert told["ringing_charts"] == 5
    assert len(told["inputs"]) == 2
    assert not any("own mix" in n for n in told["notes"])
    assert any("own mix" in n for n in gemel("surveil", "--log", log, "--arl", "20000", "--json").json()["notes"])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prediction": "1.3"}, "outside [0, 1]"),
        ({"prediction": "1"}, "exactly 0 or 1"),
        ({"time": "2025-06-01T00:00:00Z", "recorded": "2025-07-01T00:00:00Z"}, "time runs backwards"),
        ({"recorded": "2025-06-01T00:00:00Z"}, "known before its prediction"),
        ({"outcome": "3"}, "must be 0 or 1"),
    ],
)
def test_bad_rows_are_bad_input(gemel, tmp_path, row, said):
    ran = gemel("surveil", "--log", write_log(tmp_path / "log.csv", n=100, row42=row))
    assert ran.code == 2
    assert said in ran.err
    assert "row 42" in ran.err


def test_an_unreachable_run_length_is_an_error_with_its_range(gemel, tmp_path):
    ran = gemel("surveil", "--log", write_log(tmp_path / "log.csv", n=200), "--arl", "1.5")
    assert ran.code == 2
    assert "cannot reach this run length" in ran.err
    assert "more than" in ran.err


def test_usage(gemel, tmp_path):
    assert gemel("surveil").code == 2
    assert gemel("surveil", "--log", tmp_path / "none.csv").code == 4
    assert gemel("surveil", "--close", "x").code == 2
    (tmp_path / "incidents.jsonl").write_text("rubbish\n")
    ran = gemel("surveil", "-o", tmp_path, "--close", "x", "--who", "a", "--reason", "b")
    assert ran.code == 2
    assert "not an entry" in ran.err


def test_the_report_proposes_a_class_and_tells_changes_and_evidence(gemel, tmp_path):
    log = write_log(tmp_path / "log.csv", n=300)
    change = {"old": "m 1.0.0", "new": "m 1.1.0", "passed": False, "criteria_hash": "c", "rollback": "1.0.0", "changes": []}
    (tmp_path / "change.json").write_text(json.dumps(change | {"rows": [{"id": "listed", "asks": "a", "status": "failed", "seen": "s"}]}))
    call = ("surveil", "--log", log, "-o", tmp_path / "out", "--change", tmp_path / "change.json", "--runs", tmp_path / "runs.jsonl")
    assert gemel(*call).code == 2, "--runs needs --twin"
    assert gemel(*call, "--twin", "toy-linear").code in (0, 1)
    (run,) = read(tmp_path / "runs.jsonl")
    assert (run.kind, run.twin, run.met) == ("surveillance", "toy-linear", True)
    assert "m 1.0.0 to m 1.1.0" in (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "change.json").write_text(json.dumps(change | {"rows": [], "passed": False}))
    assert "was edited" in gemel(*call, "--twin", "toy-linear").err
    page = (tmp_path / "out" / "report.html").read_text()
    assert "proposed, human judgement needed" in page
    assert "device.significance" in page


@pytest.mark.parametrize("command", ["surveil", "change"])
def test_help_loads_nothing_heavy(command):
    code = f"import sys; from gemel.cli.app import run; run(['{command}', '--help']); print(sorted({{'jax', 'scipy', 'numpy'}} & set(sys.modules)), file=sys.stderr)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.strip() == "[]"
