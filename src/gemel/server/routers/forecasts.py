"""``/forecasts`` and ``/comparisons``: what a twin says of the future. The standing one is read as it was stored; others are work that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied, LimitError
from gemel.platform.derived import derived_resource
from gemel.platform.guard import Caller, Guard
from gemel.platform.store import Store, lookup
from gemel.server.asking import (
    PREFIX,
    Cursor,
    Found,
    Key,
    Limit,
    Problems,
    TwinId,
    asked,
    await_change,
    enqueue,
    known,
    looked,
    moment,
    rows_told,
    told,
    twin_parts,
    work_key,
)  # fmt: skip
from gemel.server.auth import asker, caller
from gemel.server.etags import etag
from gemel.server.hot import Held, HotVersions
from gemel.server.idempotency import Reply
from gemel.server.paging import read_cursor, write_cursor
from gemel.server.resources import Ahead, Compared, JobTold, Page, Scored, VersionTold
from gemel.server.services import Services

__all__ = ["router"]

KIND = "Forecast"
_MOST_NUMBERS, _USUAL = 5_000_000, range(50)
Asker = Callable[[Store], Caller]
_WHEN = Query(max_length=40, description="as it was known then: ISO 8601 with its zone")
_BODY: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}, "description": "the forecast, as it was stored"}}
_WORK: dict[int | str, dict[str, Any]] = {200: {"model": JobTold, "description": "done before"}, **Problems(409)}


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["forecasts"])
    guard = services.guard
    hot: HotVersions = services.state.setdefault("hot", HotVersions())

    def shown(store: Store, guard: Guard, who: Caller, found: str | None, subject: str) -> Held:
        if found is None:
            guard.log(
                who,
                "deny",
                subject=subject if lookup.is_there(store, subject) else "",
                detail={"asked": "forecast", "reason": "no such forecast"},
            )
            raise AccessDenied()
        held = hot.get(store, "forecast", found)
        guard.require(store, who, "forecast", derived_resource(store, guard, KIND, held.version))
        return held

    def answer(request: Request, held: Held, *, is_newest: bool, is_stale: bool) -> Response:
        version, tag = held.version, etag(held.version.id, int(is_newest), int(is_stale))
        headers = {
            "ETag": tag, "Cache-Control": "private, no-cache", "Gemel-Version": version.id, "Gemel-Stale": str(is_stale).lower(),
            "Gemel-Superseded": str(not is_newest).lower(), "Link": f'<{PREFIX}/forecasts/{version.id}>; rel="canonical"',
        }  # fmt: skip
        return known(request, tag) or Response(held.body, 200, headers, "application/json")

    def newest_twin(store: Store, who: Caller, twin: str) -> lookup.Version:
        subject, room = twin_parts(twin)
        guard.check(who, "forecast", KIND)
        found = lookup.newest(store, "twin", subject, room)
        if found is None:
            guard.log(
                who,
                "deny",
                subject=subject if lookup.is_there(store, subject) else "",
                detail={"asked": "forecast", "reason": "no such twin"},
            )
            raise AccessDenied()
        return found

    @routes.get("/twins/{twin}/forecast", responses={**_BODY, **Problems()}, response_class=Response)
    async def read_standing(
        twin: TwinId, request: Request, asks: Annotated[Asker, Depends(asker)], as_of: Annotated[str | None, _WHEN] = None
    ) -> Response:
        """Return the standing forecast of a twin: the newest, or the one that stood at ``as_of``."""
        subject, room = twin_parts(twin)
        then = moment(as_of)

        def look(store: Store, guard: Guard) -> tuple[Held, bool, bool]:
            who = asks(store)
            guard.check(who, "forecast", KIND)
            held = shown(store, guard, who, lookup.newest_id(store, "forecast", subject, room, as_of=then), subject)
            is_newest = then is None or lookup.newest_id(store, "forecast", subject, room) == held.version.id
            return held, is_newest, lookup.last_facts(store, subject) > held.version.upto_event

        held, is_newest, is_stale = await looked(services, look)
        return answer(request, held, is_newest=is_newest, is_stale=is_stale)

    @routes.get("/forecasts/{forecast}", responses={**_BODY, **Problems()}, response_class=Response)
    @routes.get("/comparisons/{forecast}", responses={**_BODY, **Problems()}, response_class=Response)
    async def read_forecast(forecast: Found, request: Request, asks: Annotated[Asker, Depends(asker)]) -> Response:
        """Return one forecast or comparison as it was made, whatever came since."""

        def look(store: Store, guard: Guard) -> tuple[Held, bool, bool]:
            who = asks(store)
            guard.check(who, "forecast", KIND)
            found = hot.get(store, "forecast", forecast).version
            held = shown(store, guard, who, forecast, found.patient)
            is_newest = lookup.newest_id(store, "forecast", found.patient, found.name) == found.id
            return held, is_newest, lookup.last_facts(store, found.patient) > found.upto_event

        held, is_newest, is_stale = await looked(services, look)
        return answer(request, held, is_newest=is_newest, is_stale=is_stale)

    @routes.get("/forecasts/{forecast}/score", responses={**_BODY, **Problems()}, response_class=Response)
    async def read_score(forecast: Found, request: Request, asks: Annotated[Asker, Depends(asker)]) -> Response:
        """Return how a forecast did, as it was scored last: CRPS, coverage, what was missing."""

        def look(store: Store, guard: Guard) -> Held:
            who = asks(store)
            guard.check(who, "forecast", KIND)
            said = hot.get(store, "forecast", forecast).version
            found = lookup.newest_id(store, "score", said.patient, forecast)
            if found is None:
                shown(
                    store, guard, who, forecast, said.patient
                )  # whoever may see the forecast is told that it was not scored, nobody else is
                raise AccessDenied()
            held = hot.get(store, "score", found)
            guard.require(store, who, "forecast", derived_resource(store, guard, KIND, held.version))
            return held

        held = await looked(services, look)
        tag = etag(held.version.id)
        return known(request, tag) or Response(held.body, 200, {"ETag": tag, "Cache-Control": "private, no-cache"}, "application/json")

    @routes.get("/twins/{twin}/forecasts", response_model=Page[VersionTold], responses=Problems())
    async def list_forecasts(twin: TwinId, who: Annotated[Caller, Depends(caller)], limit: Limit = 100, cursor: Cursor = None) -> Response:
        """List the forecasts and comparisons of a twin, the newest first."""
        place = read_cursor("forecasts", cursor, (int, str))
        subject, room = twin_parts(twin)

        def look(store: Store) -> dict[str, Any]:
            newest_twin(store, who, twin)
            found = [v for v in lookup.version_list(store, "forecast", subject) if v.name.partition(":")[0] == room]
            told_ = {row["id"]: row for row in rows_told(store, found)}
            order = sorted(found, key=lambda v: (v.recorded, v.id), reverse=True)
            order = [v for v in order if place is None or (v.recorded, v.id) < place]
            shown_ = [v for v in order[:limit] if guard.decide(store, who, "forecast", derived_resource(store, guard, KIND, v))]
            if order and not shown_:
                guard.require(store, who, "forecast", derived_resource(store, guard, KIND, order[0]))
            guard.log(who, "forecast", subject=subject, detail={"resource": f"{KIND}?twin={twin}", "n": len(shown_)})
            rest = write_cursor("forecasts", order[limit - 1].recorded, order[limit - 1].id) if len(order) > limit else None
            return {"items": [told_[v.id] for v in shown_], "next": rest}

        return told(await services.readers.run(look))

    async def work(
        kind: str, twin: str, request: Request, who: Caller, key: str | None, now: int | None, plain: dict[str, Any]
    ) -> Response:
        """Ask for work on the newest version of a twin; what was asked of that version before is not done again."""
        subject, room = twin_parts(twin)
        numbers = plain["n"] * len(plain["minutes"] or _USUAL) * max(1, len(plain.get("plans") or ()))
        if numbers > _MOST_NUMBERS:
            raise LimitError(
                "more numbers than one answer is made of",
                seen=numbers,
                expected=f"draws x times x plans <= {_MOST_NUMBERS}",
                fix="ask for fewer",
            )

        def may(store: Store) -> lookup.Version:
            found = newest_twin(store, who, twin)
            guard.require(store, who, "forecast", derived_resource(store, guard, KIND, found), detail={"work": kind})
            return found

        found = await services.readers.run(may)
        ask = asked(request, who, await request.body(), key)

        def change(store: Store) -> Reply:
            place = work_key(kind, twin, found.id, now, plain)
            body = {"twin": room, "now": services.clock() if now is None else now, **plain}
            return enqueue(store, kind, subject, place, body, now=services.clock())

        return await await_change(services, ask, change, subject=subject)

    @routes.post("/twins/{twin}/forecasts", response_model=JobTold, status_code=202, responses=_WORK)
    async def forecast(twin: TwinId, body: Ahead, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None) -> Response:
        """Forecast under a plan. The same of the same version of the twin is answered with 200: it was done before."""
        plain = {"plan": body.plan, "minutes": body.minutes, "n": body.n, "seed": body.seed}
        return await work("forecast", twin, request, who, key, moment(body.now), plain)

    @routes.post("/twins/{twin}/comparisons", response_model=JobTold, status_code=202, responses=_WORK)
    async def compare(twin: TwinId, body: Compared, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None) -> Response:
        """Forecast several plans under the same draws, so that differences are the plans' own."""
        plain = {"plans": body.plans, "minutes": body.minutes, "n": body.n, "seed": body.seed}
        return await work("compare", twin, request, who, key, moment(body.now), plain)

    @routes.post("/twins/{twin}/recommendations", response_model=JobTold, status_code=202, responses=_WORK)
    async def recommend(
        twin: TwinId, body: Compared, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None
    ) -> Response:
        """Rank plans within the limits, or abstain and say why."""
        plain = {"plans": body.plans, "minutes": body.minutes, "n": body.n, "seed": body.seed}
        return await work("recommend", twin, request, who, key, moment(body.now), plain)

    @routes.post("/forecasts/{forecast}/score", response_model=JobTold, status_code=202, responses=_WORK)
    async def score(forecast: Found, body: Scored, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None) -> Response:
        """Score a forecast against what really happened."""
        now = moment(body.now)

        def may(store: Store) -> lookup.Version:
            guard.check(who, "forecast", KIND)
            found = lookup.version(store, "forecast", forecast)
            guard.require(store, who, "forecast", derived_resource(store, guard, KIND, found), detail={"work": "score"})
            return found

        found = await services.readers.run(may)
        ask = asked(request, who, await request.body(), key)

        def change(store: Store) -> Reply:
            upto = lookup.last_facts(store, found.patient)
            place = work_key("score", forecast, now, None if now is not None else upto)
            body = {"twin": found.name.partition(":")[0], "forecast": forecast, "now": services.clock() if now is None else now}
            return enqueue(store, "score", found.patient, place, body, now=services.clock())

        return await await_change(services, ask, change, subject=found.patient)

    return routes
