"""A bulk export of another server, fetched into a folder: asked for, waited for, each file resumed where it broke off, and the time from which the next export goes on.

What was reached stands in ``export.json`` in the folder, written whole or not at all, so that a process that was killed goes on: it asks for nothing twice, and a file that was
half there is continued (or begun again where the server cannot continue).

References
----------
HL7 FHIR Bulk Data Access 2.0.0: kick-off with ``Prefer: respond-async`` (202, Content-Location), status (202 with Retry-After and X-Progress, 200 with the manifest), files,
DELETE. ``transactionTime`` is the next ``_since``.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from gemel.core.errors import FormatError, RemoteError
from gemel.interop.fhir.client import Authorisation, FhirClient, header, retry_after
from gemel.interop.fhir.codec import decode

__all__ = ["BulkExport", "Fetched", "StreamedResponse", "Streaming"]

_STATE = "export.json"
_POLL_S, _LONGEST_S = 5.0, 60.0
_KINDS = ("output", "deleted", "error")


class StreamedResponse(Protocol):
    """An answer whose body is still on the wire."""

    status_code: int
    headers: Mapping[str, str]

    def pieces(self) -> Iterator[bytes]:
        """Return the body in pieces."""
        ...


class Streaming(Protocol):
    """Carries one request whose answer is read in pieces."""

    def stream(self, method: str, url: str, *, headers: Mapping[str, str]) -> AbstractContextManager[StreamedResponse]:
        """Send a request; the answer is read inside ``with``."""
        ...


@dataclass(frozen=True)
class Fetched:
    """What an export brought.

    Parameters
    ----------
    since : ``transactionTime``: the ``_since`` of the next export.
    files : NDJSON of resources, one file for each part.
    deleted : NDJSON of Bundles that name what is not there any more. errors : NDJSON of OperationOutcomes.
    """

    since: str
    files: tuple[Path, ...]
    deleted: tuple[Path, ...] = ()
    errors: tuple[Path, ...] = ()


@dataclass
class BulkExport:
    """One export.

    Parameters
    ----------
    client : of the server; kick-off and status go through it.
    transport : carries files. authorisation : of the client; sent with a file only to the server's own address, and only where the manifest asks for it.
    folder : where to; made when missing. What is there of another export is refused.
    sleep : waits so many seconds. patience : seconds in all that the server may prepare.
    """

    client: FhirClient
    transport: Streaming
    folder: Path
    authorisation: Authorisation | None = None
    sleep: Callable[[float], None] = time.sleep
    patience: float = 24 * 3600.0
    _state: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def fetch(
        self, *, level: str = "", since: str = "", types: Sequence[str] = (), filters: Sequence[str] = (), elements: Sequence[str] = ()
    ) -> Fetched:
        """Fetch everything; called again after an error it goes on.

        Parameters
        ----------
        level : empty for the whole system, ``Patient``, or ``Group/ID``.
        since : only what changed after this instant. types, filters, elements : ``_type``, ``_typeFilter``, ``_elements``.

        Raises
        ------
        RemoteError
            When the server refuses, takes too long, or a file is not what the manifest says.
        FormatError
            When the manifest cannot be understood, or the folder holds another export.
        """
        query = [("_outputFormat", "application/fhir+ndjson")]
        query += [
            (name, value) for name, value in (("_since", since), ("_type", ",".join(types)), ("_elements", ",".join(elements))) if value
        ]
        query += [("_typeFilter", one) for one in filters]
        asked = f"{level}/$export?{urlencode(query)}".lstrip("/")
        self._open(asked)
        if "manifest" not in self._state:
            self._state["manifest"] = self._wait(asked)
            self._save()
        return self._files()

    def _open(self, asked: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / _STATE
        if place.exists():
            self._state = json.loads(place.read_text(encoding="utf-8"))
            if (self._state.get("base"), self._state.get("asked")) != (self.client.base, asked):
                raise FormatError("the folder holds another export", seen=place.name, expected="an empty folder", fix="name another folder")
        else:
            self._state = {"base": self.client.base, "asked": asked, "done": {}}
            self._save()

    def _save(self) -> None:
        part = self.folder / f"{_STATE}.part"
        with open(part, "w", encoding="utf-8") as sink:
            json.dump(self._state, sink, indent=1)
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(self.folder / _STATE)

    def _wait(self, asked: str) -> dict[str, Any]:
        waited = 0.0
        while True:
            if "status" not in self._state:
                answer = self.client.request("GET", asked, headers={"Prefer": "respond-async"}, accepted=frozenset({202}))
                place = header(answer, "content-location")
                if not place:
                    raise RemoteError("an export without an address to ask at", seen="no Content-Location")
                self._state["status"] = place
                self._save()
            try:
                answer = self.client.request(
                    "GET", self._state["status"], headers={"Accept": "application/json"}, accepted=frozenset({200, 202})
                )
            except RemoteError as error:
                if error.status in (404, 410) and not self._state.get("again"):
                    self._state.pop("status")  # the server has forgotten it while we were away
                    self._state["again"] = True
                    continue
                raise
            if answer.status_code == 200:
                return self._manifest(answer.content)
            pause = retry_after(answer)
            pause = min(_POLL_S, _LONGEST_S) if pause is None else max(pause, 0.1)
            waited += pause
            if waited > self.patience:
                raise RemoteError("an export that is not ready in time", seen=f"{waited:.0f} s", fix="call again: it goes on waiting")
            self.sleep(pause)

    def _manifest(self, body: bytes) -> dict[str, Any]:
        found = decode(body)
        if not isinstance(found, dict) or not isinstance(found.get("transactionTime"), str) or not isinstance(found.get("output"), tuple):
            raise FormatError("a manifest that cannot be understood", expected="transactionTime, output")
        listed: list[dict[str, Any]] = []
        for kind in _KINDS:
            for one in found.get(kind) or ():
                if not isinstance(one, dict) or not isinstance(one.get("url"), str):
                    raise FormatError("a manifest that cannot be understood", seen=f"{kind}[]", expected="url")
                name, count = one.get("type"), one.get("count")
                plain = (
                    name
                    if isinstance(name, str) and name.isalpha() and len(name) < 65
                    else "OperationOutcome"
                    if kind == "error"
                    else "Unknown"
                )
                listed.append({"kind": kind, "type": plain, "url": one["url"], "count": count if isinstance(count, int) else None})
        return {"time": found["transactionTime"], "token": found.get("requiresAccessToken") is True, "files": listed}

    def _files(self) -> Fetched:
        manifest = self._state["manifest"]
        paths: dict[str, list[Path]] = {kind: [] for kind in _KINDS}
        for number, one in enumerate(manifest["files"]):
            prefix = "" if one["kind"] == "output" else f"{one['kind']}."
            path = self.folder / f"{prefix}{one['type']}.{number:04d}.ndjson"
            if not self._state["done"].get(str(number)):
                self._fetch(one, path, needs_token=manifest["token"])
                self._state["done"][str(number)] = True
                self._save()
            paths[one["kind"]].append(path)
        if not self._state.get("closed"):
            with contextlib.suppress(RemoteError):  # whether it forgets at once or later is the server's affair
                self.client.request("DELETE", self._state["status"], accepted=frozenset({200, 202, 204, 404}))
            self._state["closed"] = True
            self._save()
        return Fetched(manifest["time"], tuple(paths["output"]), tuple(paths["deleted"]), tuple(paths["error"]))

    def _fetch(self, one: Mapping[str, Any], path: Path, *, needs_token: bool) -> None:
        part = path.with_suffix(".part")
        for attempt in range(1, 6):
            try:
                self._continue(str(one["url"]), part, needs_token)
                break
            except RemoteError as error:
                if error.is_final or attempt == 5:
                    raise
                self.sleep(min(_LONGEST_S, 0.5 * 2**attempt))
        lines = _count(part)
        if one["count"] is not None and lines != one["count"]:
            part.unlink()  # begun anew at the next call
            raise RemoteError("a file that is not what the manifest says", seen=f"{lines} lines", expected=one["count"], fix="call again")
        part.replace(path)

    def _continue(self, url: str, part: Path, needs_token: bool) -> None:
        have = part.stat().st_size if part.exists() else 0
        headers = {"Accept": "application/fhir+ndjson", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        base, there = urlsplit(self.client.base), urlsplit(url)
        if needs_token and self.authorisation is not None and (base.scheme, base.netloc) == (there.scheme, there.netloc):
            headers |= dict(self.authorisation.headers())
        with self.transport.stream("GET", url, headers=headers) as answer:
            if answer.status_code == 416 and have:
                return  # it was there whole
            if answer.status_code not in (200, 206):
                if answer.status_code == 401 and self.authorisation is not None:
                    self.authorisation.forget()
                raise RemoteError("a file of the export cannot be had", seen=answer.status_code, expected="200", status=answer.status_code)
            goes_on = answer.status_code == 206 and header(answer, "content-range").startswith(f"bytes {have}-")  # type: ignore[arg-type]
            with open(part, "ab" if goes_on else "wb") as sink:
                for piece in answer.pieces():
                    sink.write(piece)
                sink.flush()
                os.fsync(sink.fileno())


def _count(path: Path) -> int:
    """Return how many lines have something in them."""
    with open(path, "rb") as source:
        return sum(1 for line in source if line.strip())
