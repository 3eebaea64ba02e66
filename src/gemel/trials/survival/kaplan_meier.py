"""The Kaplan-Meier estimate of each arm, its limits, and its figure.

References
----------
Kaplan and Meier 1958, doi:10.1080/01621459.1958.10501452; Greenwood 1926; limits on the scale log(-log S): Kalbfleisch and Prentice 2002, sec. 1.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from gemel.core.errors import DataError
from gemel.core.view import Array, Axis, Figure, Line, Table
from gemel.trials.survival.data import SurvivalData, risk_table

__all__ = ["Curve", "curve", "curves_figure", "kaplan_meier"]


@dataclass(frozen=True)
class Curve:
    """Survival of one group as a step function.

    Parameters
    ----------
    times : (time,) of events, rising.
    survival : (time,) just after each.
    variance : (time,) of the survival, by Greenwood.
    at_risk, events : (time,) just before and at each.
    last : largest time observed; nothing is known after it unless survival is 0.
    """

    name: str
    times: Float[np.ndarray, " time"]
    survival: Float[np.ndarray, " time"]
    variance: Float[np.ndarray, " time"]
    at_risk: Int[np.ndarray, " time"]
    events: Int[np.ndarray, " time"]
    last: float

    def at(self, time: float) -> float:
        """Return the survival at a time.

        Raises
        ------
        DataError
            When nobody was observed so long.
        """
        self.known_at(time)
        k = int(np.searchsorted(self.times, time, side="right"))
        return float(self.survival[k - 1]) if k else 1.0

    def known_at(self, time: float) -> None:
        """Refuse a time at which the curve is not known.

        Raises
        ------
        DataError
            When nobody was observed so long, and some were still without the event.
        """
        if time < 0 or (time > self.last and (len(self.survival) == 0 or self.survival[-1] > 0)):
            raise DataError(
                "survival is not known at this time",
                seen=f"{time:g}, arm {self.name} observed to {self.last:g}",
                expected="a time within the follow-up of every arm",
            )

    def quantile(self, share: float = 0.5) -> float:
        """Return the first time at which this share has had the event; infinite when it was not reached."""
        reached = self.survival <= 1 - share + 1e-12
        return float(self.times[np.argmax(reached)]) if reached.any() else math.inf

    def limits(self, level: float = 0.95) -> Float[np.ndarray, "2 time"]:
        """Return pointwise limits on the scale log(-log S); not known where survival is 1 or 0."""
        s = np.where((self.survival > 0) & (self.survival < 1), self.survival, np.nan)
        centre, error = np.log(-np.log(s)), np.sqrt(self.variance) / (s * np.abs(np.log(s)))
        z = special.ndtri(0.5 + level / 2)
        return np.exp(-np.exp(np.stack([centre + z * error, centre - z * error])))


def curve(time: Float[np.ndarray, " subject"], event: Bool[np.ndarray, " subject"], name: str = "") -> Curve:
    """Return the Kaplan-Meier estimate of one group."""
    risk = risk_table(time, event)
    y, d = risk.at_risk[:, 0], risk.events[:, 0]
    survival = np.cumprod(1 - d / y)
    with np.errstate(divide="ignore"):
        terms = np.where(y > d, d / (y * (y - d).astype(float)), 0.0)
    return Curve(name, risk.times, survival, survival**2 * np.cumsum(terms), y, d, float(time.max()))


def kaplan_meier(data: SurvivalData) -> tuple[Curve, ...]:
    """Return the estimate of each arm, in the order of the arms."""
    arms = data.trial.arm
    return tuple(curve(data.time[arms == a], data.event[arms == a], name) for a, name in enumerate(data.trial.arms))


def curves_figure(data: SurvivalData, *, title: str, variable: str, unit: str, lineage: str) -> Figure:
    """Describe the curves of all arms.

    Parameters
    ----------
    variable : what happens, such as ``relapse``.
    unit : UCUM unit of the times.
    """
    layers, told = [], []
    for k, found in enumerate(kaplan_meier(data)):
        x = np.concatenate([[0.0], found.times, [found.last]])
        y = np.concatenate([[1.0], found.survival, found.survival[-1:] if len(found.survival) else [1.0]])
        layers.append(
            Line(x=Array.of(x, unit=unit), y=Array.of(y, unit="1"), is_step=True, name=found.name, series=k, label="legend", role="data")
        )
        told.append(found)
    n = [int((data.trial.arm == a).sum()) for a in range(len(told))]
    medians = [c.quantile() for c in told]
    words = "; ".join(
        f"{c.name}: {int(c.events.sum())} events in {m}, median {'not reached' if math.isinf(q) else f'{q:g} {unit}'}"
        for c, m, q in zip(told, n, medians, strict=True)
    )
    table = Table.of(
        ("arm", None, tuple(data.trial.arms)),
        ("patients", "1", np.array(n, float)),
        ("events", "1", np.array([float(c.events.sum()) for c in told])),
        ("survival at the last event", "1", np.array([c.survival[-1] if len(c.survival) else 1.0 for c in told])),
    )
    return Figure(
        kind="curve",
        title=title,
        axes=(Axis(name="x", label="time", unit=unit), Axis(name="y", label=f"without {variable}", unit="1", range=(0.0, 1.0))),
        layers=tuple(layers),
        status="current",
        lineage=lineage,
        alt=f"Kaplan-Meier curves. {words}.",
        table=table,
    )
