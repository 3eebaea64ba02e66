"""Programs in R and SAS: each method has the call that it must have, what they compute of a locked prognosis is the prognosis, and what they lack is said.

Neither language is on this machine, so that no program is run here; the formulas in them are those that the tests of each method hold against RobinCar2, SAS and CDISC.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import asdict, replace
from datetime import date

import numpy as np
import pytest

from _trials import made, simulated
from gemel.core.errors import DataError
from gemel.trials import calibrate
from gemel.trials.adjust.aipw import folds_of
from gemel.trials.code import Plan, plan_of, r_code, sas_code

PLAN = Plan(
    data="trial.csv", method="ancova2", outcome="y", arm="arm", reference="a b", treatments=("t'1",), arms=("a b", "t'1", "t2"), baseline=("x", "the site"),
    categories=("the site",), where=(("AVISIT", 'Week "24"'),), subject="id",
)  # fmt: skip
TIMES = replace(PLAN, time="AVAL", censor="CNSR", summary="hazard ratio", outcome="AVAL")
VISITS = replace(PLAN, method="mmrm", visit="AVISIT", visits=("Week 8", "Week 24"))


def is_balanced(text: str, comments: str) -> bool:
    """Brackets and quotes close; comments, and brackets inside quotes, aside."""
    bare = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL) if comments == "sas" else re.sub(r"#[^\n\"]*$", "", text, flags=re.MULTILINE)
    bare = re.sub(r"\"(\\.|[^\"\\])*\"" if comments == "r" else r"'(''|[^'])*'n?", "", bare)
    bare = re.sub(r"'[^'\n]*'", "", bare)
    stack = []
    for c in bare:
        if c in "([{":
            stack.append(c)
        elif c in ")]}" and (not stack or "([{".index(stack.pop()) != ")]}".index(c)):
            return False
    return not stack and ('"' not in bare if comments == "r" else "'" not in bare)


@pytest.mark.parametrize(
    ("plan", "r", "sas"),
    [
        (replace(PLAN, method="unadjusted"), ("lm(y. ~ arm.,", 'type = "HC2"', "qt(0.975"), ("proc reg", "hccmethod=2")),
        (replace(PLAN, method="unadjusted", summary="risk ratio"), ("robin_glm", "log_risk_ratio"), ("proc genmod",)),
        (replace(PLAN, method="ancova1", variance="hc1"), ("arm. + X", 'type = "HC1"'), ("hccmethod=1", "&_trgind")),
        (replace(PLAN, method="ancova1", variance="hc3"), ('type = "HC3"', "df <- m$df.residual"), ("hccmethod=3",)),
        (replace(PLAN, method="ancova1"), ('type = "HC2"', "crossprod(Q, w * Q)", "qt(0.975, df)"), ("hccmethod=2", "Bell and McCaffrey")),
        (replace(PLAN, method="ancova1", variance="model"), ("V <- vcov(m)",), ("/ clb",)),
        (PLAN, ("arm. * X", "the centre of X is estimated"), ("proc iml", "d` * cov(x) * d")),
        (replace(PLAN, target="sample"), ("arm. * X",), ("z1-z",)),
        (replace(PLAN, method="gcomputation", family="binomial", summary="odds ratio", randomisation="blocks(the site)"), ("log_odds_ratio", "pb(strata.)", "vcovG"), ("dist=binomial link=logit", "V_aa")),
        (replace(PLAN, method="gcomputation", randomisation="minimisation(s)", interaction=True), ("ps(strata.)", "arm. * (x"), ("z1-z%eval",)),
        (VISITS, ("us(visit. | subject.)", "Satterthwaite", "trt.vs.ctrl"), ("proc mixed", "type=un", "ddfm=satterthwaite", "lsmeans arm_*visit_ / diff")),
        (replace(VISITS, covariance="ar1h", covariance_by_arm=True, degrees="kenward-roger-linear"), ("ar1h(visit. | arm. / subject.)", "Kenward-Roger-Linear"), ("arh(1) group=arm_", "kr(firstorder)")),
        (replace(VISITS, covariance="adh", errors="empirical", degrees="between-subjects", fallback=("cs",)), ("adh(", '"Empirical"', "fallback"), ("ante(1)", " empirical;", "fallback")),
        (replace(VISITS, errors="jackknife", degrees="between-subjects"), ("Empirical-Jackknife",), ("FIRORES",)),
        (replace(TIMES, method="logrank", strata=("s1",)), ("survdiff", "robin_surv", "strata(s1)"), ("proc lifetest", "group=arm_ test=logrank", "no log-rank test adjusted")),
        (replace(TIMES, method="hazard", baseline=(), event_indicator="EV", censor=""), ('ties = "breslow"', "d$EV"), ("proc phreg", "AVAL*EV(0)", "ties=breslow")),
        (replace(TIMES, method="rmst", tau=20.0, summary="difference of restricted mean survival time"), ("rmean = tau", "influence.", "tau <- 20.0"), ("rmst(tau=20)", "event_(0)")),
        (replace(TIMES, method="rmst", baseline=()), ("a plan names it",), ("a plan names it",)),
    ],
)  # fmt: skip
def test_every_method_has_its_call_in_both(plan, r, sas):
    for text, parts, language in ((r_code(plan), r, "r"), (sas_code(plan), sas, "sas")):
        assert plan.hash[:16] in text
        for part in parts:
            assert part in text, (language, part, text)
        assert is_balanced(text, language), text
    assert 'trimws(as.character(d$AVISIT)) == "Week \\"24\\""' in r_code(plan)
    assert "if cats(AVISIT) = 'Week \"24\"';" in sas_code(plan)


def test_names_and_words_are_quoted():
    assert "`the site`" in r_code(PLAN)
    assert "'the site'n" in sas_code(PLAN)
    assert "a1 = (arm_ = 't''1');" in sas_code(PLAN)
    assert "a2 = (arm_ = 't2');" in sas_code(PLAN)  # every arm is in the model
    assert 'c("t\'1")' in r_code(PLAN)


@pytest.mark.parametrize(("name", "r", "sas"), [("a.xpt", "haven::read_xpt", "xport"), ("a.parquet", "arrow::read_parquet", "as a transport file first"), ("a.json", "read_dataset_json", "as a transport file first")])  # fmt: skip
def test_every_kind_of_file_is_read(name, r, sas):
    assert r in r_code(replace(PLAN, data=name))
    assert sas in sas_code(replace(PLAN, data=name))


def locked(learner: str):
    columns = simulated(300, seed=3)
    made_ = calibrate(columns, outcome="y", inputs=("x", "noise", "site"), learners=(learner,), subject="id", missing="mean")
    return made_.lock(name="p", today=date(2020, 1, 1))


@pytest.mark.parametrize("learner", ["ridge", "spline"])
def test_the_expression_in_the_program_is_the_prognosis(learner):
    bundle = locked(learner)
    new = simulated(50, seed=4)
    new["x"][0] = None  # filled with the history's mean, as the bundle says
    expected, _ = bundle.of(new)
    text = sas_code(replace(PLAN, method="ancova1", prognosis=bundle.hash), prognosis=bundle)
    (expression,) = re.findall(r"  prognosis = (.*?)\n  ;", text, flags=re.DOTALL)
    known = {"cats": str, "coalesce": lambda v, m: m if v is None else v, "max": max}
    rows = [{k: new[k][i] for k in ("x", "noise", "site")} for i in range(50)]
    python = re.sub(r"(\(cats\(\w+\)) = ", r"\1 == ", expression).replace("\n", " ")
    assert [eval(python, known | row) for row in rows] == pytest.approx(expected.tolist(), rel=1e-11)  # the same sums in another order
    r = r_code(replace(PLAN, method="ancova1", prognosis=bundle.hash), prognosis=bundle)
    assert repr(bundle.intercept) in r
    for c in bundle.coefficients:
        assert repr(float(c)) in r
    assert is_balanced(r, "r")
    assert is_balanced(text, "sas")


def test_the_folds_of_aipw_stand_in_the_program():
    columns = simulated(60)
    folds = folds_of(made(columns, "x"), 5, 1)
    text = r_code(replace(PLAN, method="aipw", folds=5, baseline=("x",)), folds=folds.tolist())
    (marks,) = re.findall(r'utf8ToInt\("([a-z]+)"\)', text)
    assert np.array_equal([ord(m) - 97 for m in marks], folds)
    assert is_balanced(text, "r")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sas_code(replace(PLAN, method="aipw")), "no SAS program"),
        (lambda: sas_code(replace(PLAN, method="weighted")), "no SAS program"),
        (lambda: r_code(replace(PLAN, method="weighted")), "no R program"),
        (lambda: sas_code(replace(VISITS, covariance="ad")), "no such covariance"),
        (lambda: r_code(replace(PLAN, prognosis="abc")), "needs the prognosis"),
        (lambda: sas_code(replace(PLAN, prognosis="abc")), "needs the prognosis"),
        (lambda: r_code(replace(PLAN, method="aipw")), "needs the folds"),
        (lambda: r_code(replace(PLAN, method="aipw", learner="spline"), folds=[0, 1]), "this learner"),
        (lambda: r_code(replace(PLAN, method="aipw", summary="odds ratio"), folds=[0, 1]), "summary or randomisation"),
    ],
)
def test_what_has_no_program_is_refused(call, words):
    with pytest.raises(DataError, match=words):
        call()


def test_a_plan_comes_back_from_json():
    told = json.loads(json.dumps(asdict(VISITS)))
    assert plan_of(told | {"hash": "x"}) == VISITS
    assert plan_of(told).hash == VISITS.hash != replace(VISITS, level=0.9).hash
    with pytest.raises(DataError, match="what was asked for"):
        plan_of({"data": "x"})


def test_rows_kept_for_an_empty_value_are_those_where_it_is_missing():
    plan = replace(PLAN, where=(("DTYPE", ""),))
    assert 'is.na(d$DTYPE) | trimws(as.character(d$DTYPE)) == ""' in r_code(plan)
    assert "  if missing(DTYPE);" in sas_code(plan)


GRAMMAR = """
import json, sys
from tree_sitter_language_pack import get_parser
def wrong(node):
    return node.type == "ERROR" or node.is_missing or any(map(wrong, node.children))
parser = get_parser("r")
print(json.dumps([name for name, text in json.load(sys.stdin).items() if wrong(parser.parse(text.encode()).root_node)]))
"""


@pytest.mark.peer
def test_a_grammar_of_r_reads_every_program():
    """The grammar is tree-sitter's, in an environment of its own: GEMEL_PEER_PYTHON."""
    python = os.environ.get("GEMEL_PEER_PYTHON", "")
    if (
        not python
        or subprocess.run(
            [python, "-c", "import tree_sitter_language_pack as p; p.get_parser('r')"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no grammar of R: GEMEL_PEER_PYTHON names no Python with tree-sitter-language-pack")
    bundle = locked("spline")
    plans = [replace(PLAN, method=m, summary=s) for m in ("unadjusted", "gcomputation") for s in ("mean difference", "odds ratio")]
    plans += [
        replace(PLAN, method=m, variance=v, missing="indicator") for m in ("ancova1", "ancova2") for v in ("hc3", "hc2", "hc1", "model")
    ]
    plans += [replace(VISITS, covariance=c) for c in ("un", "ad")] + [
        replace(TIMES, method=m, strata=("s",)) for m in ("logrank", "hazard", "rmst")
    ]
    programs = {f"{i} {plan.method}": r_code(plan) for i, plan in enumerate(plans)}
    programs["prognosis"] = r_code(replace(PLAN, prognosis=bundle.hash), prognosis=bundle)
    programs["aipw"] = r_code(replace(PLAN, method="aipw", baseline=("x",)), folds=[0, 1] * 10)
    done = subprocess.run(
        [python, "-c", GRAMMAR], input=json.dumps(programs | {"broken": "f <- function(x {"}), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ["broken"]
