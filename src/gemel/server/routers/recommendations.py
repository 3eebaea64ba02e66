"""``/recommendations``: what a twin proposes, what people answered, and what came of it."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import Response

from gemel.core.advice import Decision, Outcome
from gemel.core.errors import DataError, StoreError
from gemel.core.time import iso
from gemel.platform.access import Resource
from gemel.platform.consent import Datum
from gemel.platform.derived import derived_resource
from gemel.platform.guard import Caller
from gemel.platform.store import Store, Version, lookup
from gemel.server.asking import (
    PREFIX,
    Found,
    Key,
    PatientQuery,
    Problems,
    asked,
    await_change,
    encoded,
    known,
    moment,
    patient_there,
    told,
    version_told,
)
from gemel.server.auth import caller
from gemel.server.etags import etag, require_match
from gemel.server.idempotency import Reply
from gemel.server.resources import Answered, DecisionTold, Entry, OutcomeTold, Page, ProposalTold
from gemel.server.services import Services

__all__ = ["router"]

KIND = "Recommendation"
_Match = Annotated[str | None, Header(alias="If-Match", max_length=500, description="the ETag of what was seen")]


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["recommendations"])
    guard = services.guard

    def seen(store: Store, who: Caller, found: str, action: str = "forecast") -> Version:
        guard.check(who, action, KIND)
        version = lookup.version(store, "proposal", found)
        guard.require(store, who, action, derived_resource(store, guard, KIND, version))
        return version

    def tag_of(store: Store, version: Version) -> str:
        return etag(version.id, len(lookup.decisions(store, version.patient, version.id)))

    def proposal_told(store: Store, version: Version) -> dict[str, Any]:
        body = lookup.version_body(store, "proposal", version.id)
        try:
            plain = orjson.loads(body)
        except ValueError as error:
            raise StoreError("a stored proposal is no JSON", seen=version.id) from error
        answers = [_decision(answer) for answer in lookup.decisions(store, version.patient, version.id)]
        return {"version": version_told(store, version), "proposal": plain, "decisions": answers}

    def allowed(store: Store, who: Caller, versions: list[Version]) -> list[Version]:
        return [v for v in versions if guard.decide(store, who, "forecast", derived_resource(store, guard, KIND, v))]

    def of_patient(store: Store, who: Caller, patient: str, what: str) -> list[Version]:
        """Return the proposals of a patient that the one who asks may see, and write down that they did."""
        guard.check(who, "forecast", KIND)
        shown = allowed(store, who, lookup.version_list(store, "proposal", patient))
        if not shown:
            guard.require(store, who, "read", patient_there(store, patient))
        else:
            guard.log(who, "forecast", subject=patient, detail={"resource": f"{what}?patient={patient}", "n": len(shown)})
        return shown

    @routes.get("/recommendations", response_model=Page[ProposalTold], responses=Problems())
    async def list_recommendations(patient: PatientQuery, who: Annotated[Caller, Depends(caller)]) -> Response:
        """List what was proposed for a patient, the newest first, with what was answered."""

        def look(store: Store) -> dict[str, Any]:
            return {"items": [proposal_told(store, v) for v in of_patient(store, who, patient, KIND)[::-1]], "next": None}

        return told(await services.readers.run(look))

    @routes.get("/recommendations/{recommendation}", response_model=ProposalTold, responses=Problems())
    async def read_recommendation(recommendation: Found, request: Request, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Show a proposal. Its ETag is what an answer to it must name."""

        def look(store: Store) -> tuple[str, dict[str, Any]]:
            version = seen(store, who, recommendation)
            return tag_of(store, version), proposal_told(store, version)

        tag, found = await services.readers.run(look)
        return known(request, tag) or told(found, tag=tag)

    @routes.get("/recommendations/{recommendation}/decisions", response_model=Page[DecisionTold], responses=Problems())
    async def list_decisions_of(recommendation: Found, who: Annotated[Caller, Depends(caller)]) -> Response:
        """List what was answered to a proposal."""

        def look(store: Store) -> dict[str, Any]:
            version = seen(store, who, recommendation)
            return {"items": [_decision(answer) for answer in lookup.decisions(store, version.patient, version.id)], "next": None}

        return told(await services.readers.run(look))

    @routes.post(
        "/recommendations/{recommendation}/decisions", response_model=DecisionTold, status_code=201, responses=Problems(409, 412),
    )  # fmt: skip
    async def decide(
        recommendation: Found,
        body: Answered,
        request: Request,
        who: Annotated[Caller, Depends(caller)],
        key: Key = None,
        match: _Match = None,
    ) -> Response:
        """Answer a proposal: accepted, changed or rejected. ``If-Match`` names what was seen: an answer to something else is refused."""
        if body.answer == "changed" and not body.plan:
            raise DataError(
                "a changed answer says what is done instead", seen="no plan", expected="plan", fix="say it in words, or name a plan"
            )
        at = moment(body.time)

        def may(store: Store) -> Version:
            version = seen(store, who, recommendation)
            datum = Datum(version.patient, f"{KIND}/{recommendation}", KIND)
            guard.require(store, who, "create", Resource(datum), detail={"answer": body.answer})
            return version

        version = await services.readers.run(may)
        ask = asked(request, who, await request.body(), key)

        def change(store: Store) -> Reply:
            require_match(match, tag_of(store, version))
            now = services.clock()
            decision = Decision(
                proposal=version.id,
                time=now if at is None else at,
                recorded=now,
                who=who.subject.id,
                answer=body.answer,
                plan=body.plan,
                reason=body.reason,
            )
            made = store.decide(decision)
            found = lookup.decision_of(store, made)
            return Reply(201, encoded(_decision(found)), {"Location": f"{PREFIX}/decisions/{made}", "ETag": tag_of(store, version)})

        return await await_change(services, ask, change, subject=version.patient)

    @routes.get("/decisions", response_model=Page[DecisionTold], responses=Problems())
    async def list_decisions(patient: PatientQuery, who: Annotated[Caller, Depends(caller)]) -> Response:
        """List what was answered to the proposals for a patient."""

        def look(store: Store) -> dict[str, Any]:
            seen_ = {v.id for v in of_patient(store, who, patient, "Decision")}
            answers = [a for a in lookup.decisions(store, patient) if isinstance(a.told, Decision) and a.told.proposal in seen_]
            return {"items": [_decision(a) for a in answers], "next": None}

        return told(await services.readers.run(look))

    def one_decision(store: Store, who: Caller, decision: str) -> lookup.Answer:
        guard.check(who, "forecast", KIND)
        found = lookup.decision_of(store, decision)
        assert isinstance(found.told, Decision)
        seen(store, who, found.told.proposal)
        return found

    @routes.get("/decisions/{decision}", response_model=DecisionTold, responses=Problems())
    async def read_decision(decision: Found, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Show what was answered."""
        return told(await services.readers.run(lambda store: _decision(one_decision(store, who, decision))))

    @routes.get("/decisions/{decision}/outcomes", response_model=Page[OutcomeTold], responses=Problems())
    async def list_outcomes_of(decision: Found, who: Annotated[Caller, Depends(caller)]) -> Response:
        """List what came of a decision."""

        def look(store: Store) -> dict[str, Any]:
            found = one_decision(store, who, decision)
            return {"items": [_outcome(a) for a in lookup.outcomes(store, found.subject, decision)], "next": None}

        return told(await services.readers.run(look))

    @routes.post("/decisions/{decision}/outcomes", response_model=OutcomeTold, status_code=201, responses=Problems(409))
    async def tell_outcome(
        decision: Found, body: Entry, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None
    ) -> Response:
        """Say what came of a decision."""
        at = moment(body.time)
        if not body.values and not body.note:
            raise DataError("an outcome says something", seen="neither values nor a note", expected="one of them")

        def may(store: Store) -> lookup.Answer:
            found = one_decision(store, who, decision)
            guard.require(store, who, "create", Resource(Datum(found.subject, f"Decision/{decision}", "Outcome")))
            return found

        found = await services.readers.run(may)
        ask = asked(request, who, await request.body(), key)

        def change(store: Store) -> Reply:
            now = services.clock()
            outcome = Outcome(decision=decision, time=now if at is None else at, recorded=now, values=body.values, note=body.note)
            made = store.outcome(outcome)
            return Reply(
                201, encoded(_outcome(lookup.Answer(made, found.subject, outcome))), {"Location": f"{PREFIX}/decisions/{decision}/outcomes"}
            )

        return await await_change(services, ask, change, subject=found.subject)

    @routes.get("/outcomes", response_model=Page[OutcomeTold], responses=Problems())
    async def list_outcomes(patient: PatientQuery, who: Annotated[Caller, Depends(caller)]) -> Response:
        """List what came of the decisions about a patient."""

        def look(store: Store) -> dict[str, Any]:
            seen_ = {v.id for v in of_patient(store, who, patient, "Outcome")}
            made = {a.id for a in lookup.decisions(store, patient) if isinstance(a.told, Decision) and a.told.proposal in seen_}
            shown = [a for a in lookup.outcomes(store, patient) if isinstance(a.told, Outcome) and a.told.decision in made]
            return {"items": [_outcome(a) for a in shown], "next": None}

        return told(await services.readers.run(look))

    return routes


def _decision(answer: lookup.Answer) -> dict[str, Any]:
    found = answer.told
    assert isinstance(found, Decision)
    return {
        "id": answer.id, "recommendation": found.proposal, "time": iso(found.time), "recorded": iso(found.recorded), "who": found.who, "answer": found.answer,
        "plan": found.plan, "reason": found.reason,
    }  # fmt: skip


def _outcome(answer: lookup.Answer) -> dict[str, Any]:
    found = answer.told
    assert isinstance(found, Outcome)
    return {
        "id": answer.id, "decision": found.decision, "time": iso(found.time), "recorded": iso(found.recorded), "values": found.values, "note": found.note,
    }  # fmt: skip
