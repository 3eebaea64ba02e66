"""Handing a command to the resident worker. Standard library only: this runs before anything else is imported.

The worker listens on a socket in a folder that only its owner can enter. One JSON message a line. To the worker: what to do. Back:
``{"out": text}``, ``{"err": text}``, at last ``{"exit": code}``.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ask", "fingerprint", "offer", "place"]

HEAVY = frozenset({"calibrate", "assimilate", "forecast", "compare", "recommend", "score", "check", "validate", "diagnose", "warm", "demo"})
"""Commands that need the numeric stack; the others start faster by themselves."""

_PASSED = ("GEMEL_", "XDG_", "LC_")
_PASSED_ONE = ("HOME", "LANG", "TZ", "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
_FIXED = ("JAX_", "XLA_", "EQX_", "OMP_", "CUDA_", "TF_")
_CONNECT_S = 2.0


def place() -> Path:
    """Return the socket's path: in ``$XDG_RUNTIME_DIR/gemel``, or in the user's cache."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        return Path(runtime) / "gemel" / "worker.sock"
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "gemel" / "run" / "worker.sock"


def is_private(path: Path) -> bool:
    """Say whether folder and socket belong to this user and nobody else can reach them."""
    try:
        folder, own = os.stat(path.parent), os.lstat(path)
    except OSError:
        return False
    mine = folder.st_uid == own.st_uid == os.getuid()
    return mine and stat.S_ISSOCK(own.st_mode) and not folder.st_mode & 0o077 and not own.st_mode & 0o077


def fingerprint() -> str:
    """Return what must be the same on both sides: version, interpreter, the source files as they are, and flags of the numeric stack."""
    sink = hashlib.sha256(f"{sys.executable} {sys.version} {sys.prefix}".encode())
    root = Path(__file__).resolve().parents[1]
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if name != "__pycache__")
        for name in sorted(files):
            if name.endswith((".py", ".toml")):
                found = os.stat(os.path.join(folder, name))
                sink.update(f"{folder}/{name} {found.st_mtime_ns} {found.st_size}\n".encode())
    flags = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(_FIXED))
    sink.update("\n".join(flags).encode())
    return sink.hexdigest()


def ask(message: dict[str, Any], *, timeout: float | None = _CONNECT_S) -> Iterator[dict[str, Any]]:
    """Send one message; yield what comes back.

    Raises
    ------
    OSError
        When no worker of this user listens.
    """
    path = place()
    if not is_private(path):
        raise ConnectionRefusedError("no worker")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout)
        line.connect(str(path))
        line.sendall(json.dumps(message).encode() + b"\n")
        with line.makefile("rb") as stream:
            first = stream.readline()
            if first:
                yield json.loads(first)
            line.settimeout(None)
            while True:
                try:
                    raw = stream.readline()
                except KeyboardInterrupt:
                    line.sendall(b'{"do": "interrupt"}\n')
                    continue
                if not raw:
                    return
                yield json.loads(raw)


def _wanted(arguments: Sequence[str]) -> bool:
    first = next((a for a in arguments if not a.startswith("-")), "")
    if first not in HEAVY or os.environ.get("GEMEL_NO_WORKER") or os.environ.get("_GEMEL_COMPLETE"):
        return False
    return not {"--no-worker", "--debug", "--help", "-h"} & set(arguments) and os.name == "posix" and place().exists()


def offer(arguments: Sequence[str]) -> int | None:
    """Run a command in the worker and return its exit code; ``None`` when it is to be run here."""
    if not _wanted(arguments):
        return None
    environment = {k: v for k, v in os.environ.items() if k.startswith(_PASSED) or k in _PASSED_ONE}
    message = {
        "do": "run", "arguments": list(arguments), "cwd": os.getcwd(), "environment": environment, "fingerprint": fingerprint(),
        "terminal": [sys.stdout.isatty(), sys.stderr.isatty()], "size": _size(),
    }  # fmt: skip
    begun = False
    try:
        for answer in ask(message):
            if "refused" in answer:
                print(f"note: {answer['refused']}: running here", file=sys.stderr)
                return None
            begun = True
            if "out" in answer:
                sys.stdout.write(answer["out"])
                sys.stdout.flush()
            elif "err" in answer:
                sys.stderr.write(answer["err"])
                sys.stderr.flush()
            elif "exit" in answer:
                return int(answer["exit"])
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:
        if not begun:
            print(f"note: the worker does not answer ({type(error).__name__}): running here", file=sys.stderr)
            return None
    except KeyboardInterrupt:
        return 130
    if begun:
        print("error: the worker ended while it ran this command\n  next:     run it again", file=sys.stderr)
        return 70
    return None


def _size() -> list[int]:
    try:
        found = os.get_terminal_size(2)
    except OSError:
        return [0, 0]
    return [found.columns, found.lines]
