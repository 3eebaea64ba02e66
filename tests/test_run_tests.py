"""The two halves of the suite are the suite: nothing is left out, nothing runs twice, and the worse half decides."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("run_tests", ROOT / "tools" / "run_tests.py")
assert SPEC is not None
assert SPEC.loader is not None
run_tests = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(run_tests)


def test_every_file_of_tests_lies_in_one_half(monkeypatch):
    monkeypatch.setattr(run_tests.os, "cpu_count", lambda: 2)
    first, second = run_tests.halves()
    assert first == sorted(run_tests.CONTRACT)
    files = {p.relative_to(ROOT) for p in (ROOT / "tests").rglob("test_*.py")}
    owners = [[half for half in (first, second) if any(f.is_relative_to(p) for p in half)] for f in files]
    assert all(len(o) == 1 for o in owners)
    monkeypatch.setattr(run_tests.os, "cpu_count", lambda: 1)
    assert run_tests.halves() == [["tests"]]


def test_the_summary_is_found_and_a_crash_is_said():
    text = "....\n\x1b[32m===== \x1b[32m\x1b[1m3 passed\x1b[0m, 1 skipped in 5.24s ======\x1b[0m\n"
    assert run_tests.summary(text) == "===== 3 passed, 1 skipped in 5.24s ======"
    assert run_tests.summary("Fatal Python error: Segmentation fault") == "pytest did not finish"


def test_the_worse_half_decides(monkeypatch, capfd):
    monkeypatch.setattr(run_tests, "halves", lambda: [["tests/core/test_reduce.py"], ["tests/core/no_such_file.py"]])
    code = run_tests.main(["-q", "-p", "no:cacheprovider"])
    told = capfd.readouterr().out
    assert code == 4  # pytest: a path that is not there
    assert "passed" in told
