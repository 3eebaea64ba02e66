"""``gemel trial borrow`` from flags and from a design file: the label, the map, the report, the refusals."""

from __future__ import annotations

import json

import pytest

from _external import sources
from gemel.cli.trial import borrow as commands
from gemel.trials.external import LABEL, METHODS, PRIORS
from test_startup import HEAVY, loaded, probe

SAID = ("--population", "all who started", "--no-events")
TRIAL = ("--outcome", "y", "--arm", "arm", "--treatment", "active", "--subject", "id", "--baseline", "x,z", *SAID, "--replicates", 50)


def write(path, table):
    rows = [",".join(table), *(",".join(str(v) for v in row) for row in zip(*table.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def files(tmp_path):
    trial, outside = sources(arms=2)
    write(tmp_path / "trial.csv", trial)
    write(tmp_path / "controls.csv", outside)
    write(tmp_path / "means.csv", {"study": ["a", "b", "c"], "n": [40, 60, 80], "y": [1.0, 1.4, 0.8], "sd": [2.0, 2.1, 1.9]})
    write(tmp_path / "rates.csv", {"study": ["a", "b", "c"], "n": [40, 60, 80], "r": [10, 18, 16]})
    published = {"n": [240], "y": [0.2], "y_sd": [1.0], "x": [0.2], "x_sd": [1.0], "z": [0.5], "z_sd": [0.5]}
    write(tmp_path / "published.csv", published)
    return tmp_path


def test_choices_are_those_of_the_code():
    assert commands.METHODS == METHODS
    assert commands.PRIORS == PRIORS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_patients(gemel, files, method):
    ran = gemel(
        "trial",
        "borrow",
        "--method",
        method,
        "--data",
        "trial.csv",
        "--external",
        "controls.csv",
        *TRIAL,
        "--report",
        "r.html",
        "-o",
        "r.json",
    )
    assert ran.code == 0, ran.err
    assert ran.out.startswith(LABEL.upper())
    assert "what drift costs" in ran.out
    told = json.loads((files / "r.json").read_text())
    assert told["label"] == LABEL
    assert told["map"]["drifts"] == [0, 0.1, 0.2, 0.3, 0.5]
    assert told["result"]["lineage"]["id"]
    assert told["drift_seen"]
    page = (files / "r.html").read_text()
    assert LABEL in page
    assert "<svg" in page


@pytest.mark.parametrize("method", PRIORS)
@pytest.mark.parametrize(("history", "arms"), [("means.csv", ("30,1.1", "30,2.4")), ("rates.csv", ("30,8", "30,17"))])
def test_every_prior(gemel, files, method, history, arms):
    call = ("trial", "borrow", "--method", method, "--history", history, "--control", arms[0], "--treated", arms[1])
    ran = gemel(*call, "--report", "r.html", "--json")
    assert ran.code == 0, ran.err
    told = ran.json()
    assert told["label"] == LABEL
    assert told["interval"][0] < told["difference"] < told["interval"][1]
    assert told["map"]["how"].startswith("exact")
    assert told["lineage"]["id"]
    assert (files / "r.html").read_text().count("<svg") >= 2
    if method == "power":
        assert "type-I error" in gemel(*call).out


def test_a_trial_that_is_planned_and_one_that_is_a_table(gemel, files):
    planned = gemel("trial", "borrow", "--method", "map", "--history", "means.csv", "--planned", "20,40", "--drift", "0,1")
    assert planned.code == 0, planned.err
    assert "own controls" in planned.out
    told = gemel(
        "trial", "borrow", "--method", "robust-map", "--history", "means.csv", "--data", "trial.csv", "--outcome", "y", "--arm", "arm", "--treatment", "active", *SAID, "--json"
    )  # fmt: skip
    assert told.code == 0, told.err
    assert told.json()["estimand"]["reference"] == "control"
    assert told.json()["posterior"]["means"]


def test_a_published_summary(gemel, files):
    ran = gemel("trial", "borrow", "--method", "maic", "--data", "trial.csv", "--published", "published.csv", *TRIAL, "--json")
    assert ran.code == 0, ran.err
    assert ran.json()["balance"]["after"] == pytest.approx([0, 0], abs=1e-7)
    assert (
        "needs the patients"
        in gemel("trial", "borrow", "--method", "iptw", "--data", "trial.csv", "--published", "published.csv", *TRIAL).err
    )


def test_one_file_says_all(gemel, files):
    (files / "trial.toml").write_text(
        '[estimand]\npopulation = "everybody"\nno_intercurrent_events = true\n'
        '[borrow]\nmethod = "overlap"\ndata = "trial.csv"\nexternal = "controls.csv"\noutcome = "y"\narm = "arm"\ntreatment = "active"\n'
        'baseline = ["x", "z"]\nreplicates = 50\ndrifts = [0.0, 0.4]\n'
    )
    ran = gemel("trial", "borrow", "--design", "trial.toml", "--json")
    assert ran.code == 0, ran.err
    assert ran.json()["map"]["drifts"] == [0, 0.4]
    assert ran.json()["estimand"]["population"] == "everybody"


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--method", "map"), 2, "name one of --external"),
        (("--method", "map", "--external", "controls.csv"), 2, "is one of --history"),
        (("--method", "iptw", "--history", "means.csv"), 2, "is one of --external"),
        (("--method", "iptw", "--external", "controls.csv"), 2, "need --data"),
        (("--method", "map", "--history", "means.csv"), 2, "trial is not known"),
        (("--method", "map", "--history", "means.csv", "--control", "30,1"), 2, "needs --treated"),
        (("--method", "map", "--history", "means.csv", "--planned", "1.5,1"), 2, "such as 40,12"),
        (("--method", "map", "--history", "means.csv", "--planned", "9,9", "--drift", "much"), 2, "is not a list of numbers"),
        (("--method", "map", "--history", "trial.csv", "--planned", "9,9"), 2, "neither of rates nor of means"),
        (("--method", "map", "--history", "nowhere.csv", "--planned", "9,9"), 4, "no such file"),
        (
            ("--method", "iptw", "--external", "controls.csv", "--data", "trial.csv", "--outcome", "y", "--baseline", "x"),
            2,
            "needs an estimand",
        ),
        (("--method", "iptw", "--external", "means.csv", "--data", "trial.csv", *TRIAL), 2, "missing in the controls from outside"),
    ],
)
def test_what_cannot_be_borrowed_is_one_message(gemel, files, flags, code, words):
    ran = gemel("trial", "borrow", *flags)
    assert ran.code == code
    assert words in ran.err
    assert ran.out == ""


def test_help_is_light_and_a_run_needs_no_jax(files):
    assert loaded(probe("from gemel.cli import main; main()", ["gemel", "trial", "borrow", "--help"])) == set()
    run = ["gemel", "trial", "borrow", "--method", "power", "--history", str(files / "means.csv"), "--planned", "20,40", "--json"]
    assert loaded(probe("from gemel.cli import main; main()", run), HEAVY) == {"scipy"}
