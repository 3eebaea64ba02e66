"""Every constant of the slow axis: value, unit, source. What nobody has published is marked ASSUMED and appears in the evidence.

Sources, short: HALL = Hall et al. 2011, doi:10.1016/S0140-6736(11)60812-X, values as in the R package ``bw``; TOPP = Topp et al. 2000,
doi:10.1006/jtbi.2000.2150; ADAG = Nathan et al. 2008, doi:10.2337/dc08-0545; WEI = Wei et al. 2014, doi:10.2337/dc13-2173.

The links from weight loss to insulin sensitivity and to beta-cell function have no open data on individuals. Their priors are wide, ASSUMED,
and hold the lowest credibility in the room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemel.engine.prior import ASSUMED, Parameter, Prior
from gemel.engine.transform import Identity, Log
from gemel.twins.metabolic.priors import Constant

__all__ = ["CONSTANTS", "DRUGS", "Constant", "Drug", "fixed", "person_prior"]

HALL = "doi:10.1016/S0140-6736(11)60812-X, as in the R package bw"
TOPP = "doi:10.1006/jtbi.2000.2150"
ADAG = "doi:10.2337/dc08-0545"
WEI = "doi:10.2337/dc13-2173"


CONSTANTS: dict[str, Constant] = {
    "rho_glycogen": Constant(4206.501, "kcal/kg", HALL, "energy density of glycogen"),
    "rho_fat": Constant(9440.727, "kcal/kg", HALL, "energy density of fat"),
    "rho_lean": Constant(1816.444, "kcal/kg", HALL, "energy density of lean tissue"),
    "gamma_fat": Constant(3.107075, "kcal/kg/d", HALL, "resting expenditure of fat"),
    "gamma_lean": Constant(21.98853, "kcal/kg/d", HALL, "resting expenditure of lean tissue"),
    "eta_fat": Constant(179.2543, "kcal/kg", HALL, "cost of depositing fat"),
    "eta_lean": Constant(229.4455, "kcal/kg", HALL, "cost of depositing lean tissue"),
    "thermic": Constant(0.1, "1", HALL, "thermic effect of feeding"),
    "adaptation": Constant(0.14, "1", HALL, "adaptive thermogenesis per change of intake"),
    "adaptation_days": Constant(14.0, "d", HALL, "its time constant"),
    "forbes": Constant(10.4, "kg", HALL, "Forbes's parameter of fat against lean tissue, before the ratio of energy densities"),
    "glycogen": Constant(0.5, "kg", HALL, "glycogen at the start"),
    "carbohydrate_share": Constant(0.5, "1", HALL, "share of energy eaten as carbohydrate"),
    "sodium": Constant(3220.0, "mg/L", HALL, "sodium of extracellular fluid"),
    "sodium_fluid": Constant(3000.0, "mg/L/d", HALL, "sodium excreted per excess of extracellular fluid"),
    "sodium_carbohydrate": Constant(4000.0, "mg/d", HALL, "sodium excreted per relative fall of carbohydrate"),
    "topp_R0": Constant(864.0, "mg/dL/d", TOPP, "production of glucose at zero glucose"),
    "topp_EG0": Constant(1.44, "/d", TOPP, "glucose effectiveness"),
    "topp_SI": Constant(0.72, "L/m[iU]/d", TOPP, "insulin sensitivity of a healthy person"),
    "topp_sigma": Constant(43.2, "m[iU]/L/mg/d", TOPP, "largest secretion per beta-cell mass"),
    "topp_alpha": Constant(20000.0, "mg2/dL2", TOPP, "glucose squared at half the largest secretion"),
    "topp_k": Constant(432.0, "/d", TOPP, "clearance of insulin"),
    "topp_d0": Constant(0.06, "/d", TOPP, "death of beta cells at zero glucose"),
    "topp_r1": Constant(0.84e-3, "dL/mg/d", TOPP, "growth of beta cells by glucose"),
    "topp_r2": Constant(2.4e-6, "dL2/mg2/d", TOPP, "loss of beta cells by glucose squared"),
    "topp_mass": Constant(300.0, "mg", TOPP, "beta-cell mass of a healthy person"),
    "adag_offset": Constant(46.7, "mg/dL", ADAG, "mean glucose is 28.7 HbA1c - 46.7"),
    "adag_slope": Constant(28.7, "mg/dL/%", ADAG, "the same"),
    "gmi_offset": Constant(3.31, "%", "doi:10.2337/dc18-1581", "glucose management indicator at zero glucose"),
    "gmi_slope": Constant(0.02392, "%.dL/mg", "doi:10.2337/dc18-1581", "the same, per mean glucose"),
    "red_cell_days": Constant(120.0, "d", ASSUMED, "life of a red cell; 90 to 140 as sensitivity"),
    "typical_sensitivity": Constant(0.45, "1", ASSUMED, "insulin sensitivity in type 2 diabetes as a share of the healthy one"),
    "typical_function": Constant(0.75, "1", ASSUMED, "beta-cell function in type 2 diabetes as a share of the healthy mass"),
    "recovery_width": Constant(0.03, "1", ASSUMED, "width of the logistic curve of recovery, in relative weight loss"),
    "recovery_days": Constant(60.0, "d", ASSUMED, "time constant with which beta-cell function follows weight"),
    "recovery_duration": Constant(8.0, "a", ASSUMED, "duration of diabetes over which the capacity to recover falls by a factor e"),
    "duration": Constant(5.0, "a", ASSUMED, "duration of diabetes where the record does not tell it"),
    "height_male": Constant(1.75, "m", ASSUMED, "height of a man where the record has none"),
    "height_female": Constant(1.62, "m", ASSUMED, "height of a woman where the record has none"),
    "age": Constant(55.0, "a", ASSUMED, "age where the record has none"),
    "weight_error": Constant(0.008, "1", ASSUMED, "relative standard deviation of one weighing about the slow course"),
    "hba1c_error": Constant(0.025, "1", ASSUMED, "relative standard deviation of a laboratory HbA1c"),
    "fasting_error": Constant(0.12, "1", ASSUMED, "relative standard deviation of fasting glucose from day to day"),
    "mean_error": Constant(0.06, "1", ASSUMED, "relative standard deviation of a fortnight's mean about the course"),
    "units_per_level": Constant(5.0, "[iU].L/d/m[iU]", ASSUMED, "injected insulin a day that raises its mean level by one unit"),
    "insulin_energy": Constant(2.0, "kcal/[iU]", ASSUMED, "change of intake with injected insulin: weight rises"),
}


@dataclass(frozen=True)
class Drug:
    """What a class of drugs does at its defined daily dose. All effects are ASSUMED: chosen once so that an HbA1c of 8 % moves by about one mean
    trial effect of the class, and tuned on nobody.

    Parameters
    ----------
    codes : prefixes of ATC codes. production, sensitivity, function : logarithm of the factor on each. effectiveness : added clearance, 1/d.
    energy : change of energy intake (kcal/d) against the days without the drug.
    """

    codes: tuple[str, ...]
    production: float = 0.0
    effectiveness: float = 0.0
    sensitivity: float = 0.0
    function: float = 0.0
    energy: float = 0.0


DRUGS: dict[str, Drug] = {
    "metformin": Drug(("A10BA",), production=-0.28, energy=-25.0),
    "sulfonylurea": Drug(("A10BB", "A10BX02", "A10BX03"), function=0.38, energy=25.0),
    "alpha_glucosidase": Drug(("A10BF",), production=-0.16, energy=-10.0),
    "glitazone": Drug(("A10BG",), sensitivity=0.34, energy=40.0),
    "gliptin": Drug(("A10BH",), function=0.23),
    "glp1": Drug(("A10BJ",), function=0.33, energy=-250.0),
    "gliflozin": Drug(("A10BK",), effectiveness=0.9, energy=-70.0),
}
"""Classes that have a mapping; each is a channel of the plan, in days of the defined daily dose."""


def fixed(name: str) -> float:
    """Return a constant's value."""
    return CONSTANTS[name].value


def _positive(name: str, centre: float, scale: float, unit: str, source: str, meaning: str) -> Parameter:
    return Parameter(name, unit, Log(), float(np.log(centre)), scale, source, meaning)


def person_prior() -> Prior:
    """Return the prior of an adult with type 2 diabetes."""
    return Prior.of(
        (
            Parameter("energy_offset", "kcal/d", Identity(), 0.0, 120.0, ASSUMED, "energy eaten above balance, all the time"),
            _positive("activity", 1.5, 0.08, "1", ASSUMED, "physical activity level"),
            _positive("start", 1.0, 0.008, "1", ASSUMED, "true weight at the start over the first weighing"),
            _positive("sensitivity", fixed("typical_sensitivity"), 0.35, "1", ASSUMED, "insulin sensitivity at the start, as a share of the healthy one"),
            _positive("function", fixed("typical_function"), 0.35, "1", ASSUMED, "beta-cell function at the start, as a share of the healthy mass"),
            _positive("kS", 4.0, 0.5, "1", ASSUMED, "logarithm of insulin sensitivity per relative weight loss"),
            _positive("recovery", 0.8, 0.6, "1", ASSUMED, "largest relative gain of beta-cell function by weight loss, at diagnosis"),
            _positive("half_loss", 0.10, 0.25, "1", ASSUMED, "relative weight loss at half of that gain"),
            _positive("decline", 0.04, 0.5, "/a", "UKPDS 16, doi:10.2337/diabetes.44.11.1249, second-hand; width " + ASSUMED, "relative loss of beta-cell function a year"),
            _positive("excess", 1.05, 0.06, "1", WEI + ", abstract against the ADAG line; width " + ASSUMED, "mean over fasting glucose"),
            _positive("glycation", 1.0, 0.07, "1", ASSUMED, "personal ratio of HbA1c to what mean glucose says"),
            _positive("response", 1.0, 0.3, "1", ASSUMED, "personal response to drugs other than insulin"),
        )
    )  # fmt: skip
