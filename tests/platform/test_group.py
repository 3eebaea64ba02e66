"""Group commit: what is answered is on the disk, what is wrong fails alone."""

from __future__ import annotations

import threading

import pytest

from _kills import piece
from gemel.core.errors import StoreError
from gemel.platform.crypto import new_key
from gemel.platform.keys import FileMaster
from gemel.platform.store import Store
from gemel.platform.store.group import GroupWriter


def test_many_changes_are_few_transactions_and_what_is_answered_is_there(place):
    keys = FileMaster(new_key())
    with GroupWriter(place, keys=keys, wait=0.2) as writer:
        answers = [writer.submit(lambda store, i=i: store.append(f"p{i % 7}", [piece(i)], recorded=i)) for i in range(100)]
        assert [answer.result(60) for answer in answers] == [40] * 100
        assert writer.groups <= 5
        with Store(place, keys=keys) as store:  # while the writer lives
            assert store.counts()["event"] == 100
            assert sum(len(s) for i in range(7) for s in store.record(f"p{i}").series) == 4000
            assert store.check().problems == ()


def test_a_wrong_change_fails_alone(place):
    keys = FileMaster(new_key())
    with GroupWriter(place, keys=keys, wait=0.2) as writer:
        good = [writer.submit(lambda store, i=i: store.append("p", [piece(i)], recorded=i)) for i in range(5)]
        bad = writer.submit(lambda store: store.put("twin", "nobody", "toy", b"", recorded=1, meta={}))
        more = writer.submit(lambda store: store.append("p", [piece(9)], recorded=9))
        assert [answer.result(60) for answer in (*good, more)] == [40] * 6
        with pytest.raises(StoreError, match="no such patient"):
            bad.result(60)
    with Store(place, keys=keys) as store:
        assert store.counts()["event"] == 6
    with pytest.raises(StoreError, match="writer is closed"):
        writer.submit(lambda store: None)


def test_several_threads_share_a_writer_and_are_held_when_it_is_behind(tmp_path):
    with GroupWriter(tmp_path / "a.sqlite", pending=4, wait=0.0) as writer:

        def work(k: int) -> None:
            for i in range(20):
                writer.submit(lambda store, i=i: store.append(f"p{k}", [piece(i)], recorded=i)).result(60)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Store(tmp_path / "a.sqlite") as store:
        assert [e.seq for e in store.events()] == list(range(1, 81))
        assert store.check().problems == ()


def test_a_writer_that_cannot_open_says_so(tmp_path):
    with pytest.raises(StoreError, match="next:"):
        GroupWriter(tmp_path / "nowhere" / "a.sqlite")
