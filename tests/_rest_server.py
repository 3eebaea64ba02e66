"""A server of our own in a process of its own: ``python tests/_rest_server.py CONFIG.json`` serves and prints ``up URL TOKEN``; ended by its process id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()


class RestServer:
    """One server over a store. ``token`` is that of a backend service; ``cpu`` says how many CPU-seconds it has spent."""

    def __init__(self, folder: Path, config: dict[str, Any], environ: dict[str, str] | None = None) -> None:
        told = folder / "server.json"
        told.write_text(json.dumps(config))
        self._log = (folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE), str(told)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **(environ or {})},
        )
        assert self._process.stdout is not None
        timer = threading.Timer(120, self._process.kill)
        timer.start()
        line = next((one for one in self._process.stdout if one.startswith("up ")), "")
        timer.cancel()
        if not line:
            raise AssertionError(f"the server did not start: {(folder / 'server.log').read_text()[-1500:]}")
        _, self.url, self.token = line.split()
        self.fhir = self.url.rstrip("/") + "/fhir/R4"
        self.head = {"Authorization": f"Bearer {self.token}", "X-Purpose-Of-Use": "TREAT", "Content-Type": "application/fhir+json"}

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> float:
        return process_cpu(self.pid)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """Let it finish what it has begun."""
        self._process.terminate()
        self._end()

    def _end(self) -> None:
        self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


def process_cpu(pid: int) -> float:
    """CPU-seconds of a process, its ended children included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def main(path: Path) -> None:
    from gemel.server.config import ServerConfig
    from gemel.server.run import run_server
    from gemel.server.services import Services

    def ready(services: Services, url: str) -> None:
        print("up", url, services.tokens.issue("Device/bench", seconds=3500, role="service"), flush=True)

    run_server(ServerConfig.model_validate(json.loads(path.read_text())), ready=ready)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
