"""The store under violence: killed, locked, damaged, of another version, of another program."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import _kills
import _postgres
import _writers
from _kills import piece
from gemel.core import PatientRecord
from gemel.core.errors import StoreError
from gemel.platform.crypto import new_key
from gemel.platform.keys import FileMaster
from gemel.platform.store import Store


def test_a_killed_writer_loses_and_doubles_nothing(place):
    """Twenty kills at random instants; two hundred in benchmarks/platform_store.py."""
    ran = subprocess.run([sys.executable, _kills.__file__, str(place), "20", "1"], stdout=subprocess.PIPE, check=True)
    told = json.loads(ran.stdout)
    assert (told["lost"], told["doubled"], told["wrong"]) == (0, 0, [])
    assert told["caught"] >= 15  # the kill came while it was writing, not after it had ended
    assert told["steps"] >= 10  # some are killed while they open the store


@pytest.mark.postgres
def test_a_database_that_goes_away_and_comes_back(server, tmp_path):
    with Store(server.new(), keys=FileMaster(new_key()), busy_ms=2000) as store:
        store.append("p1", [piece(0)], recorded=0)
        server.kill()
        try:
            for _ in range(2):
                with pytest.raises(StoreError, match=r"does not answer.*nothing of the last change"):
                    store.append("p1", [piece(1)], recorded=1)
        finally:
            server.start()
        assert store.append("p1", [piece(1)], recorded=1) == 40
        assert store.record("p1").hash == PatientRecord(id="p1").with_facts(piece(0), piece(1)).hash
        assert store.check().problems == ()


def test_a_full_disk_is_told_and_nothing_of_the_change_stands(tmp_path):
    with Store(tmp_path / "a.sqlite") as store:
        store.append("p1", [piece(0)], recorded=0)
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages + 8}")
        with pytest.raises(StoreError, match=r"disk is full.*nothing of the last change"):
            store.put("twin", "p1", "toy", os.urandom(1_000_000), recorded=1, meta={})
        assert (store.counts()["event"], store.check().problems) == (1, ())
        store._database.execute("PRAGMA max_page_count = 1000000")
        store.put("twin", "p1", "toy", os.urandom(1_000_000), recorded=1, meta={})


@pytest.fixture
def small_disk():
    """A file system of 96 MB, which can be made larger."""
    folder = Path(tempfile.mkdtemp(prefix="gemel-pg-"))  # not below tmp_path: the server's user cannot enter there
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("a file system of its own cannot be made here: needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def _put_until_refused(store, acknowledged, most):
    for i in range(1, most):
        acknowledged.append(store.put("twin", "p1", "toy", os.urandom(1_000_000), recorded=i, meta={}))


def test_a_full_disk_under_postgresql_is_told_and_nothing_acknowledged_is_lost(small_disk):
    binaries = _postgres.binaries()
    pytest.importorskip("pg8000")
    if binaries is None:
        pytest.skip("no PostgreSQL 15 or newer on this machine")
    server = _postgres.Server(binaries, small_disk)
    try:
        url, keys, acknowledged = server.new(), FileMaster(new_key()), []
        with Store(url, keys=keys, busy_ms=2000) as store:
            store.append("p1", [piece(0)], recorded=0)
            with pytest.raises(StoreError, match=r"nothing of the last change") as found:
                _put_until_refused(store, acknowledged, 200)
            assert acknowledged
            assert "postgresql://" not in str(found.value)
        subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
        server.kill()  # where its log of changes had no room it may have ended, or be coming back: begin anew
        server.start()
        with Store(url, keys=keys, busy_ms=5000) as store:
            assert [v.id for v in store.versions("twin", "p1")] == acknowledged
            assert store.check().problems == ()
            store.put("twin", "p1", "toy", os.urandom(1_000_000), recorded=1000, meta={})
    finally:
        server.close()


def test_processes_that_write_at_once_leave_no_gap_and_do_no_job_twice(place, tmp_path):
    with Store(place) as store:
        for i in range(24):
            store.enqueue("assimilate", f"job {i}", "{}", now=i)

    told = [tmp_path / f"done-{i}" for i in range(3)]
    made = [subprocess.Popen([sys.executable, _writers.__file__, str(place), str(i), str(path)]) for i, path in enumerate(told)]
    assert [p.wait() for p in made] == [0, 0, 0]
    with Store(place) as store:
        assert [e.seq for e in store.events()] == list(range(1, 49))
        assert sum(len(s) for s in store.record("shared").series) == 24 * 40
        assert store.check().problems == ()
    done = [line for path in told for line in path.read_text().splitlines()]
    assert sorted(done) == sorted(f"job {i}" for i in range(24))


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
