"""Cut the way back short between any two of its steps, before and after each request and each write, and look what there is at the end."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from _loop import NOW, Loop, advise, enrol, readings, work

from gemel.core.time import HOUR, MINUTE, iso
from gemel.interop.fhir.client import FhirClient
from gemel.platform.store.deliveries import find
from gemel.server.return_path import ReturnPath


class Killed(BaseException):
    """The process is gone: nobody catches it."""


class Fuse:
    """Burns at the n-th point; each request and each write has one before and one after."""

    def __init__(self, point: int) -> None:
        self.left, self.point, self.passed = point, point, 0

    def burn(self) -> None:
        self.passed += 1
        self.left -= 1
        if self.left == 0:
            raise Killed()


class FusedTransport:
    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self.inner, self.fuse = inner, fuse

    def request(self, method: str, url: str, **rest: Any) -> Any:
        self.fuse.burn()
        answer = self.inner.request(method, url, **rest)
        self.fuse.burn()
        return answer


class FusedServices:
    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, change: Any) -> Any:
        self._fuse.burn()
        answer = await self._inner.write(change)
        self._fuse.burn()
        return answer


def _fused(loop: Loop, fuse: Fuse) -> ReturnPath:
    plain = loop.path._client
    client = FhirClient(plain.base, FusedTransport(plain.transport, fuse), paging="offset", sleep=lambda _: None)
    return ReturnPath(FusedServices(loop.services, fuse), loop.services.config.return_path, client, server="hospital")  # type: ignore[arg-type]


_numbers = itertools.count()


def scenario(
    loop: Loop, medplum: Any, point: int, *, choice: str | None = "2 mg", answered: str = "accepted"
) -> tuple[int, dict[str, Any]]:
    """Send, answer, observe, score, with a death at one point; return how many points there were, and what there is at the end."""
    patient = f"crash-{id(loop)}-{next(_numbers)}-{point}"
    medplum.put({"resourceType": "Patient", "id": patient})
    loop.clock.now = NOW
    loop.write(lambda store: enrol(store, patient))
    key = loop.write(lambda store: advise(store, patient, choice))
    fuse = Fuse(point)

    def step() -> None:
        nonlocal fuse
        try:
            asyncio.run(_fused(loop, fuse).step())
        except Killed:
            fuse = Fuse(-1)  # another process, which knows nothing
            asyncio.run(_fused(loop, fuse).step())

    step()
    for task in medplum.found("Task", patient=f"Patient/{patient}"):
        medplum.put(task | {"status": answered, "lastModified": iso(NOW + MINUTE), "owner": {"reference": "Practitioner/3"}})
    step()
    step()
    loop.write(lambda store: store.append(patient, [readings((NOW + HOUR, 12.0), (NOW + 4 * HOUR, 20.0))], recorded=NOW + 4 * HOUR))
    loop.clock.now = NOW + 5 * HOUR
    step()
    work(loop)
    step()
    while work(loop):
        step()
    kinds = ("Task", "ServiceRequest", "CarePlan", "RiskAssessment", "Communication", "Observation")
    told: dict[str, Any] = {kind: len(medplum.found(kind, patient=f"Patient/{patient}")) for kind in kinds}
    for task in medplum.found("Task", patient=f"Patient/{patient}"):
        told["status"] = (task["status"], task.get("businessStatus", {}).get("text"))
        told["provenance"] = len(medplum.found("Provenance", target=f"Task/{task['id']}"))
        told["audit"] = len(medplum.found("AuditEvent", entity=f"Task/{task['id']}"))
    answers = loop.look(lambda store: store.answers(patient))
    told["answers"] = [(kind, getattr(one, "answer", None) or dict(one.values)) for kind, one in answers]
    told["findings"] = sorted(f.code.code for f in loop.look(lambda store: store.record(patient)).findings)
    told["state"] = loop.look(lambda store: find(store, key, "hospital")).state
    return fuse.passed, told
