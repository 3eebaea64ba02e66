"""The contract: the twin ``metabolic-t1d`` keeps every promise (rule 41)."""

import pytest

from gemel.testing import CHECKS, check_twin


@pytest.mark.slow
def test_the_uva_padova_twin_keeps_every_promise():
    report = check_twin("metabolic-t1d", quick=True, replicas=10)  # ranks of a hundred people: gemel check metabolic-t1d
    assert report.passed, report.lines()
    assert [c.name for c in report.checks] == list(CHECKS)
