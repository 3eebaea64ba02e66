"""A FHIR server that we did not write: Medplum's router over its memory repository, in a node process of its own (``peers/medplum.cjs``).

Its packages are installed once, by the lock file, into the user's cache. It does not validate: independent in REST and search, not in validation.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).resolve().parent / "peers"
_LISTED = ("package.json", "package-lock.json")


def packages() -> Path | str:
    """Return the folder in which the packages are installed, or why they cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "node and npm are not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60).stdout.strip()
    if int(version.lstrip("v").partition(".")[0] or 0) < 20:
        return f"node {version} is too old: 20 or newer is needed"
    name = hashlib.sha256(b"".join((HERE / part).read_bytes() for part in _LISTED)).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gemel" / "peers" / name
    if (folder / "ready").exists():
        return folder
    making = folder.with_name(f"{name}.{os.getpid()}")
    making.mkdir(parents=True)
    try:
        for part in _LISTED:
            shutil.copy(HERE / part, making)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=making, capture_output=True, text=True, timeout=600)
        if done.returncode:
            return f"the packages cannot be installed: {done.stderr.strip()[-200:]}"
        (making / "ready").touch()
        try:
            making.rename(folder)
        except OSError:  # somebody else was first
            if not (folder / "ready").exists():
                raise
        return folder
    finally:
        shutil.rmtree(making, ignore_errors=True)


class Medplum:
    """One server. ``url`` is its FHIR base; ``kill`` ends it at once, and what it held is gone."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        command = [shutil.which("node") or "node", str(HERE / "medplum.cjs"), str(folder), str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        timer = threading.Timer(120, self._process.kill)  # a peer that never says that it is up
        timer.start()
        said = []
        for line in self._process.stdout:
            said.append(line)
            if line.startswith("up "):
                break
        else:
            raise AssertionError(f"the FHIR server did not start: {''.join(said)[-1500:]}")
        timer.cancel()
        self.port = int(said[-1].split()[1])
        self.url = f"http://127.0.0.1:{self.port}/fhir/R4"

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def get(self, path: str, **query: str) -> dict:
        """Read as another program would, beside our own client."""
        answer = httpx.get(f"{self.url}/{path}", params=query)
        answer.raise_for_status()
        return answer.json()

    def found(self, kind: str, **query: str) -> list[dict]:
        return [entry["resource"] for entry in self.get(kind, _count="1000", **query).get("entry", [])]

    def post(self, resource: dict) -> dict:
        answer = httpx.post(f"{self.url}/{resource['resourceType']}", json=resource)
        answer.raise_for_status()
        return answer.json()

    def put(self, resource: dict) -> dict:
        answer = httpx.put(f"{self.url}/{resource['resourceType']}/{resource['id']}", json=resource)
        answer.raise_for_status()
        return answer.json()


def serve() -> Iterator[Medplum]:
    """Body of a fixture: ``yield from _medplum.serve()``; skips with the reason where the server cannot be had."""
    folder = packages()
    if isinstance(folder, str):
        pytest.skip(f"no Medplum router to compare with: {folder}")
    server = Medplum(folder)
    yield server
    server.kill()
