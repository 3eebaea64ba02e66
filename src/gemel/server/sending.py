"""Out: each proposal goes to the hospital's server once, older advice is taken back, what nobody answered expires.

A proposal is noted as *sending* before anything leaves, and as *sent* when everything is there. Cut short in between, it is sent again under the same identifiers, and the server
finds what it has.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from gemel.core.advice import ForecastTable, Proposal
from gemel.core.errors import AccessDenied, FormatError, RemoteError, StoreError
from gemel.core.time import MINUTE, iso
from gemel.interop.fhir.advice import SYSTEM, advice_bundle, provenance, read_answer
from gemel.interop.fhir.client import FhirClient
from gemel.platform.advice import forecast_behind, read_proposal
from gemel.platform.audit_event import audit_event
from gemel.platform.derived import derived_resource
from gemel.platform.store import Event, Store, lookup
from gemel.platform.store.deliveries import Delivery, State, deliveries, find, inputs_of, save
from gemel.platform.store.versions import Version
from gemel.server.drawing import draw_forecast
from gemel.server.hospital import Patients, service_caller
from gemel.server.sections.hospital import ReturnPath as Settings
from gemel.server.services import Services

__all__ = ["EXPIRED", "OURS", "SUPERSEDED", "Sending", "revoked"]

_LOG = logging.getLogger("gemel.server")
_EVENTS, _MOST_FAILED = 500, 3
EXPIRED, SUPERSEDED = "expired: nobody answered in time", "superseded by newer advice"
OURS = (EXPIRED, SUPERSEDED)
"""Reasons that we write ourselves on a Task that we take back."""
_WAITING = ("draft", "requested", "received", "ready", "on-hold")


@dataclass(frozen=True)
class Found:
    """What the store has of one proposal that is to be sent."""

    proposal: Proposal
    version: Version
    forecasts: tuple[tuple[str, ForecastTable], ...]
    basis: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the proposal is called: a newer one of the same name takes its place."""
        return self.version.name

    @property
    def is_simulated(self) -> bool:
        """Whether it is about nobody real."""
        return bool(self.version.meta.get("simulated"))


def _gather(store: Store, key: str, server: str) -> Found | None:
    """Return a proposal with the forecast that it was made with; ``None`` when it is not there or cannot be read."""
    try:
        version = lookup.version(store, "proposal", key)
        proposal = read_proposal(lookup.version_body(store, "proposal", key))
    except (FormatError, StoreError):
        _LOG.warning("a stored proposal cannot be read", extra={"proposal": key})
        return None
    behind = forecast_behind(store, version)
    told = version.meta.get("basis")
    basis = tuple(map(str, told)) if isinstance(told, list) else inputs_of(store, version.patient, server, before=version.recorded)
    return Found(proposal, version, () if behind is None else (behind,), basis)


class Sending:
    """Sends proposals, and takes them back.

    Parameters
    ----------
    services : store, guard and clock.
    client : of the hospital's server; its requests run in threads.
    server : name under which the store remembers it.
    """

    def __init__(self, services: Services, settings: Settings, client: FhirClient, *, server: str, patient_system: str = "") -> None:
        self._services, self._settings, self._client, self.server = services, settings, client, server
        self._patients = Patients(client, patient_system)
        self._consumer = f"return/{server}"
        self._honours: bool | None = None

    async def take_new(self) -> int:
        """Note which proposals that came into the store since the last look are to be sent."""

        def look(store: Store) -> list[Event]:
            return store.events(after=store.position(self._consumer), limit=_EVENTS)

        taken = 0
        while events := await self._services.readers.run(look):
            for event in events:
                if event.kind == "proposal" and event.patient:
                    taken += await self._take(event)
            last = events[-1].seq
            await self._services.write(lambda store, seq=last: store.advance(self._consumer, seq))
            if len(events) < _EVENTS:
                break
        return taken

    async def _take(self, event: Event) -> int:
        now = self._services.clock()
        found = await self._services.readers.run(lambda store: _gather(store, event.ref, self.server))
        if found is None:
            return 0
        expires = found.proposal.issued + round(self._settings.expires_min * MINUTE)
        if now >= expires:
            return 0
        fresh = Delivery(
            event.ref, event.patient, self.server, "sending", now, expires, told={"name": found.name, "choice": found.proposal.choice}
        )
        why = await self._refused(event, found)

        def change(store: Store) -> bool:
            is_new = lookup.named(store, event.patient) is not None and find(store, event.ref, self.server) is None
            if is_new:
                save(store, fresh.now("closed", why=why) if why else fresh)
            store.advance(self._consumer, event.seq)
            return is_new and not why

        return int(await self._services.write(change))

    async def _refused(self, event: Event, found: Found) -> str:
        """Say why a proposal is not sent; empty when it is."""
        choice, now = found.proposal.choice, self._services.clock()
        waiting = await self._waiting(event.patient, found.name)
        if choice is not None and any(one.told.get("choice") == choice and one.expires > now for one in waiting):
            return "the same advice waits already"
        caller = service_caller("return-path", self._settings.purpose, f"return-{event.ref}")
        try:
            await self._services.readers.run(
                lambda store: self._services.guard.require(
                    store, caller, "export", derived_resource(store, self._services.guard, "Task", found.version)
                )
            )
        except AccessDenied:
            return "no consent to it"
        return ""

    async def _waiting(self, patient: str, name: str) -> list[Delivery]:
        found = await self.open(("sending", "sent"))
        return [one for one in found if one.patient == patient and one.told.get("name") == name]

    async def send(self) -> int:
        """Send what is to be sent, oldest first; what a server refuses for good is set aside, what it cannot take now is sent at the next look."""
        done, failed = 0, list[RemoteError]()
        for one in await self.open(("sending",)):
            try:
                done += await self._send(one)
            except RemoteError as error:
                if error.is_final:
                    self._services.metrics.return_path.labels("refused").inc()
                    _LOG.error("the FHIR server refuses a proposal", extra={"proposal": one.proposal, "status": error.status})
                    await self._move(one, one.now("closed", why=f"refused by the server: {error.seen}"))
                    continue
                failed.append(error)  # of one that it cannot take the next may be taken; after three it is away
                if len(failed) == _MOST_FAILED:
                    break
        if failed:
            raise failed[-1]
        return done

    async def _send(self, one: Delivery) -> int:
        found = await self._services.readers.run(lambda store: _gather(store, one.proposal, self.server))
        subject = await self._patients.find(one.patient)
        if found is None or subject is None:
            await self._move(one, one.now("closed", why="no such patient there" if found else "cannot be read"))
            return 0
        if self._services.clock() >= one.expires and not await asyncio.to_thread(self._is_there, one.proposal):
            await self._move(one, one.now("expired", why="expired before it was sent"))
            return 0
        older = [
            other for other in await self._waiting(one.patient, found.name) if other.state == "sent" and other.proposal != one.proposal
        ]
        told = await asyncio.to_thread(self._post, one, found, subject, older)
        for other in older:
            await self.withdraw(other, SUPERSEDED)
        await self._move(one, one.now("sent" if found.proposal.choice else "told", **told))
        self._services.metrics.return_path.labels("sent").inc()
        return 1

    def _is_there(self, proposal: str) -> bool:
        return any(True for _ in self._client.search("Communication", ("identifier", f"{SYSTEM}|{proposal}/message")))

    def _post(self, one: Delivery, found: Found, subject: str, older: list[Delivery]) -> dict[str, Any]:
        """Send; return where everything is there. Sent again, it finds what is there."""
        tables = [table for _, table in found.forecasts]
        bundle = advice_bundle(
            found.proposal, key=one.proposal, subject=subject, expires=one.expires, forecasts=tables, recipients=self._settings.recipients,
            replaces=[str(other.told["request"]) for other in older if other.told.get("request")], simulated=found.is_simulated,
            basis=found.basis, figures=[figure for table in tables for figure in draw_forecast(table, is_simulated=found.is_simulated)],
        )  # fmt: skip
        named = self._client.transaction(bundle)
        kinds: dict[str, list[str]] = {}
        for reference in named:
            kinds.setdefault(reference.partition("/")[0], []).append(reference)
        told: dict[str, Any] = {
            "task": next(iter(kinds.get("Task", [])), ""),
            "request": next(iter(kinds.get("ServiceRequest", [])), ""),
            "risks": kinds.get("RiskAssessment", []),
            "device": kinds["Device"][0],
            "forecast": found.forecasts[0][0] if found.forecasts else "",
            "issued": found.proposal.issued,
            "until": self._until(found.proposal, tables),
            "lineage": found.proposal.lineage.model_dump(mode="json"),
        }
        first = told["task"] or kinds["Observation"][0]
        targets = [reference for reference in named if not reference.startswith("Device/")]
        self._client.create(provenance(found.proposal, targets, device=told["device"], basis=found.basis), unless=f"target={first}")
        entry = {"action": "export", "time": found.proposal.issued, "who": told["device"], "purpose": self._settings.purpose,
                 "patient": subject.partition("/")[2], "detail": {"resource": first, "outcome": "success"}}  # fmt: skip
        self._client.create(audit_event(entry), unless=f"entity={first}")
        return told

    def _until(self, proposal: Proposal, tables: list[ForecastTable]) -> int:
        """Return the last time of the forecasts that counts as their outcome."""
        within = self._settings.outcome_within_min
        latest = 2**62 if within is None else proposal.issued + round(within * MINUTE)
        times = [int(time) for table in tables for time in table.times if time <= latest]
        return max(times, default=proposal.issued)

    async def _move(self, one: Delivery, to: Delivery) -> None:
        """Write down where a delivery is now, unless it was erased or somebody else was faster."""

        def change(store: Store) -> None:
            current = find(store, one.proposal, self.server)
            if current is not None and current.rev == one.rev:
                save(store, to)

        await self._services.write(change)

    async def open(self, states: tuple[State, ...]) -> list[Delivery]:
        """Return what is in one of these states on this server."""
        return await self._services.readers.run(lambda store: deliveries(store, self.server, states))

    def may_change(self, one: Delivery) -> bool:
        """Say whether the server keeps who writes from writing over others; where it does not, nothing of it is changed from here."""
        if self._honours is None:
            self._honours = self._client.honours_versions(str(one.told["device"]))
            if not self._honours:
                _LOG.error("the FHIR server writes over other versions (If-Match): nothing of it is changed from here")
        return self._honours

    async def withdraw(self, one: Delivery, why: str) -> int:
        """Take back a Task that nobody has answered; who was faster is read at the next look."""

        def cancel() -> bool:
            if not self.may_change(one):
                return False
            answered = False

            def edit(task: dict[str, Any]) -> dict[str, Any] | None:
                nonlocal answered
                if task.get("status") not in _WAITING:
                    told = read_answer(task)
                    answered = told is not None and told.reason not in OURS
                    return None
                return task | {"status": "cancelled", "statusReason": {"text": why}, "lastModified": iso(self._services.clock())}

            try:
                self._client.change(str(one.told["task"]), edit)
                if not answered and one.told.get("request"):
                    self._client.change(str(one.told["request"]), revoked)
            except RemoteError as error:
                if not error.is_final:
                    raise
                _LOG.warning("a Task cannot be taken back: it is gone", extra={"proposal": one.proposal, "status": error.status})
            return not answered

        if not await asyncio.to_thread(cancel):
            return 0

        def change(store: Store) -> None:
            current = find(store, one.proposal, self.server)
            if current is not None and current.state == "sent":
                save(store, current.now("expired", why=why))

        await self._services.write(change)
        self._services.metrics.return_path.labels("withdrawn").inc()
        return 1


def revoked(request: dict[str, Any]) -> dict[str, Any] | None:
    """Edit a request that asks for nothing any more; None when it already does not."""
    return request | {"status": "revoked"} if request.get("status") in ("draft", "active", "on-hold") else None
