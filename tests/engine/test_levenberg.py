"""Levenberg-Marquardt on reference problems of NIST: digits that agree, from both starts."""

import importlib.util
import sys
from pathlib import Path

import pytest

from _data import require_dataset
from gemel.engine.infer import lanes  # noqa: F401  (flags before JAX, for the benchmark's modules)

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    if not BENCHMARKS.is_dir():
        pytest.skip("the benchmarks are part of a checkout")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("inference_nist", BENCHMARKS / "inference_nist.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["Misra1a", "DanWood", "MGH17", "Lanczos1"])
def test_reference_values_from_both_starts(benchmark, name):
    folder = require_dataset("nist-strd")
    for row in benchmark.ours(benchmark.read(folder, name)):
        # the goals of the specification; Lanczos1 has residuals of 1e-13, below what float64 can square
        assert row["parameters"] >= 9
        assert row["sd"] >= benchmark.GOAL_SD.get(name, 8)
