"""What comes in is checked once: every refusal says what was seen; rows in another order are the same trial."""

from __future__ import annotations

import numpy as np
import pytest

from _trials import made, simulated
from gemel.core.errors import DataError, EvidenceError, FormatError
from gemel.trials import columns_of, trial_data


def test_columns_become_an_immutable_view():
    data = made(simulated(60), "x", "site", strata=("site",))
    assert (data.n, data.arms) == (60, ("arm0", "arm1"))
    assert data.names[0] == "x"
    assert len(data.names) == 3  # x and two of three sites
    assert np.allclose(data.centred.mean(axis=0), 0)
    assert data.shares.sum() == pytest.approx(1)
    with pytest.raises(AttributeError):
        data.arm = None  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        data.outcome[0] = 7.0


def test_the_order_of_rows_is_not_part_of_the_trial():
    columns = simulated(60)
    order = np.random.default_rng(1).permutation(60)
    assert made(columns, "x").hash == made({k: [v[i] for i in order] for k, v in columns.items()}, "x").hash
    assert made(columns, "x").hash != made(columns, "noise").hash


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ({"id": ["s"] * 60}, {}, DataError, "subject comes twice"),
        ({"arm": ["a"] * 52 + ["b"] * 8}, {}, EvidenceError, "arm is too small"),
        ({"arm": ["a"] * 60}, {}, EvidenceError, "two arms"),
        ({"arm": [""] + ["a", "b"] * 29 + ["a"]}, {}, DataError, "no arm"),
        ({"y": [1.0] * 60}, {}, EvidenceError, "does not vary"),
        ({"y": ["good"] * 60}, {}, DataError, "holds words"),
        ({"y": [""] + ["1.5", "2"] * 29 + ["1"]}, {}, DataError, "no rule"),
        ({"y": ["inf"] + ["1.5", "2"] * 29 + ["1"]}, {}, DataError, "infinite"),
        ({"x": ["NA"] + ["1.5", "2"] * 29 + ["1"]}, {}, DataError, "no rule"),
        ({"x": [1.0] * 59}, {}, DataError, "differ in length"),
        ({}, {"later": ("x",)}, EvidenceError, "after randomisation"),
        ({}, {"strata": ("nothing",)}, DataError, "column is missing"),
        ({}, {"reference": "arm7"}, DataError, "no such arm"),
        ({}, {"missing": "drop"}, DataError, "no such rule"),
    ],
)
def test_what_cannot_be_analysed_is_refused(change, options, error, words):
    with pytest.raises(error, match=words) as caught:
        made(simulated(60) | change, "x", **options)
    assert "s0" not in str(caught.value)  # no subject in a message


def test_the_outcome_is_no_covariate():
    with pytest.raises(EvidenceError, match="after randomisation"):
        made(simulated(60), "y")


def test_rules_for_missing_values_are_kept_and_told():
    columns = simulated(60)
    columns["x"] = ["", *columns["x"][1:]]
    columns["y"] = [*columns["y"][:-2], "", ""]
    mean = made(columns, "x", missing="mean", missing_outcome="complete")
    assert mean.n == 58
    assert mean.covariates[0, 0] == pytest.approx(np.mean([float(v) for v in columns["x"][1:58]]))
    assert any("1 missing, mean" in note for note in mean.notes)
    assert any("2 of 60" in note for note in mean.notes)
    assert made(columns, "x", missing="indicator", missing_outcome="complete").names == ("x", "x missing")


def test_numbers_may_be_names():
    columns = simulated(60) | {"x": [700 + i % 3 for i in range(60)]}
    assert made(columns, "x").names == ("x",)
    assert len(made(columns, "x", categories=("x",)).names) == 2


def test_a_table_is_read_with_commas_or_blanks():
    assert columns_of(["a,b", '"x, y",2', "z,3"]) == {"a": ["x, y", "z"], "b": ["2", "3"]}
    assert columns_of(["a b", "1 2", "", "3 4"], where={"a": "3"}) == {"a": ["3"], "b": ["4"]}
    for lines, words in ((["a,a", "1,2"], "twice"), (["a,b", "1"], "row 2"), ([], "empty"), (["a,b"], "no row")):
        with pytest.raises(FormatError, match=words):
            columns_of(lines)
    with pytest.raises(DataError, match="column is missing"):
        columns_of(["a,b", "1,2"], where={"c": "1"})


def test_without_identifiers_rows_are_numbered():
    columns = simulated(40)
    assert trial_data(columns, outcome="y", arm="arm").subjects[:2] == ("1", "2")
