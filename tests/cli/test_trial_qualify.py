"""``gemel trial qualify``: a report that can be checked, an exit code that says whether a number fails."""

from __future__ import annotations

import json

import pytest

import gemel.trials.qualify as module
from _data import data_environment, require_dataset
from gemel.cli.trial import qualify as command
from gemel.trials.qualification import GROUPS
from test_startup import loaded, probe


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GEMEL_DATA", raising=False)


def test_groups_are_those_of_the_table():
    assert tuple(GROUPS) == command.GROUPS


def test_without_data_the_rest_is_run_signed_and_checked(gemel, tmp_path):
    ran = gemel("trial", "qualify", "-o", "q", "--sign", "Ann")
    assert ran.code == 0, ran.out
    assert "34 pass, 0 fail, 155 not run" in ran.out
    assert (tmp_path / "q" / "qualification.pdf").read_bytes().startswith(b"%PDF")
    told = json.loads((tmp_path / "q" / "qualification.json").read_text())
    assert told["environment"]["numpy"]
    assert len(told["environment"]["hash of its source files"]) == 64
    checked = gemel("trial", "report", "--verify", "q")
    assert checked.code == 0
    assert "author of this qualification" in checked.out


@pytest.mark.data
def test_all_of_it_with_the_data(gemel, monkeypatch):
    monkeypatch.setenv("GEMEL_DATA", data_environment().get("GEMEL_DATA", ""))
    for name in ("mmrm-fev", "robincar2-glm", "cdisc-pilot", "actg175"):
        require_dataset(name)
    ran = gemel("trial", "qualify", "-o", "q", "--json")
    assert ran.code == 0
    assert ran.json()["counts"] == {"pass": 189, "FAIL": 0, "not run": 0}


def test_a_number_that_fails_is_exit_code_1(gemel, monkeypatch):
    right = module._RUN["sample size"](None)
    monkeypatch.setitem(module._RUN, "sample size", lambda resolve: right | {"correlation 0.5": 196.0})
    ran = gemel("trial", "qualify", "-o", "q", "--only", "sample size", "--only", "survival")
    assert ran.code == 1
    assert "FAIL sample size: correlation 0.5: expected 197 within 0.05, found 196.0" in ran.out
    assert "12 pass, 1 fail, 0 not run" in ran.out


def test_help_loads_nothing_heavy():
    assert loaded(probe("from gemel.cli import main; main()", ["gemel", "trial", "qualify", "--help"])) == set()
