"""Where sent advice stands, on both databases: once, sealed, backed up, gone with its patient."""

from __future__ import annotations

import pytest

from gemel.core.errors import StoreError
from gemel.platform.erase import erase
from gemel.platform.store import Store
from gemel.platform.store.deliveries import Delivery, deliveries, find, save

WORD = "canary-of-the-task-7731"


def _sent(store: Store, patient: str = "anna") -> Delivery:
    store.append(patient, [], recorded=1)
    key = store.put("proposal", patient, "toy-linear", patient.encode(), recorded=5, meta={})
    return save(store, Delivery(key, patient, "ward", "sent", 5, 50, told={"task": f"Task/{WORD}"}))


def test_a_delivery_moves_on_and_is_found_by_its_state(place):
    with Store(place) as store:
        first = _sent(store)
        assert deliveries(store, "ward") == [first] == [find(store, first.proposal, "ward")]
        assert deliveries(store, "other") == []
        moved = save(store, first.now("decided", due=90, decision="d"))
        assert (moved.state, moved.due, moved.told["task"], moved.told["decision"]) == ("decided", 90, f"Task/{WORD}", "d")
        assert deliveries(store, "ward", ("sent",)) == []
        save(store, moved.now("closed"))
        assert deliveries(store, "ward") == []
        assert store.check().sound


def test_two_who_write_the_same_do_not_both_win(place):
    with Store(place) as store:
        first = _sent(store)
        save(store, first.now("decided"))
        with pytest.raises(StoreError, match="another process"):
            save(store, first.now("expired"))
        with pytest.raises(StoreError, match="another process"):
            save(store, Delivery(first.proposal, "anna", "ward", "sent", 5, 50))


def test_what_is_undone_was_not_sent(place):
    with Store(place) as store:
        store.append("anna", [], recorded=1)
        key = store.put("proposal", "anna", "toy-linear", b"x", recorded=5, meta={})

        def cut_short():
            with store.batch():
                save(store, Delivery(key, "anna", "ward", "sent", 5, 50))
                store.advance("return/ward", 3)
                raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            cut_short()
        assert find(store, key, "ward") is None
        assert store.position("return/ward") == 0


def test_it_is_sealed_and_goes_with_its_patient(tmp_path):
    place = tmp_path / "a.sqlite"
    with Store(place) as store:
        _sent(store)
        kept = _sent(store, "berta")
        assert WORD.encode() not in place.read_bytes() + b"".join(p.read_bytes() for p in tmp_path.glob("a.sqlite-*"))
        erase(store, "anna", recorded=9)
        assert [one.patient for one in deliveries(store, "ward")] == ["berta"] == [kept.patient]
        assert store.check().sound
