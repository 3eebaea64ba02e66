"""A client of a FHIR R4 server: reads, searches to the last page, creates once, and never overwrites what it has not read.

It speaks over a transport that it is given and tells time by clocks that it is given, so that every answer, delay and fault can be played in a test. The address that it was made
for is the only one that it speaks to: a page that lies elsewhere is refused, and with it the token stays where it belongs. What a server says in an error is never repeated
(it may hold a patient's values); its status and the codes of its issues are.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/http.html (concurrency: If-Match; conditional create: If-None-Exist; paging: Bundle.link).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import urlencode, urljoin, urlsplit

from gemel.core.errors import ConflictError, FormatError, RemoteError
from gemel.interop.fhir.codec import decode, encode, thaw

__all__ = ["Authorisation", "FhirClient", "Page", "Response", "Transport"]

JSON = "application/fhir+json"
_RETRIED = frozenset({429, 502, 503, 504})
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}\Z")
_KIND = re.compile(r"[A-Z][A-Za-z]{1,63}\Z")
_CODE = re.compile(r"[a-z-]{1,30}\Z")
_LONGEST_WAIT = 60.0


class Response(Protocol):
    """An answer, as ``httpx.Response`` is one."""

    @property
    def status_code(self) -> int:
        """Return the status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers; names in any case."""
        ...

    @property
    def content(self) -> bytes:
        """Return the body."""
        ...


class Transport(Protocol):
    """Carries one request. What goes wrong on the way is a ``RemoteError``; redirects are not followed."""

    def request(self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None) -> Response:
        """Send a request; return the answer."""
        ...


class Authorisation(Protocol):
    """Gives the header that says who we are."""

    def headers(self) -> Mapping[str, str]:
        """Return headers for the next request."""
        ...

    def forget(self) -> None:
        """Drop what was refused, so that the next headers are new."""
        ...


class Page(NamedTuple):
    """One page of a search: resources that match (and included ones), and what the server calls the total."""

    resources: tuple[Mapping[str, Any], ...]
    total: int | None
    next: str


def header(answer: Response, name: str) -> str:
    """Return a header, whatever the case of its name."""
    return next((value for key, value in answer.headers.items() if key.lower() == name), "")


def retry_after(answer: Response) -> float | None:
    """Return the seconds that a server asks to wait; None when it says a date or nothing."""
    told = header(answer, "retry-after").strip()
    return min(float(told), _LONGEST_WAIT) if told.isascii() and told.isdigit() and len(told) < 9 else None


def issues(body: bytes) -> str:
    """Return the codes of an OperationOutcome's issues, which are of a closed list; nothing else of it."""
    try:
        found = decode(body, limit=1_000_000)
    except FormatError:
        return ""
    entries = found.get("issue") if isinstance(found, dict) else None
    told = [one.get("code") for one in entries if isinstance(one, dict)] if isinstance(entries, tuple) else []
    return ", ".join(dict.fromkeys(code for code in told if isinstance(code, str) and _CODE.match(code)))


class FhirClient:
    """Speaks to one server.

    Parameters
    ----------
    base : its address, such as ``https://hospital.example/fhir/R4``.
    transport : carries requests.
    authorisation : who we are; left out, nobody.
    paging : ``links`` follows Bundle.link; ``offset`` counts with ``_offset``, for servers without links.
    count : resources asked for in one page.
    tries : how often a request is sent at most.
    sleep, jitter : wait so many seconds; a random number from 0 to 1.
    limit : bytes of an answer.
    """

    def __init__(
        self,
        base: str,
        transport: Transport,
        *,
        authorisation: Authorisation | None = None,
        paging: Literal["links", "offset"] = "links",
        count: int = 200,
        tries: int = 4,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        limit: int = 64 * 1024 * 1024,
    ) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise FormatError("not the address of a FHIR server", seen=f"{parts.scheme}://{parts.hostname}", expected="https://HOST/PATH")
        self.base = base.rstrip("/")
        self._origin = (parts.scheme, parts.hostname, parts.port)
        self.transport, self.authorisation, self._paging, self._count = transport, authorisation, paging, count
        self._tries, self._sleep, self._jitter, self._limit = tries, sleep, jitter, limit

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool | None = None,
        accepted: frozenset[int] = frozenset({200, 201}),
    ) -> Response:
        """Send one request; try again what may be tried again.

        Parameters
        ----------
        path : below the base, or a whole address of the same origin.
        body : a resource.
        is_repeatable : whether sending it twice does no harm; left out, all but POST.
        accepted : statuses that are no error.

        Raises
        ------
        ConflictError
            For 409 and 412: what was to be changed has changed since.
        RemoteError
            For every other answer, and when there is none.
        """
        url = self._address(path)
        repeatable = method != "POST" if is_repeatable is None else is_repeatable
        content = None if body is None else encode(body)
        told = {"Accept": JSON, **({"Content-Type": JSON} if content is not None else {}), **(headers or {})}
        renewed = False
        for attempt in range(1, self._tries + 1):
            who = dict(self.authorisation.headers()) if self.authorisation is not None else {}
            last = attempt == self._tries
            try:
                answer = self.transport.request(method, url, headers=who | told, content=content)
            except RemoteError:
                if last or not repeatable:
                    raise
                self._wait(attempt, None)
                continue
            status = answer.status_code
            if status in accepted:
                if len(answer.content) > self._limit:
                    raise RemoteError("an answer that is too large", seen=f"{len(answer.content)} bytes", expected=f"at most {self._limit}")
                return answer
            if status == 401 and self.authorisation is not None and not renewed:
                self.authorisation.forget()
                renewed = True
                continue
            if status in (409, 412):
                raise ConflictError("the server holds another version", seen=status, fix="read it again", is_stale=True)
            if status in _RETRIED and not last and (repeatable or status in (429, 503)):
                self._wait(attempt, retry_after(answer))
                continue
            raise RemoteError(
                f"{method} was not taken by the FHIR server",
                seen=", ".join(filter(None, (str(status), issues(answer.content)))),
                expected=", ".join(map(str, sorted(accepted))),
                status=status,
            )
        raise RemoteError(f"{method} was not taken by the FHIR server", seen="401, with a new token too", fix="check client and scopes")

    def _wait(self, attempt: int, asked: float | None) -> None:
        self._sleep(asked if asked is not None else min(0.25 * 2**attempt, _LONGEST_WAIT) * (0.5 + self._jitter()))

    def _address(self, path: str) -> str:
        url = path if "://" in path else f"{self.base}/{path}" if path else self.base
        parts = urlsplit(url)
        if (parts.scheme, parts.hostname, parts.port) != self._origin or parts.username:
            raise RemoteError("an address on another server", seen=f"{parts.scheme}://{parts.hostname}", expected=self.base, fix="refused")
        return url

    def _resource(self, answer: Response) -> Mapping[str, Any]:
        found = decode(answer.content, limit=self._limit)
        if not isinstance(found, dict) or not isinstance(found.get("resourceType"), str):
            raise RemoteError("an answer that is no resource", seen=answer.status_code, expected="a FHIR resource as JSON")
        return found

    @staticmethod
    def _place(reference: str) -> str:
        kind, _, key = reference.partition("/")
        if not _KIND.match(kind) or not _ID.match(key):
            raise FormatError("not a reference to read", expected="Type/id")
        return reference

    def read(self, reference: str) -> Mapping[str, Any]:
        """Return a resource by ``Type/id``, with every digit as it was sent."""
        return self._resource(self.request("GET", self._place(reference)))

    def create(self, resource: Mapping[str, Any], *, unless: str = "") -> Mapping[str, Any]:
        """Create a resource, unless a search (``identifier=...``) finds one; return what is there now."""
        headers = {"Prefer": "return=representation"} | ({"If-None-Exist": unless} if unless else {})
        answer = self.request("POST", str(resource["resourceType"]), body=resource, headers=headers, is_repeatable=bool(unless))
        if answer.content:
            return self._resource(answer)
        place = header(answer, "location").split("/_history/")[0].rsplit("/", 2)[-2:]
        return self.read("/".join(place))

    def update(self, resource: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write a resource that was read before; refused by the server when it holds another version by now.

        Raises
        ------
        ConflictError
            When it has changed since it was read.
        """
        version = (resource.get("meta") or {}).get("versionId")
        if not version:
            raise FormatError("a resource without a version cannot be written", expected="meta.versionId, as it was read")
        place = self._place(f"{resource['resourceType']}/{resource['id']}")
        try:
            answer = self.request("PUT", place, body=resource, headers={"If-Match": f'W/"{version}"', "Prefer": "return=representation"}, is_repeatable=False)  # fmt: skip
        except RemoteError as error:
            found = self.read(place)  # the answer may have been lost on the way back: was it written?
            if _content(found) == _content(resource):
                return found
            raise error
        return self._resource(answer) if answer.content else self.read(place)

    def change(
        self, reference: str, edit: Callable[[dict[str, Any]], dict[str, Any] | None], *, tries: int = 5
    ) -> Mapping[str, Any] | None:
        """Read, edit and write; when somebody was faster, read what they wrote and edit that.

        ``edit`` gets a copy and returns it, or None when there is nothing (any more) to do. Returns what is there after it, or None.

        Raises
        ------
        ConflictError
            When it changes faster than it can be written.
        """
        for attempt in range(1, tries + 1):
            edited = edit(thaw(self.read(reference)))
            if edited is None:
                return None
            try:
                return self.update(edited)
            except ConflictError:
                if attempt == tries:
                    raise
                self._wait(attempt, 0.01 * attempt)
        return None

    def honours_versions(self, reference: str) -> bool:
        """Say whether the server refuses to write over another version, by writing a resource back unchanged under a version that never was."""
        found = thaw(self.read(reference))
        headers = {"If-Match": 'W/"never-was"'}
        try:
            self.request("PUT", self._place(reference), body=found, headers=headers)
        except ConflictError:
            return True
        except RemoteError:
            return True  # refused, by another status than it should
        return False

    def transaction(self, bundle: Mapping[str, Any]) -> list[str]:
        """Send a transaction; return the reference (``Type/id``) of each entry, in order.

        It may be sent twice when each entry is created conditionally, and is then tried again like a read.

        Raises
        ------
        RemoteError
            When the answer does not name every entry.
        """
        entries = bundle.get("entry", ())
        conditional = all(entry.get("request", {}).get("ifNoneExist") for entry in entries)
        found = self._resource(self.request("POST", "", body=bundle, is_repeatable=conditional))
        named = []
        for answer in _objects(found.get("entry")):
            response = _object(answer.get("response"))
            if not str(response.get("status", "")).startswith(("200", "201")):
                told = str(response.get("status"))[:3]
                raise RemoteError(
                    "an entry of a transaction was not taken",
                    seen=told,
                    expected="200 or 201",
                    status=int(told) if told.isdigit() else None,
                )
            named.append(self._named(answer.get("resource"), str(response.get("location") or "")))
        if len(named) != len(entries):
            raise RemoteError("a transaction was answered in part", seen=len(named), expected=len(entries))
        return named

    def _named(self, resource: Any, location: str) -> str:
        if isinstance(resource, dict) and resource.get("id"):
            return self._place(f"{resource.get('resourceType')}/{resource['id']}")
        return self._place("/".join(location.split("/_history/")[0].rsplit("/", 2)[-2:]))

    def pages(self, kind: str, query: Sequence[tuple[str, str]] = (), *, most: int = 10_000) -> Iterator[Page]:
        """Search to the last page.

        Raises
        ------
        RemoteError
            When a page lies elsewhere, leads back, or the pages end before the server's own total: resources would be missed without a word.
        """
        if not _KIND.match(kind):
            raise FormatError("not a type of resource", expected="such as Observation")
        asked = [*query, ("_count", str(self._count))]
        place, seen, got = f"{kind}?{urlencode(asked)}", set(), 0
        for _ in range(most):
            page = self._page(place)
            got += sum(1 for one in page.resources if one.get("resourceType") == kind)
            yield page
            short = page.total is not None and got < page.total and len(page.resources) >= self._count
            if page.next:
                place = urljoin(self.base + "/", page.next)
            elif self._paging == "offset" and short:
                place = f"{kind}?{urlencode([*asked, ('_offset', str(got))])}"
            elif short:
                raise RemoteError(
                    "the pages end before the server's own total", seen=f"{got} of {page.total}", fix="paging = offset, or a larger count"
                )
            else:
                return
            if place in seen:
                raise RemoteError("a page that leads back to one before", seen=f"page {len(seen) + 1}", fix="the server's paging is broken")
            seen.add(place)
        raise RemoteError("a search without an end", seen=f"{most} pages", fix="ask for less at once")

    def _page(self, place: str) -> Page:
        found = self._resource(self.request("GET", place))
        if found["resourceType"] != "Bundle":
            raise RemoteError("a search was not answered by a Bundle", seen=found["resourceType"], expected="Bundle")
        resources = tuple(
            resource
            for entry in _objects(found.get("entry"))
            if isinstance(resource := entry.get("resource"), dict) and _object(entry.get("search")).get("mode") != "outcome"
        )
        links = [str(link["url"]) for link in _objects(found.get("link")) if link.get("relation") == "next" and link.get("url")]
        total = found.get("total")
        return Page(resources, total if isinstance(total, int) else None, links[0] if links else "")

    def search(self, kind: str, *query: tuple[str, str]) -> Iterator[Mapping[str, Any]]:
        """Return every resource that a search finds, of all pages."""
        for page in self.pages(kind, query):
            yield from page.resources


def _object(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _objects(found: Any) -> list[Mapping[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, tuple) else []


def _content(resource: Mapping[str, Any]) -> bytes:
    plain = thaw(resource)
    meta = plain.get("meta") or {}
    for name in ("versionId", "lastUpdated"):
        meta.pop(name, None)
    if not meta:
        plain.pop("meta", None)
    return encode({key: plain[key] for key in sorted(plain)})
