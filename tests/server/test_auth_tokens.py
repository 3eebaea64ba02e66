"""Tokens that must not be believed: each attack of the list, against the function and against a route."""

from __future__ import annotations

import hmac
import json

import pytest
from _issuer import Provider, b64, key, public, signed, unsigned
from _world import ADA, NOW, PURPOSES, whose
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemel.core.errors import AuthenticationError
from gemel.core.time import SECOND
from gemel.platform.crypto import Secret
from gemel.server.auth_tokens import Tokens, Trust, read_keys, verify
from gemel.server.config import ServerConfig

ISSUER, OWN = "https://login.hospital.example", "http://127.0.0.1:8765"
GOOD = {"iss": ISSUER, "aud": OWN, "sub": "dr-7", "exp": NOW // SECOND + 300, "iat": NOW // SECOND, "gemel_role": "physician"}
TRUST = Trust(ISSUER, frozenset({OWN}), frozenset({"ES256", "ES384", "RS256", "PS256"}))


@pytest.fixture(scope="module")
def keys():
    return read_keys(public(key("k1"), key("r1", "RSA"), key("e384", "EC384")))


def refused(token, keys, match, *, trust=TRUST, now=NOW):
    with pytest.raises(AuthenticationError, match=match) as caught:
        verify(token, keys, trust, now=now)
    assert "dr-7" not in str(caught.value)


def test_what_is_signed_by_a_key_of_the_issuer_is_believed(keys):
    assert verify(signed(GOOD, key("k1")), keys, TRUST, now=NOW)["sub"] == "dr-7"
    assert verify(signed(GOOD, key("r1", "RSA"), "RS256"), keys, TRUST, now=NOW) == GOOD
    assert verify(signed(GOOD, key("r1", "RSA"), "PS256"), keys, TRUST, now=NOW) == GOOD
    assert verify(signed(GOOD, key("e384", "EC384"), "ES384"), keys, TRUST, now=NOW) == GOOD


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 1, ["ES256"], "HS256", "HS512", "EdDSA", "RS512"])
def test_no_algorithm_that_is_not_on_the_list(keys, name):
    refused(unsigned(GOOD, name), keys, "algorithm")
    _, body, mark = signed(GOOD, key("k1")).split(".")
    forged = b64(json.dumps({"alg": name, "kid": "k1"}).encode())
    refused(f"{forged}.{body}.{mark}", keys, "algorithm")


def test_a_public_key_is_never_a_shared_secret(keys):
    """HS/RS confusion: the public key as the secret of an HMAC."""
    body = b64(json.dumps(GOOD).encode())
    for raw in (key("r1", "RSA").as_pem(private=False), key("r1", "RSA").as_der(private=False)):
        for kid in ("r1", "k1"):
            text = f"{b64(json.dumps({'alg': 'HS256', 'kid': kid}).encode())}.{body}"
            forged = f"{text}.{b64(hmac.digest(raw, text.encode(), 'sha256'))}"
            refused(forged, keys, "algorithm")
            refused(
                forged, keys, "algorithm", trust=Trust(ISSUER, TRUST.audience, TRUST.algorithms | {"HS256"})
            )  # even when somebody lists it


def test_a_key_serves_its_own_kind_of_algorithm_only(keys):
    _, body, mark = signed(GOOD, key("k1")).split(".")
    for algorithm, kid in (("RS256", "k1"), ("ES384", "k1"), ("ES256", "r1"), ("ES256", "e384")):
        refused(f"{b64(json.dumps({'alg': algorithm, 'kid': kid}).encode())}.{body}.{mark}", keys, "another kind")


@pytest.mark.parametrize(
    "kid",
    [
        "../../etc/passwd",
        "/dev/null",
        "k1' OR '1'='1",
        "http://127.0.0.1/k1",
        "file:///dev/null",
        "",
        None,
        5,
        ["k1"],
        {"k": 1},
        "k" * 300,
        "k1\x00",
    ],
)
def test_a_key_id_is_looked_up_and_never_a_place(keys, kid):
    _, body, mark = signed(GOOD, key("k1")).split(".")
    refused(f"{b64(json.dumps({'alg': 'ES256', 'kid': kid}).encode())}.{body}.{mark}", keys, "key is not one of")


def test_keys_that_the_token_brings_are_not_used(keys):
    stranger = key("stranger")
    brought = {"jwk": stranger.as_dict(private=False), "jku": "http://127.0.0.1:9/jwks", "x5u": "http://127.0.0.1:9/x", "x5c": ["AAAA"]}
    refused(signed(GOOD, stranger, kid="k1", **brought), keys, "signature")
    refused(signed(GOOD, stranger, **brought), keys, "key is not one of")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"iss": "https://login.hospital.example/"}, "another issuer"), ({"iss": None}, "another issuer"), ({"iss": [ISSUER]}, "another issuer"),
        ({"aud": "https://elsewhere.example"}, "somebody else"), ({"aud": None}, "somebody else"), ({"aud": []}, "somebody else"),
        ({"aud": f"{OWN}/x"}, "somebody else"), ({"aud": {"a": OWN}}, "somebody else"),
        ({"exp": NOW // SECOND - 61}, "expired"), ({"exp": None}, "never expires"), ({"exp": "tomorrow"}, "no time"), ({"exp": True}, "no time"),
        ({"exp": 1e300}, "no time"), ({"exp": -1}, "no time"),
        ({"nbf": NOW // SECOND + 61}, "later"), ({"iat": NOW // SECOND + 61}, "later"), ({"nbf": [1]}, "no time"),
        ({"sub": None}, "who"), ({"sub": ""}, "who"), ({"sub": 7}, "who"), ({"sub": "x" * 300}, "who"), ({"jti": 5}, "no id"),
    ],
)  # fmt: skip
def test_claims_that_are_wrong(keys, changes, match):
    claims = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    refused(signed(claims, key("k1")), keys, match)


def test_clocks_may_differ_by_a_minute_and_no_more(keys):
    late, early = {**GOOD, "exp": NOW // SECOND - 59}, {**GOOD, "nbf": NOW // SECOND + 59}
    for claims in (late, early):
        assert verify(signed(claims, key("k1")), keys, TRUST, now=NOW)


def test_an_assertion_needs_an_id_and_a_short_life(keys):
    trust = Trust(ISSUER, TRUST.audience, TRUST.algorithms, most_s=300, has_id=True)
    refused(signed(GOOD, key("k1")), keys, "no id", trust=trust)
    refused(signed({**GOOD, "jti": "a", "exp": NOW // SECOND + 400}, key("k1")), keys, "too late", trust=trust)
    assert verify(signed({**GOOD, "jti": "a"}, key("k1")), keys, trust, now=NOW)


def test_headers_that_ask_for_more_are_refused(keys):
    body = b64(json.dumps(GOOD).encode())
    for more in ({"crit": ["b64"], "b64": False}, {"b64": False}, {"crit": []}):
        head = b64(json.dumps({"alg": "ES256", "kid": "k1", **more}).encode())
        refused(f"{head}.{body}.AAAA", keys, "asks for something")


@given(st.one_of(st.text(max_size=80), st.text(alphabet="abcDEF012._-=", max_size=200)))
@settings(max_examples=150, deadline=None)
def test_any_text_is_refused_by_name(text):
    with pytest.raises(AuthenticationError):
        verify(text, {}, TRUST, now=NOW)


@given(st.integers(0, 10_000), st.integers(1, 63))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_changed_letter_is_refused(keys, place, step):
    """One letter of a good token replaced by another: no such token is believed, unless the letter holds no bit of the signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = signed(GOOD, key("k1"))
    place %= len(token)
    if token[place] == ".":
        return
    changed = token[:place] + alphabet[(alphabet.index(token[place]) + step) % 64] + token[place + 1 :]
    with pytest.raises(AuthenticationError):
        verify(changed, keys, TRUST, now=NOW)


def test_weak_keys_shared_secrets_and_keys_for_other_uses_are_not_read():
    weak = {"kty": "RSA", "n": b64(b"\xff" * 128), "e": "AQAB", "kid": "weak"}
    listed = [
        weak, {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"}, {**key("k1").as_dict(private=False), "kid": "enc", "use": "enc"},
        {**key("k1").as_dict(private=False), "kid": None}, {"kty": "EC"}, "k", None, {**key("k1").as_dict(private=False), "kid": "k1"},
    ]  # fmt: skip
    assert set(read_keys({"keys": listed})) == {"k1"}
    assert not read_keys({"keys": [{**key("k1").as_dict(private=True), "kid": "k1"}]})["k1"].is_private
    for wrong in (None, [], {"keys": {}}, {"keys": [{}] * 101}):
        with pytest.raises(AuthenticationError, match="set of keys"):
            read_keys(wrong)


def test_the_servers_own_key_follows_from_the_store_and_the_one_before_still_holds():
    secret = Secret(b"s" * 32)
    first = Tokens(secret, OWN, 1, lambda: NOW)
    token = first.issue("Practitioner/7", seconds=60, role="nurse")
    second = Tokens(secret, OWN, 2, lambda: NOW)
    third = Tokens(secret, OWN, 3, lambda: NOW)
    assert verify(token, first.keys, first.trust, now=NOW) == verify(token, second.keys, second.trust, now=NOW)
    refused(token, third.keys, "key is not one of", trust=third.trust)
    refused(token, Tokens(Secret(b"t" * 32), OWN, 1, lambda: NOW).keys, "key is not one of", trust=first.trust)
    assert "d" not in json.dumps(first.public()["keys"][0].keys().__repr__()).split("'")


# --- at a route ---


@pytest.fixture
def provider():
    made = Provider(key("k1"))
    yield made
    made.close()


@pytest.fixture
def config(tmp_path, provider) -> ServerConfig:
    issuer = {"issuer": ISSUER, "jwks_url": f"{provider.url}/jwks", "roles": {"arzt": "physician"}, "purpose": ""}
    told = {
        "store": {"place": str(tmp_path / "s.sqlite"), "readers": 1},
        "audit": {"sign": False},
        "worker": {"count": 0},
        "auth": {"issuers": [issuer]},
    }
    return ServerConfig.model_validate(told)


def ask(world, token, purpose=PURPOSES["physician"], path=None):
    head = {"Authorization": f"Bearer {token}", "X-Purpose-Of-Use": purpose}
    return world.client.get(path or f"/api/v1/patients/{world.ids[ADA]}", headers=head)


CLAIMS = {**GOOD, "fhirUser": whose("physician", ADA), "scope": "user/*.rs"}


def test_a_providers_token_opens_what_its_person_may_see(world, provider):
    assert ask(world, signed(CLAIMS, key("k1"))).status_code == 200
    assert ask(world, signed({**CLAIMS, "gemel_role": ["x", "arzt"]}, key("k1"))).status_code == 200
    assert ask(world, signed({**CLAIMS, "gemel_role": "king"}, key("k1"))).status_code == 401
    assert ask(world, signed({**CLAIMS, "fhirUser": "Practitioner/9"}, key("k1"))).status_code == 404
    assert ask(world, signed({**CLAIMS, "scope": "user/Observation.rs"}, key("k1"))).status_code == 403
    assert (
        ask(world, signed({k: v for k, v in CLAIMS.items() if k != "scope"}, key("k1"))).status_code == 403
    )  # a stranger's token without scopes may nothing
    assert provider.asked == ["/jwks"]


def test_a_token_of_nobody_known_is_refused_before_anything_is_fetched(world, provider):
    for claims in ({**CLAIMS, "iss": "https://elsewhere.example"}, {**CLAIMS, "iss": provider.url}, {**CLAIMS, "iss": None}):
        told = ask(world, signed({k: v for k, v in claims.items() if v is not None}, key("k1"), jku=f"{provider.url}/jwks"))
        assert told.status_code == 401
    assert provider.asked == []


def test_keys_are_fetched_anew_when_one_is_not_known_but_not_at_every_knock(world, provider):
    assert ask(world, signed(CLAIMS, key("k1"))).status_code == 200
    provider.keys.append(key("k2"))
    for _ in range(3):
        assert ask(world, signed(CLAIMS, key("k2"))).status_code == 401  # half a minute has not passed
    assert provider.asked == ["/jwks"]
    world.clock.now += 31 * SECOND
    assert ask(world, signed(CLAIMS, key("k2"))).status_code == 200
    provider.keys[:] = [key("k3")]
    world.clock.now += 31 * SECOND
    assert ask(world, signed(CLAIMS, key("k3"))).status_code == 200
    world.clock.now += 61 * SECOND
    assert ask(world, signed({**CLAIMS, "iat": 1}, key("k1"))).status_code == 401  # taken back by its issuer
    assert len(provider.asked) == 4  # at most one in half a minute, whoever knocks


def test_a_jku_is_never_followed(world, provider):
    stranger = Provider(key("evil"))
    try:
        assert ask(world, signed(CLAIMS, key("evil"), jku=f"{stranger.url}/jwks")).status_code == 401
        assert stranger.asked == []
    finally:
        stranger.close()


def test_a_token_for_one_purpose_serves_no_other(world):
    told = world.token("physician", purpose_of_use="TREAT")
    assert ask(world, told, "TREAT").status_code == 200
    assert ask(world, told, "").status_code == 200
    assert ask(world, told, "HRESCH").status_code == 403
    assert ask(world, world.token("physician", usual_purpose="TREAT"), "").status_code == 200
    assert ask(world, world.token("physician"), "").status_code == 403


OTHER_CREDENTIALS = ["Basic YTpi", "Bearer", "Bearer ", "bearer a.b", "Token x", "Bearer a b c"]  # fmt: skip


def test_other_credentials_are_refused(world):
    for credential in OTHER_CREDENTIALS:
        told = world.client.get("/metrics", headers={"Authorization": credential})
        assert (told.status_code, told.headers["www-authenticate"]) == (401, "Bearer")


def test_secrets_are_compared_in_constant_time():
    """No secret is compared by ``==``: each place that compares one uses hmac.compare_digest or secrets.compare_digest."""
    import inspect

    from gemel.server import auth, auth_codes, auth_logins
    from gemel.server.routers import auth as routes

    for module, words in (
        (auth, ("csrf_of",)),
        (auth_codes, ("challenge_of(verifier)",)),
        (auth_logins, ("login.browser", "login.nonce")),
        (routes, ("csrf_of",)),
    ):
        for line in inspect.getsource(module).splitlines():
            if any(word in line for word in words) and ("==" in line or "!=" in line):
                raise AssertionError(f"{module.__name__}: {line.strip()}")
