"""``gemel fairness`` as a person would use it: any model's table, the report, the refusals."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

PLAIN = ("--replicates", "100", "--depth", "1")


@pytest.fixture
def made(tmp_path):
    """A table of another model's predictions, too low for one group; change columns by name."""

    def write(n: int = 1200, **change):
        rng = np.random.default_rng(0)
        sex, age = rng.choice(["f", "m"], n), rng.integers(18, 95, n)
        race = rng.choice(["a", "b"], n, p=[0.7, 0.3])
        z = rng.normal(-0.5, 1.2, n)
        y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(int)
        p = 1 / (1 + np.exp(-(z - 1.2 * (race == "b"))))
        need = rng.poisson(np.exp(0.4 * z + 1))
        cost = np.exp(6 + 0.5 * z - 0.5 * (race == "b") + rng.normal(0, 0.3, n))
        columns = {
            "patient": [f"p{i}" for i in range(n)], "prediction": np.round(p, 5), "outcome": y, "sex": sex, "age": age, "race": race,
            "lab": np.round(z + rng.normal(0, 0.3, n), 3), "need": need, "cost": np.round(cost, 2), "time": ["2026-01-01T00:00:00Z"] * n,
            "outcome_time": ["2026-02-01T00:00:00Z"] * n,
        } | change  # fmt: skip
        columns = {k: v for k, v in columns.items() if v is not None}
        path = tmp_path / "predictions.csv"
        rows = [",".join(columns), *(",".join(str(v) for v in row) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(rows) + "\n")
        return path

    return write


def test_a_table_becomes_a_report(gemel, made, tmp_path):
    ran = gemel("fairness", "--predictions", made(), "--groups", "sex,race,age:40:65,language", *PLAIN, "-o", "out")
    assert ran.code == 0, ran.err
    assert "race b" in ran.out
    assert "not assessable: language" in ran.out
    assert "not collected" in ran.out
    told = json.loads((tmp_path / "out" / "fairness.json").read_text())["audit"]
    assert {(d["group"], d["metric"]) for d in told["differences"] if d["is_flagged"]} >= {("race b", "calibration_in_the_large")}
    assert {g["group"] for g in told["groups"]} >= {"age 40 to under 65", "sex f"}
    page = (tmp_path / "out" / "fairness.html").read_text()
    assert all(words in page for words in ("By race", "<svg", "What cannot be said", "Research use only", "Worst groups", "language"))


def test_json_is_all_there_is(gemel, made):
    told = gemel("fairness", "--predictions", made(), "--groups", "race", *PLAIN, "--simulated", "--json").json()
    assert told["audit"]["shown_on"] == {"kind": "simulated", "n": 1200, "what": ""}
    assert told["audit"]["groups"][0]["metrics"]["auroc"]["low"] > 0.5
    again = gemel("fairness", "--predictions", made(), "--groups", "race", *PLAIN, "--simulated", "--json").json()
    assert told == again


def test_remedies_and_the_proxy_in_one_run(gemel, made, tmp_path):
    ran = gemel(
        "fairness", "--predictions", made(2000), "--groups", "sex,race", "--on", "race", "--inputs", "lab,age", "--mitigate", "recalibration", "--mitigate",
        "reweighing", "--score", "cost", "--proxy", "need=need,cost=cost", "--bins", "40", "--reference", "race=a", *PLAIN, "-o", "out", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    told = ran.json()
    assert [r["name"] for r in told["remedies"]] == ["recalibration", "reweighing"]
    large = next(c for c in told["remedies"][0]["changes"] if (c["group"], c["metric"]) == ("race b", "calibration_in_the_large"))
    assert large["is_better"]
    assert abs(large["after"]) < abs(large["before"])
    group = told["proxy"]["groups"][0]
    assert (group["group"], group["reference"]) == ("b", "a")
    assert group["before"]["gap"]["low"] > 0
    assert group["reduction"]["value"] > 0.5
    page = (tmp_path / "out" / "fairness.html").read_text()
    assert "Remedy: recalibration" in page
    assert "Does score stand for need" in page


def test_a_score_without_outcomes_is_audited_as_a_proxy_alone(gemel, made):
    table = made(outcome=None, prediction=None)
    ran = gemel(
        "fairness",
        "--predictions",
        table,
        "--groups",
        "race",
        "--score",
        "cost",
        "--proxy",
        "need=need",
        "--bins",
        "40",
        "--replicates",
        "50",
        "-o",
        "o",
    )
    assert ran.code == 0, ran.err
    assert "beside" in ran.out
    assert "by the proxy" in ran.out


def test_forecast_intervals_of_any_model(gemel, made):
    n, rng = 800, np.random.default_rng(3)
    group = rng.choice(["x", "y"], n)
    value = rng.normal(100, np.where(group == "y", 20, 10), n)
    table = made(n, outcome=None, prediction=None, site=group, glucose=np.round(value, 2), lower=[83.55] * n, upper=[116.45] * n)
    told = gemel(
        "fairness", "--predictions", table, "--groups", "site", "--value", "glucose", "--mitigate", "conformal", *PLAIN, "--json"
    ).json()
    cover = {g["group"]: g["metrics"]["coverage"]["value"] for g in told["audit"]["groups"]}
    assert cover["site x"] == pytest.approx(0.9, abs=0.05)
    assert cover["site y"] < 0.7
    after = {g["group"]: g["metrics"]["coverage"]["value"] for g in told["remedies"][0]["after"]["groups"]}
    assert after["site y"] == pytest.approx(0.9, abs=0.06)


def test_nothing_to_tell_groups_apart_is_not_assessable(gemel, made):
    ran = gemel("fairness", "--predictions", made(), "--groups", "gender", *PLAIN)
    assert ran.code == 1
    assert "Not assessable" in ran.out
    assert "fair" not in ran.out.lower()


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ({"prediction": [1.5] * 1200}, (), "outside [0, 1]"),
        ({"prediction": [1] * 1200}, (), "--keep-certain"),
        ({"outcome": [2] * 1200}, (), "neither 0 nor 1"),
        ({"prediction": ["high"] * 1200}, (), "'high' in row 1"),
        ({"outcome_time": ["2025-02-01T00:00:00Z"] * 1200}, (), "time runs backwards"),
        ({"outcome_time": ["soon"] * 1200}, (), "ISO 8601"),
        ({}, ("--inputs", "outcome,lab"), "leaks"),
        ({"code": list(range(1200)), "prediction": [0.5] * 1200}, ("--inputs", "nothing"), "no column 'nothing'"),
        ({}, ("--outcome", "died"), "no column 'died'"),
        ({}, ("--mitigate", "magic"), "no such remedy"),
        ({}, ("--mitigate", "reweighing"), "--inputs"),
        ({}, ("--proxy", "cost=cost"), "need=COL"),
        ({}, ("--proxy", "need"), "need=conditions"),
        ({}, ("--proxy", "need=need", "--inputs", "need"), "leaks"),
        ({}, ("--minimum", "3"), "20"),
        ({"age": [f"{i}x" for i in range(1200)]}, ("--groups", "age:40"), "banded"),
        ({}, ("--groups", "patient"), "band it"),
        ({"patient": [""] * 1200}, (), "no patient"),
    ],
)
def test_bad_input_is_named(gemel, made, change, arguments, says):
    groups = () if "--groups" in arguments else ("--groups", "race")
    ran = gemel("fairness", "--predictions", made(**change), *groups, "--replicates", "20", *arguments)
    assert ran.code == 2, (ran.out, ran.err)
    assert says in ran.err
    assert ran.out == ""


def test_a_column_that_is_the_outcome_under_another_name_is_named(gemel, made):
    table = made(code=(np.random.default_rng(0).random(1200) < 2).astype(int))
    rows = table.read_text().splitlines()
    at = rows[0].split(",").index("outcome")
    table.write_text("\n".join([rows[0], *(row.rpartition(",")[0] + "," + row.split(",")[at] for row in rows[1:])]) + "\n")
    ran = gemel("fairness", "--predictions", table, "--groups", "race", "--inputs", "lab,code", *PLAIN)
    assert ran.code == 2
    assert "code equals the outcome" in ran.err


@pytest.mark.parametrize("body", [b"", b"\0" * 50, b"hello\nworld\n", b"a,b\n1\n", b"a,a\n1,2\n", b"\xff\xfe,x\n1,2\n", b"PK\x03\x04"])
def test_files_that_are_no_table(gemel, tmp_path, body):
    (tmp_path / "x.csv").write_bytes(body)
    for option in (("--predictions", "x.csv", "--groups", "a"), ("--public-file", "x.csv")):
        ran = gemel("fairness", *option)
        assert ran.code == 2
        assert "error:" in ran.err
        assert "defect" not in ran.err
    assert gemel("fairness", "--predictions", "nowhere.csv", "--groups", "a").code == 4
    assert gemel("fairness", "--predictions", ".", "--groups", "a").code == 2
    assert gemel("fairness", "--groups", "a").code == 2


def test_the_public_file_of_somebody_who_has_it(gemel, tmp_path):
    rng = np.random.default_rng(1)
    n = 3000
    rows = ["race,cost_t,cost_avoidable_t,gagne_sum_t,gagne_sum_tm1,cost_tm1"]
    for _ in range(n):
        b, burden = rng.random() < 0.3, rng.gamma(1.5, 1.0)
        cost, before = np.exp(6 + burden / 2 - 0.6 * b + rng.normal(0, 0.3, 2))
        rows.append(f"{'black' if b else 'white'},{cost:.0f},{cost / 10:.1f},{rng.poisson(burden)},{rng.poisson(burden)},{before:.0f}")
    (tmp_path / "made_up.csv").write_text("\n".join(rows) + "\n")
    ran = gemel("fairness", "--public-file", "made_up.csv", "--bins", "20", "--replicates", "50", "-o", "out")
    assert ran.code == 0, ran.err
    assert "NOT the known file" in ran.out
    assert "score for log cost" in ran.out
    assert set(json.loads((tmp_path / "out" / "fairness.json").read_text())["labels"]) == {
        "log cost",
        "log avoidable cost",
        "active chronic conditions",
    }
    assert "active chronic conditions" in (tmp_path / "out" / "fairness.html").read_text()


def test_help_imports_nothing_heavy():
    code = "import sys; from gemel.cli.app import run; run(['fairness', '--help']); print([n for n in ('jax', 'scipy', 'numpy') if n in sys.modules], file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"
    assert "--mitigate" in ran.stdout


def test_an_audit_loads_no_jax(made):
    code = f"import sys; from gemel.cli.app import run; run(['fairness', '--predictions', {str(made())!r}, '--groups', 'race', '--replicates', '10']); print('jax' in sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"GEMEL_NO_WORKER": "1", "PATH": ""})
    assert ran.stderr.strip().splitlines()[-1] == "False"
