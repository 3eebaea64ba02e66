"""V2: the same day of one adult by simglucose itself, in an environment of its own (``GEMEL_PEER_SIMGLUCOSE`` names its Python)."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gemel.twins.metabolic.t1d.evidence import MEALS
from gemel.twins.metabolic.t1d.priors import people
from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, simulate

SCRIPT = Path(__file__).resolve().parents[4] / "benchmarks" / "_simglucose_peer.py"


@pytest.mark.peer
@pytest.mark.slow
def test_v2_simglucose_traces_the_same_day(tmp_path):
    python = os.environ.get("GEMEL_PEER_SIMGLUCOSE")
    if not python:
        pytest.skip("GEMEL_PEER_SIMGLUCOSE names no Python with simglucose")
    doses = [[minute, grams / 10.0] for minute, grams in MEALS]
    task = {"name": "adult#001", "meals": [list(m) for m in MEALS], "boluses": doses, "minutes": 1440, "is_tuned": True}
    (tmp_path / "in.json").write_text(json.dumps(task))
    subprocess.run(
        [python, str(SCRIPT), str(tmp_path / "in.json"), str(tmp_path / "out.json")], check=True, env={**os.environ, "PYTHONPATH": ""}
    )
    theirs = json.loads((tmp_path / "out.json").read_text())["glucose"]
    p = parameters_of([people()["adult#001"]])
    insulin = float(basal_rate(p)[0]) + bolus([tuple(d) for d in doses], 1440)
    ours = simulate(p, insulin[:, None], eaten(MEALS, 1440)[:, None], every=1)[:, 0]
    # Its dopri5 runs at a relative tolerance of 1e-6 a minute; 1.7e-4 was measured on a day between 103 and 196 mg/dL.
    assert np.abs(ours - theirs).max() < 0.01
