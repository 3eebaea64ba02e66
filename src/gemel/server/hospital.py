"""The hospital's FHIR server, as the configuration names it: who we are there, and which Patient there is whose pseudonym here."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from gemel.core.errors import ConfigurationError
from gemel.interop.fhir.bulk_client import BulkExport, Fetched
from gemel.interop.fhir.client import FhirClient
from gemel.interop.fhir.smart import BackendAuthorisation, discover, signer
from gemel.platform.access import Subject
from gemel.platform.guard import Caller
from gemel.server.config import is_loopback
from gemel.server.outgoing import HttpTransport, origin
from gemel.server.sections.hospital import Hospital

__all__ = ["Patients", "connect", "fetch_export", "service_caller"]

_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}\Z")
_ESCAPED = re.compile(r"[\\|,$]")


@contextlib.contextmanager
def connect(hospital: Hospital, *, clock: Callable[[], int]) -> Iterator[FhirClient]:
    """Open a client of the hospital's server, and close its connections at the end. Blocking: its requests belong into a thread.

    Raises
    ------
    ConfigurationError
        When the key cannot be read, or a server without TLS would be given a token.
    RemoteError
        When the server must be asked how to log in, and does not say.
    """
    settings = {"seconds": hospital.seconds, "verify": None if hospital.certificates is None else str(hospital.certificates)}
    with contextlib.ExitStack() as stack:
        transport = stack.enter_context(contextlib.closing(HttpTransport([hospital.base], **settings)))
        authorisation = None
        if hospital.client_id and hospital.key_file is not None:
            if not hospital.base.startswith("https://") and not is_loopback(urlsplit(hospital.base).hostname or ""):
                raise ConfigurationError(
                    "a token would be sent in the clear", seen=origin(hospital.base), expected="https", fix="[hospital] base"
                )
            try:
                key = hospital.key_file.read_bytes()
            except OSError as error:
                raise ConfigurationError("the client's key cannot be read", seen=error.strerror, fix="[hospital] key_file") from None
            token_url = hospital.token_url or discover(hospital.base, transport).token
            logging_in = stack.enter_context(contextlib.closing(HttpTransport([token_url], **settings)))
            sign = signer(key.strip(), kid=hospital.key_id, algorithm=hospital.algorithm)
            authorisation = BackendAuthorisation(token_url, hospital.client_id, sign, hospital.scope, logging_in, clock)
        yield FhirClient(hospital.base, transport, authorisation=authorisation, paging=hospital.paging)


def fetch_export(
    hospital: Hospital,
    folder: Path,
    *,
    clock: Callable[[], int],
    level: str = "",
    since: str = "",
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Fetch a bulk export of the hospital's server into a folder; begun again, it goes on where it was.

    Parameters
    ----------
    level : empty for the whole system, ``Patient``, or ``Group/ID``.
    since : only what changed after this instant (ISO 8601).

    Raises
    ------
    RemoteError, FormatError, ConfigurationError
        As :class:`gemel.interop.fhir.bulk_client.BulkExport` and :func:`connect` say.
    """
    with connect(hospital, clock=clock) as client:
        transport = cast(HttpTransport, client.transport)
        return BulkExport(client, transport, folder, authorisation=client.authorisation, sleep=sleep).fetch(level=level, since=since)


def service_caller(what: str, purpose: str, request: str) -> Caller:
    """Return the caller that a background service is to the guard."""
    return Caller(Subject(f"Device/gemel-{what}", "service"), purpose, request)


class Patients:
    """Which Patient there belongs to a pseudonym here; looked up once.

    Parameters
    ----------
    system : of the identifier that is our pseudonym there; empty: the pseudonym is the logical id.
    """

    def __init__(self, client: FhirClient, system: str) -> None:
        self._client, self._system = client, system
        self._known: dict[str, str] = {}

    async def find(self, pseudonym: str) -> str | None:
        """Return the reference of a Patient there; ``None`` when there is none, or not exactly one."""
        if pseudonym not in self._known:
            found = await asyncio.to_thread(self._look, pseudonym)
            if found is None:
                return None
            if len(self._known) > 100_000:
                self._known.clear()
            self._known[pseudonym] = found
        return self._known[pseudonym]

    def _look(self, pseudonym: str) -> str | None:
        if self._system:
            query = ("identifier", f"{self._system}|{_ESCAPED.sub(_escape, pseudonym)}")
        elif _ID.match(pseudonym):
            query = ("_id", pseudonym)
        else:
            return None  # no logical id: nobody there can be called so
        found = {str(one.get("id")) for one in self._client.search("Patient", query)}
        return f"Patient/{found.pop()}" if len(found) == 1 else None


def _escape(found: re.Match[str]) -> str:
    return "\\" + found.group()
