"""HL7 v2: messages per CPU-second parsed and mapped, beside python-hl7 and hl7apy; and does any of 100,000 broken messages go without an answer?

    gemel bench platform-hl7 -- [--messages 20000] [--broken 100000] [--seed 1] [--peer-python PYTHON] [--json FILE]

*mapped* is everything from the bytes of a message to rows with code, unit, two times, status and report; *facts* adds making the series. The peers parse and
take the same fields as text, without units, times, repairs or reports. They run in PYTHON, where hl7 and hl7apy are installed; without it they are *not run*.
A broken message counts as survived when it is read or refused by name, its report adds up, and its answer can be read.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from gemel import __version__
from gemel.core.errors import FormatError
from gemel.interop.hl7v2 import acknowledge, enframe, gather, parse, read_message, split_messages
from gemel.testing.messages import break_message, result_messages

HL7APY = 500  # messages given to hl7apy, which takes about 30 ms each


def ours(bodies: list[bytes]) -> dict[str, float]:
    for body in bodies[:100]:
        read_message(body)
    begin = time.process_time()
    found = [read_message(body) for body in bodies]
    mapped = time.process_time() - begin
    gather(found)
    return {"mapped": len(bodies) / mapped, "facts": len(bodies) / (time.process_time() - begin), "rows": sum(len(f.points) for f in found)}


def peer(python: str | None, name: str, bodies: list[bytes], folder: Path) -> dict[str, Any] | None:
    if python is None:
        return None
    path = folder / "messages"
    path.write_bytes(b"".join(body + b"\x1c" for body in bodies))
    done = subprocess.run(
        [python, str(Path(__file__).with_name("_hl7_peer.py")), str(path), name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{name}: not run ({done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no output'})")
        return None
    told = json.loads(done.stdout)
    return told | {"rate": told["messages"] / told["seconds"]}


def survival(count: int, seed: int) -> dict[str, int]:
    told: Counter[str] = Counter()
    for i, (body, _) in enumerate(result_messages(count, seed=seed)):
        told["broken"] += 1
        broken = break_message(body, seed=seed * 1_000_003 + i)
        for part in split_messages(broken) or [broken]:
            try:
                found = read_message(part)
                gather([found])
                told["refused in part" if found.report.refused else "read"] += 1
            except FormatError:
                told["refused whole"] += 1
            except Exception as error:
                told["crashed"] += 1
                print(f"crashed: {type(error).__name__} at {i}")
            try:
                answer = acknowledge(part, "AA", now=0, control="x")
                enframe(answer)
                told["answered"] += bool(parse(answer).all("MSA"))
            except Exception as error:
                print(f"no answer: {type(error).__name__} at {i}")
            told["parts"] += 1
    return dict(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--broken", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peer-python")
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    bodies = [body for body, _ in result_messages(settings.messages, seed=settings.seed)]
    size = sum(len(body) for body in bodies) / len(bodies)
    with tempfile.TemporaryDirectory() as name:
        mine = ours(bodies)
        theirs = peer(settings.peer_python, "hl7", bodies[:5000], Path(name))
        slow = peer(settings.peer_python, "hl7apy", bodies[:HL7APY], Path(name))
        mine_again = ours(bodies)
    told = survival(settings.broken, settings.seed)
    mine = {key: max(mine[key], mine_again[key]) if key != "rows" else mine[key] for key in mine}
    print(f"messages of {size:.0f} bytes and {mine['rows'] / len(bodies):.1f} results")
    print(f"{'ours, mapped':<30}{mine['mapped']:>10,.0f} messages per CPU-second (better of two passes, before and after the peers)")
    print(f"{'ours, made into facts':<30}{mine['facts']:>10,.0f}")
    for label, found in (("python-hl7", theirs), ("hl7apy, with groups", slow)):
        print(f"{label + (' ' + found['version'] if found else ''):<30}" + (f"{found['rate']:>10,.0f}" if found else "   not run"))
    print("broken: " + ", ".join(f"{what} {count}" for what, count in told.items()))
    if settings.json:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "gemel": __version__, "cores": os.cpu_count()}
        settings.json.write_text(
            json.dumps({"ours": mine, "hl7": theirs, "hl7apy": slow, "broken": told, "seed": settings.seed, **machine}, indent=1)
        )
    lost = told.get("crashed", 0) + told["parts"] - told.get("answered", 0)
    ratios = (
        ", ".join(f"{mine['mapped'] / f['rate']:.1f}x {n}" for n, f in (("python-hl7", theirs), ("hl7apy", slow)) if f) or "peers not run"
    )
    print(f"crashed or without an answer: {lost} of {told['parts']}; speed {ratios}")


if __name__ == "__main__":
    main()
