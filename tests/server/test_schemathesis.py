"""The API against requests that are made from its own description: no defect, whoever asks. ``gemel bench platform-api`` asks for longer."""

from __future__ import annotations

import pytest

pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from _fuzz import ask_everything


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # schemathesis' own, about its dependencies
def test_nothing_that_may_be_asked_is_a_defect(tmp_path):
    told = ask_everything(tmp_path, examples=6)
    assert told["broken"] == []
    assert told["operations"] >= 50
    assert told["requests"] >= 200
    assert {200, 404, 422} <= set(told["statuses"])  # it gets in, it is refused, and it is misunderstood
