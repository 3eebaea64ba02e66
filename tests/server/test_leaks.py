"""A patient whose every value is a canary: asked for in every way, found in no log, address, metric, error or header."""

from __future__ import annotations

import logging

import pytest
from _routes import ROUTES
from _world import ADA, BOB, NOBODY

from gemel.server.logs import FIELDS, JsonLines, start_logging
from gemel.server.problems import HIDDEN

CANARIES = ("canary", "-7781", "-9915")  # with the dash: four digits alone stand in many a number


@pytest.fixture
def log(tmp_path):
    names = ("gemel", "uvicorn.error", "asyncio")
    before = {
        name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level, logging.getLogger(name).propagate) for name in names
    }
    handler = start_logging("debug", tmp_path / "log.jsonl")
    yield tmp_path / "log.jsonl"
    handler.close()
    for name, (handlers, level, propagate) in before.items():
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_the_patient_stands_in_no_log_address_metric_or_problem(world, log):
    ids = [world.ids[ADA], world.ids[BOB]]
    problems = []
    for row in ROUTES:
        if row.aim is None or row.method == "WS":
            continue
        for patient in (ADA, BOB, NOBODY):
            told = dict(row.aim(world, patient))
            head = world.head(row.role, ADA, purpose=row.purpose) | told.pop("headers", {})
            answer = world.client.request(row.method, headers=head, **told)
            assert not any(canary in str(answer.headers) for canary in CANARIES), row.path
            if answer.status_code >= 400:
                problems.append(answer.text)
    for text in (f"/api/v1/patients/{ADA}", f"/{BOB}?name={ADA}", f"/fhir/R4/Patient/{ADA}?family={BOB}"):
        told = world.client.get(text, headers=world.head("nurse", BOB))
        assert told.status_code >= 400
        problems.append(told.text)
    metrics = world.client.get("/metrics", headers=world.head("administrator")).text
    lines = log.read_text(encoding="utf-8")
    assert lines.count('"event": "request"') > 10
    for name, text in (("log", lines), ("metrics", metrics), *(("problem", problem) for problem in problems)):
        for canary in (*CANARIES, *ids):
            assert canary not in text, (name, canary)
    assert "Bearer" not in lines
    assert "eyJ" not in lines


def test_the_log_carries_known_fields_only_and_no_arguments():
    record = logging.LogRecord("gemel.server", logging.ERROR, "f.py", 1, "failed for %s", ("ada-canary",), None)
    record.patient, record.request = "ada-canary", "abc"
    try:
        raise ValueError("ada-canary")
    except ValueError:
        import sys

        record.exc_info = sys.exc_info()
    text = JsonLines().format(record)
    assert "canary" not in text
    assert '"request": "abc"' in text
    assert '"error": "ValueError"' in text
    assert "patient" not in FIELDS


def test_a_defect_is_told_without_its_message(world, log, monkeypatch):
    from gemel.server.routers import ops

    def fall(_services):
        raise RuntimeError(f"something about {ADA}")

    monkeypatch.setattr(ops, "readiness", fall)
    answer = world.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (500, "defect")
    assert answer.headers["x-request-id"] in log.read_text(encoding="utf-8")
    assert "canary" not in answer.text + log.read_text(encoding="utf-8")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert world.client.get("/healthz").status_code == 200


def test_what_may_not_be_had_and_what_is_not_there_are_one_answer(world):
    other = world.client.get(f"/api/v1/patients/{world.ids[BOB]}", headers=world.head("physician"))
    nobody = world.client.get("/api/v1/patients/" + "0" * 24, headers=world.head("physician"))
    assert (other.status_code, other.content) == (nobody.status_code, nobody.content)
    assert other.json()["title"] == HIDDEN
