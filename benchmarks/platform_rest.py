"""FHIR over HTTP: transaction import in resources per CPU-second, beside a server that we did not write; latency of reads and creations at a fixed rate.

    gemel bench platform-rest -- [--rounds 3] [--observations 20000] [--seconds 15] [--parts import,latency] [--json FILE]

*import*: the ten simulated patients as transaction Bundles, several times, through HTTP: ours with everything on (validation, sealing, facts, consent, signed audit) and bare
(sealed, without validation, facts and signatures), on SQLite and PostgreSQL; the same Bundles through Medplum's router, which keeps them in memory and neither validates, seals,
indexes on disk nor asks anybody. CPU-seconds are those of the server's process, for PostgreSQL with those of the database's processes. *latency*: 200 requests a second, sent when
they are due whether or not earlier ones were answered, over a store of so many Observations. Where there is no PostgreSQL or node, its row reads *not run*.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import httpx  # noqa: E402
from _results import note  # noqa: E402
from platform_store import server_cpu  # noqa: E402

import _medplum  # noqa: E402
import _postgres  # noqa: E402
from _rest_server import RestServer, process_cpu  # noqa: E402
from gemel import __version__  # noqa: E402
from gemel.interop.fhir.codec import decode  # noqa: E402
from gemel.platform import datasets  # noqa: E402
from gemel.platform.consent import Consent  # noqa: E402
from gemel.platform.keys import make_master, read_master  # noqa: E402
from gemel.platform.store import Store  # noqa: E402
from gemel.platform.store.consents import put_consent  # noqa: E402
from gemel.platform.store.resources import Change, Resources  # noqa: E402

FULL_FLOOR, BARE_FLOOR = 335, 600
READ_MS, CREATE_MS = 20, 50
RATE = 200
_LIMITS = {"per_token": 1e6, "per_address": 1e6, "burst": 1_000_000}


def bundles() -> list[bytes]:
    return [gzip.decompress(path.read_bytes()) for path in sorted(datasets.resolve("synthea-r4").glob("*.json.gz"))]


def config(place: str, folder: Path, *, bare: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "server": {"port": 0}, "store": {"place": place, "readers": 2}, "worker": {"count": 0}, "limits": _LIMITS, "log": {"level": "error"},
        "audit": {"trail": str(folder / "audit.jsonl"), "sign": not bare}, "fhir": {"validation": "off" if bare else "strict", "facts": not bare},
    }  # fmt: skip
    if "://" in place:
        found["store"]["blobs"] = str(folder)
    return found


@contextmanager
def ours(place: str, *, bare: bool) -> Iterator[RestServer]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = place or str(folder / "rest.sqlite")
        environ = {}
        if "://" in place:
            make_master(folder / "rest.key")
            environ["GEMEL_KEY_FILE"] = str(folder / "rest.key")
        server = RestServer(folder, config(place, folder, bare=bare), environ)
        try:
            yield server
        finally:
            server.stop()


def sent(url: str, head: dict[str, str], raws: list[bytes], rounds: int) -> tuple[int, float]:
    """Send every Bundle so often; return resources and seconds by the clock."""
    count, began = 0, time.perf_counter()
    with httpx.Client(timeout=120, headers=head) as client:
        for _ in range(rounds):
            for raw in raws:
                answer = client.post(url, content=raw)
                if answer.status_code != 200:
                    raise SystemExit(f"refused: {answer.status_code} {answer.text[:300]}")
                entries = answer.json()["entry"]
                wrong = [entry["response"]["status"] for entry in entries if not entry["response"]["status"].startswith("201")]
                if wrong:
                    raise SystemExit(f"not all were created: {wrong[:3]}")
                count += len(entries)
    return count, time.perf_counter() - began


def imported(rounds: int) -> dict[str, Any]:
    raws, told = bundles(), {}
    found = _postgres.binaries()
    database = _postgres.Server(found) if found is not None else None
    try:
        for store in ("sqlite", "postgres"):
            for mode in ("full", "bare"):
                name = f"{store}, {mode}"
                if store == "postgres" and database is None:
                    told[name] = None
                    continue
                with ours("" if store == "sqlite" else database.new(), bare=mode == "bare") as server:  # type: ignore[union-attr]
                    sent(server.fhir, server.head, raws[4:5], 1)
                    before = server.cpu() + (server_cpu(database) if store == "postgres" else 0)
                    count, seconds = sent(server.fhir, server.head, raws, rounds)
                    spent = server.cpu() + (server_cpu(database) if store == "postgres" else 0) - before
                told[name] = {"resources": count, "per_cpu_second": count / spent, "per_second": count / seconds}
                note(f"{name}: {told[name]}")
    finally:
        if database is not None:
            database.close()
    packages = _medplum.packages()
    if isinstance(packages, str):
        told["medplum"] = None
        note(f"medplum not run: {packages}")
        return told
    peer = _medplum.Medplum(packages)
    try:
        head = {"Content-Type": "application/fhir+json"}
        sent(peer.url, head, raws[4:5], 1)
        before = process_cpu(peer.pid)
        count, seconds = sent(peer.url, head, raws, rounds)
        told["medplum"] = {"resources": count, "per_cpu_second": count / (process_cpu(peer.pid) - before), "per_second": count / seconds}
        note(f"medplum: {told['medplum']}")
    finally:
        peer.kill()
    return told


def heart(patient: str, number: int) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": f"20{10 + number % 15}-0{1 + number % 9}-1{number % 10}T10:{number % 60:02d}:00Z",
        "valueQuantity": {"value": 60 + number % 40, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    }  # fmt: skip


def seed(place: Path, observations: int) -> None:
    """Fill a store with a hundred patients who permit, and Observations of theirs."""
    now = time.time_ns()
    key = place.with_name(place.name + ".key")
    if not key.exists():
        make_master(key)
    with Store(place, keys=read_master(key)) as store:
        resources = Resources(store)
        for p in range(100):
            store.append(f"p{p}", (), recorded=now)
            put_consent(store, f"p{p}", Consent("c", f"p{p}", True, given=1), recorded=now)
        trees = [decode(json.dumps(heart(f"p{i % 100}", i))) for i in range(2000)]
        for first in range(0, observations, 2000):
            part = [Change("Observation", f"o{i}", trees[i % 2000], is_new=True) for i in range(first, min(first + 2000, observations))]
            resources.write(part, recorded=now)


class _Wire:
    """One connection that is kept: as little HTTP as is needed, so that the generator leaves the cores to the server."""

    def __init__(self, server: RestServer) -> None:
        parts = urlsplit(server.fhir)
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path
        self._head = "".join(f"{name}: {value}\r\n" for name, value in {**server.head, "Host": parts.netloc}.items())
        self._reader: asyncio.StreamReader | None = None

    async def ask(self, method: str, path: str, body: bytes | None) -> int:
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(
            f"{method} {self._path}{path} HTTP/1.1\r\n{self._head}Content-Length: {len(body or b'')}\r\n\r\n".encode() + (body or b"")
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await self._reader.readexactly(int(head.partition("content-length:")[2].split("\r\n", 1)[0]))
        return int(head[9:12])

    def close(self) -> None:
        if self._reader is not None:
            self._writer.close()


async def loaded(server: RestServer, make: Any, seconds: float) -> dict[str, float]:
    """Send requests when they are due; return what a request took, from when it was due."""
    taken: list[float] = []
    wrong: list[int] = []
    free: asyncio.Queue[_Wire] = asyncio.Queue()
    wires = [_Wire(server) for _ in range(64)]
    for wire in wires:
        free.put_nowait(wire)

    async def one(number: int, due: float) -> None:
        wire = await free.get()
        status = await wire.ask(*make(number))
        free.put_nowait(wire)
        taken.append(time.perf_counter() - due)
        if status not in (200, 201):
            wrong.append(status)

    await asyncio.gather(*[one(i, time.perf_counter()) for i in range(64)])
    taken.clear()
    mine, served, tasks, began = time.process_time(), server.cpu(), [], time.perf_counter() + 0.1
    for i in range(round(seconds * RATE)):
        due = began + i / RATE
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(i, due)))
    await asyncio.gather(*tasks)
    spent = time.perf_counter() - began
    for wire in wires:
        wire.close()
    if wrong:
        raise SystemExit(f"refused: {sorted(set(wrong))}")
    taken.sort()
    return {
        "p50_ms": 1e3 * taken[len(taken) // 2], "p95_ms": 1e3 * taken[int(len(taken) * 0.95)], "p99_ms": 1e3 * taken[int(len(taken) * 0.99)],
        "answered_per_second": len(taken) / spent, "server_cpu_ms": 1e3 * (server.cpu() - served) / len(taken),
        "generator_cpu_share": (time.process_time() - mine) / spent, "load_average": os.getloadavg()[0],
    }  # fmt: skip


def latency(observations: int, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.process_time()
        seed(folder / "rest.sqlite", observations)
        note(f"{observations} Observations written in {time.process_time() - began:.0f} CPU-seconds")
        server = RestServer(folder, config(str(folder / "rest.sqlite"), folder, bare=False))
        try:
            reads = asyncio.run(loaded(server, lambda i: ("GET", f"/Observation/o{i * 7919 % observations}", None), seconds))
            note(f"read: {reads}")
            creates = asyncio.run(loaded(server, lambda i: ("POST", "/Observation", json.dumps(heart(f"p{i % 100}", i)).encode()), seconds))
            note(f"create: {creates}")
            searches = asyncio.run(
                loaded(server, lambda i: ("GET", f"/Observation?patient=p{i % 100}&date=ge2020&_count=10&_total=none", None), seconds / 3)
            )
            note(f"search: {searches}")
        finally:
            server.stop()
    return {"observations": observations, "read": reads, "create": creates, "search": searches}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--observations", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--parts", default="import,latency")
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    parts, told = settings.parts.split(","), {}
    if "latency" in parts:
        told["latency"] = latency(settings.observations, settings.seconds)
    if "import" in parts:
        told["import"] = imported(settings.rounds)
    told |= {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(), "gemel": __version__}
    print(json.dumps(told, indent=1))
    if settings.json:
        settings.json.write_text(json.dumps(told, indent=1))
    if "latency" in told:
        read, create = told["latency"]["read"]["p99_ms"], told["latency"]["create"]["p99_ms"]
        print(
            f"p99 at {RATE} requests a second over {settings.observations} Observations: read {read:.1f} ms (goal {READ_MS}), create {create:.1f} ms (goal {CREATE_MS})"
        )
    if "import" in told:
        rows = told["import"]
        for name, row in rows.items():
            floor = FULL_FLOOR if name.endswith("full") else BARE_FLOOR if name.endswith("bare") else None
            print(
                f"{name:<18}"
                + (
                    "not run"
                    if row is None
                    else f"{row['per_cpu_second']:>8,.0f} resources per CPU-second" + (f" (floor {floor})" if floor else "")
                )
            )
        peer, mine = rows.get("medplum"), rows["sqlite, full"]
        print("ratio to Medplum's router: " + (f"{mine['per_cpu_second'] / peer['per_cpu_second']:.1f}" if peer else "not run"))


if __name__ == "__main__":
    main()
