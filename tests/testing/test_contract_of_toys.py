"""The contract: both toys keep it, and every deliberately broken twin is caught, each with its own message."""

import pytest
from broken import BROKEN, weak_room

from gemel.core.errors import ContractError, TwinNotFoundError
from gemel.testing import CHECKS, check_twin


@pytest.mark.slow
@pytest.mark.parametrize("twin", ["toy-linear", "toy-growth"])
def test_toys_keep_every_promise(twin):
    report = check_twin(twin, quick=True)
    assert report.passed, report.lines()
    assert report.raise_on_failure() is report
    assert [c.name for c in report.checks] == list(CHECKS)
    assert len(report.lines()) == len(CHECKS)
    assert "ASSUMED" in report["manifest"].message


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_broken_twins_are_caught(name):
    case = BROKEN[name]
    report = check_twin(case.room(), quick=True, only=[case.check], replicas=case.replicas)
    assert not report.passed
    assert case.words in report[case.check].message, report[case.check].message
    with pytest.raises(ContractError, match="breaks 1 of 1 promises"):
        report.raise_on_failure()


@pytest.mark.slow
def test_the_weak_twin_is_calibrated_when_nothing_is_dropped():
    """The fault is what is caught: the same room without it passes with the same replicas."""
    report = check_twin(weak_room(0.0), quick=True, only=["calibration"], replicas=150)
    assert report.passed, report["calibration"].message


def test_unknown_twin_and_check():
    with pytest.raises(TwinNotFoundError, match="no-such-twin"):
        check_twin("no-such-twin")
    with pytest.raises(ContractError, match="no such check"):
        check_twin("toy-linear", only=["mood"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_planted_cause_is_named_whoever_is_drawn(seed):
    report = check_twin("toy-linear", quick=True, seed=seed, only=["explanation", "arrivals", "padding"])
    assert report.passed, report.lines()
