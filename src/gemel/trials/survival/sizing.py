"""How many events a trial needs, without and with a prognosis as covariate.

    d = (z_{1-a/2} + z_{1-b})² / (p (1 - p) log(HR)²)        times 1 - R² with the adjusted test

R² is the squared correlation of the prognosis with the martingale residual of the outcome, within arm.

References
----------
Schoenfeld 1981, doi:10.1093/biomet/68.1.316; the saving: arXiv:2605.27711, and Ye, Shao and Yi 2024, doi:10.1093/biomet/asad045.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from gemel.core.errors import ValueRangeError
from gemel.core.lineage import digest

__all__ = ["Events", "events_needed"]


@dataclass(frozen=True)
class Events:
    """Events that a trial needs.

    Parameters
    ----------
    unadjusted, events : without and with the prognosis.
    patients_unadjusted, patients : to enrol for them, dropout in; None when the share of patients with an event is not given.
    r_squared : planned, with the correlation deflated.
    total_reduction, control_arm_reduction : share by which the whole trial shrinks, or its control arm alone (from 1:1, for a ratio near 1).
    """

    hazard_ratio: float
    unadjusted: float
    events: float
    patients_unadjusted: int | None
    patients: int | None
    r_squared: float
    total_reduction: float
    control_arm_reduction: float
    power: float
    alpha: float
    allocation: float
    lineage: str


def events_needed(
    hazard_ratio: float,
    *,
    correlation: float = 0.0,
    correlation_deflation: float = 1.0,
    power: float = 0.9,
    alpha: float = 0.05,
    allocation: float = 1.0,
    event_share: float | None = None,
    dropout: float = 0.0,
    prognosis: str = "",
) -> Events:
    """Return the events that a log-rank test adjusted for a prognosis needs.

    Parameters
    ----------
    hazard_ratio : marginal, to be detected; not 1.
    correlation : of prognosis and martingale residual within arm.
    correlation_deflation : multiplies the correlation, not R².
    allocation : treated per control patient.
    event_share : of the patients, over both arms, who have the event within the trial.
    dropout : share of patients lost at once.
    prognosis : hash of the bundle, for the lineage.

    Raises
    ------
    ValueRangeError
        When a setting is out of range.

    Examples
    --------
    >>> round(events_needed(0.7, power=0.9).unadjusted, 1)
    330.4
    """
    rho = correlation * correlation_deflation
    sound = {
        "hazard_ratio": hazard_ratio > 0 and abs(math.log(hazard_ratio)) > 1e-6 if hazard_ratio > 0 else False,
        "correlation": 0 <= correlation < 1,
        "correlation_deflation": 0 <= correlation_deflation <= 1,
        "power": 0.5 <= power < 1,
        "alpha": 0 < alpha < 0.5,
        "allocation": 0.05 <= allocation <= 20,
        "event_share": event_share is None or 0 < event_share <= 1,
        "dropout": 0 <= dropout < 1,
    }
    wrong = [name for name, is_sound in sound.items() if not is_sound]
    if wrong:
        raise ValueRangeError(
            "a setting is out of range",
            seen=", ".join(wrong),
            expected="a positive ratio that is not 1, correlations and shares from 0 to 1, power from 0.5, alpha below 0.5",
        )
    share = allocation / (1 + allocation)
    z = float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
    unadjusted = z**2 / (share * (1 - share) * math.log(hazard_ratio) ** 2)
    needed = unadjusted * (1 - rho**2)

    def patients(events: float) -> int | None:
        return None if event_share is None else math.ceil(events / event_share / (1 - dropout))

    settings = [hazard_ratio, correlation, correlation_deflation, power, alpha, allocation, event_share, dropout, prognosis]
    return Events(
        hazard_ratio=hazard_ratio,
        unadjusted=unadjusted,
        events=needed,
        patients_unadjusted=patients(unadjusted),
        patients=patients(needed),
        r_squared=rho**2,
        total_reduction=rho**2,
        control_arm_reduction=2 * rho**2 / (1 + rho**2),
        power=power,
        alpha=alpha,
        allocation=allocation,
        lineage=digest(["events", *settings])[:16],
    )
