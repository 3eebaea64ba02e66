"""Several visits: the same guards as one visit, the same model as :func:`gemel.trials.mmrm.mmrm`, one result a visit."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from _data import require_dataset
from _trials import estimand
from gemel.core.errors import DataError, EvidenceError, InferenceError
from gemel.trials import calibrate
from gemel.trials.adjust.ancova import ancova
from gemel.trials.data import columns_of, trial_data
from gemel.trials.mmrm import mmrm
from gemel.trials.visits import analyse_visits, visit_data

PAIR = estimand("control", "treated")


def trial(n=90, visits=3, *, lost=0.0, seed=0, effect=1.0):
    rng = np.random.default_rng(seed)
    x, person, arm = rng.normal(size=n), rng.normal(size=n), rng.permutation(np.arange(n) % 2)
    y = (x + person + effect * arm)[:, None] + rng.normal(size=(n, visits)) * np.arange(1, visits + 1)
    y[rng.random((n, visits)) < lost] = np.nan
    return {
        "id": np.repeat([f"s{i}" for i in range(n)], visits).tolist(),
        "week": np.tile(4 * np.arange(1, visits + 1), n).tolist(),
        "arm": np.repeat(np.where(arm == 1, "treated", "control"), visits).tolist(),
        "x": np.repeat(x, visits).tolist(),
        "site": np.repeat(np.array(["a", "b", "c"])[np.arange(n) % 3], visits).tolist(),
        "y": y.ravel().tolist(),
    }


def checked(columns, **more):
    return visit_data(columns, outcome="y", arm="arm", subject="id", visit="week", **({"baseline": ("x",)} | more))


def test_it_is_the_model_that_the_formula_says():
    columns = trial(lost=0.2)
    found = analyse_visits(checked(columns, baseline=("x", "site")), PAIR)
    direct = mmrm(columns, "y ~ arm*week + x*week + site*week", subject="id", visit="week")
    for r, c in zip(found.results, direct.differences("arm", by="week"), strict=True):
        assert r.estimate == pytest.approx(c.estimate, abs=1e-6)  # the reference level of site differs: another parametrisation, same fit
        assert r.standard_error == pytest.approx(c.standard_error, rel=1e-6)
        assert r.df == pytest.approx(c.df, rel=1e-4)
    assert [r.contrast for r in found.results] == [f"treated - control, visit {w}" for w in (4, 8, 12)]
    assert found.results[0].variance_ratio > 1.2  # x explains a third of the first visit


def test_complete_visits_are_an_analysis_of_covariance_each():
    """V3: unstructured, complete and saturated: the estimates of each visit's own regression."""
    columns = trial()
    found = analyse_visits(checked(columns), PAIR)
    for k, week in enumerate((4, 8, 12)):
        rows = [i for i, w in enumerate(columns["week"]) if w == week]
        one = trial_data({n: [v[i] for i in rows] for n, v in columns.items()}, outcome="y", arm="arm", subject="id", baseline=("x",))
        assert found.results[k].estimate == pytest.approx(ancova(one, PAIR, interaction=False).estimate, abs=1e-8)  # linear algebra


def test_who_has_no_response_is_counted():
    columns = trial()
    columns["y"][:3] = [np.nan] * 3  # the first subject never answers
    columns["y"][5] = np.nan
    data = checked(columns)
    assert data.people.n == 89
    assert data.missing == {"4": 0, "8": 0, "12": 1}
    flags = analyse_visits(data, PAIR).results[0].status
    assert any("1 at 12" in f for f in flags)
    assert any("1 of 90" in f for f in flags)


def test_visits_may_be_words_in_an_order():
    columns = trial()
    words = {4: "early", 8: "middle", 12: "late"}
    named = columns | {"week": [words[w] for w in columns["week"]]}
    with pytest.raises(DataError, match="no order"):
        checked(named)
    found = analyse_visits(checked(named, visits=("early", "middle", "late")), PAIR)
    assert [r.estimate for r in found.results] == pytest.approx([r.estimate for r in analyse_visits(checked(columns), PAIR).results])
    two = checked(named, visits=("early", "late"))
    assert two.visits == ("early", "late")
    assert len(two.response) == 180


def test_a_locked_prognosis_has_a_slope_per_visit():
    rng = np.random.default_rng(5)
    x = rng.normal(size=200)
    bundle = calibrate({"x": x.tolist(), "y": (x + rng.normal(size=200)).tolist()}, outcome="y", inputs=("x",)).lock(
        name="history", today=date(2026, 1, 5)
    )
    columns = trial()
    found = analyse_visits(checked(columns, baseline=(), prognosis_inputs=("x",)), PAIR, prognosis=bundle)
    plain = analyse_visits(checked(columns), PAIR)
    assert found.results[-1].lineage.parents == (bundle.hash[:16],)
    assert found.results[0].standard_error == pytest.approx(plain.results[0].standard_error, rel=0.05)  # the rule is nearly a line in x
    late = checked(columns, baseline=(), prognosis_inputs=("x",), first_patient_in="2025-12-01")
    with pytest.raises(EvidenceError, match="locked after"):
        analyse_visits(late, PAIR, prognosis=bundle)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c | {"week": [4, 4, 12, *c["week"][3:]]}, "twice at one visit"),
        (lambda c: c | {"x": [9.0, *c["x"][1:]]}, "changes between the visits"),
        (lambda c: c | {"arm": ["treated" if a == "control" else "control" for a in c["arm"][:1]] + c["arm"][1:]}, "changes between"),
        (lambda c: c | {"y": [np.nan if w == 8 else v for v, w in zip(c["y"], c["week"], strict=True)]}, "a visit has no response"),
        (lambda c: {k: [v for v, w in zip(c[k], c["week"], strict=True) if w == 4] for k in c}, "two visits"),
        (lambda c: c | {"y": ["high"] * len(c["y"])}, "holds words"),
        (lambda c: {k: v for k, v in c.items() if k != "week"}, "column is missing"),
        (lambda c: {k: v for k, v in c.items() if k != "x"}, "column is missing"),
    ],
)
def test_bad_tables_are_refused(change, said):
    with pytest.raises(DataError, match=said):
        checked(change(trial()))


def test_without_an_estimand_or_convergence_there_is_no_result():
    data = checked(trial())
    with pytest.raises(EvidenceError, match="estimand"):
        analyse_visits(data, None)
    with pytest.raises(DataError, match="differences of means"):
        analyse_visits(data, estimand("control", "treated", "risk ratio"))
    with pytest.raises(InferenceError, match="no result"):
        analyse_visits(checked(trial(120, 6, lost=0.85, seed=3)), PAIR)


@pytest.mark.data
def test_adas_cog_by_visit():
    where = {"PARAMCD": "ACTOT", "EFFFL": "Y", "ANL01FL": "Y", "DTYPE": ""}
    lines = (require_dataset("cdisc-pilot") / "tplyr_adas.csv").read_text(encoding="utf-8").splitlines()
    columns = columns_of(lines, where=where)
    data = visit_data(
        columns, outcome="CHG", arm="TRTP", subject="USUBJID", visit="AVISITN", visits=("8", "16", "24"), baseline=("BASE",), reference="Placebo"
    )  # fmt: skip
    found = analyse_visits(data, estimand("Placebo", "Xanomeline High Dose"))
    direct = mmrm(
        {k: [v for v, w in zip(columns[k], columns["AVISITN"], strict=True) if float(w) > 0] for k in columns}
        | {
            k: np.array([float(v) for v, w in zip(columns[k], columns["AVISITN"], strict=True) if float(w) > 0])
            for k in ("CHG", "BASE", "AVISITN")
        },
        "CHG ~ TRTP*AVISITN + BASE*AVISITN",
        subject="USUBJID",
        visit="AVISITN",
    )
    last = [c for c in direct.differences("TRTP", by="AVISITN") if c.label.startswith("AVISITN 24") and "High Dose - Placebo" in c.label]
    assert found.results[-1].estimate == pytest.approx(last[0].estimate, abs=1e-6)
    assert found.results[-1].p_value == pytest.approx(last[0].p_value, abs=1e-5)
