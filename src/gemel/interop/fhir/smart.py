"""Who we are to a FHIR server: SMART backend services, a signed assertion for a short token.

References
----------
SMART App Launch 2.2, Backend Services and asymmetric client authentication: ``iss`` = ``sub`` = client id, ``aud`` = token endpoint, ``exp`` at most five minutes ahead, ``jti`` used
once, RS384 or ES384. RFC 7523 (assertions), RFC 6749 (tokens).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from gemel.core.errors import FormatError, RemoteError
from gemel.core.time import SECOND
from gemel.interop.fhir.client import Transport, issues
from gemel.interop.fhir.codec import decode

__all__ = ["ASSERTION", "BackendAuthorisation", "Endpoints", "discover", "signer"]

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME = 240
"""Seconds that an assertion lives: less than the five minutes allowed, for clocks that differ."""
EARLY = 30 * SECOND
"""How long before its end a token is renewed."""


@dataclass(frozen=True)
class Endpoints:
    """What a server says of itself in ``.well-known/smart-configuration``."""

    token: str
    issuer: str = ""
    jwks: str = ""
    methods: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()


def _fetch(transport: Transport, url: str) -> Mapping[str, Any]:
    answer = transport.request("GET", url, headers={"Accept": "application/json"}, content=None)
    if answer.status_code != 200:
        raise RemoteError("the server does not say how to log in", seen=answer.status_code, expected="200", fix="name token_url yourself")
    found = decode(answer.content, limit=1_000_000)
    if not isinstance(found, dict):
        raise FormatError("not a SMART configuration", expected="a JSON object")
    return found


def discover(base: str, transport: Transport) -> Endpoints:
    """Return what ``BASE/.well-known/smart-configuration`` says.

    Raises
    ------
    RemoteError
        When there is none.
    FormatError
        When it lacks a token endpoint, or that is not spoken to in TLS although the server is.
    """
    found = _fetch(transport, base.rstrip("/") + "/.well-known/smart-configuration")

    def listed(name: str) -> tuple[str, ...]:
        values = found.get(name)
        return tuple(one for one in values if isinstance(one, str)) if isinstance(values, tuple) else ()

    token = found.get("token_endpoint")
    if not isinstance(token, str) or urlsplit(token).scheme not in ("http", "https"):
        raise FormatError("a SMART configuration without a token endpoint", expected="token_endpoint")
    if urlsplit(base).scheme == "https" and urlsplit(token).scheme != "https":
        raise FormatError("a token endpoint without TLS", seen=urlsplit(token).hostname, expected="https")
    return Endpoints(
        token, str(found.get("issuer") or ""), str(found.get("jwks_uri") or ""), listed("token_endpoint_auth_methods_supported"),
        listed("token_endpoint_auth_signing_alg_values_supported"), listed("scopes_supported"), listed("capabilities"),
    )  # fmt: skip


def signer(key: bytes, *, kid: str, algorithm: Literal["RS384", "ES384"]) -> Callable[[Mapping[str, Any]], str]:
    """Return what signs claims with a private key.

    Parameters
    ----------
    key : PEM, or a JWK as JSON.
    kid : by which the server finds the public key in our key set.

    Raises
    ------
    FormatError
        When the key does not fit the algorithm.
    """
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, RSAKey

    try:
        found = (RSAKey if algorithm == "RS384" else ECKey).import_key(key.decode() if key[:1] != b"{" else decode(key))
    except (JoseError, ValueError, TypeError) as error:
        raise FormatError("a private key that cannot be read", seen=type(error).__name__, expected=f"PEM or JWK for {algorithm}") from None
    if isinstance(found, ECKey) and found.curve_name != "P-384":
        raise FormatError("a key of another curve", seen=found.curve_name, expected="P-384, for ES384")

    def sign(claims: Mapping[str, Any]) -> str:
        return jwt.encode({"alg": algorithm, "kid": kid, "typ": "JWT"}, dict(claims), found, algorithms=[algorithm])

    return sign


@dataclass
class BackendAuthorisation:
    """A token for as long as it lives, then the next.

    Parameters
    ----------
    token_url : the token endpoint; also the audience of the assertion.
    client_id : as registered there.
    sign : claims into a signed JWT; :func:`signer`.
    scope : such as ``system/Observation.rs system/Task.cruds``.
    transport : carries the request for the token.
    clock : ns UTC.
    nonce : a new ``jti``; each is used once.
    """

    token_url: str
    client_id: str
    sign: Callable[[Mapping[str, Any]], str] = field(repr=False)
    scope: str
    transport: Transport = field(repr=False)
    clock: Callable[[], int] = field(repr=False)
    nonce: Callable[[], str] = field(default=lambda: secrets.token_urlsafe(24), repr=False)
    _token: str = field(default="", init=False, repr=False)
    _until: int = field(default=0, init=False, repr=False)

    def headers(self) -> Mapping[str, str]:
        """Return the header with a token that is still good, asking for a new one where needed."""
        if not self._token or self.clock() >= self._until - EARLY:
            self._renew()
        return {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> None:
        """Drop a token that was refused."""
        self._token = ""

    def assertion(self) -> str:
        """Return a new assertion; none is used twice."""
        now = self.clock() // SECOND
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.token_url,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": self.nonce(),
        }
        return self.sign(claims)

    def _renew(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "scope": self.scope,
            "client_assertion_type": ASSERTION,
            "client_assertion": self.assertion(),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        asked = self.clock()
        answer = self.transport.request("POST", self.token_url, headers=headers, content=urlencode(form).encode())
        if answer.status_code != 200:
            raise RemoteError("no token was given", seen=_refusal(answer.status_code, answer.content), expected="200",
                              fix="client id, key id and scopes must be registered with the server")  # fmt: skip
        found = decode(answer.content, limit=1_000_000)
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not token.isprintable() or str(found.get("token_type", "")).lower() != "bearer":
            raise RemoteError("an answer without a token", expected="access_token, token_type bearer")
        life = found.get("expires_in")
        self._token, self._until = token, asked + int(life if isinstance(life, int) and life > 0 else 60) * SECOND


_OAUTH = frozenset({"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"})


def _refusal(status: int, body: bytes) -> str:
    """Return status and error code of a token endpoint: codes of RFC 6749 only, never its words."""
    try:
        found = decode(body, limit=100_000)
    except FormatError:
        return str(status)
    told = found.get("error") if isinstance(found, dict) else None
    return f"{status}, {told}" if told in _OAUTH else ", ".join(filter(None, (str(status), issues(body))))
