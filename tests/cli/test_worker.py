"""The resident worker: the same answers, sooner; reachable by its owner alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")


def call(*arguments: object, cwd, environment, **rest: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gemel.cli", *(str(a) for a in arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **rest,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A short folder of its own: a socket's path has a limit of about 100 characters."""
    return tmp_path_factory.mktemp("w")


@pytest.fixture(scope="module")
def environment(home):
    found = {k: v for k, v in os.environ.items() if k not in ("GEMEL_NO_WORKER", "GEMEL_DEBUG")}
    return found | {"XDG_RUNTIME_DIR": str(home), "XDG_CACHE_HOME": str(Path.home() / ".cache" / "gemel" / "cli-tests")}


@pytest.fixture(scope="module")
def worker(home, environment):
    told = call("worker", "start", "--json", cwd=home, environment=environment)
    assert told.returncode == 0, told.stderr
    yield json.loads(told.stdout)
    assert call("worker", "stop", cwd=home, environment=environment).returncode == 0
    assert call("worker", "status", cwd=home, environment=environment).returncode == 4


def test_nobody_else_can_reach_it(worker, home):
    place = home / "gemel" / "worker.sock"
    assert place.stat().st_mode & 0o777 == 0o600
    assert place.parent.stat().st_mode & 0o777 == 0o700


def commands(home, environment) -> int:
    return json.loads(call("worker", "status", "--json", cwd=home, environment=environment).stdout)["commands"]


@pytest.mark.slow
def test_it_answers_as_a_process_of_its_own_would(worker, home, environment, twin_file, tmp_path):
    before = commands(home, environment)
    for arguments in (
        ("forecast", twin_file, "--at", "60", "--draws", 16, "--json"),
        ("diagnose", twin_file),
        ("forecast", "nowhere.twin"),
        ("score",),
    ):
        there = call(*arguments, cwd=tmp_path, environment=environment)
        here = call(*arguments, cwd=tmp_path, environment=environment | {"GEMEL_NO_WORKER": "1"})
        assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert commands(home, environment) == before + 4
    assert call("forecast", twin_file, "--at", "60", "-o", "f.csv", cwd=tmp_path, environment=environment).returncode == 0
    assert (tmp_path / "f.csv").exists()  # the caller's folder, not the worker's


def test_a_second_start_finds_the_first(worker, home, environment):
    assert json.loads(call("worker", "start", "--json", cwd=home, environment=environment).stdout)["pid"] == worker["pid"]


def test_other_flags_are_run_here_and_it_says_so(worker, home, environment, twin_file, tmp_path):
    before = commands(home, environment)
    ran = call("score", twin_file, cwd=tmp_path, environment=environment | {"XLA_FLAGS": ""})
    assert ran.returncode == 2
    assert "running here" in ran.stderr
    assert "running here" not in call("score", twin_file, "--no-worker", cwd=tmp_path, environment=environment).stderr
    assert commands(home, environment) == before


@pytest.mark.slow
def test_an_interrupt_stops_the_command_and_not_the_worker(worker, home, environment, people, tmp_path):
    line = [sys.executable, "-m", "gemel.cli", "check", "toy-growth"]
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not json.loads(call("worker", "status", "--json", cwd=home, environment=environment).stdout)["busy"]:
        time.sleep(0.02)
    busy = call("check", "toy-linear", "--only", "manifest", cwd=tmp_path, environment=environment)
    assert "the worker is busy: running here" in busy.stderr
    assert busy.returncode == 0
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert json.loads(call("worker", "status", "--json", cwd=home, environment=environment).stdout)["pid"] == worker["pid"]


def test_a_socket_that_is_not_private_is_not_used(tmp_path, monkeypatch):
    from gemel.cli import client

    (tmp_path / "gemel").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(client.place()))
        os.chmod(client.place(), 0o600)
        assert client.is_private(client.place())
        os.chmod(tmp_path / "gemel", 0o755)
        assert not client.is_private(client.place())
        os.chmod(tmp_path / "gemel", 0o700)
        os.chmod(client.place(), 0o666)
        assert not client.is_private(client.place())


def test_it_ends_by_itself_when_nobody_needs_it(tmp_path, environment, home):
    mine = environment | {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert call("worker", "start", "--idle", "0.01", cwd=tmp_path, environment=mine).returncode == 0
    end = time.monotonic() + 20
    while (tmp_path / "gemel" / "worker.sock").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not (tmp_path / "gemel" / "worker.sock").exists()
