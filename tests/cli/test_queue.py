"""What waits and what was given up, from the shell; and what is given up can be tried again."""

from __future__ import annotations

import pytest

from _records import START, readings
from gemel.core.time import DAY
from gemel.platform.store import Store
from gemel.platform.stream import twins


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("GEMEL_KEY_FILE", raising=False)
    monkeypatch.delenv("GEMEL_KEY", raising=False)
    with Store(tmp_path / "a.sqlite") as store:
        store.append("ann", [readings(3)], recorded=START)
        twins.follow(store, "ann", "toy-growth", upto=0)
        twins.feed(store, now=START)
    return tmp_path / "a.sqlite"


def _give_up(store):
    for i in range(5):
        (one,) = twins.claim(store, "w", now=START + (i + 1) * DAY)
        twins.give_back(store, one, "w", now=START + (i + 1) * DAY, reason="no such room", pause=0)
    job = store.enqueue("score", "k", "{}", now=START)
    for i in range(5):
        found = store.claim("score", "w", now=START + (i + 1) * DAY)
        store.give_back(found.id, "w", reason="it has no times", now=START + (i + 1) * DAY)
    return job


def test_what_waits_and_what_was_given_up(gemel, place):
    told = gemel("worker", "queue", place, "--json")
    assert (told.code, told.json()["followed"], told.json()["due"]) == (0, 1, 1)
    with Store(place) as store:
        job, subject = _give_up(store), store.subject("ann")
        assert (twins.due(store), twins.dead(store)) == (0, 1)
    told = gemel("worker", "queue", place, "--json")
    assert told.code == 1
    assert told.json()["dead"] == [{"patient": subject, "twin": "toy-growth", "reason": "no such room"}]
    assert [one["id"] for one in told.json()["dead_work"]] == [job]
    shown = gemel("worker", "queue", place)
    assert "no such room" in shown.out
    assert "it has no times" in shown.out
    assert "ann" not in shown.out
    again = gemel("worker", "queue", place, "--redrive", "--json")
    assert (again.code, again.json()["redriven"], again.json()["due"]) == (0, 2, 1)
    with Store(place) as store:
        assert store.job(job).state == "waiting"
