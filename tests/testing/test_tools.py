"""What third parties get beside the contract: reports, strategies, writers and the pytest plugin."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import ContractError, FormatError
from gemel.core.manifest import load_manifest
from gemel.testing import Check, CheckReport
from gemel.testing.report import require
from gemel.testing.strategies import START, orders, records, series
from gemel.testing.writers import read_record, write_manifest, write_record


def test_report():
    report = CheckReport("t", (Check("a", True, "fine", 0.5), Check("b", False, "broken", 1.0)))
    assert not report.passed
    assert report.seconds == 1.5
    assert [c.name for c in report.failures] == ["b"]
    assert report.lines()[1].startswith("BROKEN  b")
    with pytest.raises(ContractError, match="b: broken"):
        report.raise_on_failure()
    with pytest.raises(KeyError):
        report["c"]
    with pytest.raises(ContractError, match="seen: 1"):
        require(False, "no", seen=1)


@settings(max_examples=30, deadline=None)
@given(record=records(), cut=st.integers(0, 4320))
def test_drawn_records_keep_their_two_times(record, cut):
    now = START + cut * 60_000_000_000
    known = record.as_of(now)
    for part in known.series:
        assert (part.recorded <= now).all()
        assert (np.diff(part.time) > 0).all()
    assert all(e.recorded <= now for e in known.exposures)
    assert record.with_facts(*record.facts()).as_of(now).hash == known.hash


@settings(max_examples=30, deadline=None)
@given(record=records())
def test_records_come_back_from_json_lines(record, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "r.jsonl"
    back = read_record(write_record(path, record))
    assert back.hash == record.hash
    assert back.demographics == record.demographics


def test_what_is_no_record_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"kind": "series"}\n')
    with pytest.raises(FormatError, match="not a record"):
        read_record(path)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_orders_hold_each_fact_once(data):
    n = data.draw(st.integers(1, 20))
    batches = data.draw(orders(n))
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    assert len(data.draw(series(least=2))) >= 2


def test_manifests_can_be_written(tmp_path):
    table = {
        "version": "0.1.0", "title": "T", "question": "Q?", "context_of_use": "tests", "not_for": ["anybody"],
        "inputs": [{"name": "x", "code": "gemel:toy-signal", "unit": "1", "domain": [0.0, 1.0], "required": True}],
        "outputs": [{"name": "x", "code": "gemel:toy-signal", "unit": "1"}],
    }  # fmt: skip
    found = load_manifest(write_manifest(tmp_path / "twin.toml", {"my-twin": table}))["my-twin"]
    assert found.inputs[0].domain == (0.0, 1.0)
    assert found.not_for == ("anybody",)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["environment", "plugin"])
def test_pytest_runs_the_contract(way):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "gemel.testing", "-k", "manifest"]
    env = dict(os.environ)
    if way == "plugin":
        command += ["-p", "gemel.testing.plugin", "--twin", "toy-linear"]
    else:
        env["GEMEL_TWIN"] = "toy-linear"
    done = subprocess.run(command, env=env, cwd=os.path.dirname(__file__), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
