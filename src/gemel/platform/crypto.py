"""Sealing: AES-256-GCM bound to its place, keys wrapped by keys (AES-KW), and blind tokens (HMAC-SHA256). Nothing here knows a file or a database.

A sealed value is ``version (1) | number of the data key (2) | nonce (12) | cipher text | tag (16)``. Its place, ``table|subject|row|version``, is authenticated and not
stored: a value that is moved elsewhere does not open.

References
----------
NIST SP 800-38D (GCM; section 8.3: at most 2**32 random nonces per key), RFC 3394 (AES key wrap), RFC 2104 (HMAC), RFC 5869 (HKDF).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from gemel.core.errors import StoreError

__all__ = [
    "KEY_BYTES",
    "MOST_SEALS",
    "OVERHEAD",
    "DataKey",
    "Secret",
    "blind",
    "derive",
    "new_key",
    "number_of",
    "place",
    "unwrap_key",
    "wrap_key",
]

KEY_BYTES = 32
MOST_SEALS = 2**32
"""Seals per data key; then it gets a successor."""

_VERSION = b"\x01"
_HEAD, _NONCE, _TAG = 3, 12, 16
OVERHEAD = _HEAD + _NONCE + _TAG
"""Bytes that sealing adds."""


class Secret:
    """Bytes that no log, traceback or ``repr`` shows; ``reveal()`` gives them. Two compare in constant time.

    Examples
    --------
    >>> Secret(b"nobody's business")
    Secret(17 bytes)
    >>> f"{Secret(b'x')}"
    'Secret(1 bytes)'
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = bytes(raw)

    def reveal(self) -> bytes:
        """Return the bytes."""
        return self._raw

    def __repr__(self) -> str:
        return f"Secret({len(self._raw)} bytes)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._raw, other._raw)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised")


def new_key() -> Secret:
    """Return 256 random bits from the operating system."""
    return Secret(os.urandom(KEY_BYTES))


def wrap_key(master: Secret, key: Secret) -> bytes:
    """Wrap a key by another: 40 bytes for one of 32 (RFC 3394)."""
    return aes_key_wrap(master.reveal(), key.reveal())


def unwrap_key(master: Secret, wrapped: bytes) -> Secret:
    """Return the key that was wrapped.

    Raises
    ------
    StoreError
        When it was wrapped by another key, or is damaged.
    """
    try:
        return Secret(aes_key_unwrap(master.reveal(), wrapped))
    except (InvalidUnwrap, ValueError) as error:
        raise StoreError(
            "a data key cannot be unwrapped", seen="another master key, or damage", fix="name the master key of this store: GEMEL_KEY_FILE"
        ) from error


def derive(key: Secret, purpose: str) -> Secret:
    """Return a key for one purpose, made from another (HKDF-Expand, SHA-256)."""
    return Secret(HKDFExpand(algorithm=hashes.SHA256(), length=KEY_BYTES, info=b"gemel|" + purpose.encode()).derive(key.reveal()))


def blind(key: Secret, field: str, value: str | bytes) -> str:
    """Return the blind token of a value: HMAC-SHA256 over the field's name and the value, 64 hexadecimal digits.

    The same value of the same field under the same key has the same token; without the key no value can be tried against it.
    """
    raw = value.encode() if isinstance(value, str) else value
    return hmac.new(key.reveal(), b"%d:%s|" % (len(field), field.encode()) + raw, sha256).hexdigest()


def place(table: str, subject: str, row: object, version: object) -> bytes:
    """Return what is authenticated beside a sealed value: where it stands."""
    return f"{table}|{subject}|{row}|{version}".encode()


class DataKey:
    """One subject's key at work: seals and opens.

    Parameters
    ----------
    key : 256 bit.
    number : 0 to 65,535, which of the subject's keys; stands in what it seals.
    nonce : makes 12 bytes; others than random ones are for tests with known answers.
    """

    __slots__ = ("_cipher", "_head", "_nonce", "number")

    def __init__(self, key: Secret, number: int = 0, *, nonce: Callable[[int], bytes] = os.urandom) -> None:
        self._cipher, self.number, self._nonce = AESGCM(key.reveal()), number, nonce
        self._head = _VERSION + number.to_bytes(2, "big")

    def seal(self, plain: bytes, bound: bytes) -> bytes:
        """Seal bytes to a place."""
        nonce = self._nonce(_NONCE)
        return self._head + nonce + self._cipher.encrypt(nonce, plain, self._head + bound)

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """Return what was sealed.

        Raises
        ------
        StoreError
            When it was changed, moved, or sealed by another key.
        """
        if len(sealed) < OVERHEAD or sealed[:_HEAD] != self._head:
            raise _damaged("not sealed by this key")
        try:
            return self._cipher.decrypt(sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :], self._head + bound)
        except InvalidTag as error:
            raise _damaged("its tag is another") from error


def number_of(sealed: bytes) -> int:
    """Return which of the subject's keys sealed this."""
    if len(sealed) < OVERHEAD or sealed[:1] != _VERSION:
        raise _damaged("not a sealed value")
    return int.from_bytes(sealed[1:3], "big")


def _damaged(seen: str) -> StoreError:
    return StoreError(
        "a sealed value is damaged, or is not in its place",
        seen=seen,
        fix="check the store; restore the last backup, and import again what came since",
    )
