"""The API under load: how long does a cached forecast take when many ask at once, what does a request cost, does memory stay flat, does anything break?

    gemel bench platform-api -- [--clients 50] [--think 0.1] [--seconds 30] [--soak 120000] [--fuzz 200] [--json FILE]

A server process as ``gemel serve`` starts it (tokens, guard, consents, sealed store, audit on the disk before each answer), its clients in a process of their own on the same
machine: each waits ``--think`` seconds after an answer. The share of a core that the clients use is printed, for they compete with the server. *peer*: the same bytes
from a bare application (Starlette on uvicorn: no login, no guard, no store, no audit) under the same load, in the same run: what all of that costs. *soak*: as many requests as
fast as they go, the server's memory sampled; 1,700,000 is what 50 such clients ask in an hour. *fuzz*: requests made by schemathesis from the API's own
description, per operation; none may end in a status of 500 or above.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gemel import __version__

HERE = Path(__file__).resolve()
PATIENTS, PER_CLIENT = 200, 4
LIMIT_MS = 50.0


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# the server, in a process of its own


def forecast_body(i: int) -> bytes:
    """As large as a forecast of a day in steps of five minutes, with five quantiles."""
    draw = np.random.default_rng(i)
    times = [1_790_000_000_000_000_000 + k * 300_000_000_000 for k in range(288)]
    quantiles = np.round(np.sort(draw.normal(120, 30, (5, 288, 1)), axis=0), 6)
    plain = {
        "twin": "metabolic", "issued": times[0], "times": times, "outputs": ["glucose"], "units": ["mg/dL"], "levels": [0.05, 0.25, 0.5, 0.75, 0.95],
        "quantiles": quantiles.tolist(), "mean": quantiles[2].tolist(), "status": "OK", "sentence": "", "plan": "as known",
    }  # fmt: skip
    return json.dumps(plain).encode()


def prepare(clients: int, told: dict[str, Any]):
    def change(store) -> None:
        from gemel.core.code import Code
        from gemel.core.record import Finding
        from gemel.platform.consent import Consent
        from gemel.platform.store.consents import put_consent
        from gemel.platform.store.relations import Relation, put_care

        now = time.time_ns()
        told["twins"] = [[] for _ in range(clients)]
        for i in range(PATIENTS):
            name = f"patient-{i}"
            store.append(name, [Finding(code=Code.parse("loinc:4548-4"), value="x", time=now - 10**12)], recorded=now)
            put_consent(store, name, Consent("c", "", True, given=1, models=frozenset({"metabolic@0"})), recorded=now)
            meta = {"model": "metabolic", "model_version": "0.1.0", "status": "OK"}
            store.put("twin", name, "metabolic", b"state %d" % i, recorded=now, meta=meta)
            store.put("forecast", name, "metabolic", forecast_body(i), recorded=now, meta=meta)
        for c in range(clients):
            for k in range(PER_CLIENT):
                name = f"patient-{(c * PER_CLIENT + k) % PATIENTS}"
                put_care(store, name, Relation(f"Practitioner/{c}"), recorded=now)
                told["twins"][c].append(f"{store.subject(name)}.metabolic")

    return change


def serve(folder: Path, clients: int) -> None:
    from gemel.server.config import ServerConfig
    from gemel.server.run import run_server

    config = ServerConfig.model_validate(
        {
            "server": {"port": 0}, "store": {"place": str(folder / "s.sqlite")}, "worker": {"count": 0}, "log": {"file": str(folder / "log")},
            "limits": {"per_token": 1e6, "per_address": 1e6, "burst": 1_000_000}, "auth": {"token_minutes": 60},
        }
    )  # fmt: skip
    told: dict[str, Any] = {}

    def ready(services, address: str) -> None:
        told["tokens"] = [services.tokens.issue(f"Practitioner/{c}", seconds=36_000, role="physician") for c in range(clients)]
        told["address"] = address
        print(json.dumps(told), flush=True)

    run_server(config, prepare=prepare(clients, told), ready=ready)


def bare(clients: int) -> None:
    import socket

    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    bodies = [forecast_body(i) for i in range(PATIENTS)]

    async def read(request) -> Response:
        return Response(bodies[int(request.path_params["twin"])], media_type="application/json")

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    twins = [[str((c * PER_CLIENT + k) % PATIENTS) for k in range(PER_CLIENT)] for c in range(clients)]
    print(json.dumps({"address": f"http://127.0.0.1:{listener.getsockname()[1]}/", "tokens": ["x"] * clients, "twins": twins}), flush=True)
    app = Starlette(routes=[Route("/api/v1/twins/{twin}/forecast", read)])
    uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False)).run(sockets=[listener])


# the clients, in another


async def client(host: str, port: int, token: str, twins: list[str], think: float, end: float, most: int, out: dict[str, Any]) -> None:
    draw = random.Random(token)
    reader, writer = await asyncio.open_connection(host, port)
    await asyncio.sleep(draw.random() * think)
    while time.monotonic() < end and out["sent"] < most:
        out["sent"] += 1
        path = f"/api/v1/twins/{draw.choice(twins)}/forecast"
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nX-Purpose-Of-Use: TREAT\r\n\r\n"
        begun = time.perf_counter()
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        out["ms"].append((time.perf_counter() - begun) * 1000)
        if answer[9:12] != b"200" or length < 1000 or body[:1] != b"{":
            out["bad"] += 1
        if think:
            await asyncio.sleep(think)
    writer.close()


def load(told: dict[str, Any], think: float, seconds: float, most: int) -> dict[str, Any]:
    host, _, port = told["address"].removeprefix("http://").rstrip("/").partition(":")
    out: dict[str, Any] = {"ms": [], "bad": 0, "sent": 0}

    async def everybody() -> None:
        end = time.monotonic() + seconds
        people = zip(told["tokens"], told["twins"], strict=True)
        await asyncio.gather(*(client(host, int(port), token, twins, think, end, most, out) for token, twins in people))

    begun, cpu = time.monotonic(), time.process_time()
    asyncio.run(everybody())
    wall = time.monotonic() - begun
    ms = np.array(out["ms"])
    return {
        "requests": len(ms), "bad": out["bad"], "per_second": len(ms) / wall, "wall_s": wall, "generator_share_of_a_core": (time.process_time() - cpu) / wall,
        "p50_ms": float(np.quantile(ms, 0.5)), "p95_ms": float(np.quantile(ms, 0.95)), "p99_ms": float(np.quantile(ms, 0.99)), "max_ms": float(ms.max()),
    }  # fmt: skip


# both together


class Server:
    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen([sys.executable, str(HERE), *command], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.told = json.loads(line)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

    def load(self, think: float, seconds: float, most: int = 2**62) -> dict[str, Any]:
        before = self.cpu_s()
        asked = [sys.executable, str(HERE), "--load", str(think), str(seconds), str(most)]
        done = subprocess.run(asked, input=json.dumps(self.told), capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        spent = self.cpu_s() - before
        return found | {
            "server_cpu_ms_per_request": 1000 * spent / max(1, found["requests"]),
            "server_share_of_a_core": spent / found["wall_s"],
        }

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def soak(server: Server, requests: int) -> dict[str, Any]:
    """Ask as fast as it goes; the slope of memory over the second half, by least squares."""
    samples, done, step = [], 0, max(2000, requests // 40)
    while done < requests:
        found = server.load(0.0, 600.0, step)
        done += found["requests"]
        samples.append((done, server.rss_mib()))
        note(f"  {done:>9,} requests, {samples[-1][1]:.1f} MiB, {found['per_second']:.0f}/s")
    late = np.array(samples[len(samples) // 2 :])
    slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) if len(late) > 1 else 0.0
    return {"requests": done, "first_mib": samples[0][1], "last_mib": samples[-1][1], "slope_mib_per_million": slope * 1e6}


def fuzz(examples: int) -> dict[str, Any]:
    """Let schemathesis ask every operation; return how many requests there were and what ended badly."""
    sys.path[:0] = [str(HERE.parents[1] / "tests" / "server"), str(HERE.parents[1] / "tests")]
    from _fuzz import ask_everything

    with tempfile.TemporaryDirectory() as folder:
        return ask_everything(Path(folder), examples=examples)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--think", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--soak", type=int, default=120_000)
    parser.add_argument("--fuzz", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(Path(asked.serve[0]), int(asked.serve[1]))
        return 0
    if asked.bare:
        bare(int(asked.bare))
        return 0
    if asked.load:
        print(json.dumps(load(json.load(sys.stdin), float(asked.load[0]), float(asked.load[1]), int(asked.load[2]))))
        return 0
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        note("the bare application")
        plain = Server("--bare", str(asked.clients))
        stack.callback(plain.close)
        plain.load(asked.think, 2.0)
        peer = plain.load(asked.think, asked.seconds)
        plain.close()
        note("the server")
        ours = Server("--serve", folder, str(asked.clients))
        stack.callback(ours.close)
        ours.load(asked.think, 3.0)
        trail = Path(folder) / "s.sqlite.audit.jsonl"
        before = trail.read_bytes().count(b"\n")
        cached = ours.load(asked.think, asked.seconds)
        entries = trail.read_bytes().count(b"\n") - before
        note("soak")
        memory = soak(ours, asked.soak) if asked.soak else None
    broken = fuzz(asked.fuzz) if asked.fuzz else None
    table = {
        "machine": {"cpu": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0], "gemel": __version__},
        "asked": {"clients": asked.clients, "think_s": asked.think, "seconds": asked.seconds},
        "cached_forecast": cached | {"audit_entries": entries, "bytes": len(forecast_body(0))}, "peer_bare_starlette": peer, "soak": memory, "fuzz": broken,
        "p95_ms": cached["p95_ms"], "p95_limit_ms": LIMIT_MS, "met": cached["p95_ms"] <= LIMIT_MS and not cached["bad"] and entries >= cached["requests"],
        "cpu_per_request_against_bare": cached["server_cpu_ms_per_request"] / peer["server_cpu_ms_per_request"],
    }  # fmt: skip
    text = json.dumps(table, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")
    return 0 if table["met"] and not (broken and broken["broken"]) else 1


if __name__ == "__main__":
    sys.exit(main())
