"""Rows of an audit that cannot be what they say are refused, with the row."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core.errors import EvidenceError, TimeError
from gemel.evidence.fairness.scored import MISSING, USUAL, Scored, banded, check_leaks, labels, not_collected

Y, P = np.array([0.0, 1, 0, 1]), np.array([0.1, 0.7, 0.4, 0.6])
TIME = np.array(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"], "datetime64[ns]")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"outcome": Y, "probability": [0.1, 1.2, 0.4, -0.6]}, r"outside \[0, 1\].*1.2 in row 2, and 1 more row"),
        ({"outcome": Y, "probability": [0.1, np.nan, 0.4, 0.6]}, r"outside \[0, 1\].*nan in row 2"),
        ({"outcome": Y, "probability": [0.1, 0.2, 0.4, 1.0]}, "exactly 0 or 1.*row 4.*keep-certain"),
        ({"outcome": [0, 1, 2, 1], "probability": P}, "neither 0 nor 1.*2.0 in row 3"),
        ({"outcome": Y, "probability": P[:3]}, "one length"),
        ({"outcome": Y}, "nothing to audit"),
        ({}, "no column"),
        ({"value": Y, "lower": [0, 0, 0, 2.0], "upper": [1, 1, 1, 1.0]}, "upside down.*row 4"),
        ({"value": Y, "quantiles": np.zeros((4, 2)), "levels": (0.9, 0.1)}, "rising"),
        ({"value": Y, "quantiles": [[0, 1], [1, 0], [0, 1], [0, 1]], "levels": (0.1, 0.9)}, "quantiles fall.*row 2"),
        ({"value": Y, "lower": Y, "upper": Y, "level": 1.5}, "level"),
        ({"outcome": Y, "probability": P, "alarmed": Y > 0, "days": [1, 1, -1, 1]}, "patient-days"),
    ],
)
def test_refused(given, says):
    with pytest.raises(EvidenceError, match=says):
        Scored(**given)


def test_time_that_runs_backwards_is_refused():
    with pytest.raises(TimeError, match=r"backwards.*row 2.*1 of 4 rows"):
        Scored(outcome=Y, probability=P, predicted=TIME, occurred=TIME + np.array([1, -1, 1, 1]) * np.timedelta64(1, "h"))
    never = TIME.copy()
    never[2] = np.datetime64("NaT")
    assert Scored(outcome=Y, probability=P, predicted=TIME, occurred=never).rows == 4


def test_abstained_rows_are_not_read():
    p = P.copy()
    p[1] = np.nan
    assert Scored(outcome=Y, probability=p, abstained=[False, True, False, False]).given.tolist() == [True, False, True, True]
    assert Scored(outcome=Y, probability=[0, 1, 0.5, 0.5], keep_certain=True).has_certain


def test_leaks_are_named():
    rng = np.random.default_rng(0)
    y = (rng.random(300) < 0.3).astype(float)
    p = rng.uniform(0.01, 0.99, 300)
    clean = {"age": rng.normal(60, 10, 300), "id": np.arange(300).astype(str), "strong": y + rng.normal(0, 0.6, 300)}
    check_leaks(Scored(outcome=y, probability=p, inputs=clean))
    leaks = {"same": y, "mirror": -y, "later": y * 5 + rng.random(300), "word": np.where(y > 0, "died", "alive")}
    with pytest.raises(EvidenceError) as seen:
        check_leaks(Scored(outcome=y, probability=p, inputs={**clean, **leaks}))
    assert all(name in str(seen.value) for name in leaks)
    assert not any(f"{name} " in str(seen.value.seen) for name in clean)


def test_missing_labels_and_bands():
    assert list(labels(["a", " ", float("nan"), "Unknown"])) == ["a", MISSING, MISSING, MISSING]
    assert list(banded([18, "64.9", None], [65, 18])) == ["18 to under 65", "18 to under 65", MISSING]
    with pytest.raises(EvidenceError, match="'old' in row 2"):
        banded([18, "old"], [18])


def test_not_collected_names_what_no_column_holds():
    assert not_collected([]) == tuple(USUAL)
    assert set(not_collected(["Gender", "age-band"], ["ethnicity"])) == set(USUAL) - {"sex", "age", "ethnicity"}
