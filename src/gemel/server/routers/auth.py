"""``/auth`` and discovery: how people and programs come to a token, and what is published of it."""

from __future__ import annotations

import hmac
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from gemel.core.errors import AuthenticationError, DataError, FormatError
from gemel.platform.guard import Caller
from gemel.server.auth import COOKIE, Identity, caller, csrf_of
from gemel.server.auth_codes import same_site
from gemel.server.auth_logins import Logins, OAuthError, Person, all_scopes
from gemel.server.auth_pages import approve_page, login_page, moved_page
from gemel.server.services import Services, is_local

__all__ = ["router"]

_BROWSER = "gemel_login"


async def _form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise FormatError("the form is of another kind", expected="application/x-www-form-urlencoded")
    body = await request.body()
    if len(body) > 65_536:
        raise FormatError("the form is too large", expected="<= 64 KiB")
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    if len({name for name, _ in pairs}) != len(pairs):
        raise FormatError("a field of the form stands twice", expected="each once")
    return dict(pairs)


def _check_origin(request: Request, own: str) -> None:
    """Refuse a form that a page elsewhere sends: browsers say where it comes from."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if (origin not in (None, "null", own) and origin.partition("://")[2] != request.headers.get("host")) or site in (
        "cross-site",
        "same-site",
    ):  # type: ignore[union-attr]
        raise AuthenticationError("the form comes from a page elsewhere", expected="a page of this server")


def router(services: Services) -> APIRouter:
    """Return the routes."""
    made = APIRouter(tags=["login"])
    logins = services.state.setdefault("logins", Logins(services))
    own = services.tokens.issuer
    has_local = services.config.auth.local and is_local(services.config)
    is_secure = own.startswith("https://")

    def cookie(answer: Response, token: str) -> Response:
        life = round(services.config.auth.session_minutes * 60)
        answer.set_cookie(COOKIE, token, max_age=life, path="/", secure=is_secure, httponly=True, samesite="strict")
        return answer

    async def session_of(request: Request) -> Identity | None:
        token = request.cookies.get(COOKIE, "")
        if not token:
            return None
        try:
            who = await caller_of(request)
            found = await services.authenticator.believe(token)
        except AuthenticationError:
            return None
        return found if found.is_cookie and who.session == found.session else None

    async def caller_of(request: Request) -> Caller:
        scope = {**request.scope, "method": "GET"}  # what a form needs beside the cookie is checked by the form's own field
        return await caller(Request(scope, request.receive))

    def login(request: Request, action: str, fields: dict[str, str], **rest: Any) -> Response:
        goes = quote(fields.get("next", request.url.path + ("?" + request.url.query if request.url.query else "")), safe="")
        outside = {issuer.issuer.partition("://")[2]: f"/auth/outside/{i}?next={goes}" for i, issuer in logins.providers().items()}
        return login_page(action, fields, outside=outside, has_local=has_local, **rest)

    async def checked(form: dict[str, str], request: Request) -> Person:
        if not has_local:
            raise AuthenticationError("there are no local accounts here", expected="a provider of the configuration")
        state = request.state
        return await logins.password(form.get("name", ""), form.get("password", ""), address=state.address, request=state.request_id)

    # --- discovery ---

    @made.get("/.well-known/smart-configuration", summary="What a SMART client needs to know")
    async def smart() -> Response:
        return JSONResponse(_smart(services, logins))

    @made.get("/fhir/R4/.well-known/smart-configuration", include_in_schema=False)
    async def smart_fhir() -> Response:
        return JSONResponse(_smart(services, logins))

    @made.get("/auth/jwks", summary="The server's public keys")
    async def jwks() -> Response:
        return JSONResponse(services.tokens.public(), headers={"Cache-Control": "public, max-age=300"})

    # --- people ---

    @made.get("/auth/login", include_in_schema=False)
    async def login_form(request: Request) -> Response:
        return login(request, "/auth/login", {"next": same_site(request.query_params.get("next", "/"))})

    @made.post("/auth/login", summary="Log in with a name and a password: a session")
    async def log_in(request: Request) -> Response:
        _check_origin(request, own)
        form = await _form(request)
        goes = same_site(form.get("next", "/"))
        try:
            person = await checked(form, request)
        except AuthenticationError:
            return login(request, "/auth/login", {"next": goes}, wrong=True)
        return cookie(RedirectResponse(goes, 303), logins.session(person)[0])

    @made.get("/auth/once", summary="Log in by a link that works once")
    async def once(request: Request, code: str = "") -> Response:
        person, _ = logins.links.take(code)
        if person is None:
            raise AuthenticationError(
                "the link is not known, has expired, or was used", fix="start the demonstration again: it prints another"
            )
        await logins.note(person, address=request.state.address, request=request.state.request_id, way="link")
        return cookie(moved_page("/"), logins.session(person)[0])

    @made.get("/auth/session", summary="Who is logged in, and what a page sends with changes")
    async def session(who: Annotated[Caller, Depends(caller)]) -> Response:
        told = {"who": who.subject.id, "role": who.subject.role, "csrf": csrf_of(services.tokens, who.session) if who.session else None}
        return JSONResponse(told)

    @made.post("/auth/logout", summary="End the session, or the grant that a token came from")
    async def log_out(who: Annotated[Caller, Depends(caller)]) -> Response:
        if who.session:
            await logins.end(who.session)
        await services.log(who, "logout")
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, path="/", secure=is_secure, httponly=True, samesite="strict")
        return answer

    @made.get("/auth/outside/{number}", include_in_schema=False)
    async def outside(request: Request, number: int) -> Response:
        if number not in logins.providers():
            raise DataError("no such provider", expected="one of the login page")
        import secrets

        browser = secrets.token_urlsafe(32)
        answer = RedirectResponse(logins.begin(number, browser=browser, next_=same_site(request.query_params.get("next", "/"))), 303)
        answer.set_cookie(_BROWSER, browser, max_age=600, path="/auth", secure=is_secure, httponly=True, samesite="lax")
        return answer

    @made.get("/auth/callback", include_in_schema=False)
    async def callback(request: Request, state: str = "", code: str = "") -> Response:
        person, goes = await logins.finish(state, code, request.cookies.get(_BROWSER, ""))
        await logins.note(person, address=request.state.address, request=request.state.request_id, way="provider")
        answer = cookie(moved_page(goes), logins.session(person)[0])
        answer.delete_cookie(_BROWSER, path="/auth")
        return answer

    # --- programs ---

    @made.get("/auth/authorize", summary="Ask for a code (authorization code with PKCE S256)")
    async def authorize(request: Request) -> Response:
        asked = logins.authorize(request.query_params)
        found = await session_of(request)
        if found is None:
            return login(request, "/auth/authorize", asked.fields, goes_to=asked.redirect)
        return _approve(services, asked, found)

    @made.post("/auth/authorize", include_in_schema=False)
    async def approve(request: Request) -> Response:
        _check_origin(request, own)
        form = await _form(request)
        asked = logins.authorize(form)
        if "name" in form:
            try:
                person = await checked(form, request)
            except AuthenticationError:
                return login(request, "/auth/authorize", asked.fields, wrong=True, goes_to=asked.redirect)
            token, _ = logins.session(person)
            return cookie(_approve(services, asked, await services.authenticator.believe(token)), token)
        found = await session_of(request)
        if found is None or not hmac.compare_digest(form.get("csrf", "").encode(), csrf_of(services.tokens, found.session).encode()):
            return login(request, "/auth/authorize", asked.fields, goes_to=asked.redirect)
        if form.get("answer") != "yes":
            return RedirectResponse(asked.back(error="access_denied"), 303)
        return RedirectResponse(asked.back(code=logins.code(asked, found), iss=own), 303)

    @made.post("/auth/token", summary="A token for a code, or for a signed assertion (SMART backend services)")
    async def token(request: Request) -> Response:
        try:
            form = await _form(request)
            kind = form.get("grant_type", "")
            if kind == "client_credentials":
                told = await logins.service(form, address=request.state.address, request=request.state.request_id)
            elif kind == "authorization_code":
                told = await logins.exchange(form)
            else:
                raise OAuthError("unsupported_grant_type", "authorization_code or client_credentials")
        except OAuthError as error:
            services.metrics.refused.labels("login").inc()
            return JSONResponse({"error": error.error, "error_description": error.description}, error.status, {"Cache-Control": "no-store"})
        except FormatError as error:
            return JSONResponse({"error": "invalid_request", "error_description": error.what}, 400, {"Cache-Control": "no-store"})
        return JSONResponse(told, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})

    return made


def _approve(services: Services, asked: Any, found: Identity) -> Response:
    fields = {**asked.fields, "csrf": csrf_of(services.tokens, found.session)}
    return approve_page("/auth/authorize", fields, asked.client.id, asked.scope.split(), goes_to=asked.redirect)


def _smart(services: Services, logins: Logins) -> dict[str, Any]:
    own = services.tokens.issuer
    return {
        "issuer": own, "jwks_uri": f"{own}/auth/jwks", "authorization_endpoint": f"{own}/auth/authorize", "token_endpoint": logins.token_url,
        "grant_types_supported": ["authorization_code", "client_credentials"], "response_types_supported": ["code"],
        "scopes_supported": all_scopes(), "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"], "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "capabilities": ["launch-standalone", "client-public", "client-confidential-asymmetric", "permission-patient", "permission-user", "permission-v1", "permission-v2"],
    }  # fmt: skip
