"""Panels: read from a table, refused by name, kept on their instruments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from _virtual import VARIABLES, controls, long_table
from gemel.core.errors import DataError, EvidenceError, ValueRangeError
from gemel.trials.generate import Kind, Variable, constrained, history, violations

DESCRIBED = {v.name: v for v in VARIABLES}
CALL = {"subject": "subject", "visit": "visit", "baseline": ("age", "carrier")}


def test_a_table_gives_back_its_panel():
    panel = controls(60)
    found = history(long_table(panel), **CALL, described=DESCRIBED)
    assert found.subjects == panel.subjects
    np.testing.assert_allclose(found.values, panel.values)
    assert found.notes == ()
    # a visit at which all values are missing cannot be told from one that was not attended
    seen = ~np.isnan(panel.values[:, :, 2:]).all(axis=2)
    np.testing.assert_array_equal(found.last, len(panel.times) - 1 - seen[:, ::-1].argmax(axis=1))


def test_the_order_of_rows_does_not_matter():
    panel = controls(40)
    table = long_table(panel)
    order = np.random.default_rng(1).permutation(len(table["visit"]))
    shuffled = {k: [v[i] for i in order] for k, v in table.items()}
    assert history(shuffled, **CALL, described=DESCRIBED).hash == history(table, **CALL, described=DESCRIBED).hash
    assert panel.take(np.arange(40)[::-1]).hash == panel.hash


def test_what_is_not_described_is_inferred_and_said():
    found = history(long_table(controls(80)), **CALL)
    kinds = {v.name: (v.kind, v.resolution) for v in found.variables}
    assert kinds["carrier"] == (Kind.BINARY, 1.0)
    assert kinds["weight"] == (Kind.CONTINUOUS, 0.1)
    assert kinds["falls"] == (Kind.ZERO_INFLATED, 1.0)
    assert len(found.notes) == 5
    assert violations(found) == dict.fromkeys(violations(found), 0)


def test_words_become_two_labels():
    table = long_table(controls(30)) | {}
    table["carrier"] = ["yes" if v == "1" else "no" for v in table["carrier"]]
    found = history(table, **CALL)
    assert found.variables[1].labels == ("no", "yes")


def _changed(name, row, value):
    table = long_table(controls(30))
    table[name] = [value if i == row else v for i, v in enumerate(table[name])]
    return table


@pytest.mark.parametrize(
    ("table", "error", "match"),
    [
        (_changed("visit", 1, "0"), DataError, "a visit twice"),
        (_changed("visit", 1, "week 12"), DataError, "not a number"),
        (_changed("visit", 1, ""), DataError, "not a number"),
        (_changed("adas", 0, "71"), ValueRangeError, "beyond its instrument"),
        (_changed("adas", 0, "severe"), DataError, "holds words"),
        (_changed("adas", 0, "inf"), DataError, "infinite"),
        ({k: v[:12] for k, v in long_table(controls(30)).items()}, EvidenceError, "too small"),
        ({k: [] for k in long_table(controls(30))}, EvidenceError, "too small"),
        ({k: v for k, v in long_table(controls(30)).items() if k != "age"}, DataError, "column is missing"),
    ],
)
def test_bad_tables_are_refused_by_name(table, error, match):
    with pytest.raises(error, match=match):
        history(table, **CALL, described=DESCRIBED)


def test_a_column_that_says_nothing_is_refused():
    with pytest.raises(DataError, match="says nothing"):
        history(long_table(controls(30)) | {"adas": ["5"] * len(long_table(controls(30))["adas"])}, **CALL)


def test_events_stay_and_studies_are_one_per_patient():
    panel = controls(30, dropout=0.0, missing=0.0)
    table = long_table(panel)
    rows = len(table["visit"])
    died = [str(int(i % 4 >= 2 and i < 40)) for i in range(rows)]
    found = history(
        table | {"dead": died, "study": ["A" if i < 60 else "B" for i in range(rows)]},
        **CALL,
        described=DESCRIBED,
        event="dead",
        study="study",
    )
    assert (found.event[:10] == 2).all()
    assert (found.event[10:] == 4).all()
    assert found.studies == ("A", "B")
    with pytest.raises(DataError, match="taken back"):
        history(table | {"dead": ["1", "0", "0", "0"] + ["0"] * (rows - 4)}, **CALL, described=DESCRIBED, event="dead")
    with pytest.raises(DataError, match="two studies"):
        history(table | {"study": ["A", "B"] + ["A"] * (rows - 2)}, **CALL, described=DESCRIBED, study="study")


def test_constraints_hold_after_and_break_before():
    panel = controls(50)
    broken = replace(panel, values=panel.values * 1.013 + 3.0, event=np.full(50, 3))
    assert all(n > 0 for name, n in violations(broken).items() if name not in ("after the last visit",))
    whole = constrained(broken)
    assert not any(violations(whole).values())
    assert (np.diff((whole.event[:, None] <= np.arange(4)).astype(int), axis=1) >= 0).all()


def test_steps_survive_a_round_trip():
    variable = Variable("weight", Kind.CONTINUOUS, 30, 200, 0.1, "kg")
    assert variable.dtype == np.int16
    assert Variable("adas", Kind.ORDINAL, 0, 70).dtype == np.int8
    values = np.array([30.0, 70.5, np.nan, 200.0, 999.0])
    np.testing.assert_allclose(variable.decode(variable.encode(values)), [30.0, 70.5, np.nan, 200.0, 200.0])


@pytest.mark.parametrize("scale", [(5, 5, 1), (0, 10, 0), (0, np.inf, 1), (0, 1, 1e-6)])
def test_impossible_scales_are_refused(scale):
    with pytest.raises(DataError, match=r"impossible|16 bits"):
        Variable("x", Kind.CONTINUOUS, *scale)
