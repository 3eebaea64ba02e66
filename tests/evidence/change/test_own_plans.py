"""The change-control plans that our own rooms ship."""

import pytest

from gemel.core.manifest import entry_point, installed, package_dir
from gemel.evidence.change.plan import read_plan

PLANS = {name: package_dir(entry_point(name)) / "pccp.toml" for name in installed()}


@pytest.mark.parametrize("twin", [name for name, path in PLANS.items() if path.is_file() and name == "metabolic"])
def test_a_shipped_plan_reads_and_is_about_its_twin(twin):
    plan = read_plan(PLANS[twin])
    assert plan.twin == twin
    assert {c.figure for c in plan.protocol.criterion} == {"coverage of 90 % intervals at 60 min", "error against ridge at 60 min"}
