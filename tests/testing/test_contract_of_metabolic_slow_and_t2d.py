"""The contract: the slow axis and the type 2 twin keep every promise (rule 41)."""

import pytest

from gemel.testing import CHECKS, check_twin


@pytest.mark.slow
@pytest.mark.parametrize(("twin", "replicas"), [("metabolic-slow", 30), ("metabolic-t2d", 10)])  # ranks of a hundred people: gemel check
def test_every_promise_is_kept(twin, replicas):
    report = check_twin(twin, quick=True, replicas=replicas)
    assert report.passed, report.lines()
    assert [c.name for c in report.checks] == list(CHECKS)
