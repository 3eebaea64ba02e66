"""What every run does beside the tests: rooms, their limits, and skips that CI does not take."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

INNER = """
import pytest

@pytest.mark.data
def test_needs_data():
    pytest.skip("data set 'x' cannot be had")

def test_plain_skip():
    pytest.skip("no reason to fail")
"""

COMPILES = """
def test_compiles():
    import jax, jax.numpy as jnp
    from gemel.engine.compile import compilations
    jax.jit(lambda x: x * 3)(jnp.ones(3))
    assert compilations()
"""

TOML = """
[twin.{id}]
version = "0.1.0"
title = "t"
question = "q"
context_of_use = "c"
not_for = ["anything"]
inputs = []
outputs = []
max_compilations = {limit}
"""


@pytest.fixture
def house(tmp_path):
    """A checkout in small: the conftest, one room's manifest and one folder of tests."""
    (tmp_path / "tests" / "twins" / "small").mkdir(parents=True)
    (tmp_path / "src" / "gemel" / "twins" / "small").mkdir(parents=True)
    (tmp_path / "tests" / "conftest.py").write_text((HERE / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  data: x\n  browser: x\n", encoding="utf-8")
    return tmp_path


def _run(house: Path, test: str, limit: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    (house / "tests" / "twins" / "small" / "test_small.py").write_text(test, encoding="utf-8")
    (house / "src" / "gemel" / "twins" / "small" / "twin.toml").write_text(
        TOML.format(id="a", limit=limit) + TOML.format(id="b", limit=0), encoding="utf-8"
    )
    clean = {k: v for k, v in os.environ.items() if k != "CI" and not k.startswith("JAX_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=house, env=clean | {"XDG_CACHE_HOME": str(house / "cache")} | environ, capture_output=True, text=True,
    )  # fmt: skip


def test_a_skip_that_ci_must_not_take_is_a_failure(house):
    assert _run(house, INNER).returncode == 0
    strict = _run(house, INNER, CI="true")
    assert strict.returncode == 1
    assert "1 failed, 1 skipped" in strict.stdout
    assert "data set 'x' cannot be had" in strict.stdout


def test_a_room_that_compiles_more_than_its_manifest_allows_fails_the_run(house):
    within = _run(house, COMPILES, limit=1000)
    assert within.returncode == 0, within.stdout
    assert "twins/small" in within.stdout
    beyond = _run(house, COMPILES)
    assert beyond.returncode == 1, beyond.stdout
    assert "1 passed" in beyond.stdout
    assert "0 allowed by max_compilations" in beyond.stdout


def test_the_cache_of_programs_is_its_owner_s_alone(house):
    _run(house, COMPILES, limit=1000)
    cache = house / "cache" / "gemel" / "jax-tests"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert any(cache.iterdir())
