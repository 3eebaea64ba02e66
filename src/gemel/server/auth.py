"""Who asks: from a bearer token or a session to a :class:`gemel.platform.guard.Caller`, with relations and open emergencies as they are now.

A route that is about anybody takes ``who: Annotated[Caller, Depends(caller)]``; without a believed token that ends in 401 before the route begins.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from gemel.core.errors import AccessDenied, AuthenticationError, StoreError
from gemel.core.time import SECOND
from gemel.platform.access import ROLES, Role, Subject
from gemel.platform.consent import covers
from gemel.platform.guard import Caller, Guard
from gemel.platform.scopes import Scope, read_scopes
from gemel.platform.store import Store
from gemel.platform.store.relations import open_glass
from gemel.platform.store.token_uses import is_used
from gemel.server.auth_issuers import Issuers
from gemel.server.auth_tokens import Tokens, unverified, verify
from gemel.server.config import Issuer, ServerConfig

if TYPE_CHECKING:
    from gemel.server.services import Services

__all__ = ["COOKIE", "PURPOSE", "Authenticator", "Identity", "asker", "caller", "csrf_of", "subject_of"]

PURPOSE = "x-purpose-of-use"
CSRF = "x-csrf-token"
COOKIE = "gemel_session"

_TRUSTED = 60 * SECOND
"""How long a token that was verified is not verified again: a key that its issuer takes back is not believed after that."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_KINDS: dict[str, tuple[str, ...]] = {
    "patient": ("self",), "proxy": ("proxy",), "nurse": ("care",), "physician": ("care",), "device": ("device",),
}  # fmt: skip
"""Role -> the relations that count for it."""


@dataclass(frozen=True)
class Identity:
    """What a believed token says.

    Parameters
    ----------
    who : a reference, such as ``Practitioner/7``; ``Person/SUB`` where the token names none.
    patients : pseudonyms that the token names as those with whom there is a relation.
    scopes : ``None`` when the token has no scope claim and its issuer is this server: the role alone decides then.
    purpose : the only purpose that it may be used for; empty when any.
    usual : the purpose of a request that names none.
    session : id of the login or grant that it came from; what ended with it is not believed.
    is_cookie : whether it is a session's, which comes as a cookie and in no other way.
    """

    who: str
    role: Role
    expires: int
    actors: frozenset[str] = frozenset()
    patients: frozenset[str] = frozenset()
    scopes: tuple[Scope, ...] | None = None
    purpose: str = ""
    usual: str = ""
    session: str = ""
    is_cookie: bool = False


def _words(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


def identity_of(claims: Mapping[str, Any], issuer: Issuer | None = None) -> Identity:
    """Return who a token's claims say it is.

    Parameters
    ----------
    issuer : whose token it is; ``None`` for the server's own.

    Raises
    ------
    AuthenticationError
        When it names no role that there is.
    """
    if issuer is None:
        told = claims.get("gemel_role")
    else:
        told = issuer.role or next(
            (issuer.roles.get(word, word) for word in _words(claims.get(issuer.role_claim)) if issuer.roles.get(word, word) in ROLES), None
        )
    if told not in ROLES or told == "anonymous":
        raise AuthenticationError(
            "the token names no role that there is", expected=", ".join(ROLES[1:]), fix="[[auth.issuers]] role, role_claim, roles"
        )
    user, sub = claims.get("fhirUser"), str(claims["sub"])
    user = "/".join(user.split("/")[-2:]) if isinstance(user, str) and "/" in user and len(user) <= 255 else ""
    who = sub if issuer is None and "/" in sub else user or f"Person/{sub}"
    named = "patient" if issuer is None else issuer.patients_claim if issuer.patient_relation else ""
    scope = claims.get("scope", claims.get("scp"))
    narrowed = None if scope is None and issuer is None else read_scopes(" ".join(_words(scope)))
    purpose = claims.get("purpose_of_use" if issuer is None else issuer.purpose_claim)
    return Identity(
        who,
        told,
        int(float(claims["exp"]) * SECOND),
        frozenset(_words(claims.get("actors"))) if issuer is None else frozenset(),
        frozenset(_words(claims.get(named))) if named else frozenset(),
        narrowed,
        purpose if isinstance(purpose, str) else "",
        str(claims.get("usual_purpose", "")) if issuer is None else issuer.purpose,
        str(claims.get("sid", "")) if issuer is None else "",
        issuer is None and claims.get("use") == "session",
    )


def subject_of(store: Store, identity: Identity, guard: Guard) -> tuple[Subject, frozenset[str]]:
    """Return who asks, with those whom they treat or act for now and an emergency that is open; and whom the token names."""
    kinds = _KINDS.get(identity.role, ())
    patients = guard.treated(store, identity.who, kinds) if kinds else frozenset()
    named = set()
    for pseudonym in identity.patients:
        try:
            named.add(store.subject(pseudonym))
        except StoreError as error:
            if not error.what.startswith("the store has no such"):
                raise
    glass = open_glass(store, identity.who, time=guard.clock()) if identity.role in ("nurse", "physician", "other-physician") else None
    reach = patients | named if kinds else frozenset()
    return Subject(identity.who, identity.role, identity.actors, reach, glass), frozenset(named)


class Authenticator:
    """Believes tokens of the server and of the configured issuers.

    Parameters
    ----------
    clock : returns the time, ns UTC.
    """

    def __init__(self, config: ServerConfig, tokens: Tokens, clock: Callable[[], int]) -> None:
        self.tokens, self.issuers, self._clock = tokens, Issuers(config, tokens.issuer, clock), clock
        self._skew = config.auth.skew_s
        self._known: dict[str, tuple[int, Identity]] = {}

    async def believe(self, token: str) -> Identity:
        """Return whose token it is.

        Raises
        ------
        AuthenticationError
            When it is not believed.
        """
        now, mark = self._clock(), sha256(token.encode()).hexdigest()
        known = self._known.get(mark)
        if known is not None and now < known[0]:
            return known[1]
        _, claims = unverified(token)
        if claims.get("iss") == self.tokens.issuer:
            found = identity_of(verify(token, self.tokens.keys, self.tokens.trust, now=now, skew_s=self._skew))
        else:
            issuer, verified = await self.issuers.verify(token, claims, now=now, skew_s=self._skew)
            found = identity_of(verified, issuer)
        if len(self._known) >= 10_000:
            self._known.clear()
        self._known[mark] = (min(now + _TRUSTED, found.expires + round(self._skew * SECOND)), found)
        return found


def csrf_of(tokens: Tokens, session: str) -> str:
    """Return what a page must send beside a session's cookie with everything that changes something."""
    return hmac.new(tokens.secret.reveal(), f"csrf|{session}".encode(), sha256).hexdigest()


def _credential(request: HTTPConnection) -> tuple[str, bool]:
    """Return a token, and whether it came as a cookie."""
    given = request.headers.get("authorization", "")
    if given:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationError("the Authorization header is not understood", expected="Bearer TOKEN")
        return token.strip(), False
    token = request.cookies.get(COOKIE, "")
    if not token:
        raise AuthenticationError("this is for those who have shown who they are", expected="Authorization: Bearer TOKEN, or a login")
    return token, True


async def asker(request: HTTPConnection) -> Callable[[Store], Caller]:
    """Return what tells who asks, once there is a store: for ``Depends`` of a route that looks in the same thread, where each change of thread counts."""
    services: Services = request.app.state.services
    try:
        token, is_cookie = _credential(request)
        identity = await services.authenticator.believe(token)
        if is_cookie != identity.is_cookie:
            raise AuthenticationError("this token is used in another way", expected="a session's token as a cookie, any other as Bearer")
        if is_cookie and request.scope["type"] == "websocket":
            if urlsplit(request.headers.get("origin", "")).netloc != request.headers.get("host", ""):
                raise AuthenticationError("the request comes from a page elsewhere", expected="a page of this server")
        elif is_cookie and request.scope["method"] not in _SAFE:
            told = request.headers.get(CSRF, "")
            if not hmac.compare_digest(told.encode(), csrf_of(services.tokens, identity.session).encode()):
                raise AuthenticationError(
                    "the request does not come from the page that was logged in", expected="X-CSRF-Token of /auth/session"
                )
    except AuthenticationError:
        services.metrics.refused.labels("token").inc()
        raise
    purpose = request.headers.get(PURPOSE, "").strip() or request.query_params.get("purpose", "") * (request.scope["type"] == "websocket")
    if identity.purpose:
        if purpose and not covers(frozenset({identity.purpose}), purpose):
            raise AccessDenied("the token is for another purpose", seen=purpose[:20], expected=identity.purpose, is_open=True)
        purpose = purpose or identity.purpose
    purpose = purpose or identity.usual

    state = request.state

    def look(store: Store) -> Caller:
        if identity.session and is_used(store, f"ended|{identity.session}"):
            raise AuthenticationError("the session has ended", fix="log in again")
        subject, launch = subject_of(store, identity, services.guard)
        return Caller(subject, purpose[:20], state.request_id, identity.scopes, state.address, identity.session, launch)

    return look


async def caller(request: HTTPConnection) -> Caller:
    """Return who asks: for ``Depends``."""
    services: Services = request.app.state.services
    return await services.readers.run(await asker(request))
