"""SAS 9.4 PROC MIXED on the artificial FEV data, as printed in its listings, and the identities that need no software."""

import csv

import numpy as np
import pytest
from scipy import stats

from _data import require_dataset
from gemel.trials.mmrm import mmrm

VISITS = ("VIS1", "VIS2", "VIS3", "VIS4")
LEVELS = {"ARMCD": ("PBO", "TRT"), "SEX": ("Male", "Female"), "RACE": ("Asian", "Black or African American", "White")}
# SAS prints estimates and errors to four decimals and df as whole numbers
ESTIMATE, ERROR, DF = 1e-3, 1e-4, 0.5
HALF = 5e-5
"""Half of the last printed digit, on top of the tolerance."""


@pytest.fixture(scope="module")
def fev():
    with open(require_dataset("mmrm-fev"), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = ("FEV1", "FEV1_BL", "WEIGHT", "VISITN", "VISITN2")
    return {k: np.array([float(r[k]) if r[k] else np.nan for r in rows] if k in numbers else [r[k] for r in rows]) for k in rows[0]}


def analyse(fev, formula, **settings):
    settings = {"levels": LEVELS, **settings}
    return mmrm(fev, formula, subject="USUBJID", visit="AVISIT", visits=VISITS, **settings)


def agrees(contrast, estimate, error, df):
    assert contrast.estimate == pytest.approx(estimate, abs=ESTIMATE * error)
    assert contrast.standard_error == pytest.approx(error, abs=ERROR * error + HALF)
    assert contrast.df == pytest.approx(df, abs=DF)


def by_name(found):
    return {c.label: c for c in found.coefficients}


@pytest.mark.data
@pytest.mark.parametrize(
    ("structure", "value", "estimate", "error", "df", "parameters"),
    [
        ("ar1", 3875.49945459, 42.3255, 0.5013, 188, (88.9866, 0.4272)),
        ("ar1h", 3739.96835012, 41.6955, 0.3947, 191, (92.3009, 38.5178, 35.2148, 176.37, 0.4130)),
        ("cs", 3917.98183508, 42.2896, 0.4285, 187, (5.8943,)),
        ("csh", 3784.85341599, 41.9964, 0.3575, 199, (104.61, 38.6137, 31.3143, 178.91, 0.1582)),
        ("adh", 3713.49317786, 42.9009, 0.3529, 171, (114.89, 44.6313, 26.8922, 158.47, 0.7106, 0.1033, 0.3657)),
        ("toeph", 3722.38018329, 41.6726, 0.3822, 185, (90.4041, 38.5927, 36.1518, 175.78, 0.4295, 0.0457, -0.3116)),
        ("sp_exp", 3875.49946734, 42.3254, 0.5012, 188, (88.9866, 1.1751)),
    ],
)
def test_structures_of_an_intercept_are_those_of_sas(fev, structure, value, estimate, error, df, parameters):
    found = analyse(fev, "FEV1 ~ 1", covariance=structure, coordinates="VISITN" if structure == "sp_exp" else None)
    agrees(found.coefficients[0], estimate, error, df)
    # SAS stops at 1e-8 of relative change: its value may lie 2e-5 above the optimum, never below it
    assert -2e-5 < found.minus_two_log_likelihood - value < 1e-8
    for seen, printed in zip(found.parameters.values(), parameters, strict=False):
        assert seen == pytest.approx(printed, rel=2e-3)  # SAS's last step moves a variance by 2e-4, the small covariance of cs by 1.4e-3


@pytest.mark.data
def test_two_factors_unstructured_and_autoregressive_are_those_of_sas(fev):
    found = analyse(fev, "FEV1 ~ ARMCD + SEX")
    table = by_name(found)
    agrees(table["(intercept)"], 41.0762, 0.5504, 156)
    agrees(table["ARMCD[TRT]"], 3.8265, 0.6421, 161)
    agrees(table["SEX[Female]"], -0.1404, 0.6434, 161)
    assert found.minus_two_log_likelihood == pytest.approx(3666.96697516, abs=1e-7)  # an independent optimum, below SAS's 3666.96698281
    printed = [108.64, 45.5282, 40.1475, -2.4314, 0.8698, 24.7713, -46.7566, -13.0626, 18.9219, 152.49]
    spread = 0.01 * np.sqrt(np.outer(*[np.diag(found.visit_covariance["all"])] * 2))
    assert (np.abs(found.visit_covariance["all"][np.tril_indices(4)] - printed) < spread[np.tril_indices(4)]).all()
    assert table["ARMCD[TRT]"].interval == pytest.approx((2.5584, 5.0945), abs=5e-4)
    table = by_name(analyse(fev, "FEV1 ~ ARMCD + SEX", covariance="ar1"))
    agrees(table["(intercept)"], 40.1643, 0.8377, 190)
    agrees(table["ARMCD[TRT]"], 4.2211, 0.9629, 187)
    agrees(table["SEX[Female]"], 0.2364, 0.9646, 188)


@pytest.mark.data
def test_the_whole_model_is_that_of_sas(fev):
    found = analyse(fev, "FEV1 ~ RACE + SEX + ARMCD*AVISIT")
    assert found.minus_two_log_likelihood == pytest.approx(3386.44987116, abs=1e-7)
    assert (found.subjects, found.observations, found.left_out) == (197, 537, 3)
    table = by_name(found)
    for name, *printed in (
        ("(intercept)", 30.7774, 0.8865, 219),
        ("ARMCD[TRT]", 3.7745, 1.0741, 146),
        ("RACE[Black or African American]", 1.5305, 0.6244, 169),
        ("RACE[White]", 5.6436, 0.6656, 157),
        ("SEX[Female]", 0.3262, 0.5319, 166),
        ("AVISIT[VIS2]", 4.8396, 0.8016, 144),
        ("AVISIT[VIS3]", 10.3422, 0.8227, 156),
        ("AVISIT[VIS4]", 15.0537, 1.3129, 138),
        ("ARMCD[TRT]:AVISIT[VIS2]", -0.04231, 1.1292, 139),
        ("ARMCD[TRT]:AVISIT[VIS3]", -0.6939, 1.1876, 158),
        ("ARMCD[TRT]:AVISIT[VIS4]", 0.6240, 1.8510, 130),
    ):
        agrees(table[name], *printed)
    tests = {t.label: t for t in found.term_tests()}
    for name, f, numerator, denominator in (
        ("ARMCD", 31.67, 1, 169),
        ("AVISIT", 142.11, 3, 148),
        ("ARMCD:AVISIT", 0.26, 3, 148),
        ("RACE", 36.92, 2, 166),
        ("SEX", 0.38, 1, 166),
    ):
        assert tests[name].f == pytest.approx(f, rel=2e-4, abs=5e-3)
        assert tests[name].numerator_df == numerator
        assert tests[name].denominator_df == pytest.approx(denominator, abs=DF)
    assert tests["ARMCD:AVISIT"].p_value == pytest.approx(0.8555, abs=1e-4)


@pytest.mark.data
@pytest.mark.parametrize(
    ("method", "errors", "f"), [("kenward-roger", (0.6503, 0.9016), 22.02), ("kenward-roger-linear", (0.6512, 0.9028), 21.96)]
)
def test_both_forms_of_kenward_and_roger_are_those_of_sas(fev, method, errors, f):
    # the listing does not name its coordinate; VISITN with VISITN2, which differs from subject to subject, gives all of its figures
    found = analyse(
        fev,
        "FEV1 ~ ARMCD",
        covariance="sp_gau",
        coordinates=("VISITN", "VISITN2"),
        levels={"ARMCD": ("TRT", "PBO")},
        degrees_of_freedom=method,
    )
    assert found.minus_two_log_likelihood == pytest.approx(3868.21965706, abs=2e-5)
    assert found.parameters["range"] == pytest.approx(1.3379, abs=HALF)
    agrees(found.coefficients[0], 44.4161, errors[0], 244)
    agrees(found.coefficients[1], -4.2312, errors[1], 250)
    assert found.term_tests()[0].f == pytest.approx(f, abs=0.01)


@pytest.mark.data
def test_both_forms_are_one_where_the_covariance_is_linear_in_its_parameters(fev):
    full, linear = (analyse(fev, "FEV1 ~ ARMCD", degrees_of_freedom=d).standard_error for d in ("kenward-roger", "kenward-roger-linear"))
    np.testing.assert_array_equal(full, linear)
    assert (full > analyse(fev, "FEV1 ~ ARMCD").standard_error).all()


def complete(seed=0, n=40, m=4, rho=0.5):
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(np.full((m, m), rho) + (1 - rho) * np.eye(m))
    arm = np.repeat(["control", "treated"], n // 2)
    base = rng.normal(size=n)
    y = rng.normal(size=(n, m)) @ root.T + 0.7 * base[:, None] + np.outer(arm == "treated", np.linspace(0, 1, m))
    wide = {"base": base, "arm": arm, "y": y}
    long = {
        "id": np.repeat(np.arange(n), m),
        "visit": np.tile(np.arange(1, m + 1), n),
        "arm": np.repeat(arm, m),
        "base": np.repeat(base, m),
        "y": y.ravel(),
    }
    return wide, long


def test_unstructured_complete_and_saturated_is_an_analysis_of_covariance_at_each_visit():
    wide, long = complete()
    found = mmrm(long, "y ~ base*visit + arm*visit", subject="id", visit="visit")
    x = np.stack([np.ones(40), wide["base"], wide["arm"] == "treated"], axis=1)
    for j, difference in enumerate(found.differences("arm", by="visit")):
        beta, rss, *_ = np.linalg.lstsq(x, wide["y"][:, j], rcond=None)
        assert difference.estimate == pytest.approx(beta[2], abs=1e-10)
        error = np.sqrt(rss[0] / 37 * np.linalg.inv(x.T @ x)[2, 2])
        assert difference.standard_error == pytest.approx(
            error, rel=1e-6
        )  # REML's variance is the residual one; the search ends at 1e-5 of an error
        assert difference.df == pytest.approx(37, rel=1e-6)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_compound_symmetry_complete_and_saturated_is_an_analysis_of_variance(df):
    wide, long = complete(1)
    found = mmrm(long, "y ~ arm*visit", subject="id", visit="visit", covariance="cs", degrees_of_freedom=df)
    y, treated = wide["y"], wide["arm"] == "treated"
    n, m = y.shape
    cell = np.stack([y[~treated].mean(0), y[treated].mean(0)])
    group = cell[treated.astype(int)]
    subject = y.mean(1) - group.mean(1)
    within = ((y - group - subject[:, None]) ** 2).sum() / ((n - 2) * (m - 1))
    effect = cell - cell.mean(1, keepdims=True) - cell.mean(0) + cell.mean()
    f = n / 2 * (effect**2).sum() / (m - 1) / within
    test = found.term_tests()[-1]
    assert test.f == pytest.approx(f, rel=1e-6)
    assert test.denominator_df == pytest.approx((n - 2) * (m - 1), rel=1e-6)
    assert test.p_value == pytest.approx(stats.f.sf(f, m - 1, (n - 2) * (m - 1)), rel=1e-5)
    assert found.parameters["residual variance"] == pytest.approx(within, rel=1e-6)


def test_compound_symmetry_may_be_negative_down_to_its_bound():
    _, long = complete(3, n=200, rho=-0.25)
    for structure in ("cs", "csh"):
        found = mmrm(long, "y ~ base + arm*visit", subject="id", visit="visit", covariance=structure)
        sigma = found.visit_covariance["all"]
        assert -1 / 3 < sigma[0, 1] / np.sqrt(sigma[0, 0] * sigma[1, 1]) < -0.15  # 200 people: standard error about 0.01
