"""What the benchmark of live twins shares: a store of people whose twins are followed, readings that arrive, and a worker in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core import PatientRecord, Series
from gemel.core.time import MINUTE
from gemel.interop.report import MessageReport
from gemel.platform.intake import Adapter, Context, Normalised
from gemel.platform.store import Store
from gemel.platform.stream import twins as queue

PEOPLE = 4
"""Different people, calibrated each; the others are copies of them under their own names and keys, for a thousand calibrations are another benchmark."""


class World:
    """A store in a folder, with ``count`` twins of a room that were calibrated two hours of readings before ``now``."""

    def __init__(self, folder: Path, room: str, count: int, *, now: int, learnt: bool = True) -> None:
        import jax

        import gemel
        from gemel.platform.live.states import Rooms, States

        self.place, self.room, self.count, self.now = folder / "live.sqlite", room, count, now
        self.rooms = Rooms(gemel.room)
        here, model = self.rooms.room(room), self.rooms.model(room)
        self.people: list[tuple[PatientRecord, Any]] = []
        for i in range(PEOPLE):
            record, then, _ = here.simulate_record(jax.random.key(i))
            shift = (now - then) // (5 * MINUTE) * (5 * MINUTE)
            series = tuple(s.model_copy(update={"time": s.time + shift, "recorded": s.recorded + shift}) for s in record.series)
            given = tuple(
                e.model_copy(update={"start": e.start + shift, "end": e.end + shift, "recorded": e.recorded + shift})
                for e in record.exposures
            )
            moved = record.model_copy(update={"series": series, "exposures": given})
            twin = gemel.calibrate(model, moved, now, method=here.method(), key=i)
            self.people.append((moved, twin if learnt else replace(twin, learnt=None, correction=None)))
        with Store(self.place) as store:
            states = States(store, self.rooms)
            for first in range(0, count, 100):
                with store.batch():
                    for k in range(first, min(first + 100, count)):
                        record, twin = self.people[k % PEOPLE]
                        store.append(f"p{k}", record.facts(), recorded=now, demographics=record.demographics)
                        upto = store._database.execute("SELECT max(seq) FROM event").fetchone()[0]
                        states.put(None, replace(twin, patient=f"p{k}"), f"p{k}", room, upto=upto, recorded=now)
                        queue.follow(store, f"p{k}", room, upto=upto)
            queue.feed(store, now=now)
            store._database.execute("SELECT 1")
            self.subjects = {store.subject(f"p{k}"): k for k in range(count)}

    def read(self, body: bytes, context: Context) -> Normalised:
        """Read a reading: patient and value, true when it was received."""
        k, _, value = body.partition(b" ")
        series = self.people[int(k) % PEOPLE][0].series[0]
        fact = Series(
            code=series.code, unit=series.unit, source=series.source, time=np.array([context.received]), value=np.array([float(value)]),
            recorded=np.array([context.received]),
        )  # fmt: skip
        return Normalised(MessageReport(source="bench", format="reading", read=1, mapped=1), facts={f"p{int(k)}": [fact]})

    def adapter(self) -> Adapter:
        """Return the adapter of these readings."""
        return Adapter("reading", self.read, is_numbered=False)

    def reading(self, k: int, step: int) -> bytes:
        """Return a reading of person ``k``: what somebody like them had at that place of their day."""
        value = self.people[k % PEOPLE][0].series[0].value
        return b"%d %r" % (k, float(value[(step + k) % len(value)]))


def settings_of(folder: Path, **more: Any) -> Path:
    """Write the configuration that workers read."""
    told = {"debounce_ms": 50, "poll_ms": 20, "lease_s": 120} | more
    path = folder / "gemel.toml"
    lines = ["[live]", *(f"{key} = {value}" for key, value in told.items()), '[live.standing."*"]', "draws = 96", "score_min = 0"]
    path.write_text("\n".join(lines) + "\n")
    return path


def start_worker(
    world: World, config: Path, *, core: int | None = None, data_gib: int | None = None, is_offline: bool = False
) -> subprocess.Popen[bytes]:
    """Start a worker, on one core, with a limit on its memory, without a network, as asked."""
    limit = "" if data_gib is None else f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({data_gib} << 30, {data_gib} << 30)); "
    command = [
        sys.executable,
        "-c",
        f"{limit}import sys; from gemel.server.worker import main; sys.exit(main(sys.argv[1:]))",
        "--db",
        str(world.place),
        "--config",
        str(config),
    ]
    if is_offline and shutil.which("unshare") and os.getuid() == 0:
        command = ["unshare", "-n", *command]
    if core is not None and shutil.which("taskset"):
        command = ["taskset", "-c", str(core), *command]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """Return resident memory of a process now (``VmHWM``: its highest)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return float("nan")


def cpu_seconds(pid: int) -> float:
    """Return the CPU-seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def size_mib(place: Path) -> float:
    """Return what a store takes on disk."""
    return sum(path.stat().st_size for path in place.parent.glob(place.name + "*") if path.is_file()) / (1 << 20)


def await_quiet(store: Store, *, limit_s: float) -> bool:
    """Wait until every twin has read what arrived."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        last = store._database.execute("SELECT coalesce(max(seq), 0) FROM event WHERE kind = 'facts'").fetchone()[0]
        if queue.wanted_since(store) >= last and queue.due(store) == 0:
            return True
        time.sleep(0.05)
    return False
