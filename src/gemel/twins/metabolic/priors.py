"""Every constant of the room: value, unit, source. What nobody has published is marked ASSUMED and appears in the evidence.

Sources, short: CAPPON = Cappon et al. 2023, IEEE Trans Biomed Eng, doi:10.1109/TBME.2023.3286856 (model and priors of ReplayBG);
values as implemented in its public documentation, second-hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from gemel.engine.prior import ASSUMED, Parameter, Prior
from gemel.engine.transform import Log, Logit

__all__ = ["CONSTANTS", "Constant", "fixed", "identification_prior", "person_prior"]

CAPPON = "doi:10.1109/TBME.2023.3286856"
WANDER = (
    "of the noise in sensor.py (Breton & Kovatchev 2008, doi:10.1177/193229680800200517), over sixty weeks drawn; ASSUMED for real sensors"
)
VIRTUAL = "estimated on virtual people drawn anew (gemel bench metabolic-replay --learn 20); ASSUMED for real ones"
DRAWN = "chosen on virtual people drawn anew (those of gemel bench metabolic-replay --learn 20); ASSUMED for real ones"


@dataclass(frozen=True)
class Constant:
    """A fixed number with its unit and source."""

    value: float
    unit: str
    source: str
    meaning: str


CONSTANTS: dict[str, Constant] = {
    "VG": Constant(1.45, "dL/kg", CAPPON, "distribution volume of glucose"),
    "VI": Constant(0.126, "L/kg", CAPPON, "distribution volume of insulin (a second implementation uses 0.135)"),
    "ke": Constant(0.127, "/min", CAPPON, "elimination of insulin from plasma"),
    "tau": Constant(8.0, "min", CAPPON, "delay before subcutaneous insulin begins to appear"),
    "f": Constant(0.9, "1", CAPPON, "share of carbohydrate that appears in plasma"),
    "alpha": Constant(7.0, "min", CAPPON, "lag of interstitial behind plasma glucose"),
    "r1": Constant(1.4407, "1", CAPPON, "gain of insulin action below basal glucose"),
    "r2": Constant(0.8124, "1", CAPPON, "exponent of the same"),
    "rho_floor": Constant(60.0, "mg/dL", CAPPON, "glucose below which the gain no longer grows"),
    "body_weight": Constant(75.0, "kg", ASSUMED, "used when the record has no weight; SI takes up the difference"),
    "sensor_sd": Constant(5.0, "mg/dL", CAPPON, "white measurement noise of the sensor"),
    "energy_share": Constant(0.5, "1", ASSUMED, "share of a meal's energy that is carbohydrate, when only kcal are logged"),
    "energy_density": Constant(4.0, "kcal/g", "Atwater factor for carbohydrate", "energy per gram of carbohydrate"),
    "meal_minutes": Constant(15.0, "min", ASSUMED, "duration of a meal"),
    "bolus_minutes": Constant(1.0, "min", ASSUMED, "duration of a bolus"),
    "long_acting_minutes": Constant(1440.0, "min", ASSUMED, "over which a long-acting dose is spread evenly"),
    "intermediate_minutes": Constant(840.0, "min", ASSUMED, "over which an intermediate-acting dose is spread evenly"),
    "premix_fast_share": Constant(0.3, "1", "labels of 70/30 premixed insulins", "share of a premixed dose that acts fast"),
    "error_sd": Constant(30.0, "mg/dL", ASSUMED, "standard deviation of slow model error (Ornstein-Uhlenbeck) in calibration"),
    "error_minutes": Constant(90.0, "min", ASSUMED, "its correlation time"),
    "effect_cv": Constant(0.35, "1", DRAWN, "relative error of the effect of a changed input in a replay, beside that of the parameters"),
    "effect_back": Constant(0.0066, "/min", VIRTUAL, "rate at which glucose returns from a difference between two lives"),
    "effect_tissue": Constant(0.033, "/min", VIRTUAL, "rate at which insulin's action on tissue follows plasma insulin"),
    "effect_liver": Constant(0.0026, "/min", VIRTUAL, "rate at which its action on the liver follows"),
    "effect_share": Constant(0.44, "1", VIRTUAL, "share of insulin's action that is on the liver"),
    "effect_sensitivity": Constant(7.4e-4, "mL/u[iU]/min", VIRTUAL, "effective sensitivity of whoever is identified at 6.76e-4"),
    "effect_power": Constant(1.26, "1", VIRTUAL, "power by which it follows the identified sensitivity"),
    "effect_appearance": Constant(0.80, "1", VIRTUAL, "effective glucose of carbohydrate, against f / VG of the equations"),
    "unexplained_sd": Constant(20.0, "mg/dL", DRAWN, "slow error of the equations in a replay, standard deviation"),
    "unexplained_minutes": Constant(150.0, "min", DRAWN, "its correlation time"),
    "wander_sd": Constant(11.4, "mg/dL", WANDER, "correlated noise of a sensor, standard deviation"),
    "wander_minutes": Constant(44.0, "min", WANDER, "its correlation time"),
    "nugget_sd": Constant(3.0, "mg/dL", ASSUMED, "white noise beside it in calibration"),
    "appearance_sd": Constant(0.9, "mg/dL/min", ASSUMED, "standard deviation of unannounced glucose appearance"),
    "appearance_minutes": Constant(40.0, "min", ASSUMED, "its correlation time (30-60 min)"),
    "meal_cv": Constant(0.3, "1", ASSUMED, "coefficient of variation of a logged amount of carbohydrate"),
    "meal_cv_food": Constant(0.4, "1", ASSUMED, "the same when derived from energy or from grams of food"),
    "sensor_low": Constant(40.0, "mg/dL", "range of the common CGM sensors", "readings at or below are censored"),
    "sensor_high": Constant(400.0, "mg/dL", "range of the common CGM sensors", "readings at or above are censored"),
}


def fixed(name: str) -> float:
    """Return a constant's value."""
    return CONSTANTS[name].value


def _lognormal(name: str, location: float, scale: float, unit: str, meaning: str, source: str = CAPPON, drift: float = 0.0) -> Parameter:
    return Parameter(name, unit, Log(), location, scale, source, meaning, drift)


def _parameters(
    gb_location: float, gb_scale: float, gb_source: str, *, si_widening: float, drift_si: float, drift_gb: float, shortest_delay: float
) -> tuple[Parameter, ...]:
    # SI * VG ~ Gamma(3.3, scale 5e-4): matched by the log-normal with the same mean and variance of the logarithm.
    si_location = float(digamma(3.3) + np.log(5e-4) - np.log(fixed("VG")))
    si_scale = float(np.sqrt(polygamma(1, 3.3))) * si_widening
    windows = ("breakfast", "lunch", "dinner")
    return (
        *(
            _lognormal(f"SI_{w}", si_location, si_scale, "mL/u[iU]/min", f"insulin sensitivity, {w} window", drift=drift_si)
            for w in windows
        ),
        _lognormal("SG", -3.8, 0.5, "/min", "glucose effectiveness"),
        _lognormal(
            "Gb", gb_location, gb_scale, "mg/dL", "glucose to which the person returns without insulin and meals", gb_source, drift_gb
        ),
        _lognormal("p2", 2 * np.log(0.11), 2 * 0.004 / 0.11, "/min", "decay of insulin action (published as sqrt(p2) ~ N(0.11, 0.004))"),
        _lognormal("ka2", -4.2875, 0.4274, "/min", "absorption of insulin from the second subcutaneous compartment"),
        _lognormal("kd", -3.5090, 0.6187, "/min", "diffusion between the subcutaneous compartments"),
        _lognormal("kempt", -1.9646, 0.7069, "/min", "emptying of the stomach"),
        *(_lognormal(f"kabs_{w}", -5.4591, 1.4396, "/min", f"absorption from the gut, {w} window") for w in windows),
        *(
            Parameter(
                f"delay_{w}",
                "min",
                Logit(shortest_delay, 60.0),
                0.0,
                1.6,
                "U(0, 60) min in " + CAPPON + ", matched in the logit",
                f"delay of a meal against its log, {w} window",
            )
            for w in windows
        ),
    )


def identification_prior() -> Prior:
    """Return the prior of well-controlled type 1 diabetes as published: for identification beside the peer."""
    return Prior.of(
        _parameters(float(np.log(119.13)), 7.11 / 119.13, CAPPON, si_widening=1.0, drift_si=0.0, drift_gb=0.0, shortest_delay=1.0)
    )


def person_prior() -> Prior:
    """Return the room's default prior: as published, widened so that type 2 diabetes lies inside (ASSUMED)."""
    return Prior.of(
        _parameters(
            float(np.log(130.0)), 0.22, ASSUMED + ": widened for type 2", si_widening=1.3, drift_si=0.15, drift_gb=0.05, shortest_delay=5.0
        )
    )
