"""The audit trail: how fast it is written, and does any of 10,000 random changes go unseen?

    gemel bench platform-audit -- [--entries 200000] [--mutations 10000] [--seed 1] [--json FILE]

CPU-seconds of one process. *chain* is SHA-256 over given lines, beside the bare hash of the same bytes in the same run; *written* is everything from the
caller's values to the file (canonical JSON, chain, Merkle tree, signed root each 1,000 entries); *sealed* adds AES-256-GCM per entry. Changes are bit flips, deleted,
exchanged and doubled entries, and files cut at a byte or between entries; one counts as missed when the trail still verifies, and as misnamed when
the first bad entry is another than the first that was changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from _audit_mutations import KINDS, entry, mutate, trail
from gemel import __version__
from gemel.platform.audit import START, AuditLog, canonical, link, read_roots, roots_path
from gemel.platform.audit_check import verify_lines


class Sealed:
    def __init__(self) -> None:
        self.cipher = AESGCM(bytes(32))

    def seal(self, patient: str, plain: bytes, bound: bytes) -> bytes:  # noqa: ARG002  the protocol's
        nonce = os.urandom(12)
        return nonce + self.cipher.encrypt(nonce, plain, bound)

    def open(self, patient: str, sealed: bytes, bound: bytes) -> bytes:  # noqa: ARG002
        return self.cipher.decrypt(sealed[:12], sealed[12:], bound)


def seconds(work) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def speed(n: int, folder: Path) -> dict[str, float]:
    bodies = [canonical({"seq": i} | entry(i)) for i in range(n)]

    def chained() -> None:
        head = START
        for body in bodies:
            head = link(head, body)

    def bare() -> None:
        for body in bodies:
            hashlib.sha256(body).digest()

    def written(name: str, **settings) -> float:
        tables = [entry(i) for i in range(n)]
        with AuditLog(folder / name, key=Ed25519PrivateKey.generate(), **settings) as log:
            return seconds(lambda: [log.write_many(tables[i : i + 500]) for i in range(0, n, 500)])

    rates = {
        "chain": n / seconds(chained), "bare sha256": n / seconds(bare), "written": n / written("open.jsonl"),
        "written and sealed": n / written("sealed.jsonl", sealer=Sealed()),
    }  # fmt: skip
    data, roots = (folder / "open.jsonl").read_bytes(), read_roots(roots_path(folder / "open.jsonl"))
    rates["verified"] = n / seconds(lambda: verify_lines(data, roots))
    one = 300
    with AuditLog(folder / "one.jsonl") as log:
        rates["one by one, each waiting for the disk (CPU)"] = one / seconds(
            lambda: [log.write(**{**entry(i), "action": "read"}) for i in range(one)]
        )
    return rates


def changes(n: int, seed: int, folder: Path) -> dict[str, dict[str, int]]:
    told: dict[str, Counter] = {kind: Counter() for kind in KINDS}
    rng, trails = random.Random(seed), []
    for size in (1, 7, 64, 257, 1000):
        path = folder / f"{size}.jsonl"
        trail(path, size, every=100)
        trails.append((path.read_bytes(), read_roots(roots_path(path))))
    done = 0
    while done < n:
        data, roots = rng.choice(trails)
        kind = KINDS[done % len(KINDS)]
        made = mutate(data, kind, rng)
        if made is None:
            continue
        found = verify_lines(made[0], roots)
        told[kind].update(tried=1, missed=int(found.holds), misnamed=int(found.first_bad != made[1]))
        done += 1
    return {kind: dict(counts) for kind, counts in told.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rates, told = speed(settings.entries, Path(name)), changes(settings.mutations, settings.seed, Path(name))
    for what, rate in rates.items():
        print(f"{what:<45}{rate:>12,.0f} entries per CPU-second")
    for kind, counts in told.items():
        print(f"{kind:<20}tried {counts['tried']:>6}  missed {counts['missed']:>3}  first entry misnamed {counts['misnamed']:>3}")
    missed = sum(counts["missed"] for counts in told.values())
    if settings.json:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "gemel": __version__, "cores": os.cpu_count()}
        settings.json.write_text(json.dumps({"rates": rates, "mutations": told, "seed": settings.seed, **machine}, indent=1))
    print(f"missed: {missed} of {settings.mutations}; chain at {rates['chain'] / rates['bare sha256']:.2f} of the bare hash's speed")


if __name__ == "__main__":
    main()
