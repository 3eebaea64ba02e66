"""A typed client of the API: answers as types, work waited for, what is safe to send again sent again."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, TypeVar, cast

import httpx
from pydantic import BaseModel

from gemel.core.protocols import Progress
from gemel.core.time import Instant, iso, to_ns
from gemel.server.client.answers import Pages, frames
from gemel.server.client.errors import ApiError, JobFailed, Unreachable
from gemel.server.resources import (
    ConsentTold,
    DecisionTold,
    EvidenceTold,
    ExposureTold,
    FindingTold,
    Imported,
    JobTold,
    OutcomeTold,
    Page,
    PatientTold,
    ProposalTold,
    SeriesTold,
    TwinTold,
    VersionTold,
    Withdrawn,
)

__all__ = ["Client"]

M = TypeVar("M", bound=BaseModel)
_AGAIN = frozenset({429, 502, 503, 504})
_LONGEST_PAUSE_S = 30.0


def _when(time_: Instant | None) -> str | None:
    return None if time_ is None else iso(to_ns(time_))


class Client:
    """Asks a server of Gemel.

    A request that changes nothing, or carries a key (each that changes something is given one), is sent again when the server does not answer or is busy: it has one
    effect, however often it arrives.

    Parameters
    ----------
    url : of the server, such as ``https://twin.example.org``.
    token : bearer token; or a function that returns one that is good now.
    purpose : why data are asked for: a code of v3-ActReason, such as ``TREAT``.
    tries : how often a request is sent at most.
    timeout_s : seconds to wait for an answer.
    transport : of httpx, for tests.
    sleep, monotonic : the clock that waiting goes by.

    Examples
    --------
    ::

        with Client("https://twin.example.org", token, purpose="TREAT") as client:
            twin = client.wait(client.calibrate(patient, "metabolic"))
            print(client.forecast_of(twin.href))
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        purpose: str = "",
        tries: int = 4,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token, self._purpose, self._tries, self._sleep, self._monotonic = token, purpose, tries, sleep, monotonic
        self._http = httpx.Client(base_url=url.rstrip("/") + "/api/v1", timeout=timeout_s, transport=transport, follow_redirects=False)
        self._bodies: dict[str, tuple[str, bytes]] = {}

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # what every request goes through

    def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **rest: Any) -> httpx.Response:
        given = {"Accept": "application/json", **(headers or {})}
        if self._purpose:
            given["X-Purpose-Of-Use"] = self._purpose
        if method != "GET":
            given.setdefault("Idempotency-Key", uuid.uuid4().hex)
        path = path.removeprefix("/api/v1")
        reason = "no answer"
        for turn in range(1, self._tries + 1):
            given["Authorization"] = f"Bearer {self._token() if callable(self._token) else self._token}"
            pause = min(_LONGEST_PAUSE_S, 0.2 * 2**turn) * random.uniform(0.5, 1.0)
            try:
                answer = self._http.request(method, path, headers=given, **rest)
            except httpx.TransportError as error:
                reason = type(error).__name__
            else:
                if answer.status_code not in _AGAIN:
                    return self._judged(answer)
                reason = f"status {answer.status_code}"
                told = answer.headers.get("retry-after", "")
                pause = max(pause, min(_LONGEST_PAUSE_S, float(told))) if told.isdigit() else pause
                if turn == self._tries:
                    return self._judged(answer)
            if turn < self._tries:
                self._sleep(pause)
        raise Unreachable(
            "the server does not answer", seen=f"{reason}, asked {self._tries} times", fix="try again later; /healthz says whether it lives"
        )

    @staticmethod
    def _judged(answer: httpx.Response) -> httpx.Response:
        if answer.status_code < 400:
            return answer
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        raise ApiError(answer.status_code, problem if isinstance(problem, dict) else {}, request=answer.headers.get("x-request-id", ""))

    def _get(self, path: str, kind: type[M], **params: Any) -> M:
        return kind.model_validate_json(self._ask("GET", path, params=_given(params)).content)

    def _post(self, path: str, kind: type[M], body: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None) -> M:
        return kind.model_validate_json(self._ask("POST", path, json=_given(body or {}), headers=headers).content)

    def _pages(self, path: str, kind: type[M], **params: Any) -> Pages[M]:
        page = Page[kind]

        def fetch(cursor: str | None) -> Page[M]:
            return page.model_validate_json(self._ask("GET", path, params=_given(params | {"cursor": cursor})).content)

        return Pages(fetch)

    # patients and facts

    def patients(self, *, limit: int = 100) -> Pages[PatientTold]:
        """List the patients that one may know of."""
        return self._pages("/patients", PatientTold, limit=limit)

    def find_patient(self, pseudonym: str) -> PatientTold:
        """Find a patient by pseudonym."""
        return self._post("/patients/search", PatientTold, {"pseudonym": pseudonym})

    def patient(self, patient: str) -> PatientTold:
        """Show a patient (random id)."""
        return self._get(f"/patients/{patient}", PatientTold)

    def series(
        self, patient: str, *codes: str, start: Instant | None = None, end: Instant | None = None, as_of: Instant | None = None
    ) -> list[SeriesTold]:
        """Return readings in columns: of these codes (``loinc:99504-3``), of ``start <= time < end``, as they were known at ``as_of``."""
        params = {"code": list(codes) or None, "from": _when(start), "to": _when(end), "as_of": _when(as_of)}
        return list(self._pages(f"/patients/{patient}/series", SeriesTold, **params))

    def exposures(self, patient: str, *codes: str, as_of: Instant | None = None) -> list[ExposureTold]:
        """Return meals, drugs, exercise and procedures."""
        return list(self._pages(f"/patients/{patient}/exposures", ExposureTold, code=list(codes) or None, as_of=_when(as_of)))

    def findings(self, patient: str, *codes: str, as_of: Instant | None = None) -> list[FindingTold]:
        """Return diagnoses, events and single measurements."""
        return list(self._pages(f"/patients/{patient}/findings", FindingTold, code=list(codes) or None, as_of=_when(as_of)))

    # the verbs: each asks for work; wait() returns when it is done

    def calibrate(self, patient: str, twin: str, *, now: Instant | None = None, seed: int = 0, method: str | None = None) -> JobTold:
        """Ask for a twin of a patient."""
        return self._post("/twins", JobTold, {"patient": patient, "twin": twin, "now": _when(now), "seed": seed, "method": method})

    def assimilate(self, twin: str, *, now: Instant | None = None) -> JobTold:
        """Ask that a twin (``PATIENT.ROOM``) be brought up to date."""
        return self._post(f"/twins/{twin}/assimilate", JobTold, {"now": _when(now)})

    def forecast(
        self, twin: str, *, plan: Mapping[str, Any] | str | None = None, minutes: list[float] | None = None, n: int = 256, seed: int = 0
    ) -> JobTold:
        """Ask for a forecast under a plan."""
        return self._post(f"/twins/{twin}/forecasts", JobTold, {"plan": plan, "minutes": minutes, "n": n, "seed": seed})

    def compare(
        self, twin: str, plans: Mapping[str, Any] | None = None, *, minutes: list[float] | None = None, n: int = 512, seed: int = 0
    ) -> JobTold:
        """Ask for forecasts of several plans under the same draws."""
        return self._post(f"/twins/{twin}/comparisons", JobTold, {"plans": plans, "minutes": minutes, "n": n, "seed": seed})

    def recommend(
        self, twin: str, plans: Mapping[str, Any] | None = None, *, minutes: list[float] | None = None, n: int = 512, seed: int = 0
    ) -> JobTold:
        """Ask which plan is best within the limits."""
        return self._post(f"/twins/{twin}/recommendations", JobTold, {"plans": plans, "minutes": minutes, "n": n, "seed": seed})

    def score(self, forecast: str, *, now: Instant | None = None) -> JobTold:
        """Ask how a forecast did."""
        return self._post(f"/forecasts/{forecast}/score", JobTold, {"now": _when(now)})

    # twins, forecasts, advice

    def twins(self, patient: str) -> list[TwinTold]:
        """List the twins of a patient."""
        return list(self._pages("/twins", TwinTold, patient=patient))

    def twin(self, twin: str) -> TwinTold:
        """Show a twin."""
        return self._get(f"/twins/{twin}", TwinTold)

    def versions(self, twin: str) -> Pages[VersionTold]:
        """List the versions of a twin, the newest first."""
        return self._pages(f"/twins/{twin}/versions", VersionTold)

    def state(self, twin: str, version: str) -> bytes:
        """Return what is believed by one version, as it was stored."""
        return self._ask("GET", f"/twins/{twin}/versions/{version}/state").content

    def standing(self, twin: str, *, as_of: Instant | None = None) -> dict[str, Any]:
        """Return the standing forecast of a twin; what has not changed since it was asked for is not sent again."""
        return self.forecast_of(f"/twins/{twin}/forecast", as_of=as_of)

    def forecast_of(self, href: str, *, as_of: Instant | None = None) -> dict[str, Any]:
        """Return a forecast by its address, such as the ``href`` of the job that made it."""
        params = _given({"as_of": _when(as_of)})
        key = f"{href}?{params}"
        held = self._bodies.get(key)
        answer = self._ask("GET", href, params=params, headers={"If-None-Match": held[0]} if held else None)
        if answer.status_code == 304 and held is not None:
            return json.loads(held[1])
        if len(self._bodies) >= 64:
            self._bodies.pop(next(iter(self._bodies)))
        self._bodies[key] = answer.headers.get("etag", ""), answer.content
        return answer.json()

    def score_of(self, forecast: str) -> dict[str, Any]:
        """Return how a forecast (its id) did."""
        return self.forecast_of(f"/forecasts/{forecast}/score")

    def recommendations(self, patient: str) -> list[ProposalTold]:
        """List what was proposed for a patient."""
        return list(self._pages("/recommendations", ProposalTold, patient=patient))

    def decide(
        self,
        recommendation: str,
        answer: Literal["accepted", "changed", "rejected"],
        *,
        plan: str = "",
        reason: str = "",
        time: Instant | None = None,
    ) -> DecisionTold:
        """Answer a proposal as it stands now; when somebody else answers meanwhile it is refused (``ApiError``, 412)."""
        seen = self._ask("GET", f"/recommendations/{recommendation}")
        body = {"answer": answer, "plan": plan, "reason": reason, "time": _when(time)}
        return self._post(f"/recommendations/{recommendation}/decisions", DecisionTold, body, headers={"If-Match": seen.headers["etag"]})

    def tell_outcome(
        self, decision: str, values: Mapping[str, float] | None = None, *, note: str = "", time: Instant | None = None
    ) -> OutcomeTold:
        """Say what came of a decision."""
        return self._post(f"/decisions/{decision}/outcomes", OutcomeTold, {"values": dict(values or {}), "note": note, "time": _when(time)})

    def evidence(self, twin: str) -> EvidenceTold:
        """Show how far an installed twin may be trusted."""
        return self._get(f"/evidence/{twin}", EvidenceTold)

    # work

    def job(self, job: str) -> JobTold:
        """Show how a piece of work stands."""
        return self._get(f"/jobs/{job}", JobTold)

    def cancel(self, job: str) -> JobTold:
        """End a piece of work."""
        return self._post(f"/jobs/{job}/cancel", JobTold)

    def wait(self, job: JobTold | str, *, progress: Progress | None = None, timeout_s: float = 600.0, pause_s: float = 0.25) -> JobTold:
        """Wait until work is done.

        Parameters
        ----------
        progress : told how far it is; when it asks for a stop the work is cancelled.
        timeout_s : seconds after which it gives up; the work goes on.

        Raises
        ------
        JobFailed
            When it was given up or cancelled.
        Unreachable
            When it is not done in time.
        """
        found = self.job(job) if isinstance(job, str) else job
        end, is_told, total = self._monotonic() + timeout_s, False, -1
        while found.state in ("waiting", "leased"):
            if progress is not None:
                if not is_told or found.total != total:
                    progress.start(found.kind, found.total or None)
                    is_told, total = True, found.total
                if not progress.update(found.done, found.note):
                    found = self.cancel(found.id)
                    break
            if self._monotonic() >= end:
                raise Unreachable(
                    "the work is not done yet", seen=f"{found.state} after {timeout_s:g} s", fix=f"wait again: job {found.id}"
                )
            self._sleep(pause_s)
            found = self.job(found.id)
        if progress is not None and is_told:
            progress.finish()
        if found.state != "done":
            raise JobFailed(found.id, found.state, found.reason)
        return found

    # data, consents, rights

    def send(
        self, body: bytes, format: Literal["fhir", "hl7v2", "file"], *, patient: str | None = None, source: str = "api", name: str = ""
    ) -> JobTold:
        """Send data as they are; the job says what became of them."""
        params = _given({"format": format, "patient": patient, "source": source, "name": name})
        headers = {"Content-Type": "application/octet-stream"}
        return JobTold.model_validate_json(self._ask("POST", "/imports", params=params, content=body, headers=headers).content)

    def imported(self, message: int) -> Imported:
        """Say what became of something that was sent."""
        return self._get(f"/imports/{message}", Imported)

    def consents(self, patient: str) -> list[ConsentTold]:
        """List the consents of a patient."""
        return list(self._pages(f"/patients/{patient}/consents", ConsentTold))

    def give_consent(self, patient: str, consent: str, resource: Mapping[str, Any]) -> ConsentTold:
        """Keep a FHIR Consent."""
        answer = self._ask("PUT", f"/patients/{patient}/consents/{consent}", json=resource)
        return ConsentTold.model_validate_json(answer.content)

    def withdraw_consent(self, patient: str, consent: str) -> Withdrawn:
        """Withdraw a consent: from the next question on it permits nothing."""
        return self._post(f"/patients/{patient}/consents/{consent}/withdraw", Withdrawn)

    def export(self, patient: str) -> bytes:
        """Return everything that is held about a patient, a zip."""
        return self._ask("GET", f"/patients/{patient}/export").content

    def events(self, *, patient: str | None = None, last: str | None = None) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Hear what changes: (id, kind, what), until the client is closed. After a break it goes on where it stopped; ``last`` is the id of the last that was heard."""
        while not self._http.is_closed:
            headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {self._token() if callable(self._token) else self._token}"}
            headers |= {"X-Purpose-Of-Use": self._purpose} if self._purpose else {}
            headers |= {"Last-Event-ID": last} if last else {}
            try:
                with self._http.stream(
                    "GET", "/events", params=_given({"patient": patient}), headers=headers, timeout=httpx.Timeout(30.0, read=60.0)
                ) as answer:
                    if answer.status_code >= 400:
                        answer.read()
                        self._judged(answer)
                    for key, kind, data in frames(answer.iter_lines()):
                        last = key or last
                        if data:
                            yield last or "", kind, cast("dict[str, Any]", json.loads(data))
            except (httpx.TransportError, httpx.StreamError):
                if not self._http.is_closed:
                    self._sleep(1.0)


def _given(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value is not None}
