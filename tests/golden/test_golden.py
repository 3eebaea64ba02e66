"""Pinned forecasts of every twin: whoever changes a number gives the model a new version and pins again (python -m gemel.testing.golden tests/golden)."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gemel
from gemel.core.manifest import installed
from gemel.testing.golden import TOLERANCE, difference, golden_forecast

HERE = Path(__file__).parent
TWINS = sorted(p.stem for p in HERE.glob("*.json"))


def pinned(twin):
    return json.loads((HERE / f"{twin}.json").read_text())


def test_every_twin_is_pinned():
    ours = {name for name, manifest in installed().items() if not isinstance(manifest, Exception)}
    assert ours == set(TWINS)


@pytest.mark.slow
@pytest.mark.parametrize("twin", TWINS)
def test_the_forecast_is_the_pinned_one(twin):
    found = golden_forecast(gemel.room(twin))
    assert found["version"] == pinned(twin)["version"], "a new version of the model: pin its forecast anew"
    assert difference(pinned(twin), found) <= TOLERANCE


def test_other_shapes_are_infinitely_far():
    one = pinned("toy-linear")
    assert difference(one, one) == 0.0
    assert difference(one, one | {"minutes": [1.0]}) == float("inf")


@pytest.mark.slow
@pytest.mark.parametrize(("twin", "file", "old", "new"), [("toy-growth", "toys/priors.py", "CLEARANCE = ", "CLEARANCE = 1.05 * ")])
def test_a_changed_constant_is_seen_and_makes_evidence_stale(twin, file, old, new, tmp_path):
    copy = shutil.copytree(Path(gemel.__file__).parent, tmp_path / "gemel", ignore=shutil.ignore_patterns("__pycache__"))
    constants = copy / "twins" / file
    text = constants.read_text()
    assert text.count(old) == 1
    constants.write_text(text.replace(old, new))
    code = (
        "import json, sys, gemel\nfrom gemel.evidence.fingerprint import model_hash\nfrom gemel.testing.golden import golden_forecast\n"
        "assert gemel.__file__.startswith(sys.argv[2])\nprint(json.dumps([model_hash(sys.argv[1]), golden_forecast(gemel.room(sys.argv[1]))]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, twin, str(tmp_path)], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"}, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    hash_, found = json.loads(told)
    assert difference(pinned(twin), found) > TOLERANCE
    from gemel.evidence.fingerprint import model_hash

    assert hash_ != model_hash(twin)
