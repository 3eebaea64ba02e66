"""The way back: each proposal goes to the hospital's server once, the answer comes back as a decision, and the outcome is awaited and scored.

Every step may be cut short anywhere and is then done again. What is sent is created under identifiers made from the proposal's id, so a second sending finds the first; what
comes back is written in one transaction with the note that it was. Between the two nothing is lost and nothing is there twice, whoever dies when.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gemel.core.advice import Decision
from gemel.core.code import Code
from gemel.core.errors import ConflictError, FormatError, GemelError, RemoteError
from gemel.core.lineage import Lineage
from gemel.core.record import Finding
from gemel.core.time import MINUTE, iso
from gemel.interop.fhir.advice import Answer, Change, decision_provenance, is_ours, read_answer, read_change, subject_of, words_of
from gemel.interop.fhir.client import FhirClient
from gemel.platform.store import Store, lookup
from gemel.platform.store.deliveries import Delivery, deliveries, find, save
from gemel.server.hospital import connect
from gemel.server.outcomes import Outcomes, ask_forecast
from gemel.server.sections.hospital import ReturnPath as Settings
from gemel.server.sending import EXPIRED, OURS, Sending, revoked
from gemel.server.services import Services

__all__ = ["ReturnPath", "run"]

_LOG = logging.getLogger("gemel.server")
_CHUNK = 50
_AHEAD = 2 * MINUTE
DECISION = Code.parse("gemel:decision")
RECORDED = "decision recorded"


class ReturnPath:
    """Carries proposals out and answers in.

    Parameters
    ----------
    services : store, guard and clock.
    client : of the hospital's server; its requests run in threads.
    server : name under which the store remembers it.
    codes : output of a twin -> code of its readings, by the twin's id: for outcomes.
    """

    def __init__(
        self,
        services: Services,
        settings: Settings,
        client: FhirClient,
        *,
        server: str,
        patient_system: str = "",
        codes: Callable[[str], Mapping[str, Code]] | None = None,
    ) -> None:
        self._services, self._settings, self._client, self.server = services, settings, client, server
        self._sending = Sending(services, settings, client, server=server, patient_system=patient_system)
        self._is_blind = False
        self._outcomes = Outcomes(services, settings, server, codes)

    async def step(self) -> int:
        """Do everything that is due; return how many things were done."""
        done = await self._sending.take_new() + await self._sending.send() + await self.read_answers()
        return done + await self._outcomes.follow()

    async def read_answers(self) -> int:
        """Look at every Task that waits, write down what was answered, and let those expire that nobody answered."""
        done = await self._adopt()
        waiting = [one for one in await self._sending.open(("sent", "decided", "scoring")) if one.told.get("task")]
        for start in range(0, len(waiting), _CHUNK):
            part = waiting[start : start + _CHUNK]
            tasks, changes = await asyncio.to_thread(self._look, part)
            for one in part:
                task = tasks.get(str(one.told["task"]))
                try:
                    done += await self._read(one, task, changes.get(str(one.told.get("request"))))
                except Exception as error:  # whatever stands in one Task, the others are read
                    _LOG.warning("an answer could not be dealt with", extra={"proposal": one.proposal, "error": type(error).__name__})
        return done

    async def _adopt(self) -> int:
        """Take over decisions that were made elsewhere (in the page, by a card): the Task there asks nobody any more."""

        def look(store: Store) -> list[tuple[Delivery, str, Decision]]:
            found = []
            for one in deliveries(store, self.server, ("sent",)):
                made = [a for a in lookup.decisions(store, store.subject(one.patient), one.proposal) if isinstance(a.told, Decision)]
                if made:
                    found.append((one, made[-1].id, made[-1].told))
            return found

        known = await self._services.readers.run(look)
        for one, key, told in known:
            if not await asyncio.to_thread(self._answer_there, one, told):
                continue  # somebody answered there too: that is read as any answer, and is the newer one

            def change(store: Store, one: Delivery = one, key: str = key, told: Decision = told) -> None:
                current = find(store, one.proposal, self.server)
                if current is not None and current.rev == one.rev:
                    save(store, self._answered(store, current, key, told))

            await self._services.write(change)
        return len(known)

    def _answer_there(self, one: Delivery, told: Decision) -> bool:
        """Say on the Task what was decided elsewhere; return whether nobody had answered it there."""
        if not self._sending.may_change(one):
            return True
        fresh = True

        def edit(task: dict[str, Any]) -> dict[str, Any] | None:
            nonlocal fresh
            if read_answer(task) is not None:
                fresh = words_of(task, "businessStatus") == f"{RECORDED}: {told.answer}"
                return None
            status = "rejected" if told.answer == "rejected" else "accepted"
            more = {"statusReason": {"text": told.reason}} if told.reason else {}
            return task | {
                "status": status,
                "businessStatus": {"text": f"{RECORDED}: {told.answer}"},
                "lastModified": iso(told.time),
                **more,
            }

        try:
            self._client.change(str(one.told["task"]), edit)
        except RemoteError as error:
            if not error.is_final:
                raise
            _LOG.warning("a Task cannot be answered: it is gone", extra={"proposal": one.proposal, "status": error.status})
        return fresh

    def _answered(self, store: Store, current: Delivery, key: str, told: Decision) -> Delivery:
        """Return the delivery of a decision that stands in the store: what is awaited, until when, and against what it will be scored."""
        due = None
        if told.answer != "rejected":
            due = max(int(current.told.get("until") or 0), told.time) + round(self._settings.outcome_min * MINUTE)
        planned = ask_forecast(store, current, told) if told.answer == "accepted" else ""
        return replace(current.now("decided", answer=_mark(told), decision=key, planned=planned, acknowledged=False), due=due)

    def _look(self, part: list[Delivery]) -> tuple[dict[str, Mapping[str, Any]], dict[str, Change]]:
        ids = ",".join(str(one.told["task"]).partition("/")[2] for one in part)
        tasks = {f"Task/{one['id']}": one for one in self._client.search("Task", ("_id", ids))}
        asked = ",".join(str(one.told["request"]) for one in part if one.told.get("request"))
        own = {str(one.told.get("request")) for one in part}
        changes: dict[str, Change] = {}
        for found in self._replacing(asked) if asked else ():
            try:
                change = read_change(found)
            except FormatError:
                continue  # without a time it cannot stand in a record; it is looked at again
            if not is_ours(found) and found.get("status") not in ("draft", "revoked", "entered-in-error"):
                changes.update({replaced: change for replaced in change.replaces if replaced in own})
        return tasks, changes

    def _replacing(self, asked: str) -> list[Mapping[str, Any]]:
        if self._is_blind:
            return []
        try:
            return list(self._client.search("ServiceRequest", ("replaces", asked)))
        except RemoteError as error:
            if not error.is_final:
                raise
            self._is_blind = True
            _LOG.error(
                "the FHIR server cannot be asked which requests replace ours: changed plans are not seen", extra={"status": error.status}
            )
            return []

    async def _read(self, one: Delivery, task: Mapping[str, Any] | None, change: Change | None) -> int:
        now = self._services.clock()
        answer = read_answer(task) if task is not None else None
        if answer is not None and answer.reason in OURS:
            answer = None  # our own hand
        if change is not None and task is not None and change.subject != subject_of(task):
            _LOG.warning("a request that replaces ours is about somebody else", extra={"proposal": one.proposal})
            change = None
        if change is not None and (answer is None or answer.answer == "accepted"):
            told = Decision(
                proposal=one.proposal,
                time=change.time,
                recorded=now,
                who=change.who,
                answer="changed",
                plan=change.plan,
                reason=change.reason,
            )
        elif answer is not None:
            told = Decision(
                proposal=one.proposal, time=answer.time, recorded=now, who=answer.who, answer=answer.answer, plan=str(one.told.get("choice") or ""),
                reason=_late(answer, one),
            )  # fmt: skip
        elif one.state == "sent" and now >= one.expires:
            return await self._sending.withdraw(one, EXPIRED)
        else:
            return 0
        if told.time > now + _AHEAD:  # a clock that is wrong: a fact of the future would never be known, and its outcome never due
            told = told.model_copy(
                update={"time": now, "reason": "; ".join(filter(None, (told.reason, "dated in the future by its sender")))}
            )
        if one.told.get("answer") != _mark(told):
            one = await self._decided(one, told)
            self._services.metrics.return_path.labels(told.answer).inc()
            await self._acknowledge(one, told)
            return 1
        if not one.told.get("acknowledged"):
            await self._acknowledge(one, told)
        return 0

    async def _decided(self, one: Delivery, told: Decision) -> Delivery:
        """Write down the decision: answer, fact of the record and state, all or nothing."""

        def change(store: Store) -> Delivery:
            current = find(store, one.proposal, self.server)
            if current is None or current.told.get("answer") == _mark(told):
                return current or one
            key = store.decide(told)
            words = f"{told.answer}: {told.plan}" if told.plan else told.answer
            fact = Finding(code=DECISION, value=words, time=told.time, recorded=told.recorded, source=self.server, id=f"decision/{key}")
            store.append(one.patient, [fact], recorded=told.recorded)
            return save(store, self._answered(store, current, key, told))

        return await self._services.write(change)

    async def _acknowledge(self, one: Delivery, told: Decision) -> None:
        """Say there that the decision was recorded; an assessment that a person has accepted is preliminary no more."""
        await asyncio.to_thread(self._write_back, one, told)

        def change(store: Store) -> None:
            current = find(store, one.proposal, self.server)
            if current is not None and not current.told.get("acknowledged"):
                save(store, current.now("closed" if told.answer == "rejected" else current.state, acknowledged=True))

        await self._services.write(change)

    def _write_back(self, one: Delivery, told: Decision) -> None:
        if not self._sending.may_change(one):
            return

        def note(task: dict[str, Any]) -> dict[str, Any] | None:
            text = f"{RECORDED}: {told.answer}"
            return None if words_of(task, "businessStatus") == text else task | {"businessStatus": {"text": text}}

        def final(risk: dict[str, Any]) -> dict[str, Any] | None:
            return risk | {"status": "final"} if risk.get("status") == "preliminary" else None

        self._client.change(str(one.told["task"]), note)
        signed = decision_provenance(
            Lineage(**one.told["lineage"]), [str(one.told["task"]), *map(str, one.told.get("risks", ()))], device=str(one.told["device"]),
            answer=told.answer, time=told.time, who=told.who,
        )  # fmt: skip
        self._client.create(signed, unless=f"target={one.told['task']}&agent-type=verifier&recorded={iso(told.time)}")
        if told.answer == "accepted":
            for risk in one.told.get("risks", ()):
                self._client.change(str(risk), final)
        else:
            self._client.change(str(one.told["request"]), revoked)


def _mark(told: Decision) -> str:
    """Return what tells one answer from the next on the same Task."""
    return f"{told.answer}|{told.plan}" if told.answer == "changed" else told.answer


def _late(answer: Answer, one: Delivery) -> str:
    late = f"answered after {iso(one.expires)}, when it had expired" if answer.time > one.expires else ""
    return "; ".join(filter(None, (answer.reason, late)))


async def run(services: Services, stop: asyncio.Event) -> None:
    """Run the way back until ``stop``; what the poll or a notification found makes it look at once."""
    hospital, settings = services.config.hospital, services.config.return_path
    if hospital is None or settings is None:
        return
    wake: asyncio.Event = services.state.setdefault("return_path.wake", asyncio.Event())
    with contextlib.ExitStack() as stack:
        client = await asyncio.to_thread(stack.enter_context, connect(hospital, clock=services.clock))
        path = ReturnPath(services, settings, client, server=hospital.name, patient_system=hospital.patient_system)
        while not stop.is_set():
            wake.clear()
            try:
                await path.step()
            except (RemoteError, ConflictError) as error:
                _LOG.warning("the return path waits for the FHIR server", extra={"error": error.what})
            except GemelError as error:
                _LOG.error("the return path failed", extra={"error": type(error).__name__})
            await pause(stop, wake, settings.interval_s)


async def pause(stop: asyncio.Event, wake: asyncio.Event, seconds: float) -> None:
    """Wait until it is time, or somebody says that there is something to do, or all ends."""
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(wake.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()
