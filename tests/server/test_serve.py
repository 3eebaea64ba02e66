"""``gemel serve`` as a process: it starts, answers, replaces a worker that falls, and ends in order."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from _data import data_environment, require_dataset
from gemel.core.errors import ConfigurationError, DatasetError, StoreError
from gemel.platform.audit import entries, read_roots, roots_path
from gemel.platform.audit_check import verify_trail
from gemel.platform.store import Store
from gemel.platform.store.audit_sealer import AuditSealer
from gemel.platform.store.consents import consents_of
from gemel.platform.store.relations import treated_by
from gemel.server.run import DEMO
from gemel.server.workers import Workers, working


class Served:
    """A process of ``gemel serve``; what it prints first is its address."""

    def __init__(self, folder, *arguments: str) -> None:
        command = [sys.executable, "-m", "gemel.cli", "serve", "--port", "0", "--workers", "0", *arguments]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("GEMEL_")} | {"XDG_CONFIG_HOME": str(folder / "config")}
        with (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=err, text=True)
        line = self.process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+)(\S*)", line)
        assert found, (line, (folder / "err").read_text())
        self.url, self.path = found[1], found[2]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


@pytest.mark.slow
def test_it_serves_and_ends_in_order(tmp_path):
    served = Served(tmp_path, "--db", "s.sqlite", "--new", "--demo")
    with httpx.Client(base_url=served.url) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 200
        assert client.get("/metrics").status_code == 401
        once = client.get(served.path)
        assert once.status_code == 200
        assert client.get("/auth/session").json()["role"] == "physician"
        assert client.get(served.path).status_code == 401
        assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400
    assert served.stop() == 0
    assert verify_trail(tmp_path / "s.sqlite.audit.jsonl").holds
    with Store(tmp_path / "s.sqlite") as store:
        told = [entry["action"] for entry in entries(tmp_path / "s.sqlite.audit.jsonl", sealer=AuditSealer(store))]
        assert (told[0], told[-1]) == ("start", "stop")
        assert read_roots(roots_path(tmp_path / "s.sqlite.audit.jsonl"))[-1].size == len(told)
        assert store.check().problems == ()
    assert served.path.partition("=")[2] not in (tmp_path / "err").read_text()
    assert all(json.loads(line)["logger"] for line in (tmp_path / "err").read_text().splitlines() if line.startswith("{"))


@pytest.mark.slow
def test_an_interrupt_ends_it_and_a_request_that_is_under_way_is_finished(tmp_path):
    served = Served(tmp_path, "--db", "s.sqlite", "--new")
    host, _, port = served.url.removeprefix("http://").partition(":")
    body = b"name=a&password=b"
    with socket.create_connection((host, int(port)), timeout=60) as line:
        head = f"POST /auth/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body[:5])
        until(lambda: httpx.get(f"{served.url}/healthz").status_code == 200)
        served.process.send_signal(signal.SIGINT)
        until(lambda: refuses(host, int(port)))
        line.sendall(body[5:])
        answer = b""
        while part := line.recv(65536):
            answer += part
    assert b"unsupported_grant_type" in answer
    assert served.process.wait(60) == 130
    served.process.stdout.close()


def refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return True
    time.sleep(0.02)
    return False


def test_what_is_not_safe_and_what_is_not_there_do_not_start(tmp_path):
    from gemel.cli.serve import serve

    with pytest.raises(Exception, match=r"no such file"):
        serve.callback(db=tmp_path / "none.sqlite", config=None, host=None, port=0, workers=0, new=False, demo=False)
    with pytest.raises(ConfigurationError, match="nothing speaks TLS"):
        serve.callback(db=tmp_path / "a.sqlite", config=None, host="0.0.0.0", port=0, workers=0, new=True, demo=False)
    assert list(tmp_path.iterdir()) == []


def _nothing(_name):
    raise DatasetError("a data set that cannot be had")


@pytest.mark.data
def test_a_demonstration_shows_one_real_person_as_of_now(tmp_path, monkeypatch):
    from gemel.cli.demo.serving import admit

    require_dataset("shanghai")
    monkeypatch.setattr(os, "environ", data_environment())
    with Store(tmp_path / "s.sqlite") as store:
        admit(store)
        (patient,) = store.patients()
        record = store.record(patient)
        last = max(int(series.time[-1]) for series in record.series)
        assert 4.9 < (time.time_ns() - last) / 60e9 < 10
        assert store.claim("calibrate", "w", now=time.time_ns()).key == f"demonstration/{patient}"
        admit(store)
        assert store.patients() == (patient,)


def test_a_demonstration_never_lets_anybody_into_a_store_with_patients(tmp_path, monkeypatch):
    monkeypatch.setenv("GEMEL_DATA", str(tmp_path))  # nothing can be had: nobody is shown
    monkeypatch.setattr("gemel.platform.datasets.resolve", _nothing)
    from gemel.cli.demo.serving import admit

    with Store(tmp_path / "s.sqlite") as store:
        store.append("ada", [], recorded=1)
        with pytest.raises(ConfigurationError, match="this store has patients"):
            admit(store)
    with Store(tmp_path / "t.sqlite") as store:
        admit(store)
        store.append("ada", [], recorded=1)
        admit(store)
        assert len(consents_of(store, store.subject("ada"))[1]) == 1
        assert treated_by(store, DEMO.who, time=time.time_ns()) == {store.subject("ada")}


def test_a_port_that_is_taken_is_named(tmp_path):
    from gemel.server.config import ServerConfig
    from gemel.server.run import run_server

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StoreError, match="cannot listen"):
            run_server(
                ServerConfig.model_validate(
                    {"server": {"port": port}, "store": {"place": str(tmp_path / "s.sqlite")}, "log": {"file": str(tmp_path / "log")}}
                )
            )


SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def until(what) -> None:
    while not what():
        time.sleep(0.01)


def test_a_worker_that_falls_is_started_again_later_each_time():
    now = [0.0]
    workers = Workers(SLEEPER, 2, clock=lambda: now[0])
    workers.start()
    try:
        assert workers.alive() == 2
        first = workers._children[0].process
        first.kill()
        until(lambda: workers._children[0].due > 0)
        assert workers.alive() == 1
        due = workers._children[0].due
        assert due == 1.0
        now[0] = 1.1
        until(lambda: workers.alive() == 2)
        workers._children[0].process.kill()
        until(lambda: workers._children[0].due > due)
        assert workers._children[0].due - now[0] == pytest.approx(2.0)
        assert workers.restarts == 2
    finally:
        workers.stop(patience_s=5)
    assert workers.alive() == 0


def test_a_worker_that_does_not_hear_is_ended():
    deaf = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"]
    with working(deaf, 1) as workers:
        time.sleep(0.3)
        workers.stop(patience_s=0.2)
        assert workers.alive() == 0
    with working(None, 3) as none:
        assert none is None
