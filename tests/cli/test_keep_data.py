"""A store from the shell: imported into, checked, backed up, restored, exported, keys exchanged, a person erased."""

from __future__ import annotations

import csv
import json
import os

import pytest

from gemel.platform.store import Store

START = "2026-01-05T{:02d}:{:02d}:00Z"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv("GEMEL_KEY_FILE", raising=False)
    monkeypatch.delenv("GEMEL_KEY", raising=False)


@pytest.fixture
def sources(tmp_path):
    for who in ("ann", "bea"):
        rows = [(START.format(i // 12, 5 * (i % 12)), 100 + i % 50) for i in range(200)]
        with (tmp_path / f"{who}.csv").open("w", newline="") as sink:
            csv.writer(sink).writerows([("time", "glucose_mg_dl"), *rows])
    return tmp_path


def test_the_way_of_the_page_back_to_where_it_was(gemel, sources):
    """docs/howto/keep-data.md, command by command."""
    for who in ("ann", "bea"):
        assert gemel("import", f"{who}.csv", "--db", "people.db").code == 0
    assert os.stat("people.db.key").st_mode & 0o777 == 0o600
    assert gemel("import", "ann.csv", "--db", "people.db", "--json").json()["people"][0]["new_facts"] == 0
    assert gemel("db", "check", "people.db").out.rstrip().endswith("sound")
    made = gemel("db", "backup", "people.db", "backup-1", "--keys", "keys-1.json", "--json").json()
    assert (made["rows"]["patient"], made["rows"]["inbox"]) == (2, 2)
    assert gemel("db", "check", "backup-1").code == 0
    key = gemel("keys", "show", "people.db", "--json").json()["key"]
    assert key in gemel("db", "check", "backup-1", "--json").json()["master"]
    back = gemel("db", "restore", "backup-1", "again.db", "--keys", "keys-1.json", "--key", "people.db.key", "--json")
    assert (back.code, back.json()["sound"], back.json()["rows"]["patient"]) == (0, True, 2)
    os.link("people.db.key", "again.db.key")
    for place, folder in (("people.db", "out-1"), ("again.db", "out-2")):
        assert gemel("db", "export", place, folder, "--format", "csv").code == 0
    with open("out-1/readings.csv") as one, open("out-2/readings.csv") as two:
        assert one.read() == two.read()
    rotated = gemel("keys", "rotate", "people.db", "--json").json()
    assert (rotated["key"] != key, rotated["wraps"]) == (True, 5)
    assert os.path.exists("people.db.key.old")
    assert gemel("db", "check", "people.db").code == 0
    done = gemel("erase", "people.db", "ann", "--yes", "--json")
    assert (done.code, done.json()["messages"], done.json()["unreached"]) == (0, 1, [])
    assert gemel("erase", "people.db").code == 0
    assert gemel("db", "check", "people.db", "--json").json()["sound"]
    assert gemel("erase", "people.db", "ann", "--yes").code == 2
    assert (
        gemel(
            "db", "restore", "backup-1", "third.db", "--keys", "keys-1.json", "--key", "people.db.key.old", "--erased", "people.db.erased"
        ).code
        == 0
    )
    os.link("people.db.key.old", "third.db.key")
    assert gemel("db", "export", "third.db", "out-3", "--json").json()["files"] == {"patient-000001.ndjson": 201}
    lines = (sources / "out-3" / "patient-000001.ndjson").read_text().splitlines()
    assert {json.loads(line)["patient"] for line in lines} == {"bea"}


def test_what_cannot_be_read_waits_in_quarantine_until_it_can(gemel, sources):
    (sources / "odd.csv").write_text("time,glucose_mg_dl\n" + "\n".join(f"2026-01-05 {h:02d}:00,{100 + h}" for h in range(24)))
    ran = gemel("import", "odd.csv", "--db", "people.db", "--format", "dexcom")
    assert ran.code == 2
    assert "kept in quarantine as number 1" in ran.err
    (held,) = gemel("quarantine", "list", "people.db", "--json").json()["messages"]
    assert (held["name"], held["state"], bool(held["reason"])) == ("odd.csv", "quarantined", True)
    assert gemel("quarantine", "show", "people.db", 1, "-o", "same.csv").code == 0
    assert (sources / "same.csv").read_bytes() == (sources / "odd.csv").read_bytes()
    again = gemel("quarantine", "redrive", "people.db", "--format", "dexcom")
    assert (again.code, "still cannot be placed" in again.out) == (1, True)
    placed = gemel("quarantine", "redrive", "people.db", 1, "--tz", "UTC", "--id", "cara", "--json")
    assert (placed.code, placed.json()["messages"][0]["placed"]) == (0, True)
    assert gemel("quarantine", "list", "people.db", "--json").json()["messages"] == []
    assert gemel("quarantine", "list", "people.db", "--all", "--json").json()["messages"][0]["attempts"] == 3
    with Store("people.db") as store:
        assert store.patients() == ("cara",)


def test_a_folder_is_kept_as_a_zip_that_reads_again(gemel, sources):
    folder = sources / "both"
    folder.mkdir()
    (sources / "ann.csv").rename(folder / "ann.csv")
    assert gemel("import", "both", "--db", "people.db").code == 0
    assert gemel("quarantine", "show", "people.db", 1, "-o", "both.zip").code == 0
    assert gemel("import", "both.zip", "--json").json()["people"][0]["patient"] == "ann"


def test_keys_are_made_once_and_needed(gemel, sources, monkeypatch):
    assert gemel("keys", "make", "master.key").code == 0
    again = gemel("keys", "make", "master.key")
    assert (again.code, "never overwritten" in again.err) == (2, True)
    monkeypatch.setenv("GEMEL_KEY_FILE", str(sources / "master.key"))
    assert gemel("import", "ann.csv", "--db", "people.db").code == 0
    assert not os.path.exists("people.db.key")
    refused = gemel("keys", "rotate", "people.db")
    assert (refused.code, "needs a place" in refused.err) == (2, True)
    assert gemel("keys", "rotate", "people.db", "next.key").code == 0
    lost = gemel("db", "check", "people.db")
    assert (lost.code, "another master key" in lost.err) == (2, True)
    monkeypatch.setenv("GEMEL_KEY_FILE", str(sources / "next.key"))
    assert gemel("db", "check", "people.db").code == 0
    assert gemel("db", "migrate", "people.db", "--to", "0002", "--json").json() == {"revision": "0002"}
    unsealed = gemel("keys", "show", "people.db")
    assert (unsealed.code, "not sealed" in unsealed.err) == (2, True)
    assert gemel("db", "check", "people.db").code == 0  # opening seals it again
    assert gemel("keys", "show", "people.db").code == 0


def test_a_key_exchange_that_was_cut_short_goes_on(gemel, sources, monkeypatch):
    import gemel.platform.store.rotation as rotation

    assert gemel("import", "ann.csv", "--db", "people.db").code == 0

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rotation.os, "replace", stop)
        assert gemel("keys", "rotate", "people.db").code == 130
    assert gemel("db", "check", "people.db").code == 2
    assert gemel("keys", "rotate", "people.db").code == 0
    assert gemel("db", "check", "people.db").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("db", "check", "none.db"), 4), (("db", "backup", "none.db", "b", "--keys", "k"), 4), (("db", "restore", "none", "x.db", "--keys", "k"), 4), (("erase", "none.db", "ann", "--yes"), 4),
     (("quarantine", "list", "none.db"), 4), (("keys", "show", "none.db"), 4), (("db", "check", "postgresql://u@h/d?oops=1"), 2), (("db", "check", "ann.csv"), 2)],
)  # fmt: skip
def test_what_is_not_there_is_said(gemel, sources, arguments, code):
    ran = gemel(*arguments)
    assert (ran.code, ran.err.startswith("error")) == (code, True)


def test_erasing_asks_and_says_what_it_did_not_reach(gemel, sources, monkeypatch):
    assert gemel("import", "ann.csv", "--db", "people.db").code == 0
    assert gemel("db", "backup", "people.db", "b", "--keys", "k.json").code == 0
    os.rename("k.json", "elsewhere.json")
    with monkeypatch.context() as patched:
        patched.setattr("builtins.input", lambda *_: "n")
        patched.setattr("click.termui.visible_prompt_func", lambda *_: "n")
        assert gemel("erase", "people.db", "ann").code == 130
    with Store("people.db") as store:
        assert store.patients() == ("ann",)
    done = gemel("erase", "people.db", "ann", "--yes")
    assert (done.code, "NOT REACHED" in done.out) == (1, True)
