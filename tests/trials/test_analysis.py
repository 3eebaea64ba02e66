"""One entry: every method answers, the flags are said, and the same trial has the same lineage."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import gemel.trials
from _trials import estimand, made, simulated
from gemel.core.errors import DataError, EvidenceError
from gemel.trials import analyse
from gemel.trials.analysis import METHODS

PAIR = estimand("arm0", "arm1")


@pytest.mark.parametrize("method", [m for m in METHODS if m != "bayes"])  # which needs a history: test_bayes.py
def test_every_method_answers_near_the_truth(method):
    data = made(simulated(500), "x", "site")
    found = analyse(data, PAIR, method, predicted_variance=np.exp(data.covariates[:, 0]))
    assert abs(found.estimate - 0.4) < 3.5 * found.standard_error
    assert found.interval[0] < found.estimate < found.interval[1]
    assert found.effective_n == pytest.approx(500 * found.variance_ratio)
    assert (found.variance_ratio == 1) == (method == "unadjusted")
    assert method in found.method
    assert found.lineage.record == data.hash


def test_the_same_trial_has_the_same_result_and_another_estimand_another_lineage():
    data = made(simulated(100), "x")
    assert analyse(data, PAIR, "aipw") == analyse(data, PAIR, "aipw")
    other = PAIR.model_copy(update={"population": "women"})
    assert analyse(data, PAIR, "ancova1").lineage.id != analyse(data, other, "ancova1").lineage.id


@pytest.mark.parametrize(("summary", "truth"), [("risk difference", "estimate"), ("risk ratio", "ratio"), ("odds ratio", "ratio")])
def test_unadjusted_summaries_are_those_of_the_table(summary, truth):
    data = made(simulated(400, binary=True))
    p = [data.outcome[data.arm == a].mean() for a in (0, 1)]
    n = [int((data.arm == a).sum()) for a in (0, 1)]
    known = {"risk difference": p[1] - p[0], "risk ratio": p[1] / p[0], "odds ratio": p[1] / (1 - p[1]) * (1 - p[0]) / p[0]}[summary]
    found = analyse(data, estimand("arm0", "arm1", summary), "unadjusted")
    assert getattr(found, truth) == pytest.approx(known)
    if summary == "odds ratio":  # Woolf, with n - 1 for n
        woolf = np.sqrt(sum(1 / ((n[a] - 1) * p[a] * (1 - p[a])) for a in (0, 1)))
        assert found.standard_error == pytest.approx(woolf, rel=1e-6)


def test_a_variance_that_ignores_the_strata_is_flagged():
    data = made(simulated(120), "x", strata=("site",))
    flagged = analyse(data, PAIR, "ancova1", randomisation="blocks(site)")
    assert any("conservative" in flag for flag in flagged.status)
    assert analyse(data, PAIR, "gcomputation", randomisation="blocks(site)").status == ()
    assert analyse(data, PAIR, "ancova1").status == ()


def test_no_covariate_is_said():
    assert any("no covariate" in flag for flag in analyse(made(simulated(100)), PAIR, "ancova1").status)


@pytest.mark.parametrize(
    "call",
    [
        {"method": "magic"},
        {"method": "ancova1", "level": 1.0},
        {"method": "ancova1", "randomisation": "blocks(centre)"},
        {"method": "ancova1", "randomisation": "coin"},
        {"method": "weighted"},
    ],
)
def test_what_is_not_known_is_refused(call):
    with pytest.raises(DataError):
        analyse(made(simulated(100), "x"), PAIR, **call)


def test_an_estimand_may_be_plain_words():
    words = PAIR.model_dump(mode="json")
    assert analyse(made(simulated(100), "x"), words, "ancova1") == analyse(made(simulated(100), "x"), PAIR, "ancova1")
    with pytest.raises(EvidenceError):
        analyse(made(simulated(100), "x"), {"population": "p"}, "ancova1")


def test_perfect_outcomes_have_no_standard_error():
    columns = simulated(60)
    columns["y"] = [float(a == "arm1") for a in columns["arm"]]
    with pytest.raises(EvidenceError, match="no usable number"):
        analyse(made(columns), PAIR, "unadjusted")


def test_exported_members():
    for name in gemel.trials.__all__:
        thing = getattr(gemel.trials, name)
        assert thing.__doc__
        assert thing.__module__.startswith(("gemel.trials.", "gemel.interop.tables"))
    assert not any(f.name == "data" for f in dataclasses.fields(gemel.trials.Result))
