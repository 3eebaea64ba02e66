"""Merged blocks of readings: fewer of them, and nothing that can be read is another."""

from __future__ import annotations

import numpy as np
import pytest

from _records import START, readings
from gemel.core.errors import StoreError
from gemel.core.time import DAY, MINUTE
from gemel.platform.erase import erase
from gemel.platform.store import Store, migrate
from gemel.platform.store.compaction import MOST_LOOSE
from gemel.platform.store.store import Store as Opened

DAY_0 = START // DAY * DAY


def stream(store: Opened, count: int, *, patient: str = "p1", first: int = 0, step: int = 30 * MINUTE) -> list[str]:
    """Append readings one by one; return the hash of the record after each."""
    hashes = []
    for i in range(first, first + count):
        store.append(patient, [readings(1, start=DAY_0 + i * step)], recorded=DAY_0 + i * step)
        hashes.append(store.record(patient).hash)
    return hashes


def blocks(store: Opened) -> int:
    return store.counts()["series_chunk"]


def test_nothing_that_can_be_read_changes_and_days_that_are_over_are_one_block(place):
    with Store(place) as store:
        known = stream(store, 100)
        last = store.events(after=0)[-1].seq
        before, events = blocks(store), store.counts()["event"]
        assert before == 100
        fewer = store.compact(now=DAY_0 + 10 * DAY)
        assert blocks(store) == before - fewer == 3  # 100 half hours lie in three days
        assert store.compact(now=DAY_0 + 10 * DAY) == 0
        assert store.counts()["event"] == events
        assert store.check().sound
        assert store.record("p1").hash == known[-1]
        for event in range(1, last + 1):
            assert store.record("p1", upto=event).hash == known[event - 1]
        for i in (0, 7, 61, 99):
            now = DAY_0 + i * 30 * MINUTE
            assert store.record("p1", as_of=now).hash == store.record("p1", upto=last).as_of(now).hash


def test_what_comes_after_is_appended_and_what_was_there_is_known_again(place):
    with Store(place) as store:
        stream(store, 60)
        store.compact(now=DAY_0 + 10 * DAY)
        held = blocks(store)
        assert store.append("p1", [readings(1, start=DAY_0 + 5 * 30 * MINUTE)], recorded=DAY_0 + 9 * DAY) == 0
        late = stream(store, 3, first=2, step=31 * MINUTE)
        assert blocks(store) == held + 3
        events = [e.seq for e in store.events()][-3:]
        store.compact(now=DAY_0 + 10 * DAY)
        assert blocks(store) == held
        assert [store.record("p1", upto=e).hash for e in events] == late
    with Store(place) as again:
        assert again.check().sound
        assert again.record("p1").hash == late[-1]


def test_a_day_that_is_not_over_is_merged_when_it_has_many(place):
    with Store(place) as store:
        stream(store, MOST_LOOSE, step=MINUTE)
        assert store.compact(now=DAY_0 + DAY - 1) == 0
        stream(store, 1, first=MOST_LOOSE, step=MINUTE)
        assert store.compact(now=DAY_0 + DAY - 1) == MOST_LOOSE
        assert blocks(store) == 1


def test_only_so_many_days_in_one_transaction(place):
    with Store(place) as store:
        for i in range(6):
            stream(store, 2, first=2 * i, step=12 * 60 * MINUTE)
        assert blocks(store) == 12
        assert [store.compact(now=DAY_0 + 30 * DAY, limit=4) for _ in range(3)] == [4, 2, 0]


def test_a_block_that_no_other_holds_cannot_be_deleted(place):
    with Store(place) as store:
        stream(store, 2)
        with pytest.raises(StoreError), store._transaction("write") as database:
            database.execute("DELETE FROM series_chunk WHERE rev = 1")
        store.compact(now=DAY_0 + 10 * DAY)
        with pytest.raises(StoreError), store._transaction("write") as database:
            database.execute("DELETE FROM series_chunk")
        with pytest.raises(StoreError), store._transaction("write") as database:
            database.execute("UPDATE series_chunk SET covers = 9")
        assert store.check().sound


def test_an_erased_patient_is_left_alone_and_goes_whole(place):
    with Store(place) as store:
        stream(store, 4)
        stream(store, 4, patient="p2")
        store.compact(now=DAY_0 + 10 * DAY)
        stream(store, 2, first=4)
        erase(store, "p1", recorded=DAY_0 + 11 * DAY)
        assert store.compact(now=DAY_0 + 12 * DAY) == 0
        assert blocks(store) == 1
        assert store.patients() == ("p2",)


def test_down_and_up_again(place):
    with Store(place) as store:
        known = stream(store, 70)
        store.compact(now=DAY_0 + 10 * DAY)
        stream(store, 2, first=70)
        known = [store.record("p1", upto=e.seq).hash for e in store.events()]
    migrate(place, "0004")
    with Store(place) as store:
        assert blocks(store) == 72
        assert [store.record("p1", upto=e.seq).hash for e in store.events()] == known
        assert store.check().sound


def test_a_year_of_a_sensor_is_read_in_a_day_of_blocks(place):
    """The number of blocks that a record opens is bounded by its days, not by its readings."""
    with Store(place) as store:
        rng = np.random.default_rng(1)
        with store.batch():
            for i in np.sort(rng.choice(288 * 5, 400, replace=False)):
                store.append("p1", [readings(1, start=DAY_0 + int(i) * 5 * MINUTE)], recorded=DAY_0 + int(i) * 5 * MINUTE)
        known = store.record("p1").hash
        while store.compact(now=DAY_0 + 5 * DAY):
            pass
        assert blocks(store) <= 4 + MOST_LOOSE
        assert store.record("p1").hash == known
