"""Redis Streams as an option: workers hear sooner; nothing depends on it."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from gemel.core import Code, Series
from gemel.platform.store import Store
from gemel.platform.stream import redis as streams
from gemel.platform.stream import twins as queue

redis = pytest.importorskip("redis", reason="the client of Redis is not installed: pip install 'gemel[redis]'")
pytestmark = pytest.mark.peer

CODE = Code.parse("loinc:99504-3")


class Server:
    """A server of our own on a socket, which may be killed and started again."""

    def __init__(self, program):
        self.folder = Path(tempfile.mkdtemp(prefix="gemel-redis-"))
        self._program = program
        self.address = f"unix://{self.folder}/s"
        self.start()

    def start(self):
        command = [self._program, "--port", "0", "--unixsocket", str(self.folder / "s"), "--dir", str(self.folder), "--appendonly", "yes",
                   "--appendfsync", "always", "--save", ""]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        client, end = streams.connect(self.address), time.monotonic() + 60
        while time.monotonic() < end:
            try:
                client.ping()
                return
            except redis.RedisError:
                time.sleep(0.02)
        raise AssertionError("Redis did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def server():
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no Redis on this machine (Debian: apt install redis-server)")
    started = Server(program)
    yield started
    started.close()


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "a.sqlite") as opened:
        arrive(opened, 0)
        queue.follow(opened, "p1", "toy", upto=1)
        yield opened


def arrive(store, k):
    store.append("p1", [Series(code=CODE, unit="mg/dL", time=np.array([k]), value=np.array([100.0 + k]))], recorded=k)


def wake(server, name, **settings):
    return streams.Wake(server.address, name, sleep=lambda _: None, **settings)


def test_what_arrived_wakes_one_worker_and_the_store_says_what_it_was(server, store):
    bell, first, second = streams.Bell(streams.connect(server.address)), wake(server, "w1"), wake(server, "w2")
    assert first.wait(0.01) == second.wait(0.01) == 0
    arrive(store, 1)
    assert bell.ring(store) == 2
    assert bell.ring(store) == 0, "it was told"
    assert first.wait(0.01) + second.wait(0.01) == 1, "one of them"
    assert queue.feed(store, now=10) == 2
    assert queue.due(store) == 1


def test_what_a_worker_took_and_did_not_confirm_goes_to_another(server, store):
    bell, dead = streams.Bell(streams.connect(server.address)), wake(server, "dead")
    dead.wait(0.01)
    bell.ring(store)
    assert dead.wait(0.01) == 1
    other = wake(server, "other", idle_ms=0)
    assert other.wait(0.01) == 1
    assert other.wait(0.01) == 0, "confirmed by coming back"
    info = streams.connect(server.address).xpending(streams.STREAM, streams.GROUP)
    assert info["pending"] == 0


def test_one_that_is_away_or_lost_everything_costs_nothing_but_time(server, store):
    bell, worker = streams.Bell(streams.connect(server.address)), wake(server, "w1")
    worker.wait(0.01)
    bell.ring(store)
    worker.wait(0.01)
    server.kill()
    arrive(store, 1)
    assert worker.wait(0.01) == 0, "the worker looks at the store at its usual pace"
    with pytest.raises(redis.RedisError):
        bell.ring(store)
    assert queue.feed(store, now=10) > 0
    for file in server.folder.rglob("*"):
        if file.is_file():
            file.unlink()
    server.start()
    assert worker.wait(0.01) == 0, "the group is made again, and there is nothing"
    assert bell.ring(store) > 0, "an empty one is told everything again"
    assert worker.wait(0.01) == 1
    assert queue.feed(store, now=11) == 0, "and that has no effect"
    assert bell.rebuild(store) > 0
    assert worker.wait(0.01) == 1


def test_nothing_of_a_patient_goes_through_it(server, store):
    streams.Bell(streams.connect(server.address)).ring(store)
    client = streams.connect(server.address)
    assert [list(fields) for _, fields in client.xrange(streams.STREAM)] == [[b"seq"]]


def test_without_its_library_it_says_what_to_install(monkeypatch):
    import builtins

    from gemel.core.errors import StoreError

    plain = builtins.__import__

    def without(name, *rest):
        if name == "redis":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StoreError, match=r"gemel\[redis\]"):
        streams.connect("unix:///nowhere")
