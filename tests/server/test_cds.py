"""CDS Hooks 2.0: cards from what stands in the store, to listed clients only; each attack on a call is a test."""

from __future__ import annotations

import base64
import hmac
import json
import re
import uuid

import pytest
from _loop import NOW, advise, proposal, table
from _world import ADA, BOB, make_world
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from gemel.core.errors import FormatError
from gemel.core.time import HOUR, MINUTE, iso
from gemel.interop.fhir.cdshooks import OVERRIDES, card, card_id, read_card_id, read_feedback, read_request
from gemel.interop.fhir.codec import freeze
from gemel.interop.fhir.validate import validate
from gemel.platform.store.consents import withdraw_consent
from gemel.server.config import ServerConfig

ISSUER, PLACE = "https://ehr.example/", "/cds-services/gemel-advice"
OWN = "http://127.0.0.1:8765"
KEY, OTHER = (ECKey.generate_key("P-384", {"kid": name}, private=True) for name in ("k1", "k2"))


def made(folder):
    keys = folder / "keys.json"
    keys.write_text(json.dumps(KeySet([KEY]).as_dict(private=False)))
    return ServerConfig.model_validate(
        {
            "store": {"place": str(folder / "s.sqlite"), "readers": 2}, "audit": {"sign": False}, "worker": {"count": 0},
            "cds": {"clients": [{"issuer": ISSUER, "jwks_file": str(keys), "fhir_servers": ["https://ehr.example/fhir"]}]},
        }
    )  # fmt: skip


@pytest.fixture
def config(tmp_path):
    return made(tmp_path)


@pytest.fixture
def advised(world):
    world.key = world.write(lambda store: advise(store, ADA, issued=world.clock.now))
    return world


@pytest.fixture(scope="module")
def asked_only(tmp_path_factory):
    """One world for whatever changes nothing in it."""
    with make_world(made(tmp_path_factory.mktemp("cds"))) as world:
        world.key = world.write(lambda store: advise(store, ADA, issued=world.clock.now))
        yield world


def token(world, path=PLACE, *, key=KEY, header=None, **claims):
    seconds = world.clock.now // 1_000_000_000
    told = {"iss": ISSUER, "aud": OWN + path, "iat": seconds, "exp": seconds + 200, "jti": str(uuid.uuid4())} | claims
    return jwt.encode({"alg": "ES384", "kid": "k1", "typ": "JWT"} | (header or {}), {k: v for k, v in told.items() if v is not None}, key,
                      algorithms=["ES384", "RS384", "HS256", "ES256"])  # fmt: skip


def body(patient=ADA, hook="patient-view", **more):
    context = {"userId": "Practitioner/7", "patientId": patient} | (
        {} if hook == "patient-view" else {"draftOrders": {"resourceType": "Bundle"}, "selections": []}
    )
    return {"hook": hook, "hookInstance": str(uuid.uuid4()), "context": context} | more


def call(world, asked=None, *, bearer=None, path=PLACE):
    head = {"Authorization": f"Bearer {bearer or token(world, path)}"}
    return world.client.post(path, json=asked if asked is not None else body(), headers=head)


def decisions(world, patient=ADA):
    return [told for kind, told in world.look(lambda store: store.answers(patient)) if kind == "decision"]


def test_what_is_offered(world):
    told = world.client.get("/cds-services").json()["services"]
    assert {one["hook"] for one in told} == {"patient-view", "order-select", "order-sign"}
    assert all(one["id"] == "gemel-advice" and one["description"] and "prefetch" not in one for one in told)


@pytest.mark.parametrize("hook", ["patient-view", "order-select", "order-sign"])
def test_a_card_says_what_stands(asked_only, hook):
    (told,) = call(asked_only, body(hook=hook)).json()["cards"]
    assert told["summary"] == "Proposed: 2 mg, best of 2 with probability 80 %"
    assert told["indicator"] == "info"
    assert told["selectionBehavior"] == "at-most-one"
    (suggestion,) = told["suggestions"]  # 6 mg does not keep the limits
    assert suggestion["isRecommended"] is True
    request = suggestion["actions"][0]["resource"]
    assert (request["intent"], request["status"], request["subject"]["reference"]) == ("proposal", "draft", f"Patient/{ADA}")
    assert [issue for issue in validate(freeze(request)) if issue.severity == "error"] == []
    assert {one["code"] for one in told["overrideReasons"]} == set(OVERRIDES)
    assert "23 %" in told["detail"]
    assert "Research software" in told["detail"]


def test_what_is_old_says_so_and_suggests_nothing(advised):
    advised.clock.now += 3 * HOUR
    (told,) = call(advised).json()["cards"]
    assert told["summary"] == "Stale, made 3 h ago: 2 mg"
    assert "suggestions" not in told


def test_an_abstention_says_why(world):
    world.write(lambda store: advise(store, ADA, None, issued=world.clock.now))
    (told,) = call(world).json()["cards"]
    assert told["summary"] == "No advice: data too old"
    assert "suggestions" not in told


def test_who_may_not_see_gets_what_there_is_for_nobody(advised):
    advised.write(lambda store: advise(store, BOB, issued=advised.clock.now))
    assert call(advised, body("nobody-there")).json() == {"cards": []}
    advised.write(lambda store: withdraw_consent(store, BOB, "c-patient-privacy", recorded=advised.clock.now))
    assert call(advised, body(BOB)).json() == {"cards": []}
    assert len(call(advised, body(ADA)).json()["cards"]) == 1


def forged(world):
    """A token of HMAC with the public key as its secret: the confusion of algorithms."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').rstrip(b"=")
    text = head + b"." + token(world).split(".")[1].encode()
    mark = hmac.new(KEY.as_pem(private=False), text, "sha256").digest()
    return (text + b"." + base64.urlsafe_b64encode(mark).rstrip(b"=")).decode()


def unsigned(world):
    parts = token(world).split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k1"}').rstrip(b"=").decode()
    return f"{head}.{parts[1]}."


BAD = {
    "none": unsigned,
    "hmac of the public key": forged,
    "key of somebody else": lambda world: token(world, key=OTHER),
    "kid of nobody": lambda world: token(world, header={"kid": "k9"}),
    "kid as a path": lambda world: token(world, header={"kid": "../../keys.json"}),
    "jku": lambda world: token(world, key=OTHER, header={"kid": "k2", "jku": "https://evil.example/keys"}),
    "rsa": lambda world: token(world, key=RSAKey.generate_key(2048), header={"alg": "RS384"}),
    "issuer": lambda world: token(world, iss="https://evil.example/"),
    "issuer nearly": lambda world: token(world, iss=ISSUER.rstrip("/")),
    "no issuer": lambda world: token(world, iss=None),
    "audience of discovery": lambda world: token(world, aud=f"{OWN}/cds-services"),
    "audience of the feedback": lambda world: token(world, PLACE + "/feedback"),
    "audience longer": lambda world: token(world, aud=OWN + PLACE + "/"),
    "audience elsewhere": lambda world: token(world, aud="https://evil.example" + PLACE),
    "no audience": lambda world: token(world, aud=None),
    "expired": lambda world: token(world, exp=world.clock.now // 10**9 - 120),
    "lives too long": lambda world: token(world, exp=world.clock.now // 10**9 + 4000),
    "no end": lambda world: token(world, exp=None),
    "not yet": lambda world: token(world, nbf=world.clock.now // 10**9 + 900),
    "no jti": lambda world: token(world, jti=None),
    "nothing": lambda world: "x",
}


@pytest.mark.parametrize("name", BAD)
def test_a_call_without_a_good_token_is_refused(asked_only, name):
    answer = call(asked_only, bearer=BAD[name](asked_only))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert b"2 mg" not in answer.content


def test_a_token_is_used_once(asked_only):
    bearer = token(asked_only)
    assert [call(asked_only, bearer=bearer).status_code, call(asked_only, bearer=bearer).status_code] == [200, 401]


@pytest.mark.parametrize("server", ["http://169.254.169.254/latest", "http://localhost:6379", "https://evil.example/fhir", "file:///etc/passwd", "https://ehr.example/fhir@evil.example",
                                    "https://ehr.example/fhir/../x"])  # fmt: skip
def test_no_server_is_called_because_a_call_names_it(asked_only, server, monkeypatch):
    def never(*_, **__):
        raise AssertionError("somebody was called")

    monkeypatch.setattr("gemel.server.outgoing.HttpTransport.request", never)
    answer = call(asked_only, body(fhirServer=server, fhirAuthorization={"access_token": "secret-token", "token_type": "Bearer"}))
    assert answer.status_code == 400
    assert server.encode() not in answer.content
    assert b"secret-token" not in answer.content
    good = body(fhirServer="https://ehr.example/fhir", fhirAuthorization={"access_token": "secret-token"})
    assert call(asked_only, good).status_code == 200


def test_a_patient_who_must_be_sent_and_is_not_is_412(config, tmp_path):
    needs = config.model_copy(update={"cds": config.cds.model_copy(update={"patient_system": "urn:site:pseudonym"})})
    with make_world(needs) as world:
        world.write(lambda store: advise(store, ADA, issued=world.clock.now))
        assert "prefetch" in world.client.get("/cds-services").json()["services"][0]
        patient = {"resourceType": "Patient", "id": "77", "identifier": [{"system": "urn:site:pseudonym", "value": ADA}]}
        assert len(call(world, body("77", prefetch={"patient": patient})).json()["cards"]) == 1
        for lacking in (
            {},
            {"patient": None},
            {"patient": patient | {"id": "78"}},
            {"patient": patient | {"identifier": []}},
            {"patient": {"resourceType": "Basic"}},
        ):
            assert call(world, body("77", prefetch=lacking)).status_code == 412


WRONG = [
    [], {}, body(hook="order-dispatch"), body() | {"hookInstance": "1"}, body() | {"context": []}, body("../../x"), body("a b"),
    body() | {"context": {"patientId": ADA, "userId": "7"}}, body(hook="order-sign") | {"context": {"patientId": ADA, "userId": "Practitioner/7"}},
]  # fmt: skip


@pytest.mark.parametrize("asked", WRONG)
def test_what_cannot_be_understood_is_400_without_its_values(asked_only, asked):
    answer = call(asked_only, asked)
    assert answer.status_code == 400
    assert ADA.encode() not in answer.content


def feedback(card, outcome="accepted", **more):
    return {"feedback": [{"card": card, "outcome": outcome, "outcomeTimestamp": iso(NOW - MINUTE)} | more]}


def tell(world, told):
    return call(world, told, path=PLACE + "/feedback")


def test_an_accepted_suggestion_is_a_decision_once(advised):
    (told,) = call(advised).json()["cards"]
    answer = feedback(told["uuid"], acceptedSuggestions=[{"id": told["suggestions"][0]["uuid"]}])
    assert [tell(advised, answer).status_code for _ in range(3)] == [200, 200, 200]
    (made,) = decisions(advised)
    assert (made.answer, made.plan, made.who, made.time) == ("accepted", "2 mg", ISSUER, NOW - MINUTE)
    assert made.proposal == advised.key


def test_an_overridden_card_is_a_rejection_with_its_reason(advised):
    (told,) = call(advised).json()["cards"]
    reason = {"reason": {"system": "urn:gemel:vocabulary", "code": "too-risky"}, "userComment": "kidney"}
    tell(advised, feedback(told["uuid"], "overridden", overrideReason=reason))
    (made,) = decisions(advised)
    assert (made.answer, made.reason) == ("rejected", "The risk is not acceptable; kidney")


def test_a_card_that_never_was_says_nothing(asked_only):
    for other in (card_id("0" * 24), str(uuid.uuid4()), "x"):
        assert tell(asked_only, feedback(other)).status_code == 200
    assert decisions(asked_only) == []
    assert tell(asked_only, {"feedback": [{}]}).status_code == 400
    assert tell(asked_only, {"feedback": [feedback("x")["feedback"][0]] * 101}).status_code == 400


def test_no_feedback_about_whom_one_may_not_see(advised):
    key = advised.write(lambda store: advise(store, BOB, issued=advised.clock.now))
    advised.write(lambda store: withdraw_consent(store, BOB, "c-patient-privacy", recorded=advised.clock.now))
    assert tell(advised, feedback(card_id(key))).status_code == 200
    assert decisions(advised, BOB) == []


@given(st.text("0123456789abcdef", min_size=24, max_size=24), st.integers(0, 255))
def test_ids_of_cards_are_uuids_that_hold_the_proposal(key, part):
    found = card_id(key, part)
    assert str(uuid.UUID(found)) == found
    assert uuid.UUID(found).version == 8
    assert read_card_id(found) == read_card_id(found.upper()) == (key, part)


@given(st.uuids())
def test_ids_of_others_are_not_ours(other):
    found = read_card_id(str(other))
    assert found is None or card_id(*found) == str(other)


@given(st.text(max_size=300), st.text(max_size=200))
def test_summaries_are_short_and_nothing_in_them_or_below_is_markup(sentence, name):
    plan = name or "x"
    told = proposal().model_copy(
        update={"sentence": sentence, "choice": plan, "ranking": (proposal().ranking[0].model_copy(update={"plan": plan}),)}
    )
    made = card(told, "0" * 24, patient="p", now=NOW, stale=HOUR, table=table())
    assert len(made["summary"]) < 140
    first = made["detail"].split("\n\n")[0]
    assert not re.search(r"(?<!\\)[<\[`]", first)
    assert made["indicator"] != "critical"


def test_a_likely_event_is_a_warning_and_never_more():
    likely = table().model_copy(update={"probabilities": {"signal above 30": [0.0, 0.99]}})
    assert card(proposal(), "0" * 24, patient="p", now=NOW, stale=HOUR, table=likely)["indicator"] == "warning"


_odd = st.sampled_from(
    [None, 1, "x", [], {}, [1], [{}], {"reason": 3}, {"reason": {"code": 3}}, [{"id": 3}], "2026", "2026-01-01T00:00:00Z"]
)


@given(st.dictionaries(st.sampled_from(["card", "outcome", "outcomeTimestamp", "acceptedSuggestions", "overrideReason"]), _odd), _odd)
def test_nothing_that_a_stranger_sends_breaks_the_readers(one, other):
    for told in ({"feedback": [one]}, {"feedback": other}, other):
        for read in (read_feedback, read_request):
            try:
                read(told)
            except FormatError:
                continue


def test_settings_of_the_ways_to_a_hospital_are_checked(tmp_path):
    from gemel.server.config_check import troubles

    told = {
        "return_path": {}, "poll": {}, "notifications": {"secret_file": str(tmp_path / "none")},
        "cds": {"clients": [{"issuer": "a"}, {"issuer": "b", "jwks_url": "http://ehr.example/keys"}]},
    }  # fmt: skip
    keys = {one.key for one in troubles(ServerConfig.model_validate(told)) if one.severity == "error"}
    assert {"return_path", "poll", "notifications.secret_file", "cds.clients.0", "cds.clients.1.jwks_url"} <= keys
    open_line = {
        "hospital": {
            "base": "http://hospital.example/fhir",
            "client_id": "g",
            "key_file": str(tmp_path / "none"),
            "token_url": "http://hospital.example/t",
        }
    }
    keys = {one.key for one in troubles(ServerConfig.model_validate(open_line)) if one.severity == "error"}
    assert {"hospital.base", "hospital.key_file", "hospital.token_url"} <= keys
    safe = {"hospital": {"base": "https://hospital.example/fhir"}, "return_path": {}, "poll": {}}
    assert not {
        one.key for one in troubles(ServerConfig.model_validate(safe)) if one.key.partition(".")[0] in ("hospital", "return_path", "poll")
    }
