"""Logging in: passwords, links, codes with PKCE, assertions, other providers; and how each may be abused."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from _issuer import Provider, key, public, signed
from _world import ADA, NOW, PURPOSES, whose
from fastapi.routing import iter_route_contexts

from gemel.core.time import SECOND
from gemel.platform.store.accounts import Account, accounts, check_account, put_account, remove_account
from gemel.server.auth import COOKIE
from gemel.server.auth_codes import Once, challenge_of, same_site
from gemel.server.auth_logins import ASSERTION, Person
from gemel.server.config import ServerConfig

OWN, BACK = "http://127.0.0.1:8765", "https://app.example/cb?x=1"
PASSWORD = "correct horse battery"
VERIFIER = "v" * 50
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def provider():
    made = Provider(key("p1"))
    yield made
    made.close()


@pytest.fixture
def config(tmp_path, provider) -> ServerConfig:
    import json

    (tmp_path / "backend.json").write_text(json.dumps(public(key("b1", "EC384"), key("b2", "RSA"))))
    auth = {
        "local": True,
        "clients": [
            {"id": "app", "redirect_uris": [BACK], "scopes": "user/*.rs patient/*.rs"},
            {"id": "backend", "jwks_file": str(tmp_path / "backend.json"), "scopes": "system/Observation.rs system/Patient.r", "purpose": "TREAT"},
            {"id": "portal", "jwks_file": str(tmp_path / "backend.json"), "redirect_uris": [BACK], "scopes": "user/*.rs"},
        ],
        "issuers": [
            {
                "issuer": "https://idp.example", "jwks_url": f"{provider.url}/jwks", "client_id": "gemel", "authorization_url": f"{provider.url}/authorize",
                "token_url": f"{provider.url}/token", "role": "physician",
            }
        ],
    }  # fmt: skip
    told = {"store": {"place": str(tmp_path / "s.sqlite"), "readers": 1}, "audit": {"sign": False}, "worker": {"count": 0}, "auth": auth}
    return ServerConfig.model_validate(told)


@pytest.fixture
def account(world):
    world.write(lambda store: put_account(store, Account("dr.seven", whose("physician", ADA), "physician"), password=PASSWORD, now=NOW))
    return {"name": "dr.seven", "password": PASSWORD}


def cookie_of(answer) -> str:
    found = re.search(rf"{COOKIE}=([^;]*); (.*)", answer.headers["set-cookie"])
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(found[2].split("; "))
    return found[1]


def log_in(world, account, **rest):
    return world.client.post("/auth/login", data={**account, **rest})


def session(world) -> dict[str, str]:
    """A session by a link: a password takes its time on purpose."""
    code = world.services.state["logins"].links.give(Person(whose("physician", ADA), "physician"))
    return {"Cookie": f"{COOKIE}={cookie_of(world.client.get(f'/auth/once?code={code}'))}"}


# --- accounts and sessions ---


def test_a_password_opens_a_session_and_the_session_what_its_person_may_see(world, account):
    answer = log_in(world, account, next="/api/v1/openapi.json")
    assert (answer.status_code, answer.headers["location"]) == (303, "/api/v1/openapi.json")
    assert log_in(world, account, next="//evil.example").headers["location"] == "/"
    head = {"Cookie": f"{COOKIE}={cookie_of(answer)}"}
    told = world.client.get("/auth/session", headers=head).json()
    assert (told["who"], told["role"]) == (whose("physician", ADA), "physician")
    path = f"/api/v1/patients/{world.ids[ADA]}"
    assert world.client.get(path, headers={**head, "X-Purpose-Of-Use": "TREAT"}).status_code == 200
    assert world.client.get(path, headers=head).status_code == 403


def test_what_changes_something_needs_more_than_the_cookie(world):
    head = {**session(world), "X-Purpose-Of-Use": "TREAT"}
    csrf = world.client.get("/auth/session", headers=head).json()["csrf"]
    other = session(world)
    foreign = world.client.get("/auth/session", headers=other).json()["csrf"]
    assert foreign != csrf
    path, body = f"/api/v1/patients/{world.ids[ADA]}/relations", {"who": "Practitioner/8"}
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": foreign}, {"X-CSRF-Token": csrf[:-1]}):
        assert world.client.post(path, json=body, headers={**head, **wrong}).status_code == 401
    assert world.client.post(path, json=body, headers={**head, "X-CSRF-Token": csrf}).status_code == 204


def test_a_cookie_is_no_bearer_token_and_a_bearer_token_no_cookie(world):
    head = session(world)
    value = head["Cookie"].partition("=")[2]
    assert world.client.get("/auth/session", headers={"Authorization": f"Bearer {value}"}).status_code == 401
    assert world.client.get("/auth/session", headers={"Cookie": f"{COOKIE}={world.token('physician')}"}).status_code == 401


def test_a_session_that_was_ended_is_not_believed_again(world):
    head = session(world)
    csrf = world.client.get("/auth/session", headers=head).json()["csrf"]
    assert world.client.post("/auth/logout", headers={**head, "X-CSRF-Token": csrf}).status_code == 204
    assert world.client.get("/auth/session", headers=head).status_code == 401


def test_a_wrong_name_and_a_wrong_password_are_one_answer(world, account):
    wrong = log_in(world, account, password="another password")
    nobody = log_in(world, {"name": "nobody", "password": PASSWORD})
    assert (wrong.status_code, wrong.content) == (nobody.status_code, nobody.content)
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers


def test_after_five_tries_the_next_must_wait(world, account):
    told = [log_in(world, account, password="another password").status_code for _ in range(6)]
    assert told == [401] * 5 + [429]
    assert log_in(world, account).status_code == 429  # the right one too: who guesses learns nothing


def test_a_form_of_a_page_elsewhere_is_refused(world, account):
    for head in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert world.client.post("/auth/login", data=account, headers=head).status_code == 401
    assert world.client.post("/auth/login", data=account, headers={"Origin": OWN, "Sec-Fetch-Site": "same-origin"}).status_code == 303
    assert world.client.post("/auth/login", content=b"name=a&name=b", headers=FORM).status_code == 400
    assert world.client.post("/auth/login", json=account).status_code == 400


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x",
        "",
        "evil",
        "/a\r\nx: y",
        "http:/x",
        "/" * 3000,
    ],
)
def test_nobody_is_sent_elsewhere_after_a_login(place):
    to = same_site(place)
    assert to.startswith("/")
    assert not to.startswith(("//", "/\\"))
    assert "\r" not in to
    assert same_site("/a/b?c=d%20e") == "/a/b?c=d%20e"


def test_a_login_is_written_down_and_one_that_fails_too(world, account):
    from gemel.platform.audit import entries
    from gemel.platform.store.audit_sealer import AuditSealer

    log_in(world, account)
    log_in(world, account, password="another password")
    trail = world.services.place.with_name(world.services.place.name + ".audit.jsonl")
    told = world.look(lambda store: list(entries(trail, sealer=AuditSealer(store))))
    assert [(e["action"], e["who"], e["detail"]["outcome"]) for e in told if e["action"] == "login"] == [
        ("login", whose("physician", ADA), "success"), ("login", "anonymous", "minor"),
    ]  # fmt: skip
    assert PASSWORD not in str(told)


def test_accounts_are_kept_without_their_password(world, account, tmp_path):
    body = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert PASSWORD.encode() not in body
    assert b"dr.seven" not in body
    kept = world.look(accounts)[0]
    assert kept.password.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert "argon2" not in repr(kept)
    world.write(lambda store: put_account(store, Account("dr.seven", kept.who, "nurse", is_active=False), now=NOW))
    assert world.look(lambda store: check_account(store, "dr.seven", PASSWORD)) is None
    world.write(lambda store: remove_account(store, "DR.SEVEN "))
    assert world.look(accounts) == ()


def test_a_short_password_and_a_role_that_there_is_not_are_refused(world):
    from gemel.core.errors import DataError

    for account, password in (
        (Account("a", "b", "nurse"), "short"),
        (Account("a", "b", "king"), PASSWORD),
        (Account("", "b", "nurse"), PASSWORD),
    ):  # type: ignore[arg-type]
        with pytest.raises(DataError):
            world.look(lambda store, a=account, p=password: put_account(store, a, password=p, now=NOW))


def test_a_link_works_once(world):
    code = world.services.state["logins"].links.give(Person(whose("physician", ADA), "physician"))
    first = world.client.get(f"/auth/once?code={code}")
    assert first.status_code == 200
    assert world.client.get("/auth/session", headers={"Cookie": f"{COOKIE}={cookie_of(first)}"}).json()["role"] == "physician"
    assert world.client.get(f"/auth/once?code={code}").status_code == 401
    assert world.client.get("/auth/once?code=guess").status_code == 401


def test_what_is_given_is_forgotten_in_time_and_in_number():
    now = [NOW]
    held: Once[str] = Once(lambda: now[0], seconds=10, most=2)
    codes = [held.give(str(i)) for i in range(3)]
    assert held.take(codes[0]) == (None, None)
    assert held.take(codes[1]) == ("1", None)
    assert held.take(codes[1]) == (None, "1")
    now[0] += 11 * SECOND
    assert held.take(codes[2]) == (None, None)


# --- codes with PKCE ---

ASK = {
    "response_type": "code", "client_id": "app", "redirect_uri": BACK, "scope": "openid user/Observation.rs user/Patient.cruds", "state": "s&1",
    "code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256",
}  # fmt: skip


def approve(world, head, **changes) -> dict[str, list[str]]:
    page = world.client.get("/auth/authorize", params={**ASK, **changes}, headers=head)
    assert page.status_code == 200
    assert f"form-action 'self' {'https://app.example'}" in page.headers["content-security-policy"]
    csrf = re.search(r'name="csrf" value="([^"]*)"', page.text)[1]
    answer = world.client.post("/auth/authorize", data={**ASK, **changes, "csrf": csrf, "answer": "yes"}, headers=head)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(BACK)
    return parse_qs(urlsplit(answer.headers["location"]).query)


def exchange(world, code, **changes):
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": BACK,
        "client_id": "app",
        "code_verifier": VERIFIER,
        **changes,
    }
    return world.client.post("/auth/token", data={k: v for k, v in form.items() if v is not None})


def test_a_code_and_its_verifier_are_a_token_narrowed_to_what_was_asked(world):
    head = session(world)
    back = approve(world, head)
    assert (back["state"], back["iss"]) == (["s&1"], [OWN])
    told = exchange(world, back["code"][0]).json()
    assert told["scope"] == "openid user/Observation.rs user/Patient.rs"  # the client may not write
    head = {"Authorization": f"Bearer {told['access_token']}", "X-Purpose-Of-Use": "TREAT"}
    assert world.client.get(f"/api/v1/patients/{world.ids[ADA]}", headers=head).status_code == 200
    assert (
        world.client.post(f"/api/v1/patients/{world.ids[ADA]}/relations", json={"who": "Practitioner/8"}, headers=head).status_code == 403
    )


WRONG_REQUESTS = [{"code_challenge_method": "plain"}, {"code_challenge_method": ""}, {"code_challenge": ""}, {"code_challenge": "short"}, {"code_challenge": VERIFIER},
     {"response_type": "token"}, {"client_id": "unknown"}, {"redirect_uri": "https://evil.example/cb"}, {"redirect_uri": BACK + "/x"},
     {"redirect_uri": BACK.replace("https", "http")}, {"redirect_uri": ""}, {"aud": "https://elsewhere.example"}, {"client_id": "backend"}]  # fmt: skip


def test_a_request_for_a_code_that_is_not_as_it_must_be_sends_nobody_anywhere(world):
    for changes in WRONG_REQUESTS:
        answer = world.client.get("/auth/authorize", params={**ASK, **changes})
        assert answer.status_code == 400
        assert "location" not in answer.headers
        assert world.client.post("/auth/authorize", data={**ASK, **changes, "name": "a", "password": "b"}).status_code == 400


def test_a_code_is_used_once_and_the_second_try_ends_what_came_of_the_first(world):
    code = approve(world, session(world))["code"][0]
    token = exchange(world, code).json()["access_token"]
    head = {"Authorization": f"Bearer {token}"}
    assert world.client.get("/auth/session", headers=head).status_code == 200
    again = exchange(world, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert world.client.get("/auth/session", headers=head).status_code == 401


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"code_verifier": None}, "invalid_grant"), ({"code_verifier": "w" * 50}, "invalid_grant"), ({"code_verifier": challenge_of(VERIFIER)}, "invalid_grant"),
     ({"redirect_uri": "https://app.example/cb"}, "invalid_grant"), ({"client_id": "portal"}, "invalid_client"), ({"client_id": None}, "invalid_client"),
     ({"code": "guess"}, "invalid_grant"), ({"grant_type": "password"}, "unsupported_grant_type")],
)  # fmt: skip
def test_an_exchange_that_is_not_as_it_must_be(world, changes, error):
    code = approve(world, session(world))["code"][0]
    answer = exchange(world, changes.get("code", code), **{k: v for k, v in changes.items() if k != "code"})
    assert answer.json()["error"] == error
    assert "access_token" not in answer.text
    if not {"code", "grant_type"} & set(changes):  # a code that came once is spent, whatever was wrong with it
        assert exchange(world, code).json()["error"] == "invalid_grant"


def test_a_code_expires_within_a_minute(world):
    code = approve(world, session(world))["code"][0]
    world.clock.now += 61 * SECOND
    assert exchange(world, code).status_code == 400


def test_a_program_that_has_a_key_must_show_it(world):
    code = approve(world, session(world), client_id="portal")["code"][0]
    assert exchange(world, code, client_id="portal").json()["error"] == "invalid_client"
    code = approve(world, session(world), client_id="portal")["code"][0]
    told = exchange(world, code, client_id="portal", client_assertion_type=ASSERTION, client_assertion=assertion(client="portal", jti="c1"))
    assert told.json()["token_type"] == "Bearer"


def test_approving_needs_the_page_that_was_shown(world):
    head = session(world)
    for csrf in ("", "x"):
        answer = world.client.post("/auth/authorize", data={**ASK, "csrf": csrf, "answer": "yes"}, headers=head)
        assert answer.status_code == 200  # the login again, and nobody is sent on
    page = world.client.get("/auth/authorize", params=ASK, headers=head)
    csrf = re.search(r'name="csrf" value="([^"]*)"', page.text)[1]
    answer = world.client.post("/auth/authorize", data={**ASK, "csrf": csrf, "answer": "no"}, headers=head)
    assert "error=access_denied" in answer.headers["location"]


def test_a_login_on_the_way_to_a_code(world, account):
    assert 'name="password"' in world.client.get("/auth/authorize", params=ASK).text
    page = world.client.post("/auth/authorize", data={**ASK, **account})
    assert 'value="yes"' in page.text
    assert cookie_of(page)
    assert world.client.post("/auth/authorize", data={**ASK, **account, "password": "another password"}).status_code == 401


def test_what_a_page_shows_is_escaped(world):
    told = {**ASK, "state": '"><script>alert(1)</script>', "scope": "user/<b>.rs"}
    page = world.client.get("/auth/authorize", params=told)
    assert "<script" not in page.text
    assert "<b>" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


# --- programs that ask for themselves ---


def assertion(client="backend", signer=None, algorithm="ES384", **changes):
    claims = {"iss": client, "sub": client, "aud": f"{OWN}/auth/token", "exp": NOW // SECOND + 200, "jti": "j1", **changes}
    return signed({k: v for k, v in claims.items() if v is not None}, signer or key("b1", "EC384"), algorithm)


def serve(world, told, **changes):
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION,
        "client_assertion": told,
        "scope": "system/*.rs",
        **changes,
    }
    return world.client.post("/auth/token", data=form)


def test_a_signed_assertion_is_a_token_within_the_clients_scopes(world):
    told = serve(world, assertion(), scope="system/Observation.cruds system/Patient.rs system/Encounter.rs user/Observation.rs")
    assert told.json()["scope"] == "system/Observation.rs system/Patient.r"
    assert told.headers["cache-control"] == "no-store"
    head = {"Authorization": f"Bearer {told.json()['access_token']}"}
    assert (
        world.client.get(f"/api/v1/patients/{world.ids[ADA]}", headers=head).status_code == 200
    )  # for the purpose that the configuration says
    assert serve(world, assertion(jti="j2"), scope="user/*.rs").json()["error"] == "invalid_scope"
    assert (
        serve(world, assertion(signer=key("b2", "RSA"), algorithm="RS384", jti="j3")).status_code == 400
    )  # system/* is more than it has, and narrows to nothing


WRONG_ASSERTIONS = [{"aud": OWN}, {"aud": f"{OWN}/auth/token/"}, {"sub": "portal"}, {"iss": "unknown", "sub": "unknown"}, {"exp": NOW // SECOND + 400}, {"exp": NOW // SECOND - 61},
     {"exp": None}, {"jti": None}, {"nbf": NOW // SECOND + 100}, {"signer": key("k1"), "algorithm": "ES256"}, {"signer": key("b2", "RSA"), "algorithm": "RS256"},
     {"client": "app"}, {"signer": key("stranger", "EC384")}]  # fmt: skip


def test_an_assertion_that_is_not_as_it_must_be(world):
    for changes in WRONG_ASSERTIONS:
        answer = serve(world, assertion(**changes), scope="system/Observation.rs")
        assert (answer.status_code, answer.json()) == (
            401,
            {"error": "invalid_client", "error_description": "the assertion is not believed"},
        )


def test_an_assertion_serves_once(world):
    told = assertion()
    assert serve(world, told, scope="system/Observation.rs").status_code == 200
    assert serve(world, told, scope="system/Observation.rs").status_code == 401
    assert serve(world, assertion(client="portal"), scope="user/Observation.rs").status_code == 200  # another client may count alike
    assert serve(world, assertion(jti="j2"), scope="system/Observation.rs").status_code == 200


def test_an_assertion_of_another_kind_is_refused(world):
    for changes in ({"client_assertion_type": "jwt"}, {"client_assertion": ""}, {"client_assertion": "a.b.c"}, {"client_id": "portal"}):
        assert serve(world, assertion(), scope="system/Observation.rs", **changes).status_code == 401
    assert (
        world.client.post("/auth/token", content=b"{}", headers={"Content-Type": "application/json"}).json()["error"] == "invalid_request"
    )


# --- another provider ---


def begin(world):
    answer = world.client.get("/auth/outside/0?next=/api/v1/openapi.json")
    query = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    browser = re.search(r"gemel_login=([^;]*)", answer.headers["set-cookie"])[1]
    return query, browser


def told_by(provider, query, **changes):
    claims = {
        "iss": "https://idp.example", "aud": "gemel", "sub": "u7", "fhirUser": whose("physician", ADA), "exp": NOW // SECOND + 300, "nonce": query["nonce"], **changes,
    }  # fmt: skip
    provider.id_token = lambda form: signed(claims, key("p1"))
    provider.forms.clear()


def test_a_login_elsewhere_is_a_session_here(world, provider):
    query, browser = begin(world)
    assert (query["code_challenge_method"], query["redirect_uri"]) == ("S256", f"{OWN}/auth/callback")
    told_by(provider, query)
    answer = world.client.get("/auth/callback", params={"state": query["state"], "code": "c"}, headers={"Cookie": f"gemel_login={browser}"})
    assert answer.status_code == 200
    assert 'url=/api/v1/openapi.json"' in answer.text
    assert challenge_of(provider.forms[0]["code_verifier"]) == query["code_challenge"]
    cookie = re.search(rf"{COOKIE}=([^;]+);", ", ".join(answer.headers.get_list("set-cookie")))[1]
    head = {"Cookie": f"{COOKIE}={cookie}", "X-Purpose-Of-Use": PURPOSES["physician"]}
    assert world.client.get(f"/api/v1/patients/{world.ids[ADA]}", headers=head).status_code == 200


@pytest.mark.parametrize("wrong", ["browser", "state", "nonce", "aud", "iss", "again"])
def test_a_login_elsewhere_that_another_began(world, provider, wrong):
    query, browser = begin(world)
    told_by(provider, query, **({wrong: "other"} if wrong in ("nonce", "aud", "iss") else {}))
    state = "guess" if wrong == "state" else query["state"]
    head = {"Cookie": "gemel_login=" + ("other" if wrong == "browser" else browser)}
    if wrong == "again":
        assert world.client.get("/auth/callback", params={"state": state, "code": "c"}, headers=head).status_code == 200
    answer = world.client.get("/auth/callback", params={"state": state, "code": "c"}, headers=head)
    assert answer.status_code == 401
    assert COOKIE not in answer.headers.get("set-cookie", "")


def test_the_discovery_document_says_what_there_is(world):
    told = world.client.get("/.well-known/smart-configuration").json()
    assert told == world.client.get("/fhir/R4/.well-known/smart-configuration").json()
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert (told["issuer"], told["token_endpoint"]) == (OWN, f"{OWN}/auth/token")
    paths = {urlsplit(told[name]).path for name in ("jwks_uri", "authorization_endpoint", "token_endpoint")}
    assert paths <= {route.path for route in iter_route_contexts(world.client._app.routes)}
    keys = world.client.get("/auth/jwks").json()["keys"]
    assert all(one["kty"] == "EC" and one["alg"] == "ES256" and "d" not in one for one in keys)
