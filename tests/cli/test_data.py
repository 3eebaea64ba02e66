"""Data in: reports, stores, tables; public data sets; what is installed."""

from __future__ import annotations

import json

from gemel.interop.wearables import read
from gemel.platform.store import Store


def test_import_reports_stores_once_and_writes_a_table_that_reads_back(gemel, table):
    first = gemel("import", table, "--db", "s.sqlite", "-o", "again.csv", "--json")
    (told,) = first.json()["people"]
    assert (first.code, told["patient"], told["report"]["rows"], told["new_facts"]) == (0, "ann", 288, 290)
    (second,) = gemel("import", table, "--db", "s.sqlite", "--json").json()["people"]
    assert second["new_facts"] == 0
    with Store("s.sqlite") as store:
        assert store.record("ann").hash == read(table)[0].hash == told["hash"]
    back, _ = read("again.csv", id="ann")
    assert back.series[0].value.tolist() == read(table)[0].series[0].value.tolist()
    text = gemel("import", "s.sqlite")
    assert "loinc:99504-3: 288" in text.out
    assert "ann.csv: read as generic" in gemel("import", table).out


def test_several_people_go_into_a_folder(gemel, tmp_path):
    rows = "\n".join(f"{p},2026-01-05T{h:02d}:00:00Z,{100 + h}" for p in ("a/b", "c") for h in range(24))
    (tmp_path / "two.csv").write_text("id,time,glucose_mg_dl\n" + rows + "\n")
    assert gemel("import", "two.csv", "-o", "out").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a%2Fb.csv", "c.csv"]
    assert gemel("import", "two.csv", "--id", "c", "--json").json()["people"][0]["patient"] == "c"


def test_twins_are_listed_and_shown(gemel):
    told = gemel("twins", "--json").json()
    assert {"toy-linear", "toy-growth"} <= {t["id"] for t in told["twins"]}
    assert gemel("twins", "toy-growth", "--json").json()["id"] == "toy-growth"
    shown = gemel("twins", "toy-growth").out
    assert "not for: any patient" in shown
    assert "gemel:toy-dose" in shown


def test_data_sets_are_listed_and_found(gemel, monkeypatch, tmp_path):
    monkeypatch.setenv("GEMEL_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told = gemel("data", "list", "--json").json()["datasets"]
    assert {"shanghai", "d1namo"} <= {d["name"] for d in told}
    missing = gemel("data", "path", "shanghai")
    assert (missing.code, "gemel data fetch" in missing.err) == (4, True)
    found = gemel("data", "verify", "shanghai", "--json")
    assert (found.code, set(found.json()["datasets"]["shanghai"].values())) == (4, {"missing"})
    place = tmp_path / "none" / "metabolic" / "shanghai" / "shanghai_t1dm_t2dm.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"something else")
    changed = gemel("data", "verify", "shanghai")
    assert (changed.code, "another hash" in changed.out) == (1, True)


def test_benchmarks_are_listed_and_run(gemel, tmp_path, monkeypatch):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "benchmarks" / "quick_one.py").write_text("import sys; print('ran', *sys.argv[1:])")
    (tmp_path / "benchmarks" / "_helper.py").write_text("")
    (tmp_path / "benchmarks" / "bad_one.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr("gemel.__file__", str(tmp_path / "site" / "lib" / "gemel" / "__init__.py"))
    assert json.loads(gemel("bench", "--json").out) == {"benchmarks": ["bad_one", "quick_one"]}
    ran = gemel("bench", "quick-one", "x")
    assert (ran.code, ran.out.strip()) == (0, "ran x")
    assert gemel("bench", "bad").code == 1
    monkeypatch.chdir("/")
    outside = gemel("bench", "quick-one")
    assert (outside.code, "clone" in outside.err) == (4, True)


def test_shells_are_completed(gemel, monkeypatch):
    for shell in ("bash", "zsh", "fish"):
        assert "_GEMEL_COMPLETE" in gemel("completion", shell).out
    monkeypatch.setenv("_GEMEL_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", "gemel calib")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "calibrate" in gemel().out


def test_every_command_has_help(gemel):
    from gemel.cli.app import COMMANDS, _is_there

    told = gemel("--help").out
    for section in COMMANDS.values():
        for name in filter(_is_there, section):
            assert f"  {name}" in told
            ran = gemel(name, "--help")
            assert ran.code == 0
            assert "Usage: gemel " + name in ran.out


def test_check_keeps_its_word(gemel):
    ran = gemel("check", "toy-linear", "--only", "manifest", "--json")
    assert (ran.code, ran.json()["passed"]) == (0, True)
