"""Knocks of the hospital's server: believed to say one thing only, that it is time to look."""

from __future__ import annotations

import json

import pytest

from gemel.server.config import ServerConfig

WORD = "a-long-word-9131"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "word").write_text(WORD + "\n")
    return ServerConfig.model_validate(
        {
            "store": {"place": str(tmp_path / "s.sqlite"), "readers": 2}, "audit": {"sign": False}, "worker": {"count": 0},
            "notifications": {"secret_file": str(tmp_path / "word")},
        }
    )  # fmt: skip


def knock(world, body=b"", path="", word=WORD, method="POST"):
    return world.client.request(method, f"/fhir-notifications{path}", content=body, headers={"Authorization": f"Bearer {word}"})


def numbered(number):
    first = {"resourceType": "SubscriptionStatus", "type": "event-notification", "eventsSinceSubscriptionStart": number}
    return json.dumps({"resourceType": "Bundle", "entry": [{"resource": first}]}).encode()


def test_a_knock_without_its_word_is_refused_and_its_content_is_never_taken(world):
    for word in ("", "wrong", WORD[:-1], WORD + "x"):
        assert knock(world, word=word).status_code == 401
    assert "poll.wake" not in world.services.state
    before = world.look(lambda store: store.counts())
    body = json.dumps({"resourceType": "Observation", "id": "1", "status": "final", "code": {"text": "x"}}).encode()
    assert knock(world, body).status_code == 200
    assert knock(world, body, "/Observation/1", method="PUT").status_code == 200
    assert world.look(lambda store: store.counts()) == before
    assert world.services.state["poll.wake"].is_set()
    assert world.services.state["return_path.wake"].is_set()


def test_lost_knocks_are_counted(world):
    for number in ("1", "2", "5"):
        assert knock(world, numbered(number)).status_code == 200
    assert b"gemel_notifications_lost_total 2.0" in world.services.metrics.text()


@pytest.mark.parametrize("body", [b"[", b"\xff", b"[]"])
def test_rubbish_is_refused(world, body):
    assert knock(world, body).status_code == 400
