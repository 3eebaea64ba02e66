"""Kill a writer at random instants, again and again, and look after each what the store holds: ``python _kills.py PLACE COUNT SEED`` prints JSON.

One process imports everything once and forks writers, so that a kill costs no start. A step of a writer is one transaction: readings, a message, a twin's version, a resource and how far
its source was read. It says so when the call has returned. After the kill every step that was said is there once, and at most one more.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from gemel.core import Code, PatientRecord, Series
from gemel.core.time import MINUTE
from gemel.interop.fhir.codec import Element
from gemel.platform.store import Store
from gemel.platform.store.resources import Change, Resources

START = 1_768_000_000_000_000_000
CODE = Code.parse("loinc:99504-3")
PER_ROUND = 60
"""Steps after which a writer ends by itself: it was not caught."""


def piece(i: int, n: int = 1) -> Series:
    """Forty readings that span two days, from a position in an endless series; or ``n`` such pieces as one."""
    rows = np.arange(40 * n) + 40 * i
    return Series(code=CODE, unit="mg/dL", time=START + rows * 30 * MINUTE, value=np.sin(rows) * 50 + 120)


def step(store: Store, i: int) -> None:
    with store.batch():
        seq, _ = store.receive("sensor", b"message %d" % i, received=i)
        store.append("p1", [piece(i)], recorded=i)
        store.settle(seq, "done", patients=["p1"])
        store.put("twin", "p1", "toy", b"state %d" % i, recorded=i, meta={"seed": i})
        store.mark("sensor", str(i), recorded=i)
        tree = Element({"resourceType": "Basic", "code": Element({"text": f"step {i}"}), "subject": Element({"reference": "Patient/p1"})})
        Resources(store).write([Change("Basic", f"step-{i}", tree)], recorded=i)


def write(place: str | Path, first: int, pipe: int) -> None:
    with Store(place) as store:
        for i in range(first, first + PER_ROUND):
            step(store, i)
            os.write(pipe, b"%d\n" % i)


def look(place: str | Path, *, closely: bool) -> tuple[int, list[str]]:
    """How many steps there are, and what is wrong; ``closely`` opens everything, which takes the longer the more there is."""
    with Store(place) as store:
        done, counts = int(store.marked("sensor") or -1) + 1, store.counts()
        wrong = list(store.check().problems) if closely else []
        if (counts["event"], counts["inbox"], counts["twin_version"], counts["resource"]) != (3 * done, done, done, done):
            wrong.append(f"{done} steps, and {counts}")
        if closely and done and store.record("p1").hash != PatientRecord(id="p1").with_facts(piece(0, done)).hash:
            wrong.append("the record is another")
        return done, wrong


def run(place: str | Path, count: int, seed: int) -> dict[str, object]:
    draw = random.Random(seed)
    Store(place).close()
    done, lost, extra, caught, wrong = 0, 0, 0, 0, []
    for k in range(1, count + 1):
        read, write_ = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            write(place, done, write_)
            os._exit(0)
        os.close(write_)
        first = os.read(read, 1) if draw.random() < 0.8 else b""  # most are killed while they write, some while they open
        time.sleep(draw.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        caught += os.waitpid(child, 0)[1] == signal.SIGKILL
        with os.fdopen(read, "rb") as pipe:
            said = (first + pipe.read()).count(b"\n")
        now, problems = look(place, closely=count <= 20 or k % 20 == 0 or k == count)
        lost += max(0, done + said - now)
        extra += now > done + said + 1
        wrong += problems
        done = now
    return {"kills": count, "caught": caught, "steps": done, "lost": lost, "doubled": extra, "wrong": wrong}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
