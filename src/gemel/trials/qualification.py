"""The numbers that an installation must give again, with where each is printed and how far off it may be: facts, no data.

Tolerances: estimates 1e-3 of their standard error, standard errors 1e-4 relative, degrees of freedom 0.5, each plus half of the last digit that the source
prints; everything else half of its last printed digit. SAS stops its search early: its -2 log L may lie 2e-5 above the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FREIREICH", "GROUPS", "Known", "known"]

HALF = 5e-5
"""Half of the last digit of four decimals, as SAS prints."""


@dataclass(frozen=True)
class Known:
    """One number: what it is, its value, by how much it may be missed, and where it is printed.

    Parameters
    ----------
    group : one of :data:`GROUPS`.
    data : name of the data set it needs; empty for none.
    """

    group: str
    name: str
    value: float
    tolerance: float
    source: str
    data: str = ""


GROUPS = {
    "mixed model": "SAS 9.4 PROC MIXED on the artificial FEV data",
    "g-computation": "RobinCar2 0.2.3 on glm_data",
    "CDISC pilot": "Table 14-3.01 of the submitted report",
    "ACTG 175": "ordinary least squares with HC1 and HC3, computed again from the named data",
    "group-sequential": "Jennison & Turnbull 2000, tables 2.1 and 2.3; Lan & DeMets 1983; Hwang, Shih & DeCani 1990",
    "sample size": "Schuler et al. 2022 (doi:10.1515/ijb-2021-0072), normal theory",
    "survival": "Freireich et al. 1963, as printed by Klein & Moeschberger and computed again",
    "installation": "arithmetic, files, signatures of this machine",
}
"""Groups of numbers, and who printed them."""

FREIREICH = {
    "6-MP": ((6, 6, 6, 7, 10, 13, 16, 22, 23), (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)),
    "placebo": ((1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23), ()),
}
"""Weeks of remission: arm -> relapses, censored (Freireich et al., Blood 1963;21:699)."""

_STRUCTURES = (
    ("ar1", 3875.49945459, 42.3255, 0.5013, 188), ("ar1h", 3739.96835012, 41.6955, 0.3947, 191), ("cs", 3917.98183508, 42.2896, 0.4285, 187),
    ("csh", 3784.85341599, 41.9964, 0.3575, 199), ("adh", 3713.49317786, 42.9009, 0.3529, 171), ("toeph", 3722.38018329, 41.6726, 0.3822, 185),
    ("sp_exp", 3875.49946734, 42.3254, 0.5012, 188),
)  # fmt: skip
_COEFFICIENTS = {
    "FEV1 ~ ARMCD + SEX, un": (("(intercept)", 41.0762, 0.5504, 156), ("ARMCD[TRT]", 3.8265, 0.6421, 161), ("SEX[Female]", -0.1404, 0.6434, 161)),
    "FEV1 ~ ARMCD + SEX, ar1": (("(intercept)", 40.1643, 0.8377, 190), ("ARMCD[TRT]", 4.2211, 0.9629, 187), ("SEX[Female]", 0.2364, 0.9646, 188)),
    "FEV1 ~ RACE + SEX + ARMCD*AVISIT, un": (
        ("(intercept)", 30.7774, 0.8865, 219), ("ARMCD[TRT]", 3.7745, 1.0741, 146), ("RACE[Black or African American]", 1.5305, 0.6244, 169), ("RACE[White]", 5.6436, 0.6656, 157),
        ("SEX[Female]", 0.3262, 0.5319, 166), ("AVISIT[VIS2]", 4.8396, 0.8016, 144), ("AVISIT[VIS3]", 10.3422, 0.8227, 156), ("AVISIT[VIS4]", 15.0537, 1.3129, 138),
        ("ARMCD[TRT]:AVISIT[VIS2]", -0.0423, 1.1292, 139), ("ARMCD[TRT]:AVISIT[VIS3]", -0.6939, 1.1876, 158), ("ARMCD[TRT]:AVISIT[VIS4]", 0.6240, 1.8510, 130),
    ),
}  # fmt: skip
_TESTS = (("ARMCD", 31.67, 169), ("AVISIT", 142.11, 148), ("ARMCD:AVISIT", 0.26, 148), ("RACE", 36.92, 166), ("SEX", 0.38, 166))
_ROBIN = {
    "mean": (("pbo", 0.366007, 0.033864), ("trt1", 0.580984, 0.035027), ("trt2", 0.610154, 0.034472)),
    "risk difference": (("trt1 - pbo", 0.214978, 0.048633), ("trt2 - pbo", 0.244147, 0.048244), ("trt2 - trt1", 0.029169, 0.049064)),
    "log risk ratio": (("trt1 - pbo", 0.462072, 0.110251), ("trt2 - pbo", 0.511059, 0.108251), ("trt2 - trt1", 0.048987, 0.082488)),
}
_ACTG = (
    ("unadjusted", 51.4364, 7.2681, 7.2746), ("cd40", 53.0955, 5.7906, 5.7992), ("12 covariates", 53.2096, 5.6697, 5.6996), ("ANHECOVA, 12 covariates", 53.6401, 5.6570, 5.7251),
)  # fmt: skip
_ACTG_ARMS = (
    ("arm 1", "unadjusted", 67.0333, 8.8905), ("arm 1", "cd40", 70.0094, 7.3646), ("arm 1", "12 covariates", 70.1638, 7.2166),
    ("arm 2", "unadjusted", 35.8991, 8.1875), ("arm 2", "cd40", 36.2104, 6.3963), ("arm 2", "12 covariates", 36.4234, 6.2337),
)  # fmt: skip
_LOOKS = {
    "Pocock": (2.1783, 2.2895, 2.3613, 2.4132),
    "O'Brien-Fleming": (1.9774, 2.0040, 2.0243, 2.0401),
}
_SPENDING = {
    "Lan-DeMets O'Brien-Fleming": (3.7103, 2.5114, 1.9930),
    "Lan-DeMets Pocock": (2.2794, 2.2949, 2.2959),
    "Hwang-Shih-DeCani(-4)": (3.0107, 2.5465, 1.9992),
}
_SURVIVAL = (
    ("observed", 9.0, 1e-9), ("expected", 19.2505, 5e-5), ("variance", 6.25696, 5e-6), ("chi-squared", 16.7929, 5e-5), ("S(10), 6-MP", 0.752941, 5e-7), ("S(10), placebo", 0.380952, 5e-7),
    ("RMST(20), 6-MP", 16.1165, 5e-5), ("RMST(20), 6-MP, SE", 1.2516, 5e-5), ("RMST(20), placebo", 8.4286, 5e-5), ("RMST(20), placebo, SE", 1.2681, 5e-5),
)  # fmt: skip


def _fitted(label: str, estimate: float, error: float, df: float, source: str, digit: float = HALF) -> list[Known]:
    said = ("mixed model", source, "mmrm-fev")
    return [
        Known(said[0], f"{label}, estimate", estimate, 1e-3 * error + digit, said[1], said[2]),
        Known(said[0], f"{label}, SE", error, 1e-4 * error + digit, said[1], said[2]),
        Known(said[0], f"{label}, df", df, 0.5, said[1], said[2]),
    ]


def _mixed() -> list[Known]:
    out = []
    for name, value, estimate, error, df in _STRUCTURES:
        source = f"listing sas_{name}_reml.txt"
        out.append(Known("mixed model", f"FEV1 ~ 1, {name}, -2 REML log L", value, 2e-5, source, "mmrm-fev"))
        out += _fitted(f"FEV1 ~ 1, {name}, intercept", estimate, error, df, source)
    for model, rows in _COEFFICIENTS.items():
        source = (
            "listing sas_full_model_un_reml_fixed_effects.txt"
            if "RACE" in model
            else "listings sas_coef_ci_reml_un.txt, sas_coef_ci_reml_ar1.txt"
        )
        for name, estimate, error, df in rows:
            out += _fitted(f"{model}, {name}", estimate, error, df, source)
    for model, value in (("FEV1 ~ ARMCD + SEX, un", 3666.96698281), ("FEV1 ~ RACE + SEX + ARMCD*AVISIT, un", 3386.44987722)):
        out.append(Known("mixed model", f"{model}, -2 REML log L", value, 2e-5, "PROC MIXED, REML", "mmrm-fev"))
    for name, f, df in _TESTS:
        source = "type 3 tests of sas_full_model_un_reml_fixed_effects.txt"
        out.append(Known("mixed model", f"type 3, {name}, F", f, 2e-4 * f + 5e-3, source, "mmrm-fev"))
        out.append(Known("mixed model", f"type 3, {name}, df", df, 0.5, source, "mmrm-fev"))
    for name, estimate, errors, df in (("(intercept)", 44.4161, (0.6503, 0.6512), 244), ("ARMCD[PBO]", -4.2312, (0.9016, 0.9028), 250)):
        for form, error in zip(("kenward-roger", "kenward-roger-linear"), errors, strict=True):
            out += _fitted(f"FEV1 ~ ARMCD, sp_gau, {form}, {name}", estimate, error, df, "listing sas_sp_gau_kr.txt")
    return out


def known() -> tuple[Known, ...]:
    """Return every number, in the order of :data:`GROUPS`."""
    out = _mixed()
    for what, rows in _ROBIN.items():
        for name, estimate, error in rows:
            out.append(
                Known("g-computation", f"{what}, {name}", estimate, 5e-7, "snapshot robin_glm.md, y_b ~ treatment * s1", "robincar2-glm")
            )
            out.append(
                Known("g-computation", f"{what}, {name}, SE", error, 5e-7, "snapshot robin_glm.md, y_b ~ treatment * s1", "robincar2-glm")
            )
    table = "Table 14-3.01; unrounded, computed again"
    for name, value, tolerance in (
        ("low - placebo", -0.46678, 5e-6), ("low - placebo, SE", 0.81804, 5e-6), ("low - placebo, p", 0.568847, 5e-7), ("high - placebo", -1.00601, 5e-6),
        ("high - placebo, SE", 0.84053, 5e-6), ("high - placebo, p", 0.232641, 5e-7), ("high - low, as printed", -0.5, 0.05), ("high - low, SE, as printed", 0.84, 0.005),
        ("high - low, p, as printed", 0.520, 5e-4), ("dose response, p", 0.244706, 5e-7),
    ):  # fmt: skip
        out.append(Known("CDISC pilot", name, value, tolerance, table, "cdisc-pilot"))
    for name, estimate, hc1, hc3 in _ACTG:
        for what, value in (("estimate", estimate), ("HC1 SE", hc1), ("HC3 SE", hc3)):
            out.append(Known("ACTG 175", f"both drugs, {name}, {what}", value, HALF, "arms 1 and 2 against 0, CD4 at week 20", "actg175"))
    for arm, name, estimate, hc1 in _ACTG_ARMS:
        out.append(Known("ACTG 175", f"{arm}, {name}, estimate", estimate, HALF, f"{arm} against 0", "actg175"))
        out.append(Known("ACTG 175", f"{arm}, {name}, HC1 SE", hc1, HALF, f"{arm} against 0", "actg175"))
    for family, values in _LOOKS.items():
        for looks, value in zip((2, 3, 4, 5), values, strict=True):
            out.append(Known("group-sequential", f"{family}, {looks} looks", value, HALF, "two-sided 0.05, equal information"))
    for family, values in _SPENDING.items():
        for look, value in enumerate(values, start=1):
            out.append(Known("group-sequential", f"{family}, look {look} of 3", value, HALF, "0.025 a side, equal information"))
    for name, value in (
        ("correlation 0", 262.7),
        ("correlation 0.5", 197.0),
        ("correlation 0.5 deflated by 0.9, SD inflated by 1.05", 231.0),
    ):
        out.append(Known("sample size", name, value, 0.05, "SD 1, effect 0.4, power 0.9, two-sided 0.05, 1:1"))
    out += [
        Known("survival", name, value, tolerance, "6-MP against placebo, 21 pairs taken as two arms")
        for name, value, tolerance in _SURVIVAL
    ]
    for name, value in (
        ("double precision", 2.0**-52),
        ("transport file, largest difference", 0.0),
        ("same analysis, same lineage", 1.0),
        ("signature made and checked", 1.0),
    ):
        out.append(Known("installation", name, value, 0.0, "definition"))
    return tuple(out)
