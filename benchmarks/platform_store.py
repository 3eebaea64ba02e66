"""What the store costs and survives: readings per CPU-second sealed and unsealed on both databases, kills at random instants, and a search for an erased patient.

    gemel bench platform-store [--quick] [--again] [--output FILE]

Stages are kept and resumed. PostgreSQL is printed as *not run* where there is no server. No peer is beside it: no store with these guarantees (sealed per patient, as of any time)
is known to us; SQLite's own rows, unsealed and without any of it, are the floor beneath: the last column says how far above or below it we are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from _results import Results, note  # noqa: E402

import _canaries  # noqa: E402
import _kills  # noqa: E402
import _postgres  # noqa: E402
from gemel.core import Code, Exposure, Quantity, Series  # noqa: E402
from gemel.core.time import MINUTE  # noqa: E402
from gemel.platform.crypto import new_key  # noqa: E402
from gemel.platform.erase import erase  # noqa: E402
from gemel.platform.keys import FileMaster  # noqa: E402
from gemel.platform.store import Store  # noqa: E402
from gemel.platform.store.backup import backup, restore  # noqa: E402

CODE = Code.parse("loinc:99504-3")
START = 1_768_000_000_000_000_000
TARGET = 30_000


class _Clear:
    """Sealing that does not seal: what the rest of the store costs. For this page only."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def seal(self, *given: Any) -> bytes:
        return given[-1]

    def open(self, *given: Any) -> bytes:
        return given[-1]


def months(seed: int, days: int) -> Series:
    draw = np.random.default_rng(seed)
    at = START + np.arange(288 * days) * 5 * MINUTE
    value = np.round(120 + np.cumsum(draw.normal(0, 2, len(at))) % 80)
    return Series(code=CODE, unit="mg/dL", time=at, value=value, recorded=at + draw.integers(1, 5, len(at)) * MINUTE)


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def server_cpu(server: _postgres.Server | None) -> float:
    """CPU-seconds of the server's processes, those that have ended included."""
    if server is None:
        return 0.0
    parent = (server.folder / "data" / "postmaster.pid").read_text().split()[0]
    total = 0
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (place / "stat").read_text().rsplit(")", 1)[1].split() if place.name.isdigit() else []
            if place.name == parent:
                total += sum(map(int, fields[11:15]))
            elif fields and fields[1] == parent:
                total += sum(map(int, fields[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def rates(place: str | Path, server: _postgres.Server | None, days: int, sealed: bool) -> dict[str, float]:
    """Readings per CPU-second of this process, and of it and the server together."""
    people = [months(i, days) for i in range(4)]
    with Store(place, keys=FileMaster(new_key())) as store:
        if not sealed:
            store._sealing = _Clear(store._sealing)  # type: ignore[assignment]
        store.append("warm", [people[0].take(np.arange(300))], recorded=0)
        found = {}
        for name, work, n in (
            ("bulk", lambda: [store.append(f"p{i}", [s], recorded=1) for i, s in enumerate(people)], 4 * len(people[0])),
            ("daily", lambda: [store.append("d", [people[0].take(np.arange(288) + 288 * d)], recorded=1) for d in range(days)], 288 * days),
            ("again", lambda: [store.append(f"p{i}", [s], recorded=1) for i, s in enumerate(people)], 4 * len(people[0])),
            ("read", lambda: [store.record(f"p{i}") for i in range(4)], 4 * len(people[0])),
            ("one by one", lambda: [store.append("live", [people[0].take([k])], recorded=1) for k in range(288)], 288),
        ):
            before = server_cpu(server)
            mine = cpu(work)
            found[name] = n / mine
            if server is not None:
                found[f"{name}, with the server"] = n / (mine + server_cpu(server) - before)
    return found


def floor(path: Path, days: int) -> dict[str, float]:
    """Plain rows of SQLite, nothing sealed, no second time, no hash: batches of 5,000."""
    series = months(0, days)
    rows = [(1, int(t), float(v), int(r)) for t, v, r in zip(series.time, series.value, series.recorded, strict=True)]
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("CREATE TABLE reading (p INTEGER, t INTEGER, v REAL, r INTEGER, PRIMARY KEY (p, t)) STRICT, WITHOUT ROWID")

    def work() -> None:
        for i in range(0, len(rows), 5000):
            raw.execute("BEGIN")
            raw.executemany("INSERT INTO reading VALUES (?, ?, ?, ?)", rows[i : i + 5000])
            raw.execute("COMMIT")

    took = cpu(work)
    raw.close()
    return {"rows": len(rows) / took}


def kills(place: str | Path, count: int, seed: int) -> dict[str, Any]:
    ran = subprocess.run([sys.executable, _kills.__file__, str(place), str(count), str(seed)], stdout=subprocess.PIPE, check=True)
    return json.loads(ran.stdout)


def erased(place: str | Path, again: str | Path, folder: Path, server: _postgres.Server | None, people: int) -> dict[str, Any]:
    """Erase one of many, and look for them in every file; a restore from the backup before is looked at too."""
    word, number, master = "Quetzalcoatlus-7781", 123.456789012345, FileMaster(new_key())
    with Store(place, keys=master) as store:
        for i in range(people):
            name = word if i == people // 2 else f"p{i}"
            value = np.where(np.arange(288 * 7) % 5 == 0, number, 110.0) if name == word else months(i, 7).value
            store.append(name, [months(i, 7).model_copy(update={"value": value, "source": f"pump of {name}"})], recorded=1)
            store.append(name, [Exposure(code=CODE, quantity=Quantity(value=30.0, unit="g"), start=START, note=name)], recorded=2)
            seq, _ = store.receive("lab", b"ORU " + name.encode() * 20, received=1)
            store.settle(seq, "done", patients=[name])
            store.put("twin", name, "toy", name.encode() * 50, recorded=3, meta={"who": name})
        backup(store, folder / "b", folder / "keys.json", made=1)
        wraps = [bytes(row[0]) for row in store._database.execute("SELECT wrapped FROM key_wrap WHERE subject = ?", (store._pid(word),))]
        others = {name: store.record(name).hash for name in store.patients() if name != word}
        took = cpu(lambda: erase(store, word, recorded=5, log=folder / "log.erased"))
        same = {name: store.record(name).hash for name in store.patients()} == others
        problems = store.check().problems
    files = [path for path in folder.rglob("*") if path.is_file()]
    outside = [] if server is None else [path for path in server.files() if "pg_wal" not in path.parts]
    found = _canaries.find([*files, *outside], [word, number, *wraps])
    told = restore(folder / "b", folder / "keys.json", again, master=master, recorded=6)
    with Store(again, keys=master) as store:
        back = word in store.patients()
    return {
        "files": len(files) + len(outside),
        "found": found,
        "others unchanged": same,
        "problems": [*problems, *told.problems],
        "came back": back,
        "cpu": took,
    }


@contextlib.contextmanager
def databases() -> Iterator[dict[str, tuple[Callable[[], str | Path], _postgres.Server | None]]]:
    folder = Path(tempfile.mkdtemp(prefix="gemel-bench-"))
    numbers = iter(range(10_000))
    found: dict[str, Any] = {"SQLite": (lambda: folder / f"{next(numbers)}.db", None)}
    bin_ = _postgres.binaries()
    server = None
    try:
        if bin_ is not None:
            server = _postgres.Server(bin_)
            found["PostgreSQL"] = (server.new, server)
        yield found
    finally:
        if server is not None:
            server.close()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small version: shape, not figures")
    parser.add_argument("--again", action="store_true", help="forget stages that are done")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "platform-store.json")
    asked = parser.parse_args()
    days, count, people = (30, 10, 5) if asked.quick else (365, 200, 40)
    results = Results(asked.output, asked.again)
    os.environ["GEMEL_KEY"] = new_key().reveal().hex()  # the killed writers open the store themselves
    machine = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }

    def stage(name: str, settings: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        kept = results.get(name, settings)
        if kept is None:
            note(f"{name} ...")
            kept = results.put(name, settings, work())
        return kept

    with databases() as known, tempfile.TemporaryDirectory() as temporary:
        rows = stage("floor", {"days": days} | machine, lambda: floor(Path(temporary) / "floor.db", days))["rows"]
        for name, (new, server) in known.items():
            for sealed in (True, False):
                stage(
                    f"{name}, {'sealed' if sealed else 'unsealed'}",
                    {"days": days} | machine,
                    lambda n=new, s=server, q=sealed: rates(n(), s, days, q),
                )
            stage(f"{name}, kills", {"kills": count, "seed": 7}, lambda n=new: kills(n(), count, 7))
            folder = Path(temporary) / name
            folder.mkdir()
            again = (lambda n=new: n()) if server else (lambda f=folder: f / "again.db")
            first = new if server else (lambda f=folder: f / "store.db")
            stage(f"{name}, erasure", {"people": people}, lambda a=again, b=first, f=folder, s=server: erased(b(), a(), f, s, people))
    print(json.dumps({"machine": machine, **results.stages}, indent=1))
    print(f"\nfloor: plain rows of SQLite, {rows:,.0f} readings per CPU-second")
    missed = []
    for name in ("SQLite", "PostgreSQL"):
        if f"{name}, sealed" not in results.stages:
            print(f"{name}: not run (no server on this machine)")
            continue
        sealed, clear, killed, gone = (results.stages[f"{name}, {what}"] for what in ("sealed", "unsealed", "kills", "erasure"))
        print(
            f"{name}: kills {killed['kills']} ({killed['caught']} while writing), steps {killed['steps']}, lost {killed['lost']}, doubled {killed['doubled']}, problems {len(killed['wrong'])}"
        )
        print(
            f"{name}: erasure, {gone['files']} files searched, canaries found {len(gone['found'])}, came back {gone['came back']}, others unchanged {gone['others unchanged']}"
        )
        for what in ("bulk", "daily", "again", "read", "one by one"):
            with_server = sealed.get(f"{what}, with the server")
            beside = "" if with_server is None else f"; with the server's own CPU {with_server:,.0f}"
            print(f"{name}: {what:10s} sealed {sealed[what]:12,.0f}  unsealed {clear[what]:12,.0f} readings per CPU-second{beside}")
        least = sealed.get("bulk, with the server", sealed["bulk"])
        missed += [name] if least < TARGET else []
        print(f"{name}: bulk sealed / target {TARGET:,} = {least / TARGET:.1f}; / plain rows = {least / rows:.2f}")
    print("reached" if not missed else f"MISSED on {', '.join(missed)}")


if __name__ == "__main__":
    main()
