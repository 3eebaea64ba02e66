"""The store under violence: killed, locked, damaged, of another version, of another program."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from gemel.core import Code, PatientRecord, Series
from gemel.core.errors import StoreError
from gemel.core.time import MINUTE
from gemel.platform.store import Store

START = 1_768_000_000_000_000_000
CODE = Code.parse("loinc:99504-3")


def piece(i: int) -> Series:
    """Forty readings that span two days, from a position in an endless series."""
    time_ = START + (np.arange(40) + 40 * i) * 30 * MINUTE
    return Series(code=CODE, unit="mg/dL", time=time_, value=np.sin(np.arange(40) + 40 * i) * 50 + 120)


WRITER = """
import sys
sys.path.insert(0, {folder!r})
from test_store_faults import Store, piece
store = Store({path!r})
done = store.counts()["event"]
print("ready", flush=True)
for i in range(done, 400):
    store.append("p1", [piece(i)], recorded=i)
"""


def test_a_killed_writer_leaves_whole_facts_and_goes_on_where_it_stood(tmp_path):
    path = str(tmp_path / "a.sqlite")
    Store(path).close()
    seen = []
    for pause in (0.0, 0.02, 0.05, 0.1):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER.format(folder=os.path.dirname(__file__), path=path)], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with Store(path) as store:
            n = store.counts()["event"]
            assert store.check().sound
            if n:
                assert store.record("p1").hash == PatientRecord(id="p1").with_facts(*map(piece, range(n))).hash
        seen.append(n)
    assert seen == sorted(seen)
    assert seen[-1] > 0  # the kill came while it was writing
    with Store(path) as store:
        for i in range(seen[-1] + 3):  # everything again, and a little more
            store.append("p1", [piece(i)], recorded=i)
        assert store.record("p1").hash == PatientRecord(id="p1").with_facts(*map(piece, range(seen[-1] + 3))).hash


def test_a_locked_store_says_so(tmp_path):
    path = tmp_path / "a.sqlite"
    with Store(path) as store, Store(path, busy_ms=50) as other:
        store.append("p1", [piece(0)], recorded=0)
        store._database.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"locked.*wait"):
            other.append("p1", [piece(1)], recorded=0)
        assert len(other.record("p1").series[0]) == 40  # reading goes on
        store._database.execute("ROLLBACK")
        assert other.append("p1", [piece(1)], recorded=0) == 40


def test_two_processes_that_make_one_store_make_one(tmp_path):
    path = tmp_path / "a.sqlite"
    code = f"from gemel.platform.store import Store; Store({str(path)!r}).close()"
    made = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [p.wait() for p in made] == [0, 0, 0]
    with Store(path) as store:
        assert store.check().sound


def test_the_file_is_its_owners_alone(tmp_path):
    Store(tmp_path / "a.sqlite").close()
    assert (tmp_path / "a.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a database, but text of some length " * 50, "not a store"), (b"\0" * 3 + os.urandom(5000), "not a store")],
)
def test_another_file_is_refused_and_left_as_it_is(tmp_path, content, message):
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=message):
        Store(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path):
    path = tmp_path / "a.sqlite"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE bookmarks (url TEXT)")
    raw.commit()
    raw.close()
    with pytest.raises(StoreError, match="another program"):
        Store(path)


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store._database.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(StoreError, match=r"newer gemel.*0999.*upgrade gemel"):
        Store(path)


def test_damage_is_found(tmp_path):
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        for i in range(60):
            store.append("p1", [piece(i)], recorded=i)
        store.put("twin", "p1", "toy", os.urandom(20_000), recorded=1, meta={})
        block = store._database.execute("SELECT block FROM series_chunk ORDER BY rowid DESC LIMIT 1").fetchone()[0]
        blob = store._database.execute("SELECT body FROM twin_version").fetchone()[0]
    raw = bytearray(path.read_bytes())
    for part in (block[20:40], blob[200:260]):
        at = raw.find(part)
        assert at > 0
        raw[at + 5] ^= 0xFF
    path.write_bytes(raw)
    with Store(path) as store:
        found = store.check()
        assert any(p.startswith("series_chunk") for p in found.problems)
        assert any(p.startswith("twin_version") for p in found.problems)
        with pytest.raises(StoreError, match=r"damaged.*backup"):
            store.record("p1")
        with pytest.raises(StoreError, match="damaged"):
            store.get("twin", "p1", "toy")
    raw[4096 * 3 : 4096 * 9] = os.urandom(4096 * 6)
    path.write_bytes(raw)
    try:
        with Store(path) as store:
            assert not store.check().sound
    except StoreError as error:
        assert "damaged" in error.what or "not a store" in error.what  # noqa: PT017  either way it is told


@pytest.mark.parametrize("name", ["", "nowhere/a.sqlite"])
def test_a_place_that_is_none(tmp_path, name):
    with pytest.raises(StoreError, match="next:"):
        Store(tmp_path / name)
