"""What is not imported: the numeric stack before it is needed; and the flags that it needs, whoever imports it first."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("jax", "scipy", "pint", "sqlalchemy", "alembic", "equinox", "diffrax", "pandas", "pyarrow")
PROBE = """
import json, resource, sys
sys.argv = {argv!r}
code = 0
try:
    {body}
except SystemExit as leaving:
    code = leaving.code or 0
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({{"code": code, "loaded": sorted({{n.partition(".")[0] for n in sys.modules}}), "cpu": used.ru_utime + used.ru_stime}}), file=sys.stderr)
"""


def probe(body: str, argv: list[str] | None = None) -> dict[str, object]:
    """Run code in a fresh process; return what it loaded and the CPU-seconds it took."""
    text = PROBE.format(body=body, argv=argv or [])
    environment = {k: v for k, v in os.environ.items() if k not in ("EQX_ON_ERROR", "JAX_ENABLE_X64")}
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, env=environment)
    return json.loads(ran.stderr.strip().splitlines()[-1]) | {"out": ran.stdout}


def loaded(found: dict[str, object], names: tuple[str, ...] = HEAVY) -> set[str]:
    return set(names) & set(found["loaded"])  # type: ignore[call-overload]


def test_import_gemel_loads_nothing_heavy():
    assert loaded(probe("import gemel"), (*HEAVY, "numpy", "pydantic")) == set()


def test_help_loads_nothing_heavy_and_is_quick():
    found = probe("from gemel.cli import main; main()", ["gemel", "--help"])
    assert loaded(found, (*HEAVY, "numpy", "pydantic", "rich")) == set()
    assert "calibrate" in found["out"]
    assert (
        min(found["cpu"], probe("from gemel.cli import main; main()", ["gemel", "--help"])["cpu"]) < 0.3
    )  # CPU-s; measured 0.05 on a quiet machine


@pytest.mark.parametrize(
    "arguments",
    [["twins"], ["twins", "toy-linear", "--json"], ["data", "list"], ["completion", "zsh"], ["calibrate", "--help"], ["--version"]],
)
def test_light_commands_load_nothing_heavy(arguments):
    found = probe("from gemel.cli import main; main()", ["gemel", *arguments])
    assert found["code"] in (0, 1)
    assert loaded(found) == set()


@pytest.mark.parametrize(
    "module",
    [
        "gemel.server.app",
        "gemel.server.run",
        "gemel.interop.wearables",
        "gemel.web",
        "gemel.core",
        "gemel.platform.datasets",
        "gemel.platform.registry",
    ],
)
def test_what_the_api_process_imports_needs_no_numeric_stack(module):
    assert loaded(probe(f"import {module}")) == set()


def test_an_open_store_needs_neither_jax_nor_a_migration_tool(tmp_path):
    path = str(tmp_path / "s.sqlite")
    assert loaded(probe(f"from gemel.platform.store import Store; Store({path!r}).close()")) >= {"alembic"}
    assert loaded(probe(f"from gemel.platform.store import Store; Store({path!r}).patients()")) == set()


def test_the_api_process_starts_without_the_numeric_stack_in_two_cpu_seconds(tmp_path):
    """Store, audit trail, readers and every route; on a store that is there. Measured 1.0 CPU-s on two cores (``gemel bench platform-server``)."""
    told = {"store": {"place": str(tmp_path / "s.sqlite")}, "audit": {"sign": False}, "worker": {"count": 0}}
    body = (
        "from gemel.server.config import ServerConfig; from gemel.server.services import open_services; from gemel.server.app import make_app\n"
        f"    with open_services(ServerConfig.model_validate({told!r})) as services: make_app(services)"
    )
    probe(body)  # makes the store
    found = [probe(body) for _ in range(2)]
    assert loaded(found[0], (*HEAVY, "pydicom", "pynetdicom", "highdicom", "sdc11073", "wfdb", "distributed", "opendp", "redis")) == set()
    assert min(one["cpu"] for one in found) <= 2.0  # CPU-s, the floor


@pytest.mark.parametrize("floor", ["physics", "learn", "engine"])
def test_each_numeric_floor_sets_the_flags(floor):
    body = f"import gemel.{floor}, os; print(os.environ['EQX_ON_ERROR']); import jax, jax.numpy as jnp; print(jnp.ones(1).dtype)"
    assert probe(body)["out"].split() == ["nan", "float64"]


def test_a_late_flag_is_told():
    body = "import equinox, warnings; warnings.simplefilter('error')\n    from gemel.core.numerics import CacheWarning\n    try:\n        import gemel.engine\n    except CacheWarning as told: print('told', told)"
    assert probe(body)["out"].startswith("told")
