"""What resources call each other by: names, references, and those that lead nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gemel.interop.fhir.codec import Element
from gemel.interop.fhir.mapping.base import Resolve
from gemel.interop.fhir.mapping.values import items, text_of

__all__ = ["Follow", "names_of", "readdressed", "references"]

_LITERAL = re.compile(r"(?:[A-Z][A-Za-z]+(?:/[A-Za-z0-9\-.]{1,64}|\?\S{1,500})|urn:(?:uuid|oid):[0-9a-fA-F.\-]+)\Z")
_REFERS = re.compile(rb'"reference"[ \t\r\n]*:[ \t\r\n]*"([^"\\]+)"|<reference[ \t\r\n]+value="([^"]+)"')
_SHOWN = 5  # types of references that lead nowhere, named in the report


class Follow:
    """Finds references that lead nowhere, over as many resources as are shown to it. It keeps names only."""

    def __init__(self) -> None:
        self._here: set[str] = set()
        self._asked: set[str] = set()

    def see(self, resource: Mapping[str, Any], url: str = "", *, refers: bool = True) -> None:
        """Take note of a resource, and of what it refers to unless that is asked of its bytes."""
        self._here.update(names_of(resource, url))
        if refers:
            self._asked.update(references(resource))

    def ask(self, body: bytes) -> None:
        """Take note of what a document refers to, by its bytes: many times as fast as walking through it."""
        for found in {*_REFERS.findall(body)}:
            text = (found[0] or found[1]).decode("utf-8", "replace").partition("/_history/")[0]
            if _LITERAL.match(text):
                self._asked.add(text)

    def missing(self) -> list[str]:
        """Return what was referred to and never shown, in one sentence, by the type that the references name."""
        lost = [
            one for one in self._asked if one not in self._here and not ("://" in one and "/".join(one.rsplit("/", 2)[-2:]) in self._here)
        ]
        if not lost:
            return []
        kinds: dict[str, int] = {}
        for one in lost:
            kind = re.split(r"[/?:]", one, maxsplit=1)[0]
            kinds[kind] = kinds.get(kind, 0) + 1
        said = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items(), key=lambda one: (-one[1], one[0]))[:_SHOWN])
        return [f"{len(lost)} resources that are referred to are not in the source: {said}{', ...' if len(kinds) > _SHOWN else ''}"]


def names_of(resource: Mapping[str, Any], url: str = "") -> Iterator[str]:
    """Return how a resource may be referred to: by its full address, its type and id, and each of its identifiers."""
    type_, id = text_of(resource.get("resourceType")), text_of(resource.get("id"))
    if url:
        yield url
    if type_ and id:
        yield f"{type_}/{id}"
    for one in items(resource.get("identifier")):
        if isinstance(one, Mapping) and one.get("value"):  # as a bulk export and a transaction refer to it
            yield f"{type_}?identifier={one.get('system', '')}|{one['value']}"


def references(tree: Any) -> Iterator[str]:
    """Return every reference in a resource that can lead to something in its source: relative, by ``urn:``, or by a search."""
    stack = [tree]
    while stack:
        one = stack.pop()
        if isinstance(one, Mapping):
            text = one.get("reference")
            if isinstance(text, str) and _LITERAL.match(plain := text.partition("/_history/")[0]):
                yield plain
            stack += [value for value in one.values() if isinstance(value, (Mapping, tuple, list))]
        elif isinstance(one, (tuple, list)):
            stack += [value for value in one if isinstance(value, (Mapping, tuple, list))]


def readdressed(tree: Any, resolve: Resolve) -> Any:
    """Return a resource in which others are called by type and id, where they can be found, instead of by ``urn:uuid`` or by a search.

    Examples
    --------
    >>> readdressed({"subject": {"reference": "urn:uuid:1"}}, lambda _: {"resourceType": "Patient", "id": "p"})
    {'subject': {'reference': 'Patient/p'}}
    """
    if isinstance(tree, Mapping):
        made: dict[str, Any] = {}
        for key, value in tree.items():
            new = readdressed(value, resolve) if isinstance(value, (Mapping, tuple, list)) else value
            if key == "reference" and isinstance(value, str) and (value.startswith("urn:") or "?" in value):
                target = resolve(value)
                if target is not None and target.get("id"):
                    new = f"{target['resourceType']}/{target['id']}"
            made[key] = new
        return Element(made)
    return tuple(readdressed(one, resolve) for one in tree) if isinstance(tree, (tuple, list)) else tree
