"""Run the whole suite: in two processes side by side where the machine has two cores, for compiling is most of it and one process leaves a core idle.

The contract of every twin with its pinned forecasts takes nearly as long as all else: with evidence, documentation, solvers and trials beside it, these are the two halves. Each half prints what pytest prints, the first that ends first;
the last lines are the two summaries. Arguments are handed to pytest. The exit status is the worse of the two.

Usage: ``python tools/run_tests.py [PYTEST ARGUMENTS]``.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTRACT = ("tests/docs", "tests/evidence", "tests/golden", "tests/physics", "tests/testing", "tests/trials")
SUMMARY = re.compile(r"^=+ (?=.*\b(?:passed|failed|error|errors|no tests ran)\b).* in [0-9.]+s.*=+$")


def halves() -> list[list[str]]:
    """Return the paths of each process; a folder or file of tests/ belongs to one of them."""
    if (os.cpu_count() or 1) < 2:
        return [["tests"]]
    rest = sorted(
        f"tests/{p.name}" for p in (ROOT / "tests").iterdir() if (p.is_dir() and p.name != "__pycache__") or p.name.startswith("test_")
    )
    return [[p for p in rest if p in CONTRACT], [p for p in rest if p not in CONTRACT]]


def summary(text: str) -> str:
    """Return pytest's last line of a run, without its colours."""
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    return next((line for line in reversed(plain) if SUMMARY.match(line)), "pytest did not finish")


def main(arguments: list[str]) -> int:
    """Run, print, and return the exit status."""
    with contextlib.ExitStack() as stack:
        waiting, told, code = [], [], 0
        for paths in halves():
            log = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            process = subprocess.Popen([sys.executable, "-m", "pytest", *arguments, *paths], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            waiting.append((paths, process, log))
        try:
            while waiting:
                for item in [r for r in waiting if r[1].poll() is not None]:
                    waiting.remove(item)
                    paths, process, log = item
                    log.seek(0)
                    text = log.read()
                    print(f"--- {' '.join(paths) if set(paths) <= set(CONTRACT) else 'everything else'}\n{text}", flush=True)
                    told.append(summary(text))
                    code = max(code, abs(process.returncode))
                time.sleep(0.2)
        except KeyboardInterrupt:
            for _, process, _ in waiting:
                process.wait()  # the terminal has told it too
            return 130
    print(*told, sep="\n", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
