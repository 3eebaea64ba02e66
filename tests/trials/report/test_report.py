"""The report says what the analysis said, beside what it would have said; refuses what does not belong together; and becomes files that are read again."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, replace
from datetime import date

import numpy as np
import pytest

from _trials import simulated
from gemel.core.errors import DataError, EvidenceError
from gemel.core.view import View
from gemel.interop.cdisc import read_dataset_json, read_define, read_xpt, verify_m5
from gemel.trials import analyse, calibrate, trial_data
from gemel.trials.code import Plan
from gemel.trials.report import data_files, datasets, m5_folder, protocol, report, rtf
from gemel.web import render_html

NOW = "2026-01-02T03:04:05Z"
ASKED = {
    "population": "all randomised",
    "reference": "arm0",
    "treatment": "arm1",
    "variable": "y at week 12",
    "no_intercurrent_events": True,
}


@pytest.fixture(scope="module")
def bundle():
    made = calibrate(simulated(400, seed=9, effect=0.0), outcome="y", inputs=("x",), subject="id")
    return made.lock(name="p", today=date(2020, 1, 1))


def trial(bundle=None, **more):
    columns = simulated(200, **more)
    return trial_data(
        columns, outcome="y", arm="arm", subject="id", baseline=("noise", "site"), prognosis_inputs=("x",) if bundle else (), reference="arm0", first_patient_in="2021-01-01"
    )  # fmt: skip


def told(data, bundle=None, method="ancova2"):
    result = analyse(data, ASKED, method, prognosis=bundle)
    plan = Plan(
        "trial.csv",
        method,
        "y",
        "arm",
        "arm0",
        ("arm1",),
        data.arms,
        "id",
        ("noise", "site"),
        ("site",),
        prognosis=bundle.hash if bundle else "",
    )
    return json.loads(
        json.dumps(
            {
                "estimand": ASKED,
                "arms": {a: int((data.arm == i).sum()) for i, a in enumerate(data.arms)},
                "results": [asdict(result) | {"lineage": result.lineage.model_dump() | {"id": result.lineage.id}}],
                "plan": asdict(plan) | {"hash": plan.hash},
            }
        )
    )


def test_the_report_says_all_of_it(bundle):
    data = trial(bundle)
    first = told(data, bundle)
    made = report(
        [first], title="A trial", created=NOW, data=data, prognosis=bundle, unit="mmol/L", replicates=200, first_patient_in="2021-01-01"
    )
    ids = [t.id for t in made.tables]
    assert ids == ["estimand", "disposition", "baseline", "results", "savings", "credibility", "wrong", "borrowing", "plan"]
    assert [r["label"] for r in made.results] == ["as pre-specified", "without the prognosis", "without covariates"]
    assert made.results[2]["estimate"] == pytest.approx(analyse(data, ASKED, "unadjusted").estimate)
    assert made.results[1]["estimate"] == pytest.approx(analyse(data, ASKED, "ancova2").estimate)
    worth = {t.id: t for t in made.tables}["savings"]
    r2 = bundle.r_squared
    assert worth.rows[0][1:] == (f"{r2:.3f}", worth.rows[0][2], f"{r2:.1%}", f"{2 * r2 / (1 + r2):.1%}")  # both reductions, together
    kinds = [s.type for s in made.view.sections]
    assert kinds.count("figure") == 3
    html = render_html(made.view)
    for words in (
        "as pre-specified",
        "without the prognosis",
        "borrowing: type-I error not controlled",
        "pure noise",
        bundle.hash,
        "every control patient of the trial stays",
        "2021-01-01",
    ):
        assert words in html, words
    assert View.from_json(made.view.to_json()) == made.view
    (listed,) = made.listings
    assert len(listed.rows) == 200
    assert not any(s in html for s in data.subjects)  # the page names nobody
    text = rtf(made)
    assert data.subjects[0] in text
    assert "A trial" in text
    assert made.credibility["prognosis"] == bundle.hash


def test_simulated_is_said_in_every_figure(bundle):
    data = trial(bundle)
    made = report([told(data, bundle)], title="A", created=NOW, data=data, prognosis=bundle, is_simulated=True, replicates=100)
    assert all(s.status == "simulated" for s in made.view.sections if s.type in ("figure", "number"))
    assert "SIMULATED" in made.view.subtitle


def test_a_result_alone_is_a_report_and_several_are_one():
    data = trial()
    one = report([told(data)], title="A", created=NOW)
    assert [t.id for t in one.tables] == ["estimand", "disposition", "results", "plan"]
    assert one.listings == ()
    both = report([told(data), told(data, method="ancova1")], title="A", created=NOW, data=data)
    assert [r["label"] for r in both.results] == ["as pre-specified", "ancova1/hc2", "without covariates"]
    bare = {k: v for k, v in told(data).items() if k != "plan"}
    assert "plan" not in [t.id for t in report([bare], title="A", created=NOW).tables]


def test_ratios_lie_on_a_logarithmic_axis():
    columns = simulated(300, binary=True)
    data = trial_data(columns, outcome="y", arm="arm", subject="id", baseline=("x",), reference="arm0")
    asked = ASKED | {"summary": "odds ratio"}
    result = analyse(data, asked, "gcomputation")
    first = {
        "estimand": asked,
        "arms": {"arm0": 150, "arm1": 150},
        "results": [asdict(result) | {"lineage": {"id": "x", "record": data.hash}}],
    }
    made = report([first], title="A", created=NOW, data=data)
    (figure,) = [s for s in made.view.sections if s.type == "figure" and s.title == "Analyses side by side"]
    assert figure.axis("x").kind == "log"
    assert f"{result.ratio:.4g}" in figure.alt


def test_what_does_not_belong_together_is_refused(bundle):
    data = trial(bundle)
    first = told(data, bundle)
    with pytest.raises(DataError, match="not those of the analysis"):
        report([first], title="A", created=NOW, data=trial(bundle, seed=5), prognosis=bundle)
    other = bundle.model_copy(update={"intercept": 1.0, "hash": ""})
    with pytest.raises(EvidenceError, match="not the one of the analysis"):
        report([first], title="A", created=NOW, prognosis=other.model_copy(update={"hash": other.sealed()}))
    with pytest.raises(DataError, match="no result of an analysis"):
        report([{"size": {}}], title="A", created=NOW)
    with pytest.raises(DataError, match="nothing to report"):
        report([], title="A", created=NOW)


def test_the_files_are_read_again(bundle):
    data = trial(bundle)
    first = told(data, bundle)
    made = report([first], title="A", created=NOW, data=data, prognosis=bundle, replicates=100)
    files = data_files([first], made, data, bundle, study="S1", created=dt.datetime(2026, 1, 2))
    assert sorted(files) == ["adeff.json", "adeff.xpt", "arres.json", "arres.xpt", "define.xml"]
    (results,), (patients,) = read_xpt(files["arres.xpt"]), read_xpt(files["adeff.xpt"])
    assert results.columns["ESTIMATE"] == [r["estimate"] for r in made.results]  # to the bit
    assert patients.columns["AVAL"] == data.outcome.tolist()
    assert patients.columns["PROGNO"] == bundle.of(data.raw)[0].tolist()
    assert patients.variable("COV02").label == data.names[1]
    assert read_dataset_json(files["adeff.json"].decode()).columns == patients.columns
    described = read_define(files["define.xml"].decode())
    assert [v.name for v in described.set("ADEFF").variables] == [v.name for v in patients.variables]
    assert "sandwich::vcovHC" in files["define.xml"].decode()
    folder = m5_folder(files | {"report.pdf": b"%PDF", "analysis-1-r.txt": b"x"}, study="S 1", indication="Alzheimer's disease", title="A")
    assert verify_m5(folder) == ()
    assert "m5/datasets/s-1/analysis/adam/datasets/adeff.xpt" in folder
    assert any("alzheimer-s-disease" in p and p.endswith("report.pdf") for p in folder)
    lone, _ = datasets(report([told(trial())], title="A", created=NOW), None, None)
    assert [d.name for d in lone] == ["ARRES"]


def test_programs_come_with_the_report_and_the_folds_with_the_data():
    from gemel.trials.report import programs

    data = trial()
    assert sorted(programs([told(data), told(data, method="aipw")], None)) == ["analysis-1-r.txt", "analysis-1-sas.txt"]
    found = programs([told(data, method="aipw")], None, data)
    assert list(found) == ["analysis-1-r.txt"]  # SAS has no such method
    assert "utf8ToInt" in found["analysis-1-r.txt"]


def test_a_protocol_has_the_estimand_and_a_hash_of_all(bundle):
    size = {"size": {"n": 197.0, "assumptions": {"allocation": 1.0}, "r_squared": 0.25}}
    made = protocol(ASKED, title="T", created=NOW, analysis={"method": "ancova2"}, size=size, prognosis=bundle)
    primary = made["sections"]["3 Trial Objectives and Associated Estimands"]["primary"]
    assert primary["treatment"] == {"investigational": "arm1", "control": "arm0"}
    assert made["sections"]["10 Statistical Considerations"]["covariate from a model"]["hash"] == bundle.hash
    later = protocol(ASKED, title="T", created="2027-01-01", analysis={"method": "ancova2"}, size=size, prognosis=bundle)
    assert later["hash"] == made["hash"]
    assert protocol(ASKED, title="T", created=NOW, analysis={"method": "ancova1"}, size=size, prognosis=bundle)["hash"] != made["hash"]
    with pytest.raises(EvidenceError, match="not whole"):
        protocol({"population": "all"}, title="T", created=NOW)
    with pytest.raises(DataError, match="needs a title"):
        protocol(ASKED, title=" ", created=NOW)


def test_balance_counts_in_standard_deviations():
    from gemel.trials.report.tables import standardised_differences

    data = trial()
    apart = standardised_differences(data)
    x = data.covariates[:, data.names.index("noise")]
    a, b = x[data.arm == 0], x[data.arm == 1]
    assert apart["noise"]["arm1"] == pytest.approx((b.mean() - a.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
    assert replace(data, covariates=np.ones((data.n, 1)), names=("c",)).names == ("c",)
    assert standardised_differences(replace(data, covariates=np.ones((data.n, 1)), names=("c",))) == {"c": {"arm1": 0.0}}


def test_what_is_exported_is_there():
    from gemel.trials import report as room

    assert sorted(room.__all__) == list(room.__all__)
    assert all(getattr(room, name).__doc__ for name in room.__all__)


def test_courses_over_time_are_drawn_from_what_the_result_says():
    from gemel.trials.report.courses import curves_figure, means_figure

    both = {"unit": "mo", "status": "current", "lineage": "x", "shown_on": None}
    told_ = {
        "results": [{"level": 0.95}],
        "means": [{"label": f"visit {v}, arm {a}", "estimate": e, "interval": [e - 1, e + 1]} for v, a, e in (("8", "a, b", 1.0), ("8", "c", 2.0), ("24", "a, b", 3.0), ("24", "c", 4.0))],
        "curves": [
            {"arm": "a", "events": 2, "median": 5.0, "last": 9.0, "time": [3.0, 5.0], "survival": [0.75, 0.4]},
            {"arm": "b", "events": 0, "median": None, "last": 9.0, "time": [], "survival": []},
        ],
    }  # fmt: skip
    means = means_figure(told_, **both)
    assert "at 24: a, b 3; c 4" in means.alt
    assert means.axis("x").categories == ("8", "24")
    curves = curves_figure(told_, **both)
    assert "a: 2 events, median 5; b: 0 events, median not reached" in curves.alt
    assert curves.layers[0].x.numpy().tolist() == [0.0, 3.0, 5.0, 9.0]
    assert curves.layers[0].y.numpy().tolist() == [1.0, 0.75, 0.4, 0.4]
    assert curves.layers[1].y.numpy().tolist() == [1.0, 1.0]
    assert means_figure({}, **both) is curves_figure({}, **both) is None


def test_names_beside_the_forest_are_short_and_each_one_s_own():
    from gemel.trials.report.figures import LONGEST, _names

    def one(contrast, label="as pre-specified"):
        return {"contrast": contrast, "label": label, "method": "m"}

    assert _names([one("b - a")]) == (["as pre-specified"], "b - a")
    assert _names([one("b - a"), one("b - a", "without covariates")]) == (["as pre-specified", "without covariates"], "b against a")
    assert _names([one("b - a, visit 8"), one("c - a, visit 8")]) == (["b, visit 8", "c, visit 8"], "against a")
    assert _names([one("b - a"), one("c - b")])[0] == ["b - a", "c - b"]
    long = _names([one("x" * 50 + " - a, visit 8"), one("x" * 50 + " - a, visit 9"), one("y - a, visit 9")])[0]
    assert len(set(long)) == 3
    assert max(map(len, long)) <= LONGEST
