"""Answers that come in parts: pages, and events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pydantic import BaseModel

from gemel.server.resources import Page

__all__ = ["Pages", "frames"]

M = TypeVar("M", bound=BaseModel)


class Pages(Generic[M]):
    """What a list holds, page after page as it is needed."""

    def __init__(self, fetch: Callable[[str | None], Page[M]]) -> None:
        self._fetch = fetch

    def __iter__(self) -> Iterator[M]:
        cursor: str | None = None
        while True:
            page = self._fetch(cursor)
            yield from page.items
            if (cursor := page.next) is None:
                return


def frames(lines: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    """Yield id, kind and data of each event of a stream."""
    key, kind, data = "", "message", list[str]()
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if key or data:
                yield key, kind, "\n".join(data)
            key, kind, data = "", "message", []
        elif name == "id":
            key = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
