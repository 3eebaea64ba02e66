"""Scopes of SMART App Launch 2: what a token may ask for at all. A scope narrows what a role may; it never widens it.

``(patient|user|system)/(Resource|*).cruds`` with an optional ``?name=value``; of version 1 ``read`` is ``rs``, ``write`` is ``cud`` and ``*`` is all.

References
----------
HL7 SMART App Launch 2.2.0, Scopes and Launch Context.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from gemel.core.errors import DataError
from gemel.platform.consent import Datum

__all__ = ["LETTERS", "Scope", "allows", "read_scope", "read_scopes", "within"]

_FORM = re.compile(r"(patient|user|system)/([A-Z][A-Za-z]{1,63}|\*)\.(c?r?u?d?s?|read|write|\*)(\?[^\s]{1,300})?")
_FIRST = {"read": "rs", "write": "cud", "*": "cruds"}

LETTERS: dict[str, str] = {
    **dict.fromkeys(("read", "vread", "history", "include", "revinclude", "image", "prefetch", "error", "posterior", "forecast", "audit"), "r"),
    **dict.fromkeys(("search", "chained", "has", "count", "stream", "subscribe"), "s"),
    "export": "rs", "create": "c", "update": "u", "delete": "d", "metrics": "",
}  # fmt: skip
"""Action -> the letters that a scope must have, all of them. *metrics* is about nobody and needs none."""


@dataclass(frozen=True)
class Scope:
    """One scope.

    Parameters
    ----------
    context : patient, user or system.
    kind : a resource type, or ``*``.
    letters : of ``cruds``.
    filters : (name, value) that a resource must fulfil.
    """

    context: str
    kind: str
    letters: frozenset[str]
    filters: tuple[tuple[str, str], ...] = ()

    def fits(self, action: str, datum: Datum, launch: frozenset[str] = frozenset()) -> bool:
        """Say whether it covers an action with a datum. A filter that cannot be held against a datum does not fit.

        Parameters
        ----------
        launch : random ids of those in the token's context: a *patient* scope is about them only.
        """
        if self.context == "patient" and datum.pid not in launch:
            return False
        if not set(LETTERS.get(action, "x")) <= self.letters or self.kind not in ("*", datum.kind):
            return False
        return all(_holds(name, value, datum) for name, value in self.filters)

    def __str__(self) -> str:
        letters = "".join(letter for letter in "cruds" if letter in self.letters)
        rest = "&".join(f"{name}={value}" for name, value in self.filters)
        return f"{self.context}/{self.kind}.{letters}" + (f"?{rest}" if rest else "")


def _holds(name: str, value: str, datum: Datum) -> bool:
    if name in ("category", "code"):
        return any(value in (code, code.rpartition("|")[2]) for code in datum.codes)
    return False


def read_scope(text: str) -> Scope | None:
    """Read one scope; ``None`` when it is none about resources (``openid``, ``launch``, ``offline_access``) or not well formed: it then allows nothing."""
    found = _FORM.fullmatch(text)
    if found is None or not found[3]:
        return None
    filters = tuple(parse_qsl(found[4][1:], keep_blank_values=True)) if found[4] else ()
    return Scope(found[1], found[2], frozenset(_FIRST.get(found[3], found[3])), filters)


def read_scopes(text: str) -> tuple[Scope, ...]:
    """Read the scopes of a token, separated by spaces.

    Raises
    ------
    DataError
        When the text is too long to be read.
    """
    if len(text) > 8192:
        raise DataError("more scopes than a token carries", seen=f"{len(text)} characters", expected="<= 8192")
    return tuple(scope for scope in map(read_scope, text.split()) if scope is not None)


def allows(scopes: Iterable[Scope] | None, action: str, datum: Datum, launch: frozenset[str] = frozenset()) -> bool:
    """Say whether any scope covers an action with a datum; without scopes (``None``) a role is not narrowed."""
    return scopes is None or not LETTERS.get(action, "x") or any(scope.fits(action, datum, launch) for scope in scopes)


def within(asked: Iterable[Scope], most: Iterable[Scope]) -> tuple[Scope, ...]:
    """Return what is asked for as far as it is inside of what may be had: with fewer letters where some may not, left out where none may."""
    found = []
    for scope in asked:
        letters: set[str] = set()
        for other in most:
            if other.context == scope.context and other.kind in ("*", scope.kind) and set(other.filters) <= set(scope.filters):
                letters |= scope.letters & other.letters
        if letters:
            found.append(Scope(scope.context, scope.kind, frozenset(letters), scope.filters))
    return tuple(found)
