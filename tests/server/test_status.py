"""The status page: this machine only, no patient, no value."""

from __future__ import annotations

import http.client
import json
import threading

import numpy as np
import pytest

from gemel.core import Code, Series
from gemel.platform.store import Store
from gemel.server.status import make_server


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.append(
            "canary-patient",
            [Series(code=Code.parse("loinc:99504-3"), unit="mg/dL", time=np.arange(3) * 10**11, value=[123.456] * 3)],
            recorded=0,
        )
    with make_server(0, path) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

        def get(place: str, host: str = "127.0.0.1", method: str = "GET") -> tuple[int, str]:
            line = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
            line.request(method, place, headers={"Host": host})
            answer = line.getresponse()
            found = answer.status, answer.read().decode()
            line.close()
            return found

        yield get, server
        server.shutdown()


def test_it_shows_counts_and_no_patient(page):
    get, server = page
    assert server.server_address[0] == "127.0.0.1"
    code, text = get("/")
    assert code == 200
    assert "toy-linear" in text
    told = json.loads(get("/status.json")[1])
    assert told["store"]["rows"]["patient"] == 1
    for place in ("/", "/status.json", "/health"):
        assert "canary" not in get(place)[1]
        assert "123.4" not in get(place)[1]


def test_other_names_other_places_and_other_verbs_are_refused(page):
    get, _ = page
    assert get("/", host="evil.example")[0] == 403
    assert get("/etc/passwd")[0] == 404
    assert get("/", method="POST")[0] == 501
