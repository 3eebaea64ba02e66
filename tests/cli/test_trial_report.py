"""``gemel trial report``: from the shell to a folder that can be checked, and that says when it was changed."""

from __future__ import annotations

import json

import pytest

from _data import require_dataset
from _trials import simulated
from gemel.interop.cdisc import verify_m5
from test_startup import loaded, probe

SAID = ("--population", "all randomised", "--no-events")


def write(path, columns):
    rows = [",".join(columns), *(",".join(str(v) for v in row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def analysed(gemel, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write(tmp_path / "trial.csv", simulated(120))
    write(tmp_path / "history.csv", simulated(300, seed=9, effect=0.0))
    size = (
        "trial",
        "size",
        "--history",
        "history.csv",
        "--outcome",
        "y",
        "--baseline",
        "x",
        "--lock",
        "p.json",
        "--effect",
        0.4,
        "-o",
        "size.json",
    )
    assert gemel(*size).code == 0
    ran = gemel(
        "trial", "analyse", "--data", "trial.csv", "--outcome", "y", "--arm", "arm", "--subject", "id", "--baseline", "site", *SAID, "--prognosis", "p.json", "--who", "Ann",
        "-o", "r.json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return tmp_path


REPORT = ("trial", "report", "r.json", "--data", "trial.csv", "--prognosis", "p.json", "--replicates", 100, "-o", "out", "--who", "Ann")


def test_a_report_with_all_its_files_and_how_it_is_checked(gemel, analysed):
    ran = gemel(
        *REPORT,
        "--size",
        "size.json",
        "--sign",
        "Ann Author",
        "--m5",
        "sub",
        "--study",
        "S-1",
        "--indication",
        "asthma",
        "--protocol",
        "protocol.json",
        "--simulated",
    )
    assert ran.code == 0, ran.err
    out = analysed / "out"
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert {
        "report.html",
        "report.pdf",
        "report.rtf",
        "adeff.xpt",
        "arres.json",
        "define.xml",
        "analysis-1-r.txt",
        "results/1-r.json",
        "audit.jsonl",
        "manifest.sig.json",
    } <= names
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    assert "SIMULATED" in (out / "report.html").read_text()
    assert json.loads((analysed / "protocol.json").read_text())["sections"]["10 Statistical Considerations"]["sample size"]["power"] > 0.9
    sub = analysed / "sub"
    assert verify_m5({p.relative_to(sub).as_posix(): p.read_bytes() for p in sub.rglob("*") if p.is_file()}) == ()
    assert json.loads((analysed / "audit.jsonl").read_text())["what"].startswith("analyse: ancova2")
    checked = gemel("trial", "report", "--verify", "out")
    assert checked.code == 0, checked.out
    assert "Ann Author" in checked.out
    assert gemel(*REPORT, "--json").code == 0  # again, unsigned: the trail grows
    told = gemel("trial", "report", "--verify", "out", "--json").json()
    assert told["trail"].startswith("holds: 2 entries")
    assert told["signature"] == "none"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("report.html", "files: BROKEN: report.html"),
        ("manifest.json", "BROKEN"),
        ("audit.jsonl", "trail: BROKEN"),
        ("manifest.sig.json", "signature: BROKEN"),
    ],
)
def test_a_change_is_seen_wherever_it_is_made(gemel, analysed, name, words):
    assert gemel(*REPORT, "--sign", "Ann").code == 0
    path = analysed / "out" / name
    text = path.read_text()
    path.write_text(
        text.replace("Ann", "Bob", 1) if "Ann" in text else text.replace("0", "1", 1) if name == "manifest.json" else text + " "
    )
    ran = gemel("trial", "report", "--verify", "out")
    assert ran.code == 1
    assert words in ran.out
    if name == "audit.jsonl":
        refused = gemel(*REPORT)
        assert refused.code == 2
        assert "trail is broken" in refused.err


def test_refusals_are_one_message(gemel, analysed):
    write(analysed / "other.csv", simulated(120, seed=4))
    ran = gemel("trial", "report", "r.json", "--data", "other.csv", "--prognosis", "p.json", "-o", "out")
    assert ran.code == 2
    assert "not the one that was analysed" in ran.err
    assert gemel("trial", "report", "-o", "out").code == 2
    assert "no result of an analysis" in gemel("trial", "report", "size.json", "-o", "out").err
    assert "cannot be read" in gemel("trial", "report", "trial.csv", "-o", "out").err
    assert gemel("trial", "report", "nowhere.json").code == 4
    assert "not a folder of gemel trial" in gemel("trial", "report", "--verify", ".").err
    assert not (analysed / "out").exists()
    call = ("trial", "analyse", "--data", "trial.csv", "--outcome", "y", "--arm", "arm", *SAID, "--who", "Ann")
    assert "name its file with -o" in gemel(*call).err


def test_a_protocol_before_there_is_a_result(gemel, analysed):
    (analysed / "trial.toml").write_text(
        '[estimand]\npopulation = "all"\nreference = "a"\ntreatment = "b"\nvariable = "y"\nno_intercurrent_events = true\n[analyse]\nmethod = "ancova2"\narm = "arm"\n'
        '[report]\ntitle = "A plan"\n'
    )  # fmt: skip
    ran = gemel("trial", "report", "--design", "trial.toml", "--protocol", "plan.json", "--prognosis", "p.json")
    assert ran.code == 0, ran.err
    told = json.loads((analysed / "plan.json").read_text())
    assert told["sections"]["1 Protocol Summary"]["title"] == "A plan"
    assert told["sections"]["10 Statistical Considerations"]["primary analysis"]["method"] == "ancova2"
    assert not (analysed / "gemel-trial").exists()


def test_repeated_measures_and_times_are_reported(gemel, tmp_path):
    rows = ["id,arm,visit,y,x"]
    columns = simulated(60)
    for i in range(60):
        rows += [
            f"{columns['id'][i]},{columns['arm'][i]},{v},{columns['y'][i] + 0.1 * v + 0.3 * ((i * 7 + v * 3) % 11 - 5)},{columns['x'][i]}"
            for v in (1, 2)
        ]
    (tmp_path / "long.csv").write_text("\n".join(rows) + "\n")
    call = ("--arm", "arm", "--subject", "id", *SAID, "-o", "r.json")
    assert gemel("trial", "analyse", "--data", "long.csv", "--outcome", "y", "--visit", "visit", "--baseline", "x", *call).code == 0
    ran = gemel("trial", "report", "r.json", "--data", "long.csv", "-o", "out")
    assert ran.code == 0, ran.err
    assert "Means by visit" in (tmp_path / "out" / "report.html").read_text()
    assert "proc mixed" in (tmp_path / "out" / "analysis-1-sas.txt").read_text()
    columns["t"] = [abs(y) + 0.1 for y in columns["y"]]
    columns["e"] = [i % 3 != 0 for i in range(60)]
    columns["e"] = [int(e) for e in columns["e"]]
    write(tmp_path / "times.csv", columns)
    assert gemel("trial", "analyse", "--data", "times.csv", "--method", "hazard", "--time", "t", "--event-indicator", "e", *call).code == 0
    ran = gemel("trial", "report", "r.json", "--data", "times.csv", "-o", "out2")
    assert ran.code == 0, ran.err
    page = (tmp_path / "out2" / "report.html").read_text()
    assert "hazard ratio" in page
    assert "Kaplan-Meier" in page


@pytest.mark.data
def test_the_cdisc_trial_is_reported(gemel, tmp_path):
    path = require_dataset("cdisc-pilot") / "tplyr_adas.csv"
    rows = ("--where", "AVISIT=Week 24", "--where", "EFFFL=Y", "--where", "ANL01FL=Y", "--where", "PARAMCD=ACTOT")
    model = ("--baseline", "BASE,SITEGR1", "--category", "SITEGR1", "--method", "ancova1", "--variance", "model", "--reference", "Placebo")
    ran = gemel(
        "trial",
        "analyse",
        "--data",
        path,
        *rows,
        "--outcome",
        "CHG",
        "--arm",
        "TRTP",
        "--subject",
        "USUBJID",
        *model,
        *SAID,
        "-o",
        "r.json",
    )
    assert ran.code == 0, ran.err
    ran = gemel("trial", "report", "r.json", "--data", path, "-o", "out", "--unit", "{score}")
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert told["results"][1]["estimate"] == pytest.approx(-0.46678, abs=5e-6) or told["results"][0]["estimate"] == pytest.approx(
        -0.46678, abs=5e-6
    )
    assert "Xanomeline" in (tmp_path / "out" / "report.html").read_text()


def test_help_loads_nothing_heavy():
    assert loaded(probe("from gemel.cli import main; main()", ["gemel", "trial", "report", "--help"])) == set()
