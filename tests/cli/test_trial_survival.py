"""``gemel trial analyse`` on times to an event: the textbook trial from the shell, a design file, the refusals."""

from __future__ import annotations

import json

import pytest

from _survival import columns, freireich_columns
from gemel.cli.trial._survival import TIMES
from gemel.trials.survival import METHODS
from test_startup import HEAVY, loaded, probe

SAID = ("--population", "acute leukaemia in remission", "--no-events")


def write(path, table):
    rows = [",".join(table), *(",".join(str(v) for v in row) for row in zip(*table.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "leukaemia.csv", freireich_columns())


CALL = ("--time", "weeks", "--arm", "arm", "--subject", "id", "--reference", "placebo", *SAID)


def test_choices_are_those_of_the_code():
    assert TIMES == METHODS


def test_the_textbook_trial_from_the_shell(gemel, data, tmp_path):
    ran = gemel("trial", "analyse", "--data", data, *CALL, "--event-indicator", "event", "--method", "logrank", "-o", "r.json")
    assert ran.code == 0, ran.err
    assert "hazard ratio" in ran.out
    assert "events: placebo 21, 6-MP 9" in ran.out
    told = json.loads((tmp_path / "r.json").read_text())
    (result,) = told["results"]
    assert (result["estimate"] / result["standard_error"]) ** 2 == pytest.approx(16.7929, abs=5e-5)  # V11
    assert result["lineage"]["id"]
    assert [c["median"] for c in told["curves"]] == [8, 23]
    hazard = gemel("trial", "analyse", "--data", data, *CALL, "--censor", "cnsr", "--method", "hazard", "--json").json()["results"][0]
    assert hazard["estimate"] == pytest.approx(-1.50919, abs=5e-6)
    assert any("marginal" in flag for flag in hazard["status"])
    rmst = gemel("trial", "analyse", "--data", data, *CALL, "--censor", "cnsr", "--method", "rmst", "--tau", 20, "--json").json()
    assert rmst["results"][0]["estimate"] == pytest.approx(16.1165 - 8.4286, abs=1e-4)


def test_one_file_says_all(gemel, tmp_path):
    write(tmp_path / "trial.csv", columns(120))
    (tmp_path / "trial.toml").write_text(
        '[estimand]\npopulation = "everybody"\nno_intercurrent_events = true\nsummary = "hazard ratio"\n'
        '[analyse]\ndata = "trial.csv"\ntime = "t"\nevent_indicator = "d"\narm = "arm"\nbaseline = ["x"]\nstrata = ["site"]\nmethod = "logrank"\n'
    )
    ran = gemel("trial", "analyse", "--design", "trial.toml")
    assert ran.code == 0, ran.err
    assert "logrank/1 covariate/strata(site)" in ran.out
    assert "does not give this summary" in gemel("trial", "analyse", "--design", "trial.toml", "--method", "rmst").err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--method", "logrank"), "needs to know when"),
        (("--method", "logrank", "--event-indicator", "event", "--censor", "cnsr"), "needs to know when"),
        (("--event-indicator", "event"), "Missing option '--outcome'"),
        (("--method", "rmst", "--event-indicator", "event", "--tau", "36"), "not known at this time"),
        (("--method", "rmst", "--event-indicator", "weeks"), "no meaning"),
        (("--method", "hazard", "--event-indicator", "nothing"), "column is missing"),
        (("--method", "hazard", "--event-indicator", "event", "--small-sample", "--code", "r"), "do not know --small-sample"),
    ],
)
def test_what_cannot_be_analysed_is_one_message(gemel, data, flags, words):
    ran = gemel("trial", "analyse", "--data", data, *CALL, *flags)
    assert ran.code == 2
    assert words in ran.err
    assert ran.out == ""


def test_no_jax_and_no_pandas(data):
    arguments = ["gemel", "trial", "analyse", "--data", str(data), *CALL, "--event-indicator", "event", "--method", "rmst", "--json"]
    assert loaded(probe("from gemel.cli import main; main()", arguments), HEAVY) == {"scipy"}


def test_from_history_to_prognosis_to_events_to_analysis(gemel, tmp_path):
    write(tmp_path / "history.csv", columns(400, seed=5))
    write(tmp_path / "trial.csv", columns(200, seed=6))
    learn = (
        "--history",
        "history.csv",
        "--time",
        "t",
        "--event-indicator",
        "d",
        "--baseline",
        "x,site",
        "--subject",
        "id",
        "--lock",
        "p.json",
    )
    ran = gemel("trial", "size", "--hazard-ratio", 0.7, *learn, "--event-share", 0.6)
    assert ran.code == 0, ran.err
    assert "events for a hazard ratio of 0.7" in ran.out
    assert "330.4" in ran.out
    told = gemel("trial", "size", "--hazard-ratio", 0.7, "--prognosis", "p.json", "--json").json()
    assert told["events"]["events"] == pytest.approx(told["events"]["unadjusted"] * (1 - told["prognosis"]["r_squared"]))
    call = ("--time", "t", "--event-indicator", "d", "--arm", "arm", "--subject", "id", "--population", "all", "--no-events")
    found = gemel("trial", "analyse", "--data", "trial.csv", *call, "--method", "logrank", "--prognosis", "p.json", "--json").json()
    assert found["results"][0]["variance_ratio"] > 1.2
    assert found["results"][0]["lineage"]["parents"] == [told["prognosis"]["hash"][:16]]
    assert "one of the two" in gemel("trial", "size").err
    assert "does not read --sd" in gemel("trial", "size", "--hazard-ratio", 0.7, "--sd", 1).err
