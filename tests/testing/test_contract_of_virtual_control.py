"""The contract: the twin ``virtual-control`` keeps every promise (rule 41)."""

import pytest

from gemel.testing import CHECKS, check_twin


@pytest.mark.slow
def test_the_virtual_control_keeps_every_promise():
    report = check_twin("virtual-control", quick=True, replicas=30)
    assert report.passed, report.lines()
    assert [c.name for c in report.checks] == list(CHECKS)
