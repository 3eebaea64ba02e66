"""What is given once and taken once: login links, authorization codes with their PKCE challenge, and the state of a login elsewhere. In memory, for minutes.

A server of several processes keeps whoever logs in with the process that they began at.

References
----------
RFC 6749 section 4.1, RFC 7636 (PKCE; S256 only), RFC 9700 (best current practice).
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Generic, TypeVar

from gemel.core.errors import AuthenticationError, DataError
from gemel.core.time import SECOND

__all__ = ["CodeGrant", "Once", "OutsideLogin", "challenge_of", "check_challenge", "same_site"]

T = TypeVar("T")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class CodeGrant:
    """What an authorization code stands for."""

    client: str
    redirect: str
    challenge: str
    who: str
    role: str
    scope: str
    session: str
    actors: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutsideLogin:
    """A login that goes on at another provider: which issuer, our PKCE verifier, the nonce, and where to go afterwards."""

    issuer: int
    verifier: str
    nonce: str
    browser: str
    next: str = "/"


class Once(Generic[T]):
    """Keeps things under random codes, each for a while and for one taking.

    Parameters
    ----------
    clock : returns the time, ns UTC.
    seconds : how long. most : how many; the oldest goes.
    """

    def __init__(self, clock: Callable[[], int], *, seconds: float, most: int = 10_000) -> None:
        self._clock, self._life, self._most = clock, round(seconds * SECOND), most
        self._held: OrderedDict[str, tuple[int, T, bool]] = OrderedDict()

    @staticmethod
    def _mark(code: str) -> str:
        return sha256(code.encode()).hexdigest()

    def give(self, what: T) -> str:
        """Keep something; return its code, 256 random bits."""
        code = secrets.token_urlsafe(32)
        self._held[self._mark(code)] = (self._clock() + self._life, what, False)
        while len(self._held) > self._most:
            self._held.popitem(last=False)
        return code

    def take(self, code: str) -> tuple[T | None, T | None]:
        """Take it. Return (it, None); or (None, it) when it was taken before, so that what came of it can be called back; or (None, None)."""
        mark = self._mark(code)
        until, what, is_taken = self._held.get(mark, (0, None, False))
        if what is None or until <= self._clock():
            return None, None
        if is_taken:
            return None, what
        self._held[mark] = (until, what, True)
        return what, None


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def check_challenge(challenge: str, method: str) -> str:
    """Return a challenge that may be used.

    Raises
    ------
    DataError
        When it is missing, or not S256.
    """
    if method != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise DataError(
            "PKCE is needed", seen=method[:20] or "no code_challenge_method", expected="code_challenge with code_challenge_method=S256"
        )
    return challenge


def is_verified(grant: CodeGrant, verifier: str) -> bool:
    """Say whether a verifier is that of a grant, in constant time."""
    return bool(_VERIFIER.fullmatch(verifier)) and hmac.compare_digest(challenge_of(verifier), grant.challenge)


def same_site(path: str) -> str:
    """Return a path on this server to go to after a login; anything that leads elsewhere becomes the root."""
    is_ours = bool(re.fullmatch(r"/(?![/\\])[A-Za-z0-9/._~!$&'()*+,;=:@%?-]{0,2000}", path))
    return path if is_ours else "/"


def refused() -> AuthenticationError:
    """Return the one answer to a login that failed, whatever the reason."""
    return AuthenticationError("the login failed", expected="a name and its password", fix="try again, more slowly")
