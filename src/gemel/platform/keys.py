"""The master key: where it comes from, and what it wraps. It never stands in a database or a backup.

Looked for in this order: ``GEMEL_KEY`` (64 hexadecimal digits), ``GEMEL_KEY_FILE`` (a file), a file ``NAME.key`` beside an embedded store; the last is made, readable by its
owner alone, with a new store. A key beside the data protects a copy of the database that travels without it (a backup, a disk image of
the other volume, a file sent by mistake), and lets a patient's key be destroyed. It protects nothing from who can read both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Protocol, runtime_checkable

from gemel.core.errors import StoreError
from gemel.platform.crypto import KEY_BYTES, Secret, new_key, unwrap_key, wrap_key

__all__ = ["FileMaster", "Master", "beside", "find_master", "make_master", "read_master"]

VARIABLE, FILE_VARIABLE = "GEMEL_KEY", "GEMEL_KEY_FILE"
_FIRST = "gemel-master-key-1 "


@runtime_checkable
class Master(Protocol):
    """Wraps data keys; a key service (KMS, PKCS#11) implements the same three."""

    @property
    def id(self) -> str:
        """Return which key it is; nothing about its value."""
        ...

    def wrap(self, key: Secret) -> bytes:
        """Wrap a data key."""
        ...

    def unwrap(self, wrapped: bytes) -> Secret:
        """Unwrap a data key, or raise ``StoreError``."""
        ...


class FileMaster:
    """A master key held in this process.

    Parameters
    ----------
    key : 256 bit.
    """

    def __init__(self, key: Secret) -> None:
        if len(key.reveal()) != KEY_BYTES:
            raise StoreError("a master key has another length", seen=f"{len(key.reveal())} bytes", expected=f"{KEY_BYTES} bytes")
        self._key = key
        self._id = sha256(b"gemel master key id|" + key.reveal()).hexdigest()[:16]

    @property
    def id(self) -> str:
        """Return 16 hexadecimal digits of a hash of the key."""
        return self._id

    def wrap(self, key: Secret) -> bytes:
        """Wrap a data key (AES-KW)."""
        return wrap_key(self._key, key)

    def unwrap(self, wrapped: bytes) -> Secret:
        """Unwrap a data key, or raise ``StoreError``."""
        return unwrap_key(self._key, wrapped)

    def __repr__(self) -> str:
        return f"FileMaster(id={self._id})"


def beside(path: Path) -> Path:
    """Return where the key of an embedded store lies when nothing else is said."""
    return path.with_name(path.name + ".key")


def make_master(path: Path) -> FileMaster:
    """Make a key in a new file that only its owner can read.

    Raises
    ------
    StoreError
        When something is there already: a key is never overwritten.
    """
    key = new_key()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as sink:
            sink.write(f"{_FIRST}{key.reveal().hex()}\n")
            sink.flush()
            os.fsync(sink.fileno())
        os.link(temporary, path)  # it is there whole, or another process was first
    except FileExistsError as error:
        raise StoreError("a key is never overwritten", seen=path.name, fix="name another file") from error
    except OSError as error:
        raise StoreError(
            "the master key cannot be written",
            seen=f"{path.name}: {error.strerror}",
            fix="check that the folder exists and may be written to",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return FileMaster(key)


def read_master(path: Path) -> FileMaster:
    """Read a key file.

    Raises
    ------
    StoreError
        When it is not there, is no key, or others may read it.
    """
    try:
        text, mode = path.read_text(encoding="ascii"), path.stat().st_mode
    except FileNotFoundError as error:
        raise StoreError(
            "the master key is not there", seen=path.name, fix="restore the key file: without it nothing can be opened"
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError("the master key cannot be read", seen=path.name, expected="a file made by gemel keys make") from error
    if os.name == "posix" and mode & 0o077:
        raise StoreError(
            "others may read the master key", seen=oct(mode & 0o777), expected="0o600", fix=f"chmod 600 {path.name}, then gemel keys rotate"
        )
    return FileMaster(_parse(text.removeprefix(_FIRST).strip(), path.name))


def _parse(text: str, name: str) -> Secret:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise StoreError(
            "not a master key", seen=f"{name}: {len(text)} characters", expected="64 hexadecimal digits, as gemel keys make writes them"
        )
    return Secret(raw)


def find_master(environ: Mapping[str, str] | None = None, *, default: Path | None = None, make: bool = False) -> FileMaster:
    """Return the master key that is configured.

    Parameters
    ----------
    environ : environment variables; left out, those of the process.
    default : the file to take when none is configured, as :func:`beside` names it.
    make : make that file when it is missing.

    Raises
    ------
    StoreError
        When none is configured or there, or two are.
    """
    environ = os.environ if environ is None else environ
    text, name = environ.get(VARIABLE), environ.get(FILE_VARIABLE)
    if text and name:
        raise StoreError("two master keys are configured", seen=f"{VARIABLE} and {FILE_VARIABLE}", expected="one", fix="unset one of them")
    if text:
        return FileMaster(_parse(text.strip(), VARIABLE))
    if name:
        return read_master(Path(name))
    if default is None:
        raise StoreError(
            "no master key is configured", expected=f"{FILE_VARIABLE} or {VARIABLE}", fix="gemel keys make FILE, then set GEMEL_KEY_FILE"
        )
    if make and not default.exists():
        try:
            return make_master(default)
        except StoreError:
            if not default.exists():  # another process was not first: it cannot be made
                raise
    return read_master(default)
