"""GluCoEnv (torch) on many virtual people: run with the Python of the peer's own environment. Imports nothing of ours.

    PEER_PYTHON benchmarks/_glucoenv_peer.py SOURCE IN.json OUT.json

``SOURCE`` is a clone of https://github.com/RL4H/GluCoEnv. ``IN.json``: people (rows of the table, by the peer's names), meals ``[[minute, g], ...]``, minutes.
Everybody is under basal insulin. Writes subcutaneous glucose after every minute, and CPU-seconds of the steps alone.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import torch  # noqa: E402


def main() -> None:
    source, task = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    spec = importlib.util.spec_from_file_location("patient", source / "glucoenv" / "env" / "patient.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.set_num_threads(1)
    people, count = task["people"], len(task["people"])
    cohort = module.T1DCohort("cpu", people, count)
    for p, row in enumerate(people):
        cohort.VG[p] = row["Vg"]
    basal = [torch.tensor([row["u2ss"] * row["BW"] / 6000.0]) for row in people]
    meals, shown = dict(map(tuple, task["meals"])), []
    with torch.no_grad():
        begin = time.process_time()
        for minute in range(task["minutes"]):
            food = [torch.tensor([float(meals.get(minute, 0.0))])] * count
            cohort.step({"CHO": food, "insulin": basal})
            shown.append(cohort.observation()[:, 0].tolist())
        spent = time.process_time() - begin
    Path(sys.argv[3]).write_text(json.dumps({"torch": torch.__version__, "glucose": shown, "cpu_s": spent}))


if __name__ == "__main__":
    main()
