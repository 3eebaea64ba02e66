"""How somebody comes to a token: a password, a link, a code with its verifier, a signed assertion, or a login at another provider.

References
----------
RFC 6749 and 7523 (assertions of clients), RFC 7636 (PKCE), SMART App Launch 2.2.0 with its backend services, OpenID Connect Core 1.0.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from gemel.core.errors import AuthenticationError, DataError, LimitError
from gemel.core.time import SECOND
from gemel.platform.access import Subject
from gemel.platform.guard import Caller
from gemel.platform.scopes import LETTERS, read_scopes, within
from gemel.platform.store.accounts import Account, check_account
from gemel.platform.store.token_uses import use
from gemel.server.auth import Identity, identity_of
from gemel.server.auth_codes import CodeGrant, Once, OutsideLogin, challenge_of, check_challenge, is_verified, refused
from gemel.server.auth_issuers import KeySource, check_address
from gemel.server.auth_tokens import Trust, unverified, verify
from gemel.server.config import Client, Issuer
from gemel.server.rates import Buckets

if TYPE_CHECKING:
    from gemel.server.services import Services

__all__ = ["ASSERTION", "AuthorizeRequest", "Logins", "OAuthError", "Person"]

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_S = 300.0
_ALGORITHMS = frozenset({"RS384", "ES384"})
_PLAIN = frozenset({"openid", "profile", "fhirUser", "launch", "launch/patient", "online_access"})
"""Scopes that are not about resources, and are granted as they are asked for."""


class OAuthError(Exception):
    """An answer of the token endpoint in the words of RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        self.error, self.description, self.status = error, description, status
        super().__init__(error)


@dataclass(frozen=True)
class Person:
    """Somebody who has logged in."""

    who: str
    role: str
    actors: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuthorizeRequest:
    """A request for a code, judged: the client is known, the address is one of its own letter by letter, and there is a challenge."""

    client: Client
    redirect: str
    scope: str
    state: str
    challenge: str

    @property
    def fields(self) -> dict[str, str]:
        """Return it as the fields of a form."""
        return {
            "response_type": "code", "client_id": self.client.id, "redirect_uri": self.redirect, "scope": self.scope, "state": self.state,
            "code_challenge": self.challenge, "code_challenge_method": "S256",
        }  # fmt: skip

    def back(self, **told: str) -> str:
        """Return the address to go back to."""
        mark = "&" if "?" in self.redirect else "?"
        return f"{self.redirect}{mark}{urlencode({**told, **({'state': self.state} if self.state else {})})}"


class Logins:
    """What a server keeps of logins that are under way."""

    def __init__(self, services: Services) -> None:
        self._services, clock = services, services.clock
        auth = services.config.auth
        self.links: Once[Person] = Once(clock, seconds=600)
        self.codes: Once[CodeGrant] = Once(clock, seconds=60)
        self.outside: Once[OutsideLogin] = Once(clock, seconds=600)
        self._tries = Buckets(0.1, 5)
        self._slots = asyncio.Semaphore(2)  # a password costs 19 MiB and 30 ms on purpose
        self.clients: dict[str, tuple[Client, KeySource]] = {
            client.id: (client, KeySource(clock, client.jwks_file, client.jwks_url)) for client in auth.clients
        }
        self._providers = [KeySource(clock, issuer.jwks_file, issuer.jwks_url) for issuer in auth.issuers]

    @property
    def token_url(self) -> str:
        """Return the address of the token endpoint, which is the audience of assertions."""
        return f"{self._services.tokens.issuer}/auth/token"

    # --- people ---

    async def password(self, name: str, password: str, *, address: str, request: str) -> Person:
        """Return who logs in with a password; every try is written down.

        Raises
        ------
        AuthenticationError
            Always in the same words, and after the same time.
        LimitError
            After five tries for a name or from an address, then one every ten seconds.
        """
        wait = max(self._tries.take(f"name|{name.strip().casefold()[:100]}"), self._tries.take(f"address|{address}"))
        if wait:
            raise LimitError("too many logins", expected="one every ten seconds", fix="wait", wait=wait)
        async with self._slots:
            found: Account | None = await self._services.readers.run(lambda store: check_account(store, name, password))
        await self.note(None if found is None else Person(found.who, found.role), address=address, request=request, way="password")
        if found is None:
            raise refused()
        return Person(found.who, found.role)

    async def note(self, person: Person | None, *, address: str, request: str, way: str) -> None:
        """Write a login down, or that one failed."""
        subject = Subject(person.who if person else "anonymous", person.role if person else "anonymous")  # type: ignore[arg-type]
        told = {"outcome": "success" if person else "minor", "way": way}
        await self._services.log(Caller(subject, "", request, address=address), "login", detail=told)

    def session(self, person: Person) -> tuple[str, str]:
        """Return the token of a new session, and its id."""
        sid = secrets.token_urlsafe(16)
        seconds = self._services.config.auth.session_minutes * 60
        claims = {"actors": list(person.actors) or None, "patient": list(person.patients) or None, "sid": sid, "use": "session"}
        return self._services.tokens.issue(person.who, seconds=seconds, role=person.role, **claims), sid

    async def end(self, sid: str) -> None:
        """End a session or a grant: what came of it is not believed any more."""
        now = self._services.clock()
        until = now + round((self._services.config.auth.session_minutes * 60 + 600) * SECOND)
        await self._services.write(lambda store: use(store, f"ended|{sid}", until=until, now=now))

    # --- programs ---

    def authorize(self, query: Mapping[str, str]) -> AuthorizeRequest:
        """Judge a request for a code.

        Raises
        ------
        DataError
            When client or address are not known here: then nobody is sent anywhere; or PKCE is missing.
        """
        known = self.clients.get(query.get("client_id", ""))
        redirect = query.get("redirect_uri", "")
        if known is None or redirect not in known[0].redirect_uris:
            raise DataError(
                "no such client, or not its address", expected="client_id and redirect_uri exactly as [[auth.clients]] names them"
            )
        if query.get("response_type") != "code":
            raise DataError("codes only", seen=query.get("response_type", "")[:20], expected="response_type=code")
        if query.get("aud", self._services.tokens.issuer).rstrip("/") not in (
            self._services.tokens.issuer,
            f"{self._services.tokens.issuer}/fhir/R4",
        ):
            raise DataError("the request is for another server", expected="aud = the address of this one")
        challenge = check_challenge(query.get("code_challenge", ""), query.get("code_challenge_method", ""))
        return AuthorizeRequest(known[0], redirect, self.granted(query.get("scope", ""), known[0]), query.get("state", "")[:500], challenge)

    @staticmethod
    def granted(asked: str, client: Client) -> str:
        """Return the scopes that a client gets of those that it asks for."""
        plain = [word for word in asked.split() if word in _PLAIN]
        return " ".join([*plain, *(str(scope) for scope in within(read_scopes(asked), read_scopes(client.scopes)))])

    def code(self, request: AuthorizeRequest, identity: Identity) -> str:
        """Return the code that a program exchanges for a token of somebody who is logged in."""
        grant = CodeGrant(
            request.client.id, request.redirect, request.challenge, identity.who, identity.role, request.scope, secrets.token_urlsafe(16),
            tuple(sorted(identity.actors)), tuple(sorted(identity.patients)),
        )  # fmt: skip
        return self.codes.give(grant)

    async def exchange(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Exchange a code for a token. A code that comes twice ends what came of it the first time.

        Raises
        ------
        OAuthError
        """
        grant, spent = self.codes.take(form.get("code", ""))
        if spent is not None:
            await self.end(spent.session)
        if grant is None:
            raise OAuthError("invalid_grant", "the code is not known, has expired, or was used")
        client = grant.client
        if form.get("client_assertion"):
            client = (await self.assertion(form)).id
        elif form.get("client_id", "") != grant.client or self._is_confidential(grant.client):
            raise OAuthError("invalid_client", "the client has not shown who it is", 401)
        if (
            client != grant.client
            or form.get("redirect_uri", "") != grant.redirect
            or not is_verified(grant, form.get("code_verifier", ""))
        ):
            raise OAuthError("invalid_grant", "client, redirect_uri or code_verifier are not those of the code")
        return self._answer(
            grant.who,
            grant.role,
            grant.scope,
            client=grant.client,
            actors=list(grant.actors),
            patients=list(grant.patients),
            sid=grant.session,
        )

    def _is_confidential(self, client: str) -> bool:
        told = self.clients[client][0]
        return bool(told.jwks_url or told.jwks_file)

    async def assertion(self, form: Mapping[str, str]) -> Client:
        """Return the client whose signed assertion this is; it may be used once.

        Raises
        ------
        OAuthError
            In the same words whatever is wrong with it.
        """
        wrong = OAuthError("invalid_client", "the assertion is not believed", 401)
        if form.get("client_assertion_type") != ASSERTION:
            raise wrong
        token = form.get("client_assertion", "")
        try:
            header, claims = unverified(token)
            named = claims.get("iss")
            known = self.clients.get(named) if isinstance(named, str) else None
            if (
                known is None
                or claims.get("sub") != named
                or form.get("client_id", named) != named
                or not self._is_confidential(known[0].id)
            ):
                raise wrong
            now = self._services.clock()
            skew = self._services.config.auth.skew_s
            trust = Trust(named, frozenset({self.token_url}), _ALGORITHMS, most_s=_ASSERTION_S, has_id=True)
            verify(token, await known[1].find(header.get("kid")), trust, now=now, skew_s=skew)
        except AuthenticationError as error:
            raise wrong from error
        until = round((float(claims["exp"]) + skew + 1) * SECOND)
        if not await self._services.write(lambda store: use(store, f"{named}|{claims['jti']}", until=until, now=now)):
            raise wrong
        return known[0]

    async def service(self, form: Mapping[str, str], *, address: str, request: str) -> dict[str, Any]:
        """Answer a program that asks for itself (SMART backend services).

        Raises
        ------
        OAuthError
        """
        try:
            client = await self.assertion(form)
        except OAuthError:
            await self.note(None, address=address, request=request, way="assertion")
            raise
        scope = self.granted(form.get("scope", client.scopes), client)
        if not scope:
            raise OAuthError("invalid_scope", "none of these scopes is this client's")
        who = f"Device/{client.id}" if client.role == "device" else f"Client/{client.id}"
        await self.note(Person(who, client.role), address=address, request=request, way="assertion")
        return self._answer(who, client.role, scope, client=client.id, usual=client.purpose)

    def _answer(
        self, who: str, role: str, scope: str, *, client: str, actors: list[str] | None = None, patients: list[str] | None = None, sid: str = "", usual: str = ""
    ) -> dict[str, Any]:  # fmt: skip
        seconds = round(self._services.config.auth.token_minutes * 60)
        claims = {
            "client_id": client,
            "actors": actors or None,
            "patient": patients or None,
            "sid": sid or None,
            "usual_purpose": usual or None,
        }
        told = {
            "access_token": self._services.tokens.issue(who, seconds=seconds, role=role, scope=scope, **claims),
            "token_type": "Bearer",
            "expires_in": seconds,
            "scope": scope,
        }
        if patients and len(patients) == 1:
            told["patient"] = patients[0]
        return told

    # --- a login elsewhere ---

    def providers(self) -> dict[int, Issuer]:
        """Return the issuers at which people may log in."""
        listed = self._services.config.auth.issuers
        return {i: issuer for i, issuer in enumerate(listed) if issuer.client_id and issuer.authorization_url and issuer.token_url}

    def begin(self, number: int, *, browser: str, next_: str) -> str:
        """Return the address at which a login elsewhere begins.

        Parameters
        ----------
        browser : a secret that the browser keeps as a cookie until it comes back, so that nobody finishes a login that another began.
        """
        issuer = self.providers()[number]
        login = OutsideLogin(number, secrets.token_urlsafe(48), secrets.token_urlsafe(24), browser, next_)
        query = {
            "response_type": "code", "client_id": issuer.client_id, "redirect_uri": self.callback, "scope": issuer.login_scopes, "state": self.outside.give(login),
            "nonce": login.nonce, "code_challenge": challenge_of(login.verifier), "code_challenge_method": "S256",
        }  # fmt: skip
        return f"{issuer.authorization_url}{'&' if '?' in issuer.authorization_url else '?'}{urlencode(query)}"

    @property
    def callback(self) -> str:
        """Return where a provider sends people back to."""
        return f"{self._services.tokens.issuer}/auth/callback"

    async def finish(self, state: str, code: str, browser: str) -> tuple[Person, str]:
        """Return who logged in elsewhere, and where to go.

        Raises
        ------
        AuthenticationError
            When anything of it is not as it was begun.
        """
        login, _ = self.outside.take(state)
        if login is None or not browser or not secrets.compare_digest(login.browser, browser):
            raise refused()
        issuer = self._services.config.auth.issuers[login.issuer]
        token = await self._fetch(issuer, code, login.verifier)
        header, _ = unverified(token)
        trust = Trust(issuer.issuer, frozenset({issuer.client_id}), frozenset(issuer.algorithms))
        keys = await self._providers[login.issuer].find(header.get("kid"))
        claims = verify(token, keys, trust, now=self._services.clock(), skew_s=self._services.config.auth.skew_s)
        if not secrets.compare_digest(str(claims.get("nonce", "")), login.nonce):
            raise refused()
        found = identity_of(claims, issuer)
        return Person(found.who, found.role, (), tuple(sorted(found.patients))), login.next

    async def _fetch(self, issuer: Issuer, code: str, verifier: str) -> str:
        import httpx

        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callback,
            "client_id": issuer.client_id,
            "code_verifier": verifier,
        }
        if issuer.client_secret_file is not None:
            form["client_secret"] = (await asyncio.to_thread(issuer.client_secret_file.read_text, "utf-8")).strip()
        try:
            async with httpx.AsyncClient(timeout=10.0, follow_redirects=False, trust_env=False) as client:
                told = await client.post(check_address(issuer.token_url), data=form, headers={"Accept": "application/json"})
            body = told.content
            found = json.loads(body).get("id_token") if told.status_code == 200 and len(body) <= 65_536 else None
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            raise AuthenticationError("the provider did not answer as it should", fix="try again") from error
        if not isinstance(found, str):
            raise refused()
        return found


def all_scopes() -> list[str]:
    """Return what may be asked for, as the discovery document lists it."""
    letters = "".join(letter for letter in "cruds" if any(letter in needed for needed in LETTERS.values()))
    return ["openid", "profile", "fhirUser", "launch/patient", *(f"{context}/*.{letters}" for context in ("patient", "user", "system"))]
