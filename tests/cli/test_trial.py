"""``gemel trial`` as a statistician would use it: sizes, a locked prognosis, an analysis from one file, the refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from _data import require_dataset
from _trials import simulated
from gemel.cli.trial import analyse as analyse_command
from gemel.cli.trial import size as size_command
from gemel.trials.analysis import METHODS
from gemel.trials.sizing import METHODS as SIZING
from test_startup import HEAVY, loaded, probe

SAID = ("--population", "all randomised", "--event", "rescue drug=treatment policy")


def write(path, columns):
    rows = [",".join(columns), *(",".join(str(v) for v in row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "trial.csv", simulated(200))


@pytest.fixture
def history(tmp_path):
    return write(tmp_path / "history.csv", simulated(400, seed=9, effect=0.0))


ANALYSE = ("--outcome", "y", "--arm", "arm", "--subject", "id", "--baseline", "x,site")


def test_choices_are_those_of_the_code():
    assert analyse_command.METHODS == METHODS
    assert size_command.SIZING == SIZING


def test_a_size_and_its_two_reductions(gemel):
    ran = gemel("trial", "size", "--effect", 0.4, "--sd", 1, "--correlation", 0.5, "--looks", "0.5,1")
    assert ran.code == 0, ran.err
    assert all(words in ran.out for words in ("262.7", "197.0", "231.0", "25.0%", "40.0%", "2.9626", "lineage"))
    told = gemel("trial", "size", "--effect", 0.4, "--sd", 1, "--correlation", 0.5, "--method", "exact", "--json").json()
    assert told["size"]["total"] == 200
    assert told["size"]["control_arm_reduction"] == pytest.approx(0.4)


def test_the_other_convention_has_its_own_names(gemel):
    told = gemel(
        "trial", "size", "--effect", 0.4, "--sd", 1, "--correlation", 0.5, "--convention", "postcard", "--variance-inflation", 1.1, "--json"
    )
    assert told.json()["size"]["r_squared"] == pytest.approx(0.25 / 1.1)
    ran = gemel("trial", "size", "--effect", 0.4, "--sd", 1, "--variance-inflation", 1.1)
    assert ran.code == 2
    assert "other convention" in ran.err


def test_from_history_to_prognosis_to_size_to_analysis(gemel, history, data, tmp_path):
    ran = gemel("trial", "size", "--history", history, "--outcome", "y", "--baseline", "x,site", "--lock", "locked.json", "--effect", 0.4)
    assert ran.code == 0, ran.err
    assert "cross-validated R²" in ran.out
    again = gemel("trial", "size", "--prognosis", "locked.json", "--effect", 0.4, "--json").json()
    assert again["size"]["n"] == pytest.approx(again["size"]["unadjusted"] * (1 - again["prognosis"]["r_squared"]))
    call = ("trial", "analyse", "--data", data, "--outcome", "y", "--arm", "arm", "--subject", "id", "--prognosis", "locked.json", *SAID)
    found = gemel(*call, "--first-patient-in", "2999-01-01", "-o", "result.json", "--json").json()
    (result,) = found["results"]
    assert result["variance_ratio"] > 1.2
    assert result["lineage"]["parents"] == [again["prognosis"]["hash"][:16]]
    assert json.loads((tmp_path / "result.json").read_text()) == found
    late = gemel(*call, "--first-patient-in", "2020-01-01")
    assert late.code == 2
    assert "locked after first patient in" in late.err
    told = json.loads((tmp_path / "locked.json").read_text())
    (tmp_path / "locked.json").write_text(json.dumps(told | {"intercept": 0.0}))
    assert "was changed" in gemel(*call).err


@pytest.mark.parametrize("method", [m for m in METHODS if m != "bayes"])
def test_every_method_from_flags(gemel, tmp_path, method):
    columns = simulated(200, arms=3)
    columns["s2"] = [abs(x) + 0.5 for x in columns["x"]]
    path = write(tmp_path / "trial.csv", columns)
    ran = gemel("trial", "analyse", "--data", path, *ANALYSE, *SAID, "--method", method, "--predicted-variance", "s2", "--json")
    assert ran.code == 0, ran.err
    told = ran.json()
    assert [r["contrast"] for r in told["results"]] == ["arm1 - arm0", "arm2 - arm0"]
    assert sum(told["arms"].values()) == 200
    assert all(r["lineage"]["id"] for r in told["results"])


def test_one_file_says_all_and_a_flag_wins(gemel, data, tmp_path):
    (tmp_path / "trial.toml").write_text(
        '[estimand]\npopulation = "everybody"\nintercurrent_events = [{ name = "rescue", strategy = "composite" }]\n'
        '[analyse]\ndata = "trial.csv"\noutcome = "y"\narm = "arm"\nbaseline = ["x", "site"]\nmethod = "ancova1"\nwhere = ["site=a"]\n'
        "[size]\neffect = 0.4\nsd = 1.0\n"
    )
    ran = gemel("trial", "analyse", "--design", "trial.toml")
    assert ran.code == 0, ran.err
    assert "everybody" in ran.out
    assert "ancova1/hc2" in ran.out
    assert "ancova2" in gemel("trial", "analyse", "--design", "trial.toml", "--method", "ancova2").out
    assert "262.7" in gemel("trial", "size", "--design", "trial.toml").out
    assert "197.0" in gemel("trial", "size", "--design", "trial.toml", "--correlation", 0.5).out


@pytest.mark.parametrize(
    ("body", "words"), [("[size]\neffekt = 1\n", "nobody reads"), ("[trial]\n", "nobody reads"), ("effect = ", "cannot be read")]
)
def test_a_design_file_that_nobody_understands_is_refused(gemel, tmp_path, body, words):
    (tmp_path / "trial.toml").write_text(body)
    ran = gemel("trial", "size", "--design", "trial.toml", "--effect", 1, "--sd", 1)
    assert ran.code == 2
    assert words in ran.err


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ((), 2, "needs an estimand"),
        (("--population", "all"), 2, "not whole"),
        ((*SAID, "--event", "death=hope"), 2, "not whole"),
        ((*SAID, "--later", "x"), 2, "after randomisation"),
        ((*SAID, "--treatment", "arm7"), 2, "no such arm"),
        ((*SAID, "--randomisation", "blocks(centre)"), 2, "stratification factor"),
        ((*SAID, "--where", "site=zzz"), 2, "no row is left"),
        ((*SAID, "--where", "site"), 2, "NAME=VALUE"),
        ((*SAID, "--prognosis", "trial.csv"), 2, "no locked prognosis"),
        ((*SAID, "--prognosis", "nowhere.json"), 4, "no such file"),
    ],
)
def test_what_cannot_be_analysed_is_one_message(gemel, data, flags, code, words):
    ran = gemel("trial", "analyse", "--data", data, *ANALYSE, *flags)
    assert ran.code == code
    assert words in ran.err
    assert ran.out == ""


def test_sizes_that_cannot_be_are_one_message(gemel, history):
    assert "not known" in gemel("trial", "size", "--effect", 1).err
    assert "needs an outcome" in gemel("trial", "size", "--effect", 1, "--history", history).err
    assert "rising to 1" in gemel("trial", "size", "--effect", 1, "--sd", 1, "--looks", "0.3,0.5").err


@pytest.mark.data
def test_the_cdisc_table_from_the_shell(gemel):
    path = require_dataset("cdisc-pilot") / "tplyr_adas.csv"
    rows = ("--where", "AVISIT=Week 24", "--where", "EFFFL=Y", "--where", "ANL01FL=Y", "--where", "PARAMCD=ACTOT")
    model = ("--baseline", "BASE,SITEGR1", "--category", "SITEGR1", "--method", "ancova1", "--variance", "model")
    ran = gemel(
        "trial", "analyse", "--data", path, *rows, "--outcome", "CHG", "--arm", "TRTP", "--subject", "USUBJID", "--reference", "Placebo", *model, *SAID
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert all(words in ran.out for words in ("-0.466782", "0.81804", "0.5688", "-1.00601", "0.84053", "0.2326"))


@pytest.mark.parametrize("arguments", [["trial", "--help"], ["trial", "size", "--help"], ["trial", "analyse", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    assert loaded(probe("from gemel.cli import main; main()", ["gemel", *arguments])) == set()


def test_size_and_analyse_load_neither_jax_nor_pandas(data):
    size = probe("from gemel.cli import main; main()", ["gemel", "trial", "size", "--effect", "1", "--sd", "1", "--json"])
    analyse = probe("from gemel.cli import main; main()", ["gemel", "trial", "analyse", "--data", str(data), *ANALYSE, *SAID, "--json"])
    assert loaded(size, HEAVY) == loaded(analyse, HEAVY) == {"scipy"}


def test_visits_are_analysed_by_a_mixed_model(gemel, tmp_path):
    rng = np.random.default_rng(0)
    n = 80
    arm, x = rng.permutation(np.arange(n) % 2), rng.normal(size=n)
    y = np.round((x + rng.normal(size=n) + arm)[:, None] + rng.normal(size=(n, 3)), 4).astype(str)
    y[rng.random((n, 3)) < 0.1] = ""
    columns = {
        "id": np.repeat(np.arange(n), 3),
        "week": np.tile([4, 8, 12], n),
        "arm": np.repeat(np.where(arm == 1, "treated", "control"), 3),
        "x": np.repeat(np.round(x, 4), 3),
        "y": y.ravel(),
    }
    path = write(tmp_path / "visits.csv", columns)
    flags = ("--outcome", "y", "--arm", "arm", "--subject", "id", "--baseline", "x", *SAID)
    ran = gemel("trial", "analyse", "--data", path, *flags, "--visit", "week", "--fallback", "toeph,cs")
    assert ran.code == 0, ran.err
    assert all(words in ran.out for words in ("mmrm/un/satterthwaite", "treated - control, visit 12", "missing at random"))
    told = gemel(
        "trial", "analyse", "--data", path, *flags, "--visit", "week", "--df", "kenward-roger", "--covariance", "ar1", "--json"
    ).json()
    assert told["model"]["covariance"] == "ar1"
    assert len(told["results"]) == 3
    assert len(told["means"]) == 6
    one = gemel("trial", "analyse", "--data", path, *flags, "--method", "mmrm")
    assert one.code == 2
    assert "--visit COL" in one.err


def test_the_bayesian_mixture_needs_a_history_and_says_what_it_borrows(gemel, data, history, tmp_path):
    lock = tmp_path / "prognosis.json"
    gemel("trial", "size", "--history", history, "--outcome", "y", "--baseline", "x", "--lock", lock, "--effect", 0.4)
    call = ("trial", "analyse", "--data", data, "--outcome", "y", "--arm", "arm", "--subject", "id", *SAID, "--method", "bayes")
    ran = gemel(*call, "--prognosis", lock, "--prior-weight", 0.5)
    assert ran.code == 0, ran.err
    assert "type-I error is not controlled" in ran.out
    assert "weight of the history" in ran.out
    assert gemel(*call, "--prior-weight", 0.5).code == 2


def test_imputation_tips_by_delta(gemel, tmp_path):
    rng = np.random.default_rng(0)
    n = 60
    arm = rng.permutation(np.arange(n) % 2)
    y = np.round(arm[:, None] * 1.5 + rng.normal(size=(n, 2)), 4).astype(str)
    y[rng.random(n) < 0.3, 1] = ""
    columns = {"id": np.repeat(np.arange(n), 2), "week": np.tile([4, 8], n), "arm": np.repeat(arm, 2), "y": y.ravel()}
    path = write(tmp_path / "visits.csv", columns)
    flags = ("--outcome", "y", "--arm", "arm", "--subject", "id", "--visit", "week", *SAID, "--method", "imputation", "--imputations", 10)
    told = gemel("trial", "analyse", "--data", path, *flags, "--rule", "jump to reference", "--delta", "0,-1,-2", "--json").json()
    assert [r["contrast"] for r in told["results"]] == ["1 - 0, visit 8", "1 - 0, visit 8, -1", "1 - 0, visit 8, -2"]
    assert told["imputation"]["tipping"][0]["deltas"] == [0.0, -1.0, -2.0]
