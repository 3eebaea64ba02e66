"""``/cds-services``: decision support by CDS Hooks 2.0, from what stands in the store already; nothing is computed while somebody waits.

Who calls is a system that the configuration lists, shown by a signed token for exactly this address that is used once. ``fhirServer`` and ``fhirAuthorization`` of a call are
never used: what must be read is read from the hospital's server that the configuration names, with our own log-in.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from gemel.core.advice import Decision, Proposal
from gemel.core.errors import AccessDenied, AuthenticationError, ConflictError, FormatError, StoreError
from gemel.core.time import SECOND
from gemel.interop.fhir.cdshooks import SERVICE, Asked, Feedback, card, discovery, plan_of, read_card_id, read_feedback, read_request
from gemel.interop.fhir.codec import decode
from gemel.platform.access import Subject
from gemel.platform.advice import forecast_behind, read_proposal
from gemel.platform.derived import derived_resource
from gemel.platform.guard import Caller
from gemel.platform.store import Store, lookup
from gemel.platform.store.token_uses import use
from gemel.platform.store.versions import Version
from gemel.platform.stream.twins import superseded
from gemel.server.auth_issuers import KeySource
from gemel.server.auth_tokens import Trust, unverified, verify
from gemel.server.outgoing import origin
from gemel.server.sections.hospital import CdsClient
from gemel.server.services import Services, public_url

__all__ = ["router"]

LIFETIME_S = 300.0
"""Seconds that a client's token may live."""
_LIMIT = 4 * 1024 * 1024


@dataclass
class _Client:
    settings: CdsClient
    keys: KeySource


class _Cds:
    """Verifies who calls, and answers from the store."""

    def __init__(self, services: Services) -> None:
        self._services, self._settings = services, services.config.cds
        clients = self._settings.clients if self._settings is not None else ()
        self._clients = {one.issuer: _Client(one, KeySource(services.clock, one.jwks_file, one.jwks_url)) for one in clients}

    async def believe(self, request: Request, path: str) -> CdsClient:
        """Return which client calls.

        Raises
        ------
        AuthenticationError
            Unless it is a listed one, with a token for this address that was not used before.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationError("a hook is called with a token", expected="Authorization: Bearer JWT")
        header, told = unverified(token.strip())
        issuer = told.get("iss")
        client = self._clients.get(issuer) if isinstance(issuer, str) else None
        if client is None:
            raise AuthenticationError("the token is not believed", seen="its issuer is not listed", expected="[[cds.clients]]")
        audience = public_url(self._services.config) + path
        trust = Trust(
            client.settings.issuer, frozenset({audience}), frozenset(client.settings.algorithms), LIFETIME_S, True, has_subject=False
        )
        now, skew = self._services.clock(), self._services.config.auth.skew_s
        claims = verify(token.strip(), await client.keys.find(header.get("kid")), trust, now=now, skew_s=skew)
        until = round((float(claims["exp"]) + skew) * SECOND)
        number = f"cds|{issuer}|{claims['jti']}"
        if not await self._services.write(lambda store: use(store, number, until=until, now=now)):
            raise AuthenticationError("the token is not believed", seen="it was used before", fix="sign a new one for each call")
        return client.settings

    def check_server(self, client: CdsClient, server: str) -> None:
        """Refuse a FHIR server that is not listed; none is called because it was named."""
        hospital = self._services.config.hospital
        known = {one.rstrip("/") for one in (*client.fhir_servers, *([hospital.base] if hospital else []))}
        if server and (server.rstrip("/") not in known or not origin(server)):
            raise FormatError("a FHIR server that is not listed", expected="[[cds.clients]] fhir_servers", fix="list it, or leave it out")

    async def pseudonym(self, asked: Asked) -> str:
        """Return our pseudonym of the patient.

        Raises
        ------
        _Missing
            When it is an identifier of the Patient, who was not sent and cannot be read.
        """
        settings = self._settings
        system = settings.patient_system if settings is not None else ""
        if not system:
            return asked.patient
        patient = asked.prefetch.get("patient")
        if not isinstance(patient, dict) or patient.get("resourceType") != "Patient":
            patient = await self._read(asked)
        if patient is None or str(patient.get("id")) != asked.patient:
            raise _Missing
        listed = patient.get("identifier")
        found = (
            [one.get("value") for one in listed if isinstance(one, dict) and one.get("system") == system]
            if isinstance(listed, (list, tuple))
            else []
        )
        if len(found) != 1 or not isinstance(found[0], str):
            raise _Missing
        return found[0]

    async def _read(self, asked: Asked) -> Any:
        """Read the Patient from the hospital's own server, if it is that which the client means."""
        hospital = self._services.config.hospital
        if hospital is None or (asked.server and asked.server.rstrip("/") != hospital.base.rstrip("/")):
            return None
        from gemel.core.errors import RemoteError
        from gemel.server.hospital import connect

        def look() -> Any:
            with connect(hospital, clock=self._services.clock) as client:
                return client.read(f"Patient/{asked.patient}")

        try:
            return await asyncio.to_thread(look)
        except (RemoteError, ConflictError, FormatError):
            return None

    def caller(self, client: CdsClient, user: str, request: Request) -> Caller:
        """Return who asks: the client's system, for a person whom consents may name."""
        actors = frozenset({user} if user else ())
        return Caller(
            Subject(f"Device/{client.issuer}", "service", actors), "TREAT", request.state.request_id, address=request.state.address
        )

    def cards(self, store: Store, who: Caller, patient: str, asked: Asked) -> list[dict[str, Any]]:
        """Return a card for each room that has said something of a patient; what may not be seen is as if it were not there."""
        guard, now = self._services.guard, self._services.clock()
        stale = round((self._settings.stale_min if self._settings else 60.0) * 60 * SECOND)
        subject = lookup.named(store, patient)
        if subject is None:
            guard.log(who, "deny", detail={"asked": "prefetch", "reason": "no such patient"})
            return []
        newest: dict[str, Version] = {}
        for version in lookup.version_list(store, "proposal", subject):
            newest[version.name] = version
        told = []
        for version in newest.values():
            try:
                guard.require(store, who, "forecast", derived_resource(store, guard, "Forecast", version))
                proposal = read_proposal(lookup.version_body(store, "proposal", version.id))
            except (AccessDenied, FormatError, StoreError):
                continue
            behind = forecast_behind(store, version)
            overtaken = behind is not None and superseded(store, behind[0]) is not None
            told.append(
                card(
                    proposal,
                    version.id,
                    patient=asked.patient,
                    now=now,
                    stale=stale,
                    table=behind[1] if behind else None,
                    is_overtaken=overtaken,
                )
            )
        return told

    def note(self, store: Store, client: CdsClient, one: Feedback, now: int) -> None:
        """Write down what was done with a card: a decision, once."""
        found = read_card_id(one.card)
        if found is None:
            return
        try:
            version = lookup.version(store, "proposal", found[0])
            proposal = read_proposal(lookup.version_body(store, "proposal", found[0]))
        except (StoreError, FormatError):
            return
        told = _decision(proposal, found[0], one, client.issuer, now)
        for known in lookup.decisions(store, version.patient, version.id):
            if isinstance(known.told, Decision) and _same(known.told, told, one):
                return
        store.decide(told)


class _Missing(Exception):
    """What is needed was not sent and cannot be read."""


def _decision(proposal: Proposal, key: str, one: Feedback, who: str, now: int) -> Decision:
    parts = [found[1] for text in one.suggestions if (found := read_card_id(text)) is not None and found[0] == key]
    plan = plan_of(proposal, parts[0]) if parts else proposal.choice
    answer = "rejected" if one.outcome == "overridden" else "accepted" if plan == proposal.choice else "changed"
    time = min(one.time or now, now)
    return Decision(
        proposal=key, time=time, recorded=now, who=who, answer=answer, plan="" if answer == "rejected" else plan or "", reason=one.reason
    )


def _same(known: Decision, told: Decision, one: Feedback) -> bool:
    """Say whether this was told before; without a time of its own, when nothing else was answered since."""
    alike = (known.who, known.answer, known.plan, known.reason) == (told.who, told.answer, told.plan, told.reason)
    return alike and (one.time is None or known.time == told.time)


def router(services: Services) -> APIRouter:
    """Return the routes."""
    made = APIRouter(tags=["decision support"])
    cds = _Cds(services)

    async def body_of(request: Request) -> Any:
        return json.loads(json.dumps(decode(await request.body(), limit=_LIMIT), default=float))

    @made.get("/cds-services", summary="What decision support there is")
    async def discover() -> Response:
        settings = services.config.cds
        return JSONResponse(discovery(with_patient=bool(settings.patient_system)) if settings is not None else {"services": []})

    @made.post(f"/cds-services/{SERVICE}", summary="Cards for a patient")
    async def call(request: Request) -> Response:
        client = await cds.believe(request, f"/cds-services/{SERVICE}")
        asked = read_request(await body_of(request))
        cds.check_server(client, asked.server)
        try:
            patient = await cds.pseudonym(asked)
        except _Missing:
            return JSONResponse({"detail": "the patient was not sent and cannot be read: prefetch.patient"}, 412)
        who = cds.caller(client, asked.user, request)
        return JSONResponse({"cards": await services.readers.run(lambda store: cds.cards(store, who, patient, asked))})

    @made.post(f"/cds-services/{SERVICE}/feedback", summary="What was done with cards")
    async def feedback(request: Request) -> Response:
        client = await cds.believe(request, f"/cds-services/{SERVICE}/feedback")
        told = read_feedback(await body_of(request))
        who, now = cds.caller(client, "", request), services.clock()

        def allowed(store: Store) -> list[Feedback]:
            found = []
            for one in told:
                known = read_card_id(one.card)
                try:
                    if known is not None:
                        version = lookup.version(store, "proposal", known[0])
                        services.guard.require(store, who, "create", derived_resource(store, services.guard, "Task", version))
                        found.append(one)
                except (AccessDenied, StoreError):
                    continue  # one that is not there and one that is nobody's business look alike
            return found

        kept = await services.readers.run(allowed)
        for one in kept:
            await services.write(lambda store, one=one: cds.note(store, client, one, now))
        return Response(status_code=200)

    return made
