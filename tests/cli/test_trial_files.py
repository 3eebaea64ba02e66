"""``gemel trial`` reads a trial as it comes: the same result from text, SAS transport, Parquet and Dataset-JSON; a file that is none is one message."""

from __future__ import annotations

import datetime as dt

import pytest

from _data import require_dataset
from _trials import simulated
from gemel.interop.cdisc import Dataset, Variable, write_dataset_json, write_xpt

NOW = dt.datetime(2026, 1, 2)
SAID = ("--population", "all randomised", "--event", "rescue drug=treatment policy")
ANALYSE = ("--outcome", "y", "--arm", "arm", "--subject", "id", "--baseline", "x,site")


def test_every_kind_of_file_gives_one_result(gemel, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = simulated(120)
    data = Dataset("ADEFF", tuple(Variable(k, is_number=isinstance(v[0], float)) for k, v in columns.items()), columns)
    rows = [
        ",".join(columns),
        *(",".join(repr(v) if isinstance(v, float) else v for v in row) for row in zip(*columns.values(), strict=True)),
    ]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "a.xpt").write_bytes(write_xpt(data, created=NOW))
    (tmp_path / "a.json").write_text(write_dataset_json(data, created=NOW, version="1"))
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    found = []
    for name in ("a.csv", "a.xpt", "a.json", "a.parquet"):
        ran = gemel("trial", "analyse", "--data", tmp_path / name, *ANALYSE, *SAID, "--json")
        assert ran.code == 0, (name, ran.err)
        (result,) = ran.json()["results"]
        found.append((result["estimate"], result["standard_error"], result["lineage"]["record"]))
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [("a.csv", b"", "file is empty"), ("a.xpt", b"id,y\n1,2\n", "not what its name says"), ("a.xlsx", b"PK\x03\x04", "workbook")],
)
def test_a_file_that_is_none_is_one_message(gemel, tmp_path, name, body, words):
    (tmp_path / name).write_bytes(body)
    ran = gemel("trial", "analyse", "--data", name, *ANALYSE, *SAID)
    assert ran.code == 2
    assert words in ran.err
    ran = gemel("trial", "size", "--effect", 1, "--history", name, "--outcome", "y", "--baseline", "x")
    assert ran.code == 2
    assert words in ran.err


@pytest.mark.data
def test_a_transport_file_with_zeros_and_dates_is_analysed(gemel):
    path = require_dataset("cdisc-pilot3") / "adsl.xpt"
    ran = gemel(
        "trial", "analyse", "--data", path, "--outcome", "CUMDOSE", "--arm", "TRT01P", "--reference", "Xanomeline Low Dose", "--treatment", "Xanomeline High Dose", "--subject",
        "USUBJID", "--baseline", "AGE,SEX", "--where", "EFFFL=Y", "--where", "TRT01PN=54", *SAID,
    )  # fmt: skip
    assert "two arms" in ran.err  # 54 as a number keeps one arm only
    ran = gemel(
        "trial", "analyse", "--data", path, "--outcome", "MMSETOT", "--arm", "TRT01PN", "--subject", "USUBJID", "--baseline", "AGE,SEX", "--where", "EFFFL=Y", *SAID, "--json"
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert set(ran.json()["arms"]) == {"0", "54", "81"}


def test_a_size_in_months_and_money(gemel):
    call = ("trial", "size", "--effect", 0.4, "--sd", 1, "--correlation", 0.5)
    prices = ("--enrolment-per-month", 10, "--follow-up-months", 6, "--cost-per-patient", 25000, "--currency", "EUR")
    ran = gemel(*call, *prices)
    assert ran.code == 0, ran.err
    assert all(words in ran.out for words in ("32.4", "25.8", "6,600,000 EUR", "1,650,000 EUR", "control arm only"))
    told = gemel(*call, *prices, "--json").json()
    assert [c["enrolled"] for c in told["costs"]] == [264, 198, 211]
    assert "time and money" not in gemel(*call).out
    assert "cannot be counted" in gemel(*call, "--follow-up-months", 6, "--cost-per-patient", 1).err


def test_the_program_of_an_analysis_is_printed_alone(gemel, tmp_path):
    columns = simulated(120)
    rows = [",".join(columns), *(",".join(str(v) for v in row) for row in zip(*columns.values(), strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    call = ("trial", "analyse", "--data", "a.csv", *ANALYSE, *SAID)
    ran = gemel(*call, "--code", "r")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("# ancova2 of a.csv; plan ")
    assert "expand.(d$site, TRUE)" in ran.out
    assert "class(site" in gemel(*call, "--code", "sas").out
    assert "fold <- utf8ToInt" in gemel(*call, "--method", "aipw", "--code", "r").out
    assert "no SAS program" in gemel(*call, "--method", "aipw", "--code", "sas").err
    told = gemel(*call, "--code", "r", "--json").json()
    assert told["plan"]["hash"][:16] in told["code"]["r"]
    assert told["plan"]["categories"] == ["site"]


@pytest.mark.data
def test_what_adam_promises_is_asked_of_it(gemel, tmp_path):
    path = require_dataset("cdisc-pilot") / "tplyr_adas.csv"
    call = ("--outcome", "CHG", "--arm", "TRTP", "--subject", "USUBJID", *SAID)
    ran = gemel("trial", "analyse", "--data", path, "--where", "PARAMCD=ACTOX", *call)
    assert ran.code == 2
    assert "no PARAMCD is 'ACTOX'" in ran.err
    assert "ACTOT" in ran.err
    lines = path.read_text(encoding="utf-8").splitlines()
    (tmp_path / "double.csv").write_text("\n".join([*lines, lines[1]]) + "\n")
    assert "two rows for one parameter and visit" in gemel("trial", "analyse", "--data", "double.csv", *call).err


def test_a_plan_holds_whatever_decides_the_numbers():
    """A new option of ``analyse`` is in the plan, or named here as one that decides none."""
    from gemel.cli.trial._code import OTHERS, SAME
    from gemel.cli.trial.analyse import analyse

    said = {"data", "outcome", "reference", "treatment", "categories", "family", "degrees", "summary", "prognosis"}
    nothing = {
        "code",
        "who",
        "output",
        "json_",
        "design",
        "debug",
        "no_worker",
        "population",
        "variable",
        "events",
        "no_events",
    }  # of the estimand, or of what is printed
    assert {p.name for p in analyse.params if p.name} == said | nothing | set(SAME) | set(OTHERS)
