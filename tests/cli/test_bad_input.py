"""Every command, given nonsense: one message that says what to do, the documented exit code, no traceback."""

from __future__ import annotations

import os

import pytest

READERS = [("calibrate", "toy-growth", "{}"), ("import", "{}"), ("validate", "metabolic", "--data", "{}")]
TWIN_READERS = [
    ("forecast", "{}"),
    ("compare", "{}"),
    ("recommend", "{}"),
    ("diagnose", "{}"),
    ("assimilate", "{}", "{record}", "-o", "x.twin"),
]
FILES = {
    "empty.csv": b"", "binary.csv": os.urandom(3000), "text.csv": b"hello\nworld\n", "zeros.csv": b"\0" * 100, "broken.zip": b"PK\x03\x04" + b"x" * 50,
    "columns.csv": b"a,b\n1,2\n", "no-zone.csv": b"time,glucose_mg_dl\nyesterday,100\n",
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    for name, body in FILES.items():
        (tmp_path / name).write_bytes(body)
    (tmp_path / "folder").mkdir()
    return tmp_path


def refused(ran, code: int = 2) -> None:
    assert ran.code == code, (ran.code, ran.err)
    assert ran.out == ""
    assert "rror:" in ran.err
    assert "defect" not in ran.err
    assert len(ran.err) < 2000


@pytest.mark.parametrize("command", READERS, ids=lambda c: c[0])
@pytest.mark.parametrize("name", [*FILES, "folder"])
def test_files_that_hold_no_record(gemel, files, command, name):
    refused(gemel(*(part.format(name) for part in command)))


@pytest.mark.parametrize("name", [*FILES, "folder"])
@pytest.mark.parametrize("command", TWIN_READERS, ids=lambda c: c[0])
def test_files_that_hold_no_twin(gemel, files, command, name, table):
    refused(gemel(*(part.format(name, record=table) for part in command)))


@pytest.mark.parametrize("name", [*FILES, "folder"])
def test_files_that_hold_no_forecast(gemel, files, name, table):
    refused(gemel("score", name, table))


@pytest.mark.parametrize("command", [*READERS, *TWIN_READERS, ("score", "{}", "{record}")], ids=lambda c: c[0])
def test_files_that_are_not_there(gemel, command, table):
    refused(gemel(*(part.format("nowhere.csv", record=table) for part in command)), 4)


@pytest.mark.parametrize(
    "command",
    [("calibrate", "nobody", "{}"), ("check", "nobody"), ("validate", "nobody", "--data", "{}"), ("twins", "nobody"), ("warm", "nobody"),
     ("data", "fetch", "nobody"), ("data", "path", "nobody"), ("data", "verify", "nobody"), ("bench", "nobody-knows")],
    ids=" ".join,
)  # fmt: skip
def test_names_that_nothing_has(gemel, command, table):
    refused(gemel(*(part.format(table) for part in command)), 4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("calibrate", "toy-growth", "{people}", "--id", "simulated-00000000", "--now", "tomorrow"), "ISO 8601"),
        (("calibrate", "toy-growth", "{people}", "--id", "simulated-00000000", "--now", "2026-01-05T20:00:00"), "zone"),
        (("calibrate", "toy-growth", "{people}", "--id", "nobody"), "--id|import"),
        (("calibrate", "toy-growth", "{people}"), "folder"),
        (("calibrate", "toy-growth", "{people}", "--method", "magic"), "magic"),
        (("calibrate", "toy-growth", "{people}", "--seed", "-1"), "seed"),
        (("calibrate", "toy-growth", "{people}", "-o", "o", "--forecast", "f.xyz"), ".csv"),
        (("calibrate", "toy-growth", "{people}", "--id", "simulated-00000000", "--prior", "{table}"), "JSON"),
        (("calibrate", "toy-growth", "{people}", "--id", "simulated-00000000", "-o", "no/such/x.twin"), "writable"),
        (("calibrate", "toy-growth", "{table}", "--tz", "Mars/Olympus"), "zone"),
        (("calibrate", "toy-growth", "{table}", "--format", "papyrus"), "papyrus"),
        (("forecast", "{twin}", "--at", "soon"), "soon"),
        (("forecast", "{twin}", "--at", "-5"), "positive"),
        (("forecast", "{twin}", "--draws", "0"), "draws"),
        (("forecast", "{twin}", "-o", "f.xls"), ".csv"),
        (("forecast", "{twin}", "--plan", "prayer"), "wait"),
        (("compare", "{twin}", "--plan", "x={table}"), "no such plan"),
        (("assimilate", "{twin}", "{people}"), "output"),
        (("score", "{twin}", "{people}"), "forecast"),
        (("check", "toy-linear", "--only", "beauty"), "beauty"),
        (("import", "{people}", "-o", "one.csv"), "folder"),
        (("import", "{table}", "--db", "{table}"), "not a store"),
        (("validate", "toy-linear", "--data", "{people}"), "protocol"),
        (("serve", "--db", "nowhere.sqlite"), "nowhere"),
        (("serve", "--port", "99999999"), "port"),
        (("completion", "tcsh"), "tcsh"),
        (("worker", "dance"), "dance"),
        (("bench", "../x"), "name"),
        (("data",), "Usage"),
        (("fit", "x"), "fit"),
    ],
    ids=lambda v: " ".join(v)[:60] if isinstance(v, tuple) else "",
)
def test_questions_that_make_no_sense(gemel, people, twin_file, table, arguments, says):
    import re

    ran = gemel(*(part.format(people=people, twin=twin_file, table=table) for part in arguments))
    assert ran.code in (2, 4), ran.err
    assert ran.out == ""
    assert re.search(says, ran.err), ran.err
    assert "defect" not in ran.err


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("[]", "no table"),
        ('{"base": "everything"}', "base"),
        ('{"evnts": []}', "evnts"),
        ('{"events": {}}', "a list"),
        ('{"events": [{"channel": "gin", "amount": 1}]}', "dose"),
        ('{"events": [{"channel": "dose"}]}', "amount"),
        ('{"events": [{"channel": "dose", "amount": "much"}]}', "finite"),
        ('{"events": [{"channel": "dose", "amount": 1, "unit": "m"}]}', "convert|unit"),
        ('{"scale": [{"channel": "dose", "by": 2}]}', "factor"),
    ],
)
def test_plans_that_make_no_sense(gemel, twin_file, tmp_path, spec, says):
    import re

    (tmp_path / "p.json").write_text(spec)
    ran = gemel("forecast", twin_file, "--plan", "p.json")
    refused(ran)
    assert re.search(says, ran.err), ran.err


def test_debug_shows_the_traceback(capfd):
    from gemel.cli.app import run

    assert run(["twins", "nobody", "--debug"]) == 4
    assert "Traceback" in capfd.readouterr().err
