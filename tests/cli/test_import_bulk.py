"""The bulk export of a hospital's server, fetched and stored by one command; broken off, it goes on."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gemel.platform.store import Store

PATIENT = {"resourceType": "Patient", "id": "p1", "birthDate": "1970-01-01"}
READING = {
    "resourceType": "Observation", "id": "o1", "status": "final", "subject": {"reference": "Patient/p1"}, "issued": "2026-01-01T08:00:00Z",
    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "effectiveDateTime": "2026-01-01T08:00:00Z",
    "valueQuantity": {"value": 61, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
}  # fmt: skip


class _Hospital(BaseHTTPRequestHandler):
    asked: list[str]
    broken: list[str]

    def do_GET(self):
        base = f"http://127.0.0.1:{self.server.server_port}/fhir"
        type(self).asked.append(self.path)
        body, status, headers = b"", 200, {}
        if "$export" in self.path:
            status, headers = 202, {"Content-Location": f"{base}/status/1"}
        elif self.path.endswith("/status/1"):
            files = [{"type": one["resourceType"], "url": f"{base}/{one['resourceType']}.ndjson", "count": 1} for one in (PATIENT, READING)]
            body = json.dumps(
                {"transactionTime": "2026-02-01T00:00:00Z", "request": base, "requiresAccessToken": False, "output": files}
            ).encode()
        elif self.path.rpartition("/")[2] in type(self).broken:
            status = 404
        else:
            body = json.dumps(PATIENT if "Patient" in self.path else READING).encode() + b"\n"
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hospital(tmp_path):
    handler = type("Handler", (_Hospital,), {"asked": [], "broken": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    settings = tmp_path / "gemel.toml"
    settings.write_text(f'[hospital]\nbase = "http://127.0.0.1:{server.server_port}/fhir"\n')
    yield handler, settings
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_an_export_is_fetched_and_stored(gemel, tmp_path, hospital):
    handler, settings = hospital
    told = gemel(
        "import", tmp_path / "export", "--hospital", settings, "--format", "fhir", "--db", tmp_path / "a.sqlite", "--level", "Patient"
    )
    assert told.code == 0, told.err
    assert "--since 2026-02-01T00:00:00Z" in told.err
    assert handler.asked[0].startswith("/fhir/Patient/$export?")
    with Store(tmp_path / "a.sqlite") as store:
        assert [list(s.value) for s in store.record("p1").series] == [[61.0]]


def test_what_broke_off_goes_on_and_asks_for_nothing_twice(gemel, tmp_path, hospital):
    handler, settings = hospital
    asked = ("import", tmp_path / "export", "--hospital", settings, "--format", "fhir", "--db", tmp_path / "a.sqlite")
    handler.broken.append("Observation.ndjson")
    assert gemel(*asked).code != 0
    handler.broken.clear()
    first = len(handler.asked)
    assert gemel(*asked).code == 0
    again = handler.asked[first:]
    assert not any("$export" in path or "Patient.ndjson" in path for path in again)


def test_settings_without_a_hospital_and_a_time_without_one(gemel, tmp_path):
    empty = tmp_path / "gemel.toml"
    empty.write_text("")
    told = gemel("import", tmp_path / "export", "--hospital", empty, "--db", tmp_path / "a.sqlite")
    assert told.code == 2
    assert "[hospital]" in told.err
    assert gemel("import", tmp_path, "--since", "2026-01-01").code == 2
