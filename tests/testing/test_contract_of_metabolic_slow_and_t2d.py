"""The contract: the slow axis and the type 2 twin keep every promise (rule 41)."""

import pytest

from gemel.testing import CHECKS, check_twin


@pytest.mark.slow
@pytest.mark.parametrize("twin", ["metabolic-slow", "metabolic-t2d"])
def test_every_promise_is_kept(twin):
    report = check_twin(twin, quick=True)
    assert report.passed, report.lines()
    assert [c.name for c in report.checks] == list(CHECKS)
