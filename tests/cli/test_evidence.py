"""``gemel evidence`` and ``gemel conformance``: measured once, kept, signed, stale when something changed, and never declared."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MESH = """# study = bracket
# source = another solver
# order = 2
# dimension = 3
elements,peak_stress [MPa]
1000,96.2
8000,96.875
64000,97.04375
"""
PROJECT = """[twin.bracket]
version = "0.1.0"
title = "A bracket"
question = "Does it hold?"
context_of_use = "A bench"
not_for = ["patients"]
inputs = []
outputs = []
risk = { influence = 2, consequence = 2, rationale = "a bench", by = "An engineer", date = "2026-01-01" }
"""


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setenv("GEMEL_EVIDENCE", str(tmp_path / "evidence"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def cheap(gemel, *more):
    return gemel("evidence", "toy-linear", "--quick", "--only", "sources,trace", *more)


def test_nothing_is_declared_before_it_is_measured(gemel, place):
    ran = gemel("conformance", "toy-linear")
    assert ran.code == 1
    assert "nothing was measured yet; gemel evidence toy-linear" in ran.out
    assert "nothing was measured on this machine yet" in gemel("twins", "toy-linear").out
    everything = gemel("conformance", "--json").json()
    assert {c["label"] for c in everything["twins"]} == {"virtual cohort"}


def test_a_dossier_is_written_signed_found_again_and_checked(gemel, place):
    out = place / "out"
    ran = cheap(
        gemel,
        "-o",
        out,
        "--sign",
        "A. Author",
        "--part",
        "runs",
        "--part",
        "vv40",
        "--part",
        "nasem",
        "--part",
        "checklists",
        "--part",
        "card",
    )
    assert ran.code == 0, ran.out + ran.err
    assert {p.name for p in out.iterdir()} == {
        "dossier.html",
        "dossier.pdf",
        "dossier.json",
        "dossier.sig.json",
        "card.html",
        "checklists.html",
    }
    told = json.loads((out / "dossier.json").read_text())
    assert [r["study"] for r in told["runs"]] == ["sources", "trace"]
    assert all(r["command"].startswith("gemel evidence toy-linear") for r in told["runs"])
    again = cheap(gemel, "-o", out, "--sign", "A. Author")
    assert "still true" in again.out
    assert json.loads((out / "dossier.json").read_text()) == told
    checked = gemel("evidence", "toy-linear", "--verify", out / "dossier.json")
    assert checked.code == 0
    assert "signature: holds: A. Author" in checked.out
    (out / "dossier.json").write_text((out / "dossier.json").read_text().replace("toys", "joys", 1).replace('"proof"', '"real"', 1))
    broken = gemel("evidence", "toy-linear", "--verify", out / "dossier.json", "--json")
    assert broken.code == 1
    assert broken.json()["hash"].startswith("BROKEN")


def test_a_dossier_from_stored_runs_loads_no_numeric_stack(gemel, place):
    assert cheap(gemel, "-o", place / "out").code == 0
    code = (
        "import sys; from gemel.cli.app import run; code = run(['--no-worker', 'evidence', 'toy-linear', '--show', '-o', sys.argv[1]]);"
        "loaded = {'jax', 'equinox', 'blackjax'} & set(sys.modules); assert not loaded, loaded; sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code, str(place / "out")], check=True, capture_output=True, timeout=120)


def test_it_is_stale_when_the_twin_is_another(gemel, place, monkeypatch):
    assert cheap(gemel, "-o", place / "out").code == 0
    from gemel.evidence import dossier

    monkeypatch.setattr(dossier, "model_hash", lambda twin: f"another {twin}")
    ran = gemel("evidence", "toy-linear", "--show", "-o", place / "out", "--part", "runs")
    assert ran.code == 1
    assert "STALE: sources, trace" in ran.out
    page = (place / "out" / "dossier.html").read_text()
    assert "STALE: model changed" in page
    assert "STALE: sources, trace" in gemel("twins", "toy-linear").out


def test_an_outside_solver_gets_its_file(gemel, place):
    (place / "twin.toml").write_text(PROJECT)
    (place / "mesh.csv").write_text(MESH)
    ran = gemel("evidence", place / "twin.toml", "--external", f"mesh={place / 'mesh.csv'}", "-o", place / "out", "--json")
    assert ran.code in (0, 1), ran.err
    told = ran.json()
    assert told["twin"] == "bracket"
    assert told["risk"]["goal"] == 2
    assert told["runs"][0]["study"] == "mesh refinement, bracket"
    assert any("peak_stress" in f["name"] for f in told["runs"][0]["figures"])
    assert next(f for f in told["factors"] if f["number"] == 3)["gradation"] in ("middle", "high")
    assert told["conformance"]["label"] == "virtual cohort"
    assert gemel("evidence", place / "twin.toml", "--external", "mesh").code == 2
    assert gemel("evidence", place / "twin.toml", "--external", "mesh=nothing.csv").code == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[judgement]]\nfactor = 12\n", "lacks a field"),
        ("not toml at all [", "cannot be read"),
        ('[[judgement]]\nfactor = 99\ngradation = 1\nrationale = "r"\nby = "n"\ndate = "d"\n', "no such factor"),
    ],
)
def test_bad_judgements_are_named_and_nothing_is_lost(gemel, place, text, said):
    assert cheap(gemel, "-o", place / "out").code == 0
    before = (place / "out" / "dossier.json").read_text()
    (place / "j.toml").write_text(text)
    ran = gemel("evidence", "toy-linear", "--show", "--judgement", place / "j.toml", "-o", place / "out")
    assert ran.code == 2
    assert said in ran.err
    assert (place / "out" / "dossier.json").read_text() == before


def test_a_judgement_stands_with_its_name(gemel, place):
    (place / "j.toml").write_text(
        '[[judgement]]\nfactor = 12\ngradation = 2\nrationale = "a toy"\nby = "A. Reviewer"\ndate = "2026-11-01"\n'
    )
    told = gemel("evidence", "toy-linear", "--show", "--judgement", place / "j.toml", "-o", place / "out", "--json").json()
    twelve = next(f for f in told["factors"] if f["number"] == 12)
    assert (twelve["status"], twelve["gradation"]) == ("judged", "middle")
    assert "A. Reviewer, 2026-11-01" in twelve["why"]


def test_an_edited_run_and_a_wrong_name_are_refused(gemel, place):
    assert cheap(gemel, "-o", place / "out").code == 0
    runs = place / "evidence" / "toy-linear.jsonl"
    runs.write_text(runs.read_text().replace('"seconds": ', '"seconds": 1', 1))
    ran = gemel("evidence", "toy-linear", "--show")
    assert ran.code == 2
    assert "was edited" in ran.err
    wrong = gemel("evidence", "toy-linear", "--only", "everything")
    assert wrong.code == 2
    assert "no such study: everything" in wrong.err
    assert gemel("evidence", "no-such-twin").code == 4


@pytest.mark.slow
def test_a_toy_earns_its_label_by_measuring(gemel, place):
    ran = gemel("conformance", "toy-linear", "--run", "--quick")
    assert ran.code == 0, ran.out
    assert "toy-linear 0.1.0: twin (simulated loop)" in ran.out
    told = gemel("conformance", "toy-linear", "--json").json()["twins"][0]
    assert {r["status"] for r in told["rows"]} == {"shown"}
    assert all(r["shown_on"]["kind"] == "simulated" for r in told["rows"])
