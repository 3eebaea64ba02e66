"""The bulk client: against a scripted server with every fault, and with our log-in (SMART backend services) against our own server: both sides."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field

import pytest
from _fhir_trees import tree
from _world import ADA, BOB, make_world
from joserfc.jwk import ECKey, KeySet

from gemel.core.errors import FormatError, RemoteError
from gemel.interop.fhir.bulk_client import BulkExport
from gemel.interop.fhir.client import FhirClient
from gemel.interop.fhir.smart import BackendAuthorisation, discover, signer
from gemel.server.config import ServerConfig

BASE = "https://hospital.example/fhir"
LINES = {
    "Patient": [{"resourceType": "Patient", "id": str(n)} for n in range(3)],
    "Observation": [{"resourceType": "Observation", "id": str(n)} for n in range(50)],
}


def ndjson(kind):
    return b"".join(json.dumps(one).encode() + b"\n" for one in LINES[kind])


@dataclass
class Answer:
    status_code: int = 200
    content: bytes = b""
    headers: dict = field(default_factory=dict)
    cut: int = 10**9

    def pieces(self):
        for start in range(0, min(len(self.content), self.cut), 100):
            yield self.content[start : min(start + 100, self.cut)]
        if len(self.content) > self.cut:
            raise RemoteError("wire")


class Server:
    """Keeps an export ready after two looks; may cut files short, forget, and count wrongly."""

    def __init__(self, *, ranges=True, cuts=(), count=True, output=None, files=BASE):
        self.looks, self.asked, self.ranges, self.cuts, self.count, self.output, self.files = (
            0,
            [],
            ranges,
            list(cuts),
            count,
            output,
            files,
        )
        self.forgets = False

    def request(self, method, url, *, headers, content):
        self.asked.append((method, url, dict(headers)))
        if "$export?" in url:
            assert headers["Prefer"] == "respond-async"
            self.looks = 0
            return Answer(202, headers={"Content-Location": f"{BASE}/status/1"})
        if method == "DELETE":
            return Answer(202)
        if self.forgets:
            self.forgets = False
            return Answer(404)
        self.looks += 1
        if self.looks < 3:
            return Answer(202, headers={"Retry-After": "2", "X-Progress": "half"})
        output = [
            {"type": kind, "url": f"{self.files}/{kind}.ndjson", **({"count": len(LINES[kind])} if self.count else {})} for kind in LINES
        ]
        told = {
            "transactionTime": "2026-01-01T00:00:00Z",
            "requiresAccessToken": True,
            "output": self.output or output,
            "deleted": [],
            "error": [],
        }
        return Answer(200, json.dumps(told).encode())

    @contextlib.contextmanager
    def stream(self, method, url, *, headers):
        self.asked.append((method, url, dict(headers)))
        body = ndjson(url.rpartition("/")[2].removesuffix(".ndjson"))
        begin = int(headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in headers and self.ranges else 0
        cut = self.cuts.pop(0) if self.cuts else 10**9
        if begin >= len(body):
            yield Answer(416)
        elif begin:
            yield Answer(206, body[begin:], {"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"}, cut)
        else:
            yield Answer(200, body, {}, cut)


class Who:
    def headers(self):
        return {"Authorization": "Bearer secret"}

    def forget(self):
        pass


def export(server, folder, **settings):
    waits = []
    client = FhirClient(BASE, server, sleep=waits.append)
    made = BulkExport(client, server, folder, sleep=waits.append, **settings)
    made.waits = waits
    return made


def fetched(found):
    return {path.name: path.read_bytes() for path in found.files}


WHOLE = {"Patient.0000.ndjson": ndjson("Patient"), "Observation.0001.ndjson": ndjson("Observation")}


def test_an_export_is_asked_for_waited_for_and_fetched(tmp_path):
    server = Server()
    made = export(server, tmp_path, authorisation=Who())
    found = made.fetch(level="Group/7", since="2025-12-01T00:00:00Z", types=["Patient", "Observation"])
    assert fetched(found) == WHOLE
    assert found.since == "2026-01-01T00:00:00Z"
    assert (
        server.asked[0][1]
        == f"{BASE}/Group/7/$export?_outputFormat=application%2Ffhir%2Bndjson&_since=2025-12-01T00%3A00%3A00Z&_type=Patient%2CObservation"
    )
    assert made.waits == [2.0, 2.0]
    assert server.asked[-1][0] == "DELETE"
    assert [headers.get("Authorization") for method, url, headers in server.asked if url.endswith("ndjson")] == ["Bearer secret"] * 2
    asked = len(server.asked)
    assert fetched(export(server, tmp_path).fetch(level="Group/7", since="2025-12-01T00:00:00Z", types=["Patient", "Observation"])) == WHOLE
    assert len(server.asked) == asked  # nothing is asked for twice


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_breaks_off_is_continued_or_begun_again(tmp_path, ranges):
    server = Server(ranges=ranges, cuts=[50, 10**9, 700, 900])
    assert fetched(export(server, tmp_path).fetch()) == WHOLE


def test_a_process_that_died_goes_on_where_it_was(tmp_path):
    server = Server(cuts=[10**9, 300, 300, 300, 300, 300])
    server.ranges = False
    with pytest.raises(RemoteError, match="wire"):
        export(server, tmp_path).fetch()
    assert (tmp_path / "Patient.0000.ndjson").exists()
    server.ranges = True
    assert fetched(export(server, tmp_path).fetch()) == WHOLE
    assert sum("$export" in url for _, url, _ in server.asked) == 1
    assert sum(url.endswith("Patient.ndjson") for _, url, _ in server.asked) == 1


def test_an_export_that_was_forgotten_is_asked_for_again_once(tmp_path):
    server = Server()
    server.forgets = True
    assert fetched(export(server, tmp_path).fetch()) == WHOLE
    assert sum("$export" in url for _, url, _ in server.asked) == 2


def test_a_file_with_lines_missing_is_not_taken(tmp_path):
    server = Server(output=[{"type": "Patient", "url": f"{BASE}/Patient.ndjson", "count": 4}])
    with pytest.raises(RemoteError, match="not what the manifest says"):
        export(server, tmp_path).fetch()
    assert list(tmp_path.glob("*.ndjson")) == []


def test_a_token_goes_to_its_own_server_only(tmp_path):
    server = Server(files="https://storage.example")
    export(server, tmp_path, authorisation=Who()).fetch()
    assert all("Authorization" not in headers for _, url, headers in server.asked if url.startswith("https://storage"))


def test_names_of_files_are_ours_and_never_the_server_s(tmp_path):
    server = Server(output=[{"type": "../../evil", "url": f"{BASE}/Patient.ndjson"}])
    assert fetched(export(server, tmp_path).fetch()) == {"Unknown.0000.ndjson": ndjson("Patient")}


def test_a_folder_holds_one_export(tmp_path):
    export(Server(), tmp_path).fetch()
    with pytest.raises(FormatError, match="another export"):
        export(Server(), tmp_path).fetch(level="Patient")


@pytest.mark.parametrize("output", ["x", [1], [{"type": "Patient"}]])
def test_a_manifest_that_is_none_is_refused(tmp_path, output):
    with pytest.raises(FormatError, match="manifest"):
        export(Server(output=output), tmp_path).fetch()


def test_a_server_that_never_gets_ready_is_not_waited_for_for_ever(tmp_path):
    server = Server()
    server.looks = -(10**9)
    real = server.request

    def never(method, url, **rest):
        answer = real(method, url, **rest)
        server.looks = -(10**9)
        return answer

    server.request = never
    with pytest.raises(RemoteError, match="not ready in time"):
        export(server, tmp_path, patience=60.0).fetch()


class Inside:
    """Our own server as a wire."""

    def __init__(self, world):
        self.world = world

    def request(self, method, url, *, headers, content):
        return self.world.client.request(method, url, headers=dict(headers), content=content)

    @contextlib.contextmanager
    def stream(self, method, url, *, headers):
        found = self.request(method, url, headers=headers, content=None)
        yield Answer(found.status_code, found.content, dict(found.headers))


def test_our_client_logs_in_to_our_server_and_fetches_what_it_may(tmp_path):
    key = ECKey.generate_key("P-384", {"kid": "c1"}, private=True)
    (tmp_path / "keys.json").write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    client = {"id": "cohort", "jwks_file": str(tmp_path / "keys.json"), "scopes": "system/*.cruds", "purpose": "TREAT"}
    config = ServerConfig.model_validate(
        {
            "store": {"place": str(tmp_path / "s.sqlite"), "readers": 2},
            "audit": {"sign": False},
            "worker": {"count": 0},
            "auth": {"clients": [client]},
        }
    )
    with make_world(config) as world:
        wire = Inside(world)
        base = "http://127.0.0.1:8765/fhir/R4"
        sign = signer(key.as_pem(private=True), kid="c1", algorithm="ES384")
        who = BackendAuthorisation(discover(base, wire).token, "cohort", sign, "system/*.cruds", wire, world.clock)
        asked = FhirClient(base, wire, authorisation=who, sleep=lambda _: None)
        for patient in (ADA, BOB):
            asked.request("PUT", f"Patient/{patient}", body={"resourceType": "Patient", "id": patient})
            for number in range(4):
                asked.request(
                    "PUT",
                    f"Observation/{patient}-{number}",
                    body={**tree("Observation", patient), "resourceType": "Observation", "id": f"{patient}-{number}"},
                )
        assert len({one["id"] for one in FhirClient(base, wire, authorisation=who, count=3).search("Observation")}) == 8
        found = BulkExport(asked, wire, tmp_path / "export", authorisation=who, sleep=lambda _: None).fetch(
            types=["Patient", "Observation"]
        )
        ids = {json.loads(line)["id"] for path in found.files for line in path.read_bytes().splitlines()}
        assert ids == {ADA, BOB} | {f"{patient}-{number}" for patient in (ADA, BOB) for number in range(4)}
        assert found.since
