"""Signatures of files that leave: Ed25519, one key per user, kept in a folder that only the user can read.

A signature says that whoever holds the key has seen these bytes, when, and with which meaning; whose key it is, people must know from elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from gemel.core.errors import FormatError, StoreError
from gemel.core.lineage import digest

__all__ = ["Signature", "read_signature", "sign", "signing_key", "verify"]

NAME = "signing.key"


class Signature(BaseModel):
    """A signature over a hash, with who, when and what it means bound into it.

    ``hash`` is SHA-256 of what was signed; ``time`` ns UTC; ``key`` the public key and ``signature`` in hexadecimal digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    hash: str
    who: str
    meaning: str
    time: int
    key: str
    signature: str
    method: str = "ed25519"


def _folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".config") / "gemel"


def signing_key(environ: Mapping[str, str] | None = None) -> Ed25519PrivateKey:
    """Return the user's key; the first call makes it, in a file that only the user can read.

    Parameters
    ----------
    environ : environment variables; left out, those of the process.

    Raises
    ------
    StoreError
        When the file is not a key, or others may read it.
    """
    folder = _folder(os.environ if environ is None else environ)
    path = folder / NAME
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = Ed25519PrivateKey.generate()
        raw = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return signing_key(environ)  # another process was first
        with os.fdopen(handle, "wb") as sink:
            sink.write(raw)
        return made
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise StoreError(
            "others may read the signing key",
            seen=oct(path.stat().st_mode & 0o777),
            expected="0o600",
            fix=f"chmod 600 {path.name}, or make a new key",
        )
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise StoreError("the signing key cannot be read", seen=path.name, fix="restore it, or move it away: a new one is made") from error
    if not isinstance(found, Ed25519PrivateKey):
        raise StoreError("the signing key is of another kind", seen=type(found).__name__, expected="Ed25519")
    return found


def _bound(hash_: str, who: str, meaning: str, time: int) -> bytes:
    return digest(["gemel signature", hash_, who, meaning, time]).encode()


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def sign(hash_: str, *, who: str, meaning: str, time: int, key: Ed25519PrivateKey) -> Signature:
    """Sign a hash; name, meaning and time are bound to it."""
    made = key.sign(_bound(hash_, who, meaning, time))
    return Signature(hash=hash_, who=who, meaning=meaning, time=time, key=_public(key), signature=made.hex())


def verify(signature: Signature, hash_: str) -> str | None:
    """Say why a signature does not hold for a hash; ``None`` when it does."""
    if signature.hash != hash_:
        return "the file is another than the one that was signed"
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key))
        public.verify(bytes.fromhex(signature.signature), _bound(hash_, signature.who, signature.meaning, signature.time))
    except (InvalidSignature, ValueError):
        return "the signature does not belong to this name, meaning, time and key"
    return None


def read_signature(path: Path) -> Signature:
    """Read a signature file.

    Raises
    ------
    FormatError
        When it is none.
    """
    try:
        return Signature.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        raise FormatError("not a signature", seen=path.name, expected="the .sig.json that was written beside the file") from error
