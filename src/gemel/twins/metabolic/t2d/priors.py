"""Every constant of the type 2 twin: value, unit, source. What nobody has published is marked ASSUMED and appears in the evidence.

Sources, short: DALLA MAN = Dalla Man, Rizza & Cobelli 2007, doi:10.1109/TBME.2007.893506, table 1, columns *normal* and *type 2 diabetes*;
UVA = mean adult of the UVA/Padova simulator (MIT-licensed table of simglucose).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemel.engine.prior import ASSUMED, Parameter, Prior
from gemel.engine.transform import Log
from gemel.twins.metabolic.priors import Constant

__all__ = ["CONSTANTS", "DRUGS", "TABLE", "Constant", "Drug", "column", "fixed", "person_prior"]

DALLA_MAN = "doi:10.1109/TBME.2007.893506, table 1"
UVA = "UVA/Padova simulator, mean of ten adults"


TABLE: dict[str, tuple[float, float, str, str]] = {
    "Vg": (1.88, 1.49, "dL/kg", "distribution volume of glucose"),
    "k1": (0.065, 0.042, "/min", "glucose from plasma to tissue"),
    "k2": (0.079, 0.071, "/min", "glucose from tissue to plasma"),
    "Vi": (0.05, 0.04, "L/kg", "distribution volume of insulin"),
    "m1": (0.190, 0.379, "/min", "insulin from liver to plasma"),
    "m2": (0.484, 0.673, "/min", "insulin from plasma to liver"),
    "m4": (0.194, 0.269, "/min", "peripheral degradation of insulin"),
    "m5": (0.0304, 0.0526, "min.kg/pmol", "fall of hepatic extraction with secretion"),
    "m6": (0.6471, 0.8118, "1", "hepatic extraction without secretion"),
    "HEb": (0.6, 0.6, "1", "hepatic extraction at rest"),
    "kmax": (0.0558, 0.0465, "/min", "grinding, and emptying of a full stomach"),
    "kmin": (0.0080, 0.0076, "/min", "slowest emptying of the stomach"),
    "kabs": (0.057, 0.023, "/min", "absorption from the gut"),
    "f": (0.90, 0.90, "1", "share of carbohydrate that appears in plasma"),
    "b": (0.82, 0.68, "1", "share of the meal at which emptying has slowed down half way"),
    "d": (0.010, 0.09, "1", "share of the meal at which it has sped up again half way"),
    "kp1": (2.70, 3.09, "mg/kg/min", "production of glucose without glucose and insulin"),
    "kp2": (0.0021, 0.0007, "/min", "fall of production with glucose"),
    "kp3": (0.009, 0.005, "mg/kg/min.L/pmol", "fall of production with delayed insulin"),
    "kp4": (0.0618, 0.0786, "mg/kg/min.kg/pmol", "fall of production with portal insulin"),
    "ki": (0.0079, 0.0066, "/min", "delay of insulin in the liver"),
    "Fcns": (1.0, 1.0, "mg/kg/min", "uptake by brain and red cells"),
    "Vm0": (2.50, 4.65, "mg/kg/min", "largest uptake at basal insulin"),
    "Vmx": (0.047, 0.034, "mg/kg/min.L/pmol", "rise of uptake with remote insulin"),
    "Km0": (225.59, 466.21, "mg/kg", "tissue glucose at half of it"),
    "p2U": (0.0331, 0.0840, "/min", "delay of insulin in tissue"),
    "K": (2.30, 0.99, "pmol/kg.dL/mg", "secretion per rate of change of glucose"),
    "alpha": (0.050, 0.013, "/min", "delay between glucose and secretion"),
    "beta": (0.11, 0.05, "pmol/kg/min.dL/mg", "secretion per glucose above the threshold"),
    "gamma": (0.5, 0.5, "/min", "transfer from portal vein to liver"),
    "ke1": (0.0005, 0.0007, "/min", "renal excretion above its threshold"),
    "ke2": (339.0, 269.0, "mg/kg", "threshold of renal excretion"),
    "BW": (78.0, 91.0, "kg", "body weight of the reference"),
    "Gb": (91.76, 164.18, "mg/dL", "basal glucose of the reference"),
    "Ib": (25.49, 54.81, "pmol/L", "basal insulin of the reference"),
}
"""``normal``, ``type 2``, unit, meaning. All DALLA MAN; the last three rows were read second-hand and are confirmed by the production at rest that they give."""

CONSTANTS: dict[str, Constant] = {
    "EGPb": Constant(2.01, "mg/kg/min", DALLA_MAN, "production of glucose at rest in type 2 diabetes"),
    "ka1": Constant(0.00337, "/min", UVA, "absorption of insulin from the first subcutaneous compartment"),
    "ka2": Constant(0.0159, "/min", UVA, "the same from the second"),
    "kd": Constant(0.0159, "/min", UVA, "from the first to the second"),
    "unit": Constant(6000.0, "pmol/[iU]", "convention of the glucose models, doi:10.1177/1932296813514502", "insulin per unit"),
    "sensor_minutes": Constant(7.0, "min", "doi:10.1109/TBME.2023.3286856", "lag of interstitial behind plasma glucose"),
    "sensor_sd": Constant(5.0, "mg/dL", "doi:10.1109/TBME.2023.3286856", "white measurement noise of the sensor"),
    "error_sd": Constant(20.0, "mg/dL", ASSUMED, "standard deviation of slow model error (Ornstein-Uhlenbeck) in calibration"),
    "error_minutes": Constant(90.0, "min", ASSUMED, "its correlation time"),
    "nugget_sd": Constant(3.0, "mg/dL", ASSUMED, "white noise beside it in calibration"),
    "appearance_sd": Constant(0.9, "mg/dL/min", ASSUMED, "standard deviation of unannounced glucose appearance in streams"),
    "appearance_minutes": Constant(40.0, "min", ASSUMED, "its correlation time"),
    "rise_width": Constant(0.005, "mg/dL/min", "numerical", "over which the secretion by rising glucose sets in"),
    "production_width": Constant(0.01, "mg/kg/min", "numerical", "over which production of glucose ends at zero"),
    "renal_width": Constant(1.0, "mg/kg", "numerical", "over which renal excretion sets in"),
    "secretion_width": Constant(0.01, "pmol/kg/min", "numerical", "over which secretion ends at zero"),
}


@dataclass(frozen=True)
class Drug:
    """What a class of drugs does at its defined daily dose, as logarithms of factors on parameters. All effects ASSUMED, with ``spread``.

    Parameters
    ----------
    codes : prefixes of ATC codes. changes : parameter -> logarithm of its factor. minutes : over which one dose acts. a_day : doses that make a daily dose.
    """

    codes: tuple[str, ...]
    changes: dict[str, float]
    minutes: float
    a_day: float


DRUGS: dict[str, Drug] = {
    "metformin": Drug(("A10BA",), {"kp1": -0.06}, 1440.0, 2.0),
    "secretagogue": Drug(("A10BB", "A10BX02", "A10BX03"), {"beta": 0.45, "K": 0.45}, 720.0, 2.0),
    "alpha_glucosidase": Drug(("A10BF",), {"kabs": -0.5, "f": -0.1}, 300.0, 3.0),
    "glitazone": Drug(("A10BG",), {"Vmx": 0.35, "kp3": 0.35}, 1440.0, 1.0),
    "gliptin": Drug(("A10BH",), {"beta": 0.25, "K": 0.25}, 1440.0, 1.0),
    "glp1": Drug(("A10BJ",), {"beta": 0.35, "K": 0.35, "kmax": -0.2, "kmin": -0.2}, 1440.0, 1.0),
    "gliflozin": Drug(("A10BK",), {"ke2": -0.75}, 1440.0, 1.0),
}
"""Classes that have a mapping; each is a channel of the plan, in days of the defined daily dose. The spread between people is the parameter ``response``."""


def fixed(name: str) -> float:
    """Return a constant's value."""
    return CONSTANTS[name].value


def column(normal: bool = False) -> dict[str, float]:
    """Return one column of the published table by name, with its body weight and an unchanged secretion at rest."""
    values = {name: (row[0] if normal else row[1]) for name, row in TABLE.items()}
    return values | {"weight": values["BW"], "secreting": 1.0}


def _positive(name: str, centre: float, scale: float, unit: str, source: str, meaning: str, drift: float = 0.0) -> Parameter:
    return Parameter(name, unit, Log(), float(np.log(centre)), scale, source, meaning, drift)


def person_prior(normal: bool = False) -> Prior:
    """Return the prior of a person: centred on the column of type 2 diabetes, or on the normal one; widths ASSUMED."""
    table = column(normal)
    width = f"{DALLA_MAN}; width {ASSUMED}"
    production = 1.92 if normal else fixed("EGPb")
    return Prior.of(
        (
            _positive("Gb", 92.0 if normal else 150.0, 0.08 if normal else 0.2, "mg/dL", f"{ASSUMED}: near the column, wide", "basal glucose without drugs", 0.05),
            _positive("EGPb", production, 0.12, "mg/kg/min", width, "production of glucose at rest"),
            _positive("sensitivity", 1.0, 0.45, "1", width, "factor on Vmx and kp3: insulin sensitivity against the column", 0.10),
            _positive("function", 1.0, 0.45, "1", width, "factor on beta and K: beta-cell function against the column"),
            _positive("kabs", table["kabs"], 0.5, "/min", width, "absorption from the gut"),
            _positive("kmax", table["kmax"], 0.3, "/min", width, "emptying of a full stomach"),
            _positive("counted", 1.0, 0.3, "1", ASSUMED, "carbohydrate eaten over carbohydrate logged"),
            _positive("response", 1.0, 0.5, "1", ASSUMED, "personal response to drugs other than insulin"),
        )
    )  # fmt: skip
