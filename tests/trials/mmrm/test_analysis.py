"""The one call: what it refuses, what it falls back to, what it says."""

import json
import subprocess
import sys

import numpy as np
import pytest

import gemel.trials.mmrm as room
from gemel.core.errors import DataError, InferenceError, ModelError
from gemel.trials.mmrm import LADDER, mmrm


def table(seed=0, n=50, missing=0.2):
    rng = np.random.default_rng(seed)
    visits = ["week 4", "week 8", "week 12"]
    y = rng.normal(size=(n, 1)) + rng.normal(size=(n, 3))
    y[rng.random((n, 3)) < missing] = np.nan
    return {
        "id": np.repeat([f"p{i}" for i in range(n)], 3),
        "visit": np.tile(visits, n),
        "arm": np.repeat(rng.choice(["a", "b"], n), 3),
        "site": np.repeat(rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1]), 3),
        "base": np.repeat(rng.normal(size=n), 3),
        "y": y.ravel(),
    }, visits


def analyse(columns, visits, formula="y ~ base + arm*visit", **settings):
    return mmrm(columns, formula, subject="id", visit="visit", visits=visits, **settings)


def test_what_is_exported_is_there():
    assert all(hasattr(room, name) for name in room.__all__)


def test_a_subject_twice_at_a_visit_is_refused():
    columns, visits = table(missing=0)
    twice = {name: np.concatenate([values, values[:1]]) for name, values in columns.items()}
    with pytest.raises(DataError, match=r"two responses at one visit.*'p0' at 'week 4'"):
        analyse(twice, visits)


def test_visits_as_text_need_an_order_and_one_visit_is_no_repeat():
    columns, visits = table()
    with pytest.raises(DataError, match="text has no order"):
        analyse(columns, None)
    with pytest.raises(DataError, match="not among the visits"):
        analyse(columns, visits[:2])
    with pytest.raises(DataError, match="named twice"):
        analyse(columns, [*visits, visits[0]])
    one = {name: values[columns["visit"] == "week 4"] for name, values in columns.items()}
    with pytest.raises(DataError, match="two visits or more"):
        analyse(one, ["week 4"], "y ~ arm")


def test_a_visit_without_a_response_is_refused():
    columns, visits = table()
    with pytest.raises(DataError, match=r"no response at all.*week 16"):
        analyse(columns, [*visits, "week 16"], "y ~ arm")
    columns["y"] = np.where(columns["visit"] == "week 8", np.nan, columns["y"])
    with pytest.raises(DataError, match=r"no response at all.*week 8"):
        analyse(columns, visits, "y ~ arm")


def test_collinear_columns_are_named():
    columns, visits = table()
    columns["again"] = 2 * columns["base"] + (columns["arm"] == "b")
    with pytest.raises(DataError, match=r"collinear.*again = 2 base \+ 1 arm\[b\]"):
        analyse(columns, visits, "y ~ base + arm + again")
    columns["nothing"] = np.zeros(len(columns["y"]))
    with pytest.raises(DataError, match=r"zero in every row.*nothing"):
        analyse(columns, visits, "y ~ nothing")


def test_missing_covariates_need_a_rule():
    columns, visits = table()
    columns["base"] = np.where(columns["id"] == "p3", np.nan, columns["base"])
    with pytest.raises(DataError, match="covariate 'base' is missing where the response is not"):
        analyse(columns, visits)
    columns["y"] = np.where(columns["id"] == "p3", np.nan, columns["y"])
    assert analyse(columns, visits).left_out >= 1


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"covariance": "arma"}, ModelError, "no such covariance"),
        ({"covariance": "sp_exp"}, ModelError, "place of each visit"),
        ({"method": "bayes"}, ModelError, "no such method"),
        ({"degrees_of_freedom": "residual"}, ModelError, "no such degrees"),
        ({"standard_errors": "hc3"}, ModelError, "no such standard errors"),
        ({"standard_errors": "empirical", "degrees_of_freedom": "satterthwaite"}, ModelError, "robust errors"),
        ({"method": "ml", "degrees_of_freedom": "kenward-roger"}, ModelError, "for REML"),
        ({"level": 95}, ModelError, "between 0 and 1"),
        ({"formula": "y ~ nobody"}, DataError, "not there"),
        ({"formula": "y ~ log(base)"}, ModelError, "cannot be read"),
        ({"formula": "y"}, ModelError, "tilde"),
        ({"formula": "y ~ y"}, ModelError, "own terms"),
        ({"formula": "y ~ base:base"}, ModelError, "with itself"),
        ({"formula": "y ~ 0"}, ModelError, "without any term"),
        ({"formula": "arm ~ base"}, DataError, "not a number"),
        ({"levels": {"arm": ("b",)}}, DataError, "fewer than two levels"),
        ({"levels": {"arm": ("b", "c")}}, DataError, "not among its levels"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(change, error, match):
    columns, visits = table()
    with pytest.raises(error, match=match):
        analyse(columns, visits, **change)


def test_infinite_and_absent_responses_are_refused():
    columns, visits = table()
    with pytest.raises(DataError, match="no row has a response"):
        analyse({**columns, "y": np.full(150, np.nan)}, visits)
    with pytest.raises(DataError, match="infinite"):
        analyse({**columns, "y": np.where(columns["id"] == "p1", np.inf, columns["y"])}, visits)
    with pytest.raises(DataError, match="differ in length"):
        analyse({**columns, "base": columns["base"][:-1]}, visits)
    with pytest.raises(DataError, match="explain the response exactly"):
        analyse({**columns, "y": 3 + columns["base"]}, visits)


def test_visits_never_seen_together_fall_back_and_the_log_says_so():
    columns, visits = table(missing=0)
    first = np.arange(150) // 3 % 2 == 0
    columns["y"] = np.where(np.where(first, columns["visit"] == "week 4", columns["visit"] == "week 12"), np.nan, columns["y"])
    with pytest.raises(InferenceError, match="un: not estimable: visits week 4 and week 12 are never observed in one subject"):
        analyse(columns, visits)
    found = analyse(columns, visits, fallback=("toep", "ar1h", "cs"))
    assert found.status == "converged after fallback"
    assert found.attempts[0].covariance == "un"
    assert "tried un: not estimable" in str(found)
    assert found.structure == found.attempts[-1].covariance != "un"


def test_a_search_that_did_not_end_is_never_a_result():
    columns, visits = table()
    with pytest.raises(InferenceError, match="un: iterations exhausted after 1 steps; cs: iterations exhausted"):
        analyse(columns, visits, fallback=["cs"], iterations=1)
    assert analyse(columns, visits, fallback=LADDER).status == "converged"  # a ladder that is not needed changes nothing


def test_a_singular_covariance_is_no_result():
    columns, visits = table(missing=0)
    noise = np.random.default_rng(1).normal(size=50)
    columns["y"] = np.repeat(noise, 3) + columns["base"] + 1e-9 * np.random.default_rng(2).normal(size=150)
    with pytest.raises(InferenceError, match="has not converged"):
        analyse(columns, visits, "y ~ base + arm")


@pytest.mark.parametrize("structure", ["sp_exp", "sp_gau"])
def test_a_spatial_range_of_zero_is_no_result_and_a_small_one_is(structure):
    rng = np.random.default_rng(5)
    n, m = 80, 6

    def drawn(rho):
        y = rng.normal(size=(n, m)) @ np.linalg.cholesky(rho ** np.abs(np.subtract.outer(range(m), range(m)))).T
        return {"id": np.repeat(np.arange(n), m), "day": np.tile(np.arange(m), n), "y": y.ravel()}

    with pytest.raises(InferenceError, match=f"{structure}: range at zero"):
        mmrm(drawn(-0.4), "y ~ day", subject="id", visit="day", covariance=structure, coordinates="day")
    found = mmrm(drawn(0.3), "y ~ day", subject="id", visit="day", covariance=structure, coordinates="day")
    assert 0.6 < found.parameters["range"] < 1.1  # exp(-1 / r) = 0.3 at 0.83, exp(-1 / r^2) = 0.3 at 0.91
    assert found.parameters["variance"] == pytest.approx(1.0, abs=0.2)  # its standard error is 0.07


def test_group_covariances_are_those_of_each_group_alone():
    columns, visits = table(missing=0.15)
    both = analyse(columns, visits, "y ~ arm*visit", group="arm")
    value = 0.0
    for arm in "ab":
        own = {name: values[columns["arm"] == arm] for name, values in columns.items()}
        alone = analyse(own, visits, "y ~ visit")
        value += alone.minus_two_log_likelihood
        np.testing.assert_allclose(both.visit_covariance[arm], alone.visit_covariance["all"], rtol=1e-5)
    # reference coding has the determinant of the two designs apart
    assert both.minus_two_log_likelihood == pytest.approx(value, abs=1e-6)
    columns["arm"] = columns["arm"].copy()
    columns["arm"][0] = "b" if columns["arm"][1] == "a" else "a"
    with pytest.raises(DataError, match="in two covariance groups"):
        analyse({**columns, "y": np.nan_to_num(columns["y"])}, visits, "y ~ visit", group="arm")


def test_two_visits_at_one_place_are_refused():
    columns, visits = table(missing=0)
    with pytest.raises(DataError, match="same place in time"):
        analyse({**columns, "day": np.ones(150)}, visits, covariance="sp_exp", coordinates="day")


def test_the_same_analysis_has_the_same_lineage_and_another_one_another():
    columns, visits = table()
    first, again = analyse(columns, visits), analyse(columns, visits)
    assert first.lineage.id == again.lineage.id
    moved = {**columns, "y": columns["y"] + np.where(columns["id"] == "p1", 1e-6, 0.0)}
    assert analyse(moved, visits).lineage.record != first.lineage.record
    assert analyse(columns, visits, covariance="cs").lineage.id != first.lineage.id
    assert analyse(columns, visits, level=0.9).lineage.id != first.lineage.id


def test_units_order_of_rows_and_reference_change_nothing_that_matters():
    columns, visits = table()
    plain = analyse(columns, visits).differences("arm", by="visit")[-1]
    shuffled = np.random.default_rng(3).permutation(150)
    moved = {name: values[shuffled] for name, values in columns.items()}
    moved["y"] = 1e6 + 1e-3 * moved["y"]
    other = analyse(moved, visits, levels={"arm": ("b", "a")}).differences("arm", by="visit")[-1]
    assert other.label == "visit week 12, arm a - b"
    assert -1e3 * other.estimate == pytest.approx(plain.estimate, rel=1e-5)  # 1e6 + 1e-3 keeps seven digits of the response
    assert other.p_value == pytest.approx(plain.p_value, rel=1e-5)


def test_means_are_averages_over_the_design():
    columns, visits = table()
    found = analyse(columns, visits, "y ~ base + site + arm*visit")
    beta = dict(zip(found.names, found.estimate, strict=True))
    seen = ~np.isnan(columns["y"])
    base = columns["base"][seen].mean()
    equal = beta["(intercept)"] + beta["base"] * base + (beta["site[y]"] + beta["site[z]"]) / 3
    assert found.means("arm", by="visit")[0].estimate == pytest.approx(equal)
    assert found.means("arm", by="visit")[0].label == "visit week 4, arm a"
    share = {s: (columns["site"][seen] == s).mean() for s in "yz"}
    at = found.means("arm", by=("visit",), margins="observed", at={"base": 0.0})[0].estimate
    assert at == pytest.approx(beta["(intercept)"] + beta["site[y]"] * share["y"] + beta["site[z]"] * share["z"])
    assert found.means("arm", at={"site": "y", "visit": "week 8"})[1].estimate == pytest.approx(
        sum(beta[n] for n in ("(intercept)", "site[y]", "arm[b]", "visit[week 8]", "arm[b]:visit[week 8]")) + beta["base"] * base
    )
    for bad in ({"site": "q"}, {"nobody": 1}):
        with pytest.raises(ModelError, match="not there"):
            found.means("arm", at=bad)
    with pytest.raises(ModelError, match="no factor"):
        found.means("base")
    with pytest.raises(ModelError, match="no such level"):
        found.differences("arm", reference="c")


def test_contrasts_by_name_and_by_number_and_joint_tests_agree():
    columns, visits = table()
    found = analyse(columns, visits)
    difference = found.differences("arm", by="visit")[1]
    same = found.contrast({"arm[b]": 1, "arm[b]:visit[week 8]": 1})
    assert same.estimate == pytest.approx(difference.estimate)
    assert same.interval == pytest.approx(difference.interval)
    assert found.test([{"arm[b]": 1, "arm[b]:visit[week 8]": 1}]).f == pytest.approx(same.statistic**2)
    assert found.contrast(np.eye(len(found.names))[1]).estimate == found.estimate[1]
    margin = found.contrast({"arm[b]": 1}, null=found.estimate[found.names.index("arm[b]")])
    assert margin.p_value == pytest.approx(1.0)
    for bad in ({"nobody": 1}, [1.0, 2.0]):
        with pytest.raises(ModelError):
            found.contrast(bad)
    with pytest.raises(ModelError, match="not independent"):
        found.test([{"arm[b]": 1}, {"arm[b]": 2}])


def test_cell_means_and_intercept_model_are_one_model():
    columns, visits = table()
    cells = analyse(columns, visits, "y ~ 0 + arm:visit")
    coded = analyse(columns, visits, "y ~ arm*visit")
    assert len(cells.names) == 6
    for a, b in zip(cells.means("arm", by="visit"), coded.means("arm", by="visit"), strict=True):
        assert (a.estimate, a.standard_error, a.df) == pytest.approx((b.estimate, b.standard_error, b.df), rel=1e-6)
    assert cells.term_tests()[0].numerator_df == 6


def test_maximum_likelihood_robust_errors_and_the_printed_table():
    columns, visits = table()
    reml, ml = analyse(columns, visits), analyse(columns, visits, method="ml")
    assert ml.parameters["variance[1]"] < reml.parameters["variance[1]"]
    assert ml.aic == pytest.approx(ml.minus_two_log_likelihood + 2 * (6 + len(ml.names)))
    empirical, jackknife = (analyse(columns, visits, standard_errors=s) for s in ("empirical", "jackknife"))
    assert (jackknife.standard_error > empirical.standard_error).all()
    assert empirical.df == pytest.approx(np.full(len(reml.names), reml.subjects - len(reml.names)))
    assert empirical.differences("arm", by="visit")[0].df == empirical.df[0]
    assert np.isfinite(jackknife.term_tests()[-1].p_value)
    assert "converged" in str(reml)
    assert reml.lineage.id in str(reml)
    assert "y:" in str(reml)


def test_names_with_spaces_stand_between_backticks_and_numbers_may_be_factors():
    columns, visits = table()
    columns["week number"] = np.tile([4, 8, 12], 50)
    found = mmrm(columns, "y ~ `week number` + base", subject="id", visit="week number")
    assert found.names[1] == "week number[8]"
    assert found.visits == (4, 8, 12)
    trend = analyse({**columns, "t": columns["week number"]}, visits, "y ~ t*arm")
    assert trend.names == ("(intercept)", "t", "arm[b]", "t:arm[b]")


def test_an_analysis_loads_neither_jax_nor_pandas():
    code = "import sys, json, gemel.trials.mmrm; print(json.dumps([n for n in ('jax', 'pandas', 'scipy.stats', 'equinox') if n in sys.modules]))"
    assert json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) == []


def test_columns_of_objects_are_what_their_values_are():
    columns, visits = table()
    objects = {name: values.astype(object) for name, values in columns.items()}
    objects["y"] = np.array([None if v != v else v for v in columns["y"].tolist()], object)
    np.testing.assert_array_equal(analyse(objects, visits).estimate, analyse(columns, visits).estimate)
    for name in ("id", "visit", "arm"):
        holed = {**objects, "y": np.nan_to_num(columns["y"]), name: objects[name].copy()}
        holed[name][4] = None
        with pytest.raises(DataError, match=f"'{name}' is missing where the response is not"):
            analyse(holed, visits, "y ~ base", group="arm")


def test_an_analysis_that_would_not_fit_into_memory_is_refused(monkeypatch):
    columns, visits = table()
    monkeypatch.setattr("gemel.trials.mmrm.data.MOST_BYTES", 1000)
    with pytest.raises(DataError, match="patterns of missingness need"):
        analyse(columns, visits)
