"""Reads what was sent to the API, one thing after the other: the bytes are in the inbox, and work that was begun is begun again when the server dies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import orjson

from gemel.core.errors import GemelError, StoreError
from gemel.core.time import SECOND
from gemel.platform.adapters import fhir, files, hl7v2
from gemel.platform.intake import Adapter, Context, Intake, Normalised, Taken
from gemel.platform.store import Store, lookup
from gemel.platform.store.jobs import Job
from gemel.server.services import Services

__all__ = ["KINDS", "adapter_for", "drive", "imported", "run"]

KINDS = ("fhir", "hl7v2", "file")
"""What may be sent: FHIR R4, HL7 v2, and files of one person that :mod:`gemel.interop.wearables` reads."""

_IDLE_S, _LEASE = 0.5, 120 * SECOND


def adapter_for(services: Services, kind: str, *, source: str = "", patient: str = "", layout: str | None = None) -> Adapter:
    """Return who reads a kind of message.

    Parameters
    ----------
    patient : pseudonym of whose file it is. layout : of a file; left out, recognised.
    """
    zone = services.config.imports.zone
    if kind == "fhir":
        from gemel.interop.fhir.mapping import Site

        return fhir.adapter(usual=Site(zone=zone))
    if kind == "hl7v2":
        from gemel.interop.hl7v2 import Site as Sender
        from gemel.server.mllp import site_of

        mllp = services.config.mllp
        if mllp is not None and source == mllp.source:  # what the listener kept is read as the listener reads
            return hl7v2.adapter(usual=site_of(mllp))
        return hl7v2.adapter(usual=Sender(zone=zone))
    return files.adapter({source: patient} if patient else {}, format=layout, tz=zone)


def imported(store: Store, taken: Taken) -> dict[str, object]:
    """Return what became of a message as plain values: counts, reasons and random ids."""
    return {
        "id": taken.message, "state": taken.state, "is_new": taken.is_new, "facts": taken.facts, "patients": [store.subject(name) for name in taken.patients],
        "reason": taken.reason, "report": None if taken.report is None else taken.report.model_dump(mode="json"),
    }  # fmt: skip


async def drive(services: Services, message: int, *, patient: str = "", layout: str | None = None) -> dict[str, object]:
    """Read a message of the inbox and place it. It is parsed beside the one thread that writes, which only places what was found."""

    def parse(store: Store) -> tuple[str, Adapter, Normalised | GemelError]:
        told, body = store.message(message)
        kind, _, source = told.source.partition("/")
        reads = adapter_for(services, kind, source=source, patient=lookup.pseudonym(store, patient) if patient else "", layout=layout)
        try:
            return kind, reads, reads.read(body, Context(source, told.name, told.received))
        except GemelError as error:
            return kind, reads, error

    kind, reads, found = await services.readers.run(parse)

    def known(body: bytes, context: Context) -> Normalised:
        del body, context
        if isinstance(found, GemelError):
            raise found
        return found

    def change(store: Store) -> dict[str, object]:
        return imported(store, Intake(store, [Adapter(kind, known, reads.is_numbered)]).drive(message))

    return await services.write(change)


async def run(services: Services, stop: asyncio.Event) -> None:
    """Take up what was sent, until ``stop`` is set."""
    worker = f"import-{os.getpid()}"
    waiting: Sequence[str] = ("import",)
    while not stop.is_set():
        job: Job | None = None
        for kind in waiting:
            if await services.readers.run(
                lambda store, kind=kind: bool(
                    store.jobs(kind=kind, state="waiting", limit=1) or store.jobs(kind=kind, state="leased", limit=1)
                )
            ):
                job = await services.write(lambda store, kind=kind: store.claim(kind, worker, now=services.clock(), lease=_LEASE))
        if job is None:
            try:
                await asyncio.wait_for(stop.wait(), _IDLE_S)
            except TimeoutError:
                continue
            return
        asked = orjson.loads(job.body)
        try:
            told = await drive(services, asked["message"], patient=asked.get("subject", ""), layout=asked.get("layout"))
            result = orjson.dumps({"kind": "import", **told}).decode()
            await services.write(lambda store, job=job, result=result: store.finish(job.id, worker, result=result, now=services.clock()))
        except StoreError as error:
            reason, again = error.what, services.clock() + 5 * SECOND * 2**job.attempts
            await services.write(
                lambda store, job=job, reason=reason, again=again: store.give_back(
                    job.id, worker, reason=reason, now=services.clock(), ready=again
                )
            )
