"""What ADaM's names promise: one row a subject, visits in order, flags, carried values, censoring."""

from __future__ import annotations

import pytest

from _data import require_dataset
from gemel.core.errors import DataError
from gemel.interop.cdisc import bds_rows, check_bds, event_times, subject_level
from gemel.interop.tables import read_columns


def bds() -> dict[str, list]:
    """Two subjects, three visits, the last of the second carried forward."""
    return {
        "USUBJID": ["a", "a", "a", "b", "b", "b"],
        "PARAMCD": ["ACTOT"] * 6,
        "AVISIT": ["Baseline", "Week 8", "Week 24"] * 2,
        "AVISITN": [0, 8, 24] * 2,
        "ADY": [1, 57, 169, 1, 55, 55],
        "AVAL": [10.0, 11.0, 12.0, 20.0, 21.0, 21.0],
        "DTYPE": ["", "", "", "", "", "LOCF"],
        "EFFFL": ["Y"] * 6,
        "ANL01FL": ["Y"] * 6,
    }


def test_rows_of_a_parameter_visit_and_flags():
    assert bds_rows(bds(), "ACTOT", visit="Week 24", flags=("EFFFL", "ANL01FL"))["AVAL"] == [12.0, 21.0]
    assert bds_rows(bds(), "ACTOT", visit="24", derived=False)["USUBJID"] == ["a"]
    assert len(bds_rows(bds(), "ACTOT")["AVAL"]) == 6
    text = {k: [str(v) for v in values] for k, values in bds().items()}  # as a CSV gives it
    assert bds_rows(text, "ACTOT", visit="24")["AVAL"] == ["12.0", "21.0"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PARAMCD": ["X"] * 6}, "no such PARAMCD"),
        ({"AVISIT": ["Baseline", "Week 8", "Week 8"] * 2}, "do not belong together"),
        ({"AVISITN": [0, 8, 8] * 2}, "do not belong together"),
        ({"USUBJID": ["a", "a", "a", "b", "b", "a"], "DTYPE": [""] * 6}, "two rows for one parameter and visit"),
        ({"ADY": [1, 169, 57, 1, 55, 55]}, "run against their day"),
        ({"ADY": [1, "late", 57, 1, 55, 55]}, "ADY is not a number"),
        ({"AVISITN": [0, "eight", 24] * 2}, "AVISITN is not a number"),
        ({"ANL01FL": ["N"] * 6}, "no row is left"),
    ],
)
def test_what_breaks_the_structure_is_named(change, words):
    with pytest.raises(DataError, match=words):
        bds_rows(bds() | change, "ACTOT", flags=("ANL01FL",))


def test_variables_and_visits_that_are_not_there():
    with pytest.raises(DataError, match="a variable of ADaM is missing"):
        bds_rows({"AVAL": [1.0]}, "ACTOT")
    with pytest.raises(DataError, match="a variable of ADaM is missing"):
        bds_rows(bds(), "ACTOT", flags=("PPROTFL",))
    with pytest.raises(DataError, match="no such visit"):
        bds_rows(bds(), "ACTOT", visit="Week 26")
    without = {k: v for k, v in bds().items() if k != "AVISITN"}
    with pytest.raises(DataError, match="order of the visits is not known"):
        check_bds(without)


def test_subjects_once():
    subject_level({"USUBJID": ["a", "b"]})
    with pytest.raises(DataError, match="comes twice"):
        subject_level({"USUBJID": ["a", "a"]})
    with pytest.raises(DataError, match="no identifier"):
        subject_level({"USUBJID": ["a", ""]})
    with pytest.raises(DataError, match="missing"):
        subject_level({"SUBJID": ["a"]})


def test_times_and_events():
    table = {"USUBJID": ["a", "b", "c"], "PARAMCD": ["TTDE"] * 3, "AVAL": ["5", 7, 0], "CNSR": [0, 1, "2"]}
    assert event_times(table) == ([5.0, 7.0, 0.0], [True, False, False])
    for change, words in (
        ({"CNSR": [0, 0.5, 1]}, "impossible"),
        ({"AVAL": [1, -1, 1]}, "impossible"),
        ({"AVAL": [1, float("nan"), 1]}, "impossible"),
        ({"AVAL": [1, None, 1]}, "not a number"),
        ({"USUBJID": ["a", "a", "c"]}, "comes twice"),
        ({"PARAMCD": ["A", "B", "B"]}, "several parameters"),
    ):
        with pytest.raises(DataError, match=words):
            event_times(table | change)
    with pytest.raises(DataError, match="no such PARAMCD"):
        event_times(table, "OS")


@pytest.mark.data
def test_the_real_data_set_keeps_the_structure():
    columns = read_columns(require_dataset("cdisc-pilot") / "tplyr_adas.csv")
    rows = bds_rows(columns, "ACTOT", visit="Week 24", flags=("EFFFL", "ANL01FL"))
    arms = [rows["TRTP"].count(a) for a in ("Placebo", "Xanomeline Low Dose", "Xanomeline High Dose")]
    assert arms == [79, 81, 74]  # Table 14-3.01
    subject_level(read_columns(require_dataset("cdisc-pilot") / "tplyr_adsl.csv"))
