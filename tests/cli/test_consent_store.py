"""``gemel consent`` on a store: kept, listed, withdrawn, objected to."""

from __future__ import annotations

import json

import pytest

from _records import START, everything, fill
from gemel.platform.store import Store


@pytest.fixture
def ask(gemel, tmp_path):
    place = tmp_path / "s.sqlite"
    with Store(place) as store:
        fill(store, everything())
        store.put("forecast", "p1", "metabolic", b"{}", recorded=START, meta={"model": "metabolic", "model_version": "1.0"})
        store.enqueue("forecast", "1", '{"twin": "metabolic"}', now=START, patient="p1")

    def run(*words):
        ran = gemel("consent", words[0], place, "p1", *words[1:], "--json")
        return ran.code, ran.json() if ran.out.startswith("{") else ran.err

    return run


def test_a_consent_is_kept_listed_withdrawn_and_objected_to(ask, tmp_path):
    told = {
        "resourceType": "Consent", "id": "c1", "status": "active", "patient": {"reference": "Patient/p1"}, "dateTime": "2024-01-01",
        "policyRule": {"coding": [{"code": "OPTIN"}]}, "extension": [{"url": "urn:gemel:consent:model", "valueString": "metabolic@1"}],
    }  # fmt: skip
    path = tmp_path / "c.json"
    path.write_text(
        json.dumps(told | {"extension": told["extension"] + [{"url": "urn:gemel:consent:model", "valueString": "metabolic@0"}]})
    )
    assert ask("give", str(path)) == (0, {"epoch": 1, "cancelled": [], "hidden": 0})
    assert [one["id"] for one in ask("list")[1]["consents"]] == ["c1"]
    code, done = ask("withdraw", "c1")
    assert (code, done["epoch"], len(done["cancelled"]), done["hidden"]) == (0, 2, 1, 1)
    assert ask("object", "--purpose", "HRESCH")[1]["epoch"] == 3
    path.write_text(json.dumps(told | {"policyRule": {}}))
    assert ask("give", str(path))[0] == 1  # ambiguous
    path.write_text(json.dumps(told | {"patient": {"reference": "Patient/p2"}}))
    code, error = ask("give", str(path))
    assert code not in (0, 1)
    assert "another patient" in error
    assert ask("withdraw", "none")[0] not in (0, 1)
