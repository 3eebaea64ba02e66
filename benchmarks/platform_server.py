"""The server: what it costs to start, and what a guarded answer costs beside a bare one.

    gemel bench platform-server -- [--clients 50] [--requests 6000] [--json FILE]

*start*: CPU-seconds from the start of a process to an application that can be asked, on a store that is there; and what of the numeric stack was imported (nothing may be).
*answers*: one process of uvicorn on one socket, asked over 50 kept connections one request after the other, by this process on the same machine, so that the two share its cores. *ours* reads a patient:
gate, token, relations, consent, decision, audit entry on the disk before the answer. *bare* is FastAPI with a route that returns the same bytes. CPU is that of the server's process, by its own account. *tokens*: ES256 tokens verified,
beside joserfc's own ``jwt.decode``, which checks signature and expiry only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
TESTS = HERE.parents[1] / "tests"
BODY = b'{"id":"0123456789abcdef01234567","pseudonym":"ada","enrolled":"2026-01-01T00:00:00Z","sex":"female","zone":null,"series":1}'


def cpu_of(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def used() -> float:
    told = resource.getrusage(resource.RUSAGE_SELF)
    return told.ru_utime + told.ru_stime


def settings_of(place: str):
    from gemel.server.config import ServerConfig

    limits = {"per_token": 1e6, "per_address": 1e6, "burst": 10**6}
    told = {"store": {"place": place}, "audit": {"sign": True}, "worker": {"count": 0}, "limits": limits, "log": {"level": "warning"}}
    return ServerConfig.model_validate(told)


def start(place: str) -> None:
    from gemel.server.app import make_app
    from gemel.server.services import open_services

    with open_services(settings_of(place)) as services:
        make_app(services)
        heavy = sorted(
            {name.partition(".")[0] for name in sys.modules}
            & {"jax", "scipy", "pint", "pandas", "equinox", "diffrax", "sqlalchemy", "alembic"}
        )
        print(json.dumps({"cpu": used(), "mib": peak_mib(os.getpid()), "heavy": heavy}))


def serve_ours(place: str) -> None:
    from gemel.server.run import run_server

    def ready(services, address: str) -> None:
        token = services.tokens.issue("Practitioner/7", seconds=3000, role="physician")
        subject = services.readers.submit(lambda store: store.subject("ada")).result()
        print(
            json.dumps({"port": int(address.rpartition(":")[2].strip("/")), "path": f"/api/v1/patients/{subject}", "token": token}),
            flush=True,
        )

    config = settings_of(place)
    run_server(config.model_copy(update={"server": config.server.model_copy(update={"port": 0})}), ready=ready)


def serve_bare() -> None:
    import socket

    import uvicorn
    from fastapi import FastAPI
    from starlette.responses import Response

    app = FastAPI()

    @app.get("/api/v1/patients/{patient}")
    async def read(patient: str) -> Response:  # noqa: ARG001  as the other has it
        return Response(BODY, media_type="application/json")

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(json.dumps({"port": listener.getsockname()[1], "path": "/api/v1/patients/0123456789abcdef01234567", "token": "x"}), flush=True)
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


async def ask(told: dict, clients: int, requests: int) -> list[float]:
    """Ask one after the other on each of so many connections; return the seconds of each answer."""
    text = (
        f"GET {told['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {told['token']}\r\nX-Purpose-Of-Use: TREAT\r\n\r\n"
    ).encode()
    times: list[float] = []

    async def client(n: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", told["port"])
        for _ in range(n):
            begun = time.perf_counter()
            writer.write(text)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            size = next(int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(size)
            times.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(client(requests // clients) for _ in range(clients)))
    return times


def answers(kind: str, place: str, clients: int, requests: int) -> dict[str, float]:
    process = subprocess.Popen([sys.executable, str(HERE), "--do", kind, "--place", place], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        asyncio.run(ask(told, clients, clients * 4))  # connections, caches, first audit root
        before, begun, own = cpu_of(process.pid), time.perf_counter(), used()
        times = sorted(asyncio.run(ask(told, clients, requests)))
        wall, cpu, ours = time.perf_counter() - begun, cpu_of(process.pid) - before, used() - own
        n = len(times)
        return {
            "requests": n, "per_second": n / wall, "per_cpu_second": n / cpu, "p50_ms": times[n // 2] * 1e3, "p95_ms": times[int(n * 0.95)] * 1e3,
            "generator_share": ours / wall, "peak_mib": peak_mib(process.pid),
        }  # fmt: skip
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def tokens(n: int = 2000) -> dict[str, float]:
    from joserfc import jwt

    from gemel.platform.crypto import Secret
    from gemel.server.auth_tokens import Tokens, verify

    made = Tokens(Secret(bytes(32)), "https://twin.example", 1, time.time_ns)
    token = made.issue("Practitioner/7", seconds=3000, role="physician")
    (key,) = made.keys.values()
    registry = jwt.JWTClaimsRegistry()

    def peer() -> None:
        registry.validate(jwt.decode(token, key, algorithms=["ES256"]).claims)

    found = {}
    for name, work in (("ours", lambda: verify(token, made.keys, made.trust, now=time.time_ns())), ("joserfc", peer)):
        begun = time.process_time()
        for _ in range(n):
            work()
        found[name] = n / (time.process_time() - begun)
    return found


def prepare(place: str) -> None:
    sys.path[:0] = [str(TESTS), str(TESTS / "server")]
    from _records import readings
    from gemel.platform.consent import Consent
    from gemel.platform.store import Store
    from gemel.platform.store.consents import put_consent
    from gemel.platform.store.relations import Relation, put_care

    with Store(place) as store:
        for patient in ("ada", *(f"p{i}" for i in range(50))):
            store.append(patient, [readings(50)], recorded=1)
            put_consent(store, patient, Consent("c", patient, base=True, given=1), recorded=1)
            put_care(store, patient, Relation("Practitioner/7"), recorded=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--do", choices=("start", "ours", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.do:
        {"start": lambda: start(settings.place), "ours": lambda: serve_ours(settings.place), "bare": serve_bare}[settings.do]()
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CONFIG_HOME"] = folder  # the key that signs roots
        place = f"{folder}/s.sqlite"
        prepare(place)
        command = [sys.executable, str(HERE), "--do", "start", "--place", place]
        started = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
        told = {kind: answers(kind, place, settings.clients, settings.requests) for kind in ("ours", "bare")}
    checked = tokens()
    best = min(started, key=lambda one: one["cpu"])
    for kind, one in told.items():
        print(
            f"{kind:<8}{one['per_second']:>8,.0f} answers/s  {one['per_cpu_second']:>8,.0f} per CPU-second of the server  p50 {one['p50_ms']:.1f} ms  p95 {one['p95_ms']:.1f} ms"
            f"  {one['peak_mib']:.0f} MiB  (generator: {one['generator_share']:.2f} cores)"
        )
    print(f"tokens  {checked['ours']:>8,.0f} verified per CPU-second, joserfc's own decode {checked['joserfc']:,.0f}")
    print(
        f"start   {best['cpu']:.2f} CPU-s, {best['mib']:.0f} MiB, of the numeric stack and the migration tools: {', '.join(best['heavy']) or 'nothing'}  (floor: <= 2 CPU-s)"
    )
    if settings.json:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "cores": os.cpu_count()}
        settings.json.write_text(json.dumps({"start": started, "answers": told, "tokens": checked, **machine}, indent=1))
    print(
        f"ratio: a guarded answer costs {told['bare']['per_cpu_second'] / told['ours']['per_cpu_second']:.1f} times the CPU of a bare one of FastAPI"
    )


if __name__ == "__main__":
    main()
