"""A PostgreSQL server of our own for tests: on a socket in its own folder, stopped by its process id."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PORT = 5433


def binaries() -> Path | None:
    """Where initdb lies: Debian keeps it off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if found and int(found[-1].parts[4]) >= 15:
        return found[-1].parent
    beside = shutil.which("initdb")
    return Path(beside).parent if beside else None


class Server:
    """One server. ``kill`` ends it at once, as a power cut does to a process; ``start`` brings it back."""

    def __init__(self, bin_: Path, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="gemel-pg-"))
        self._bin, self._as = bin_, ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "postgres")
        self._run(
            str(bin_ / "initdb"), "-D", str(self.folder / "data"), "-U", "gemel", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"
        )
        self._made = 0
        self.start()

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [*self._as, *command], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout

    def start(self) -> None:
        log = self.folder / "log"
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -p {PORT} -c shared_buffers=32MB -c max_wal_size=256MB"
        with open(log, "ab") as sink:  # pg_ctl leaves its pipe to the server: a file, not a pipe
            subprocess.run([*self._as, str(self._bin / "pg_ctl"), "-D", str(self.folder / "data"), "-w", "-t", "90", "-o", options, "start"],
                           cwd=self.folder, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, check=True)  # fmt: skip

    def kill(self) -> None:
        """End it at once; nothing where it has ended."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self._run(str(self._bin / "pg_ctl"), "-D", str(self.folder / "data"), "stop", "-m", "immediate")

    def new(self) -> str:
        """The URL of a fresh schema."""
        import pg8000.native

        self._made += 1
        name = f"s{self._made}_{os.getpid()}"
        try:
            connection = pg8000.native.Connection("gemel", database="postgres", unix_sock=f"{self.folder}/.s.PGSQL.{PORT}")
        except pg8000.native.InterfaceError as error:
            raise AssertionError(f"the server is gone; its last words: {(self.folder / 'log').read_text()[-1500:]}") from error
        connection.run(f"CREATE SCHEMA {name}")
        connection.close()
        return f"postgresql://gemel@/postgres?host={self.folder}&port={PORT}&schema={name}"

    def files(self) -> list[Path]:
        """Every file of the server, its log of changes included."""
        return [path for path in (self.folder / "data").rglob("*") if path.is_file()]

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
