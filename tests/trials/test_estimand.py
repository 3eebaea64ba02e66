"""No analysis without an estimand, and none that is not whole."""

from __future__ import annotations

import pytest

from _trials import made, simulated
from gemel.core.errors import EvidenceError
from gemel.trials import Estimand, analyse
from gemel.trials.estimand import required

WHOLE = {"population": "p", "reference": "a", "treatment": "b", "variable": "v", "no_intercurrent_events": True}


def test_without_an_estimand_nothing_is_analysed():
    with pytest.raises(EvidenceError, match="needs an estimand"):
        analyse(made(simulated(60)), None, "unadjusted")


@pytest.mark.parametrize(
    "change",
    [
        {"population": ""},
        {"treatment": "a"},
        {"no_intercurrent_events": False},
        {"intercurrent_events": [{"name": "rescue", "strategy": "treatment policy"}]},
        {"no_intercurrent_events": False, "intercurrent_events": [{"name": "rescue", "strategy": "ignore it"}]},
        {
            "no_intercurrent_events": False,
            "intercurrent_events": [{"name": "r", "strategy": "composite"}, {"name": "r", "strategy": "hypothetical"}],
        },
        {"summary": "hope"},
        {"population_size": 3},
    ],
)
def test_one_that_is_not_whole_is_refused(change):
    with pytest.raises(EvidenceError, match="not whole"):
        required(WHOLE | change)


def test_one_that_is_whole_is_kept():
    asked = required(WHOLE | {"summary": "odds ratio"})
    assert required(asked) is asked
    assert asked.is_ratio
    assert not Estimand(**WHOLE).is_ratio
