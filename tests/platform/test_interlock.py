"""The interlock, exhaustively: of all combinations of what may be wrong only the one in which nothing is may be sent."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemel.core import Decision
from gemel.core.time import MINUTE
from gemel.platform.interlock import Interlock, Operation, Request, allow

NOW = 1_790_000_000_000_000_000
PUMP = Operation("pump-7", "set-basal-rate", "[iU]/h", 0.0, 2.0, largest_step=0.5)
SITE = Interlock(True, (PUMP,))
ASKED = Request("pump-7", "set-basal-rate", 1.0, "[iU]/h", "p", "lower", NOW - MINUTE, NOW + MINUTE, current=0.8)
YES = Decision(proposal="p", time=NOW - MINUTE, recorded=NOW - MINUTE, who="Practitioner/3", answer="accepted", plan="lower")

SITES = {"on": SITE, "off": replace(SITE, is_on=False), "default": Interlock(), "twice": replace(SITE, operations=(PUMP, PUMP)), "other": replace(SITE, operations=(replace(PUMP, device="pump-8"),)),
         "truthy": replace(SITE, is_on="no"), "no limits": replace(SITE, operations=(replace(PUMP, high=math.nan),))}  # fmt: skip
VALUES = {"inside": 1.0, "above": 2.1, "below": -0.1, "nan": math.nan, "infinite": math.inf}
UNITS = {"right": "[iU]/h", "other": "mg", "none": ""}
CURRENTS = {"near": 0.8, "far": 0.1, "unknown": None, "nan": math.nan}
TIMES = {"fresh": NOW - MINUTE, "edge": NOW - 5 * MINUTE, "old": NOW - 5 * MINUTE - 1, "future": NOW + MINUTE, "unknown": None}
EXPIRES = {"later": NOW + 1, "now": NOW, "past": NOW - 1, "unknown": None}
ANSWERS = {
    "accepted": YES, "none": None, "rejected": YES.model_copy(update={"answer": "rejected"}), "of nobody": YES.model_copy(update={"who": " "}),
    "another plan": YES.model_copy(update={"plan": "higher"}), "another proposal": YES.model_copy(update={"proposal": "q"}),
    "old": YES.model_copy(update={"time": NOW - 6 * MINUTE}), "future": YES.model_copy(update={"time": NOW + MINUTE}),
}  # fmt: skip
GOOD = ({"on"}, {"inside"}, {"right"}, {"near"}, {"fresh", "edge"}, {"later"}, {"accepted"})


def test_only_when_nothing_is_wrong_it_may_be_sent():
    tried = 0
    for names in itertools.product(SITES, VALUES, UNITS, CURRENTS, TIMES, EXPIRES, ANSWERS):
        site, value, unit, current, newest, expires, answer = names
        asked = replace(
            ASKED, value=VALUES[value], unit=UNITS[unit], current=CURRENTS[current], newest=TIMES[newest], expires=EXPIRES[expires]
        )
        found = allow(SITES[site], asked, {"p": ANSWERS[answer]}, now=NOW)
        assert bool(found) == all(name in good for name, good in zip(names, GOOD, strict=True)), names
        assert bool(found) == (not found.refused)
        tried += 1
    assert tried == math.prod(map(len, (SITES, VALUES, UNITS, CURRENTS, TIMES, EXPIRES, ANSWERS)))


def test_every_reason_is_told_at_once():
    asked = replace(ASKED, value=9.0, unit="mg", newest=None, expires=NOW)
    assert len(allow(Interlock(), asked, {}, now=NOW).refused) == 5
    assert len(allow(SITE, asked, {"p": None}, now=NOW).refused) == 6


def test_a_changed_plan_is_accepted_only_as_the_person_changed_it():
    changed = YES.model_copy(update={"answer": "changed", "plan": "half"})
    assert not allow(SITE, ASKED, {"p": changed}, now=NOW)
    assert allow(SITE, replace(ASKED, plan="half"), {"p": changed}, now=NOW)


@pytest.mark.parametrize("empty", ["proposal", "plan", "device", "operation", "unit"])
def test_nothing_may_be_left_out(empty):
    assert not allow(SITE, replace(ASKED, **{empty: ""}), {"p": YES, "": YES}, now=NOW)


@given(st.floats(), st.floats(), st.integers(0, 2**62), st.integers(0, 2**62))
def test_what_is_sent_is_always_inside_the_limits_and_fresh(value, current, newest, expires):
    found = allow(SITE, replace(ASKED, value=value, current=current, newest=newest, expires=expires), {"p": YES}, now=NOW)
    if found:
        assert PUMP.low <= value <= PUMP.high
        assert abs(value - current) <= 0.5
        assert NOW - newest <= SITE.data_age
        assert expires > NOW
