"""simglucose on one virtual person: run with the Python of the peer's own environment. Imports nothing of ours.

    PEER_PYTHON benchmarks/_simglucose_peer.py IN.json OUT.json

``IN.json``: name, meals ``[[minute, g], ...]``, boluses ``[[minute, U], ...]``, minutes, is_tuned. Tuned: the patient's parameters are a plain object instead
of a row of a table; nothing else is touched. Writes subcutaneous glucose after every minute, and CPU-seconds of the steps alone.
"""

from __future__ import annotations

import json
import sys
import time
import types
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")
# simglucose registers an environment with a release of gym that current tools cannot install; the simulator itself does not use it.
for module in ("gym", "gym.envs", "gym.envs.registration"):
    sys.modules.setdefault(module, types.ModuleType(module))
sys.modules["gym.envs.registration"].register = lambda *_, **__: None

import numpy as np  # noqa: E402
from simglucose.patient.t1dpatient import Action, T1DPatient  # noqa: E402


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    patient = T1DPatient.withName(task["name"])
    row = patient._params
    if task["is_tuned"]:
        plain = types.SimpleNamespace(**{k: v for k, v in row.items() if k.isidentifier()})
        patient = T1DPatient(plain, init_state=np.array(row.iloc[2:15].values, float))
    basal = float(row.u2ss * row.BW / 6000)
    meals, boluses = dict(map(tuple, task["meals"])), dict(map(tuple, task["boluses"]))
    shown = []
    begin = time.process_time()
    for minute in range(task["minutes"]):
        patient.step(Action(CHO=meals.get(minute, 0), insulin=basal + boluses.get(minute, 0.0)))
        shown.append(float(patient.observation.Gsub))
    spent = time.process_time() - begin
    Path(sys.argv[2]).write_text(json.dumps({"version": version("simglucose"), "glucose": shown, "cpu_s": spent}))


if __name__ == "__main__":
    main()
