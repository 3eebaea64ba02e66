"""The four speeds of trials, in one run: simulated trials by closed form and by mixed models, one mixed model, a large one.

    gemel bench trials -- [--peer-python PYTHON] [--quick]

S1 10,000 trials of 200 with two fits each (<= 0.4 CPU-s, <= 1.0 with random allocation), S2 10,000 mixed models (<= 60 CPU-s), S3 one FEV analysis (<= 25 CPU-ms), S4 one of 1,000
patients at 10 visits, unstructured (<= 1.5 CPU-s). Each part is a benchmark of its own (``trials-simulate``, ``trials-simulate-mmrm``, ``trials-mmrm``) whose lines stand above; the
figures stand last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def part(name: str, folder: Path, arguments: list[str]) -> dict[str, Any] | None:
    """Run one benchmark and return what it kept; None when it failed."""
    kept = folder / f"{name}.json"
    done = subprocess.run([sys.executable, str(HERE / f"{name}.py"), "--json", str(kept), *arguments], check=False)
    return json.loads(kept.read_text()) if done.returncode == 0 and kept.is_file() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="a Python that has statsmodels")
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials, to see that it runs; no figure for a page")
    options = parser.parse_args()
    fewer = ["--replicates", "1000"] if options.quick else []
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        closed = part("trials_simulate", folder, [*fewer, *(["--peer-python", options.peer_python] if options.peer_python else [])])
        mixed = part("trials_simulate_mmrm", folder, [*fewer, *(["--singles", "5"] if options.quick else [])])
        single = part("trials_mmrm", folder, ["--repeats", "5"] if options.quick else [])
    lines: list[tuple[str, str, str, bool]] = []
    if closed:
        for what in ("fixed hc2", "permuted hc2"):
            a = closed[what]
            lines.append(
                (
                    f"S1 {closed['replicates']:,} trials, two fits, {what.split()[0]} arms",
                    f"{a['cpu_s']:.3f} CPU-s",
                    f"{a['goal_cpu_s']:g} CPU-s",
                    a["met"],
                )
            )
    if mixed:
        a = mixed["monotone, MAR"]
        lines.append(
            (f"S2 {mixed['replicates']:,} mixed models, 4 visits", f"{a['cpu_s']:.2f} CPU-s", f"{a['goal_cpu_s']:g} CPU-s", a["met"])
        )
    if single:
        for what, name in (("fev", "S3 one FEV analysis"), ("large", f"S4 {single['patients']:,} patients, 10 visits")):
            a = single[what]
            lines.append((name, f"{1e3 * a['ours_cpu_s']:.1f} CPU-ms", f"{1e3 * a['goal_cpu_s']:g} CPU-ms", a["met"]))
    print()
    for name, seen, goal, met in lines:
        print(f"{name:48s} {seen:>14s}   goal {goal:>12s}   {'met' if met else 'MISSED'}")
    for name, found in (("trials_simulate", closed), ("trials_simulate_mmrm", mixed), ("trials_mmrm", single)):
        if found is None:
            print(f"{name}: NOT RUN to its end")
    peer = closed["statsmodels"] if closed else "not run"
    told = peer if isinstance(peer, str) else f"{peer['seconds_per_trial'] * closed['replicates'] / closed['fixed hc1']['cpu_s']:.0f}"
    print(f"ratio (statsmodels / ours, CPU, S1): {told}")
    return 0 if closed and mixed and single and all(met for *_, met in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
