"""The server on PostgreSQL: the same world, the same answers."""

from __future__ import annotations

import pytest
from _world import ADA, BOB, make_world

import _postgres
from gemel.platform.keys import make_master
from gemel.server.config import ServerConfig

pytestmark = pytest.mark.postgres


@pytest.fixture
def world(tmp_path, monkeypatch):
    found = _postgres.binaries()
    if found is None:
        pytest.skip("no PostgreSQL 15 or newer on this machine (Debian: apt install postgresql)")
    pytest.importorskip("pg8000", reason="the driver of PostgreSQL is not installed: pip install 'gemel[postgres]'")
    make_master(tmp_path / "k.key")
    monkeypatch.setenv("GEMEL_KEY_FILE", str(tmp_path / "k.key"))
    started = _postgres.Server(found)
    try:
        told = {
            "store": {"place": started.new(), "blobs": str(tmp_path / "blobs"), "readers": 2}, "audit": {"sign": False, "trail": str(tmp_path / "audit.jsonl")},
            "worker": {"count": 0},
        }  # fmt: skip
        with make_world(ServerConfig.model_validate(told)) as made:
            yield made
    finally:
        started.close()


def test_what_may_be_seen_is_seen_what_may_not_is_not_there_and_all_of_it_is_written_down(world, tmp_path):
    head = world.head("physician")
    ada, bob = (f"/api/v1/patients/{world.ids[patient]}" for patient in (ADA, BOB))
    assert world.client.get("/readyz").status_code == 200
    assert world.client.get(ada, headers=head).status_code == 200
    assert world.client.get(f"{ada}/series", headers=head).status_code == 200
    assert world.client.get(bob, headers=head).content == world.client.get("/api/v1/patients/" + "0" * 24, headers=head).content
    assert [one["id"] for one in world.client.get("/api/v1/patients", headers=head).json()["items"]] == [world.ids[ADA]]
    body = {"patient": world.ids[BOB], "reason": "found unconscious in the corridor"}
    assert world.client.post("/api/v1/break-glass", json=body, headers={**head, "X-Purpose-Of-Use": "ETREAT"}).status_code == 201
    assert world.client.get(bob, headers={**head, "X-Purpose-Of-Use": "ETREAT"}).status_code == 200
    withdrawn = f"{ada}/consents/c-patient-privacy/withdraw"
    assert world.client.post(withdrawn, headers=world.head("physician")).status_code in (200, 204)
    assert world.client.get(ada, headers=head).status_code == 404
    from gemel.platform.audit import entries
    from gemel.platform.audit_check import verify_trail
    from gemel.platform.store.audit_sealer import AuditSealer

    told = world.look(lambda store: [entry["action"] for entry in entries(tmp_path / "audit.jsonl", sealer=AuditSealer(store))])
    assert {"read", "search", "deny", "break-glass"} <= set(told)
    assert verify_trail(tmp_path / "audit.jsonl").holds
