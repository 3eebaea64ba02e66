"""Orthanc, an archive that we did not write, started for a test on free ports and stopped by its process id."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def program() -> str | None:
    found = shutil.which("Orthanc") or ("/usr/sbin/Orthanc" if Path("/usr/sbin/Orthanc").exists() else None)
    return found if found and PLUGIN.exists() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Orthanc:
    http: int
    dicom: int
    ours: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def web(self) -> str:
        return f"{self.url}/dicom-web"


@contextlib.contextmanager
def orthanc(folder: Path, *, wait: float = 90.0) -> Iterator[Orthanc]:
    """Run one; ``ours`` is the port at which it expects us (title GEMEL)."""
    name = program()
    assert name is not None
    one = Orthanc(free_port(), free_port(), free_port())
    settings = {
        "Name": "test", "StorageDirectory": str(folder / "data"), "IndexDirectory": str(folder / "data"), "HttpPort": one.http,
        "DicomPort": one.dicom, "DicomAet": "ORTHANC", "AuthenticationEnabled": False, "RemoteAccessAllowed": False,
        "DicomAlwaysAllowStore": True, "UnknownSopClassAccepted": True, "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "DicomModalities": {"gemel": ["GEMEL", "127.0.0.1", one.ours]},
    }  # fmt: skip
    (folder / "data").mkdir(parents=True)
    path, log = folder / "orthanc.json", folder / "orthanc.log"
    path.write_text(json.dumps(settings))
    with log.open("wb") as sink:
        process = subprocess.Popen([name, str(path)], stdout=sink, stderr=subprocess.STDOUT, cwd=folder)
    try:
        end = time.monotonic() + wait
        while b"Orthanc has started" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Orthanc did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield one
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
