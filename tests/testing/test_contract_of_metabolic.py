"""The contract: the metabolic room keeps every promise (rule 41)."""

import pytest

from gemel.testing import CHECKS, check_twin


@pytest.mark.slow
def test_the_metabolic_room_keeps_every_promise():
    report = check_twin("metabolic", quick=True)
    assert report.passed, report.lines()
    assert [c.name for c in report.checks] == list(CHECKS)
