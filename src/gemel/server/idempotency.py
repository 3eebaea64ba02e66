"""``Idempotency-Key``: a request that is sent again, for its answer was lost, has one effect and one answer.

The answer is kept for 24 hours, in the transaction of what the request did: both stand or neither. Keys belong to the one who asks and to the route.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson
from starlette.responses import Response

from gemel.core.errors import ConflictError, FormatError
from gemel.core.time import HOUR
from gemel.platform.store import Store

__all__ = ["KEPT", "Ask", "Reply", "once"]

KEPT = 24 * HOUR
"""How long an answer is kept, ns."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Ask:
    """What identifies a request.

    Parameters
    ----------
    who : the one who asks.
    key : of ``Idempotency-Key``; ``None`` when there is none, and nothing is kept.
    """

    who: str
    method: str
    path: str
    body: bytes = field(repr=False)
    key: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None and not _KEY.fullmatch(self.key):
            raise FormatError(
                "not an idempotency key", seen=f"{len(self.key)} characters", expected="1 to 255 printable ASCII characters without spaces"
            )

    @property
    def place(self) -> str:
        """The key with whom and what it is for."""
        return "\n".join((self.who, self.method, self.path, self.key or ""))


@dataclass(frozen=True)
class Reply:
    """What is answered, so that it can be kept and sent again."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = "application/json"

    def response(self, *, again: bool = False) -> Response:
        """Return it as a response; ``again``: it was kept."""
        headers = {"Cache-Control": "no-store", **self.headers, **({"Idempotency-Replayed": "true"} if again else {})}
        return Response(self.body, self.status, headers, self.media if self.body else None)


def _pack(reply: Reply) -> bytes:
    return orjson.dumps([reply.status, base64.b64encode(reply.body).decode(), dict(reply.headers), reply.media])


def _unpack(body: bytes) -> Reply:
    status, told, headers, media = orjson.loads(body)
    return Reply(status, base64.b64decode(told), headers, media)


def once(store: Store, ask: Ask, change: Callable[[], Reply], *, now: int, subject: str | None = None) -> tuple[Reply, bool]:
    """Do what a request asks, or give the answer that it was given; return it, and whether it was kept. Inside a transaction that writes.

    Parameters
    ----------
    change : does it, in the same transaction.
    now : ns UTC.
    subject : random id of the patient that the answer is about: it is sealed under their key and erased with them.

    Raises
    ------
    ConflictError
        When the key was used for another request.
    """
    if ask.key is None:
        return change(), False
    kept = store.answered(ask.place, ask.body)
    if kept is not None and now - kept.made < KEPT:
        if not kept.is_same:
            raise ConflictError(
                "the idempotency key was used for another request", expected="the same body, or a key of its own", fix="make a new key"
            )
        return _unpack(kept.body), True
    if kept is not None:
        store.tidy(answers_before=now - KEPT + 1, jobs_before=0)
    made = change()
    store.keep_answer(ask.place, ask.body, _pack(made), now=now, subject=subject)
    return made, False
