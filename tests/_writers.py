"""One of several processes that write to one store and share its jobs: a process of its own, for a fork of one that has loaded JAX may never end.

Usage: ``python tests/_writers.py PLACE NUMBER FILE``; the keys of the jobs done go into the file, one a line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from _kills import piece
from gemel.platform.store import Store


def main(place: str, number: int, told: Path) -> None:
    where = place if "://" in place else Path(place)
    with Store(where, busy_ms=60_000) as store, told.open("w") as sink:
        for k in range(8):
            store.append(f"p{number}", [piece(k)], recorded=k)
            store.append("shared", [piece(10 * number + k)], recorded=k)
        while (job := store.claim("assimilate", f"worker {number}", now=100)) is not None:
            sink.write(f"{job.key}\n")
            store.finish(job.id, f"worker {number}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
