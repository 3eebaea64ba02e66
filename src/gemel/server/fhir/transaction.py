"""Transactions and batches: a Bundle of requests, all of them in one transaction or each by itself.

A transaction is done in the order of FHIR: deletions, creations, updates and patches, then what is read. What its entries call each other (``fullUrl``) becomes the address that
each gets, everywhere in their resources; conditional references (``Patient?identifier=...``) are looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from gemel.core.errors import ConflictError, DataError, FormatError
from gemel.interop.fhir.codec import Element
from gemel.platform.store import Store
from gemel.platform.store.resources import Change, Place, Resources, instant
from gemel.server.config import ServerConfig
from gemel.server.fhir.permits import Permits
from gemel.server.fhir.wire import check_kind, if_match
from gemel.server.fhir.writing import find_one, put, whole

__all__ = ["Asked", "Done", "read_entries", "transact"]

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_METHODS = ("DELETE", "POST", "PUT", "GET")


@dataclass(frozen=True)
class Asked:
    """One entry of a Bundle, as it asks."""

    number: int
    method: str
    kind: str
    rid: str | None
    given: tuple[tuple[str, str], ...]
    tree: Element | None
    url: str
    full: str
    match: int | None
    none_exist: tuple[tuple[str, str], ...] | None


@dataclass(frozen=True)
class Done:
    """What became of an entry that writes: the version, or one that was there already."""

    status: str
    place: Place | None
    ref: str


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(parse_qsl(text, keep_blank_values=True))


def read_entries(tree: Mapping[str, Any], *, most: int, base: str) -> list[Asked]:
    """Read the requests of a Bundle.

    Raises
    ------
    FormatError
        With the place of the entry that cannot be read.
    """
    entries = tree.get("entry", ())
    if not isinstance(entries, tuple):
        raise FormatError("the Bundle has no entries that can be read", expected="entry, an array")
    if len(entries) > most:
        raise FormatError("too many entries", seen=len(entries), expected=f"at most {most}", fix="send several Bundles")
    return [_entry(number, one, base) for number, one in enumerate(entries)]


def _entry(number: int, one: Any, base: str) -> Asked:
    place = f"Bundle.entry[{number}]"
    request = one.get("request") if isinstance(one, dict) else None
    if not isinstance(request, dict):
        raise FormatError(f"{place}.request is missing", expected="method and url")
    method, url = request.get("method"), request.get("url")
    if method not in _METHODS or not isinstance(url, str):
        raise FormatError(f"{place}.request cannot be done", seen=str(method)[:10], expected="GET, POST, PUT or DELETE, and an url")
    url = url.removeprefix(base + "/").removeprefix("/")
    path, _, asked = url.partition("?")
    parts = [unquote(part) for part in path.split("/") if part]
    tree = one.get("resource")
    if method in ("POST", "PUT") and (not isinstance(tree, Element) or not isinstance(tree.get("resourceType"), str)):
        raise FormatError(f"{place}.resource is missing", expected="a resource")
    if method == "GET":
        return Asked(number, method, "", None, (), None, url, "", None, None)
    if not parts or len(parts) > 2 or (len(parts) == 2 and not ID.match(parts[1])):
        raise FormatError(f"{place}.request.url cannot be read", expected="Type, Type/id or Type?name=value")
    check_kind(parts[0])
    rid = parts[1] if len(parts) == 2 else None
    if (method == "POST" and rid) or (method in ("PUT", "DELETE") and rid is None and not asked):
        raise FormatError(f"{place}.request.url does not fit {method}", expected="POST Type, PUT Type/id, DELETE Type/id, or a condition")
    if tree is not None and method != "DELETE":
        whole(tree, parts[0], rid if method == "PUT" and rid else None)
    none_exist = request.get("ifNoneExist")
    return Asked(
        number, method, parts[0], rid, _pairs(asked), tree if method != "DELETE" else None, url, str(one.get("fullUrl") or ""),
        if_match(request.get("ifMatch")), None if none_exist is None else _pairs(str(none_exist).rpartition("?")[2]),
    )  # fmt: skip


def rewritten(tree: Any, known: Mapping[str, str], conditional: Callable[[str], str | None]) -> Any:
    """Return a resource with what its Bundle calls others by their addresses; the same object where nothing changes."""
    if tree.__class__ is Element:
        made = None
        for key, value in tree.items():
            kind = value.__class__
            if kind is str:
                new: Any = known.get(value, value)
                if key == "reference" and new is value:
                    if value.startswith("urn:uuid:") or "#" in value:
                        head, mark, rest = value.partition("#")
                        new = known[head] + mark + rest if head in known else value
                    elif "?" in value:
                        new = conditional(value) or value
            elif kind is Element or kind is tuple:
                new = rewritten(value, known, conditional)
            else:
                continue
            if new is not value:
                made = dict(tree) if made is None else made
                made[key] = new
        return tree if made is None else Element(made)
    parts = [
        rewritten(one, known, conditional) if one.__class__ in (Element, tuple) else known.get(one, one) if one.__class__ is str else one
        for one in tree
    ]
    return tuple(parts) if any(new is not old for new, old in zip(parts, tree, strict=True)) else tree


def transact(
    store: Store,
    permits: Permits,
    asked: Sequence[Asked],
    config: ServerConfig,
    *,
    ids: Mapping[int, str],
    recorded: int,
    base: str,
    is_batch: bool = False,
) -> dict[int, Done]:
    """Write the changes of a transaction: part of the writer's transaction, so that all of it stands or nothing.

    Parameters
    ----------
    ids : new ids, by the numbers of the entries that may create something.
    is_batch : it is one entry of a batch: conditional references stay as they are, for only a transaction looks them up.
    """
    known: dict[str, str] = {}
    done: dict[int, Done] = {}
    plans: list[tuple[Asked, str, bool]] = []
    resources = Resources(store)

    def one(kind: str, given: Sequence[tuple[str, str]]) -> str | None:
        return find_one(store, permits, kind, given, base=base, now=recorded)

    for ask in sorted((ask for ask in asked if ask.method != "GET"), key=lambda ask: (_METHODS.index(ask.method), ask.number)):
        rid, is_new = ask.rid, False
        if ask.method == "POST":
            found = one(ask.kind, ask.none_exist) if ask.none_exist else None
            if found is not None:
                done[ask.number] = Done("200 OK", None, f"{ask.kind}/{found}")
                if ask.full:
                    known[ask.full] = f"{ask.kind}/{found}"
                continue
            rid, is_new = ids[ask.number], True
        elif rid is None:
            rid = one(ask.kind, ask.given)
            if rid is None and ask.method == "DELETE":
                done[ask.number] = Done("204 No Content", None, ask.kind)
                continue
            if rid is None:
                rid, is_new = ids[ask.number], True
        if ask.full and ask.method != "DELETE":
            known[ask.full] = f"{ask.kind}/{rid}"
        plans.append((ask, rid, is_new))
    local = {f"{ask.kind}/{rid}" for ask, rid, _ in plans}

    def conditional(reference: str) -> str | None:
        head, _, rest = reference.removeprefix(base + "/").partition("?")
        if is_batch or not head.isalpha() or reference in local:
            return None
        check_kind(head)
        pairs = _pairs(rest)
        inside = _inside(plans, head, pairs)
        if inside is not None:
            return inside
        found = one(head, pairs)
        if found is None:
            raise DataError(
                "a conditional reference leads nowhere", seen=head, expected="one resource that it fits", fix="send what it means first"
            )
        return f"{head}/{found}"

    changes = []
    for ask, rid, is_new in plans:
        tree = None if ask.tree is None else rewritten(ask.tree, known, conditional)
        changes.append(Change(ask.kind, rid, tree, is_new, ask.match))
    placed = {place.stored.ref: place for place in put(store, permits, changes, config, recorded=recorded)}
    for ask, rid, _ in plans:
        place = placed.get(resources.blind.ref(f"{ask.kind}/{rid}"))
        status = "204 No Content" if ask.method == "DELETE" else "201 Created" if place is not None and place.created else "200 OK"
        done[ask.number] = Done(status, place, f"{ask.kind}/{rid}")
    return done


def _inside(plans: Sequence[tuple[Asked, str, bool]], kind: str, pairs: Sequence[tuple[str, str]]) -> str | None:
    """Return what of the same transaction a conditional reference by identifier means."""
    if len(pairs) != 1 or pairs[0][0] != "identifier":
        return None
    system, _, value = pairs[0][1].rpartition("|")
    found = [
        rid for ask, rid, _ in plans if ask.kind == kind and ask.tree is not None
        and any(isinstance(i, dict) and i.get("value") == value and (not system or i.get("system") == system) for i in ask.tree.get("identifier", ()))
    ]  # fmt: skip
    if len(found) > 1:
        raise ConflictError("a conditional reference fits several entries", seen=kind, expected="one", is_stale=True)
    return f"{kind}/{found[0]}" if found else None


def response_of(done: Done, base: str, recorded: int) -> dict[str, Any]:
    """Return what is told of an entry."""
    told: dict[str, Any] = {"status": done.status}
    if done.place is not None:
        stored = done.place.stored
        told |= {
            "location": f"{base}/{done.ref}/_history/{stored.vid}",
            "etag": f'W/"{stored.vid}"',
            "lastModified": instant(stored.recorded),
        }
    elif done.status.startswith("200"):
        told |= {"location": f"{base}/{done.ref}", "lastModified": instant(recorded)}
    return told
