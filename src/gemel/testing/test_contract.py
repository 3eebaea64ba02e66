"""The contract as tests: ``pytest --pyargs gemel.testing``. One test per twin and promise."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from gemel.testing.checks import CHECKS, run_check
from gemel.testing.plugin import chosen, is_quick
from gemel.testing.subject import Subject

__all__ = ["pytest_generate_tests", "test_promise"]


@lru_cache(maxsize=8)
def _subject(twin: str, quick: bool) -> Subject:
    from gemel.verbs import room

    return Subject(room(twin), quick=quick)


def pytest_generate_tests(metafunc: Any) -> None:
    """Make one test per twin and promise."""
    if {"twin", "promise"} <= set(metafunc.fixturenames):
        pairs = [(twin, promise) for twin in chosen(metafunc.config) for promise in CHECKS]
        metafunc.parametrize(("twin", "promise"), pairs, ids=[f"{t}-{p}" for t, p in pairs])


def test_promise(twin: str, promise: str, request: Any) -> None:
    """A twin keeps a promise."""
    check = run_check(promise, _subject(twin, is_quick(request.config)))
    assert check.passed, check.message
