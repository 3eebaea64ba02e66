"""The FHIR client against a scripted server (every fault) and against one that we did not write."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

import _medplum
from gemel.core.errors import ConflictError, FormatError, RemoteError
from gemel.interop.fhir.client import FhirClient
from gemel.interop.fhir.codec import encode
from gemel.interop.fhir.smart import ASSERTION, BackendAuthorisation, discover, signer

BASE = "https://hospital.example/fhir"


@dataclass
class Answer:
    status_code: int = 200
    content: bytes = b""
    headers: dict = field(default_factory=dict)


@dataclass
class Scripted:
    """Gives prepared answers in turn; an exception is a broken wire."""

    answers: list
    asked: list = field(default_factory=list)

    def request(self, method, url, *, headers, content):
        self.asked.append((method, url, dict(headers), content))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def resource(_code=200, **body):
    return Answer(_code, json.dumps(body).encode())


def bundle(*ids, total=None, next=None, kind="Observation"):
    body = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": {"resourceType": kind, "id": i}} for i in ids]}
    body |= {} if total is None else {"total": total}
    body |= {} if next is None else {"link": [{"relation": "self", "url": "x"}, {"relation": "next", "url": next}]}
    return Answer(200, json.dumps(body).encode())


def client(*answers, **settings):
    waits = []
    transport = Scripted(list(answers))
    made = FhirClient(BASE, transport, sleep=waits.append, jitter=lambda: 0.5, **settings)
    made.transport, made.waits = transport, waits
    return made


GONE = RemoteError("wire")


def test_a_lost_wire_and_a_busy_server_are_tried_again():
    asked = client(GONE, Answer(503, headers={"Retry-After": "7"}), resource(resourceType="Patient", id="a"))
    assert asked.read("Patient/a")["id"] == "a"
    assert asked.waits == [0.5, 7.0]


def test_it_gives_up_after_as_many_tries_as_it_may():
    asked = client(*[GONE] * 4)
    with pytest.raises(RemoteError, match="wire"):
        asked.read("Patient/a")
    assert asked.transport.answers == []


def test_a_plain_create_is_not_sent_twice_over_a_lost_wire():
    asked = client(GONE, resource(201, resourceType="Basic", id="a"))
    with pytest.raises(RemoteError):
        asked.create({"resourceType": "Basic"})
    assert len(asked.transport.asked) == 1
    again = client(GONE, resource(201, resourceType="Basic", id="a"))
    assert again.create({"resourceType": "Basic"}, unless="identifier=s|1")["id"] == "a"
    assert again.transport.asked[1][2]["If-None-Exist"] == "identifier=s|1"


def test_words_of_the_server_are_not_repeated():
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"code": "invalid", "diagnostics": "Anna Schmidt 1970"}, {"code": "Anna Schmidt"}],
    }
    with pytest.raises(RemoteError) as error:
        client(Answer(422, json.dumps(outcome).encode())).read("Patient/a")
    assert "Anna" not in str(error.value)
    assert "422, invalid" in str(error.value)


@pytest.mark.parametrize("next_", ["https://evil.example/fhir?page=2", "http://hospital.example/fhir?page=2", "https://hospital.example:8443/x",
                                   "https://hospital.example@evil.example/x", "//evil.example/x"])  # fmt: skip
def test_a_page_elsewhere_is_refused_and_gets_no_token(next_):
    class Who:
        def headers(self):
            return {"Authorization": "Bearer secret"}

        def forget(self):
            pass

    asked = client(bundle("1", next=next_), authorisation=Who())
    with pytest.raises(RemoteError, match="another server"):
        list(asked.search("Observation"))
    assert len(asked.transport.asked) == 1


def test_pages_are_followed_to_the_last():
    asked = client(bundle("1", "2", total=3, next=f"{BASE}?page=2"), bundle("3"), count=2)
    assert [found["id"] for found in asked.search("Observation", ("code", "a|b"))] == ["1", "2", "3"]
    assert asked.transport.asked[0][1] == f"{BASE}/Observation?code=a%7Cb&_count=2"


def test_pages_that_end_before_the_total_are_an_error_and_not_a_silence():
    with pytest.raises(RemoteError, match="before the server's own total"):
        list(client(bundle("1", "2", total=5), count=2).search("Observation"))
    counted = client(bundle("1", "2", total=3), bundle("3", total=3), count=2, paging="offset")
    assert [found["id"] for found in counted.search("Observation")] == ["1", "2", "3"]


def test_a_page_that_leads_back_ends_with_an_error():
    asked = client(*[bundle("1", next=f"{BASE}?page=1")] * 4)
    with pytest.raises(RemoteError, match="leads back"):
        list(asked.search("Observation"))


def test_outcomes_among_the_results_are_not_results():
    body = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}}]}
    assert list(client(Answer(200, json.dumps(body).encode())).search("Observation")) == []


def test_decimals_come_as_they_were_sent():
    raw = b'{"resourceType":"Observation","id":"a","valueQuantity":{"value":1.00}}'
    assert encode(client(Answer(200, raw)).read("Observation/a")) == raw


TASK = {"resourceType": "Task", "id": "t", "status": "requested", "meta": {"versionId": "1"}}


def test_a_change_reads_again_when_somebody_was_faster():
    accepted = TASK | {"status": "accepted", "meta": {"versionId": "2"}}
    asked = client(resource(**TASK), Answer(412), resource(**accepted), resource(**accepted | {"note": [{"text": "x"}]}))
    seen = []

    def edit(task):
        seen.append(task["status"])
        return task | {"note": [{"text": "x"}]}

    assert asked.change("Task/t", edit)["status"] == "accepted"
    assert seen == ["requested", "accepted"]
    assert [headers.get("If-Match") for _, _, headers, _ in asked.transport.asked] == [None, 'W/"1"', None, 'W/"2"']


def test_a_lost_answer_to_a_write_is_recognised():
    written = TASK | {"status": "cancelled", "meta": {"versionId": "2", "lastUpdated": "2026-01-01T00:00:00Z"}}
    asked = client(GONE, resource(**written))
    assert asked.update(TASK | {"status": "cancelled"})["meta"]["versionId"] == "2"
    lost = client(GONE, resource(**TASK))
    with pytest.raises(RemoteError):
        lost.update(TASK | {"status": "cancelled"})


def test_a_resource_that_was_not_read_is_not_written():
    with pytest.raises(FormatError, match="without a version"):
        client().update({"resourceType": "Task", "id": "t"})


@pytest.mark.parametrize(
    "bad", ["Patient/../../admin", "Patient", "Patient/a/b", "/etc", "Patient/a?b=1", "patient/a", "https://evil.example/Patient/a"]
)
def test_no_reference_leads_out_of_the_server(bad):
    with pytest.raises(FormatError):
        client().read(bad)


@pytest.mark.parametrize("bad", ["ftp://a/b", "https://", "hospital", "https://a/b?x=1", "https://u:p@a/b"])
def test_no_base_that_is_none(bad):
    with pytest.raises(FormatError):
        FhirClient(bad, Scripted([]))


def test_a_transaction_answered_in_part_is_an_error():
    sent = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"request": {"ifNoneExist": "a=b"}}, {"request": {"ifNoneExist": "a=c"}}],
    }
    one = {"response": {"status": "201 Created", "location": "https://x/fhir/Task/1/_history/1"}}
    with pytest.raises(RemoteError, match="in part"):
        client(resource(resourceType="Bundle", entry=[one])).transaction(sent)
    assert client(resource(resourceType="Bundle", entry=[one, one])).transaction(sent) == ["Task/1", "Task/1"]
    with pytest.raises(RemoteError, match="not taken"):
        client(resource(resourceType="Bundle", entry=[one, {"response": {"status": "422"}}])).transaction(sent)


KEYS = {"RS384": RSAKey.generate_key(2048), "ES384": ECKey.generate_key("P-384")}


def authorisation(*answers, algorithm="ES384", now=0):
    clock = {"now": now}
    transport = Scripted(list(answers))
    made = BackendAuthorisation(
        "https://hospital.example/token", "gemel", signer(KEYS[algorithm].as_pem(private=True), kid="k1", algorithm=algorithm),
        "system/Task.cruds", transport, lambda: clock["now"],
    )  # fmt: skip
    return made, transport, clock


def token(text="t1", **more):
    return Answer(200, json.dumps({"access_token": text, "token_type": "bearer", "expires_in": 300} | more).encode())


@pytest.mark.parametrize("algorithm", KEYS)
def test_the_assertion_is_what_smart_asks_for(algorithm):
    who, transport, _ = authorisation(token(), algorithm=algorithm, now=1_700_000_000_000_000_000)
    assert who.headers() == {"Authorization": "Bearer t1"}
    form = dict(pair.split("=") for pair in transport.asked[0][3].decode().split("&"))
    assert form["client_assertion_type"] == ASSERTION.replace(":", "%3A")
    found = jwt.decode(form["client_assertion"], KEYS[algorithm], algorithms=[algorithm])
    assert found.header["kid"] == "k1"
    claims = found.claims
    assert claims["iss"] == claims["sub"] == "gemel"
    assert claims["aud"] == "https://hospital.example/token"
    assert 0 < claims["exp"] - 1_700_000_000 <= 300
    assert jwt.decode(who.assertion(), KEYS[algorithm], algorithms=[algorithm]).claims["jti"] != claims["jti"]
    assert "t1" not in repr(who)


def test_a_token_is_kept_until_shortly_before_its_end():
    who, transport, clock = authorisation(token("t1"), token("t2"))
    assert [who.headers(), who.headers()] == [{"Authorization": "Bearer t1"}] * 2
    clock["now"] = 271_000_000_000
    assert who.headers() == {"Authorization": "Bearer t2"}
    assert len(transport.asked) == 2


def test_a_refused_token_is_renewed_once():
    who, _, _ = authorisation(token("t1"), token("t2"))
    asked = client(Answer(401), resource(resourceType="Patient", id="a"), authorisation=who)
    assert asked.read("Patient/a")["id"] == "a"
    assert [headers["Authorization"] for _, _, headers, _ in asked.transport.asked] == ["Bearer t1", "Bearer t2"]
    who, _, _ = authorisation(token("t1"), token("t2"))
    with pytest.raises(RemoteError, match="401"):
        client(Answer(401), Answer(401), authorisation=who).read("Patient/a")


@pytest.mark.parametrize("answer", [Answer(400, b'{"error":"invalid_client","error_description":"secret word"}'), token(token_type="mac"), Answer(200, b"[]"),
                                    Answer(500, b"<html>"), token("a\r\nX-Evil: 1")])  # fmt: skip
def test_no_token_is_an_error_without_the_words_of_the_server(answer):
    who, _, _ = authorisation(answer)
    with pytest.raises(RemoteError) as error:
        who.headers()
    assert "secret word" not in str(error.value)


def test_keys_that_do_not_fit_are_refused():
    with pytest.raises(FormatError, match="P-384"):
        signer(ECKey.generate_key("P-256").as_pem(private=True), kid="k", algorithm="ES384")
    with pytest.raises(FormatError, match="cannot be read"):
        signer(b"nonsense", kid="k", algorithm="RS384")


def test_discovery_wants_tls_where_the_server_has_it():
    said = {
        "token_endpoint": "https://hospital.example/token",
        "capabilities": ["client-confidential-asymmetric"],
        "scopes_supported": ["system/*.rs"],
    }
    found = discover(BASE, Scripted([Answer(200, json.dumps(said).encode())]))
    assert (found.token, found.capabilities) == ("https://hospital.example/token", ("client-confidential-asymmetric",))
    with pytest.raises(FormatError, match="without TLS"):
        discover(BASE, Scripted([Answer(200, b'{"token_endpoint": "http://hospital.example/token"}')]))
    with pytest.raises(FormatError, match="token endpoint"):
        discover(BASE, Scripted([Answer(200, b"{}")]))


_odd = st.sampled_from([None, 1, "x", [], {}, [1], [None], [{}], [{"resource": 1}], [{"resource": {}, "search": 3}], [{"relation": "next"}], [{"url": 3}],
                        [{"response": 1}], [{"response": {"status": 201}, "resource": {"id": 3, "resourceType": 1}}]])  # fmt: skip


@given(st.dictionaries(st.sampled_from(["entry", "link", "total", "resourceType"]), _odd))
def test_no_bundle_breaks_the_client(body):
    answer = Answer(200, json.dumps({"resourceType": "Bundle"} | body).encode())
    sent = {"resourceType": "Bundle", "entry": [{"request": {}}]}
    for ask in (lambda found: list(found.search("Patient")), lambda found: found.transaction(sent)):
        try:
            ask(client(*[answer] * 4))
        except (RemoteError, FormatError):
            continue


@given(st.binary(max_size=40), st.integers(100, 599))
def test_no_answer_breaks_the_client(body, status):
    asked = client(*[Answer(status, body)] * 4)
    try:
        found = asked.read("Patient/a")
    except (RemoteError, ConflictError, FormatError):
        return
    assert found["resourceType"]


class Wire:
    """A real wire, for the peer."""

    def __init__(self):
        self.inner = httpx.Client()

    def request(self, method, url, *, headers, content):
        return self.inner.request(method, url, headers=headers, content=content)


@pytest.fixture(scope="module")
def medplum():
    yield from _medplum.serve()


@pytest.mark.peer
@pytest.mark.node
def test_against_a_server_that_we_did_not_write(medplum):
    wire = Wire()
    asked = FhirClient(medplum.url, wire, count=4, paging="offset")
    for number in range(9):
        unless = f"identifier=urn:n|{number}"
        body = {"resourceType": "Basic", "code": {"text": "x"}, "identifier": [{"system": "urn:n", "value": str(number)}]}
        first = asked.create(body, unless=unless)
        assert asked.create(body, unless=unless)["id"] == first["id"]
    assert len({found["id"] for found in asked.search("Basic", ("_sort", "_lastUpdated"))}) == 9
    with pytest.raises(RemoteError, match="before the server's own total"):
        list(FhirClient(medplum.url, wire, count=4).search("Basic"))
    place = f"Basic/{first['id']}"
    assert asked.honours_versions(place)
    old = asked.read(place)
    asked.change(place, lambda found: found | {"code": {"text": "y"}})
    with pytest.raises(ConflictError):
        asked.update(old)
    assert asked.read(place)["code"]["text"] == "y"
    wire.inner.close()
