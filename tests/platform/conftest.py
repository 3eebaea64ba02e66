"""The same tests on both databases."""

from __future__ import annotations

import itertools

import pytest

import _postgres


@pytest.fixture(scope="session")
def server():
    found = _postgres.binaries()
    if found is None:
        pytest.skip("no PostgreSQL 15 or newer on this machine (Debian: apt install postgresql)")
    pytest.importorskip("pg8000", reason="the driver of PostgreSQL is not installed: pip install 'gemel[postgres]'")
    started = _postgres.Server(found)
    yield started
    started.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def places(request, tmp_path, monkeypatch):
    """Make a fresh place for a store: a file, or a schema of a server."""
    if request.param == "sqlite":
        numbers = itertools.count()
        return lambda: tmp_path / f"{next(numbers)}.sqlite"
    from gemel.platform.keys import make_master

    make_master(tmp_path / "postgres.key")
    monkeypatch.setenv("GEMEL_KEY_FILE", str(tmp_path / "postgres.key"))
    return request.getfixturevalue("server").new


@pytest.fixture
def place(places):
    return places()
