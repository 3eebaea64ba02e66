"""Months and money of a planned trial, from its sponsor's own prices: without the prognosis, with it, and with the control arm alone shrunk."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gemel.core.errors import DataError
from gemel.trials.sizing import Size

__all__ = ["Cost", "Prices", "costs"]


@dataclass(frozen=True)
class Prices:
    """What enrolment and a patient cost at this sponsor; nothing is assumed.

    Parameters
    ----------
    enrolment_per_month : patients enrolled in a month, all sites together; None when not known.
    follow_up_months : from the last patient in to the last outcome.
    cost_per_patient : in ``currency``; None when not known.
    currency : as it is to be printed.

    Raises
    ------
    DataError
        For a rate or price that is not positive, a negative follow-up, or nothing to compute with.
    """

    enrolment_per_month: float | None = None
    follow_up_months: float = 0.0
    cost_per_patient: float | None = None
    currency: str = ""

    def __post_init__(self) -> None:
        for name in ("enrolment_per_month", "cost_per_patient"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise DataError(f"{name} is out of range", seen=value, expected="more than 0", fix="correct the price")
        if not 0 <= self.follow_up_months < math.inf:
            raise DataError("follow_up_months is out of range", seen=self.follow_up_months, expected="0 or more")
        if self.enrolment_per_month is None and self.cost_per_patient is None:
            raise DataError("there is no price to compute with", seen="neither", expected="enrolment_per_month or cost_per_patient")
        if self.follow_up_months and self.enrolment_per_month is None:
            raise DataError("months cannot be counted", seen="a follow-up without a rate of enrolment", expected="enrolment_per_month")


@dataclass(frozen=True)
class Cost:
    """What one way to run the trial takes.

    Parameters
    ----------
    plan : ``without the prognosis``, ``with it`` or ``control arm only``.
    enrolled : patients, dropout made up for.
    months : from the first patient in to the last outcome; None without a rate of enrolment.
    money : in the currency of the prices; None without a price.
    months_saved, money_saved : against the trial without the prognosis.
    """

    plan: str
    enrolled: int
    months: float | None
    money: float | None
    months_saved: float | None
    money_saved: float | None


def costs(size: Size, prices: Prices) -> tuple[Cost, ...]:
    """Return what the trial takes without the prognosis, with it, and, where the plan is 1:1, with the control arm alone shrunk.

    Examples
    --------
    >>> from gemel.trials import Assumptions, size
    >>> found = costs(size(Assumptions(sd=1, correlation=0.5), 0.4), Prices(enrolment_per_month=10, follow_up_months=6, cost_per_patient=1000))
    >>> [(c.plan, c.enrolled, c.months, c.money) for c in found][:2]
    [('without the prognosis', 264, 32.4, 264000.0), ('with it', 198, 25.8, 198000.0)]
    """
    share = 1 / (1 + size.assumptions.allocation)
    stay = 1 - size.dropout

    def enrolled(*arms: float) -> int:
        return sum(math.ceil(math.ceil(n - 1e-9) / stay - 1e-9) for n in arms)

    plans = {
        "without the prognosis": enrolled(size.unadjusted * share, size.unadjusted * (1 - share)),
        "with it": size.enrolled,
    }
    if size.control_only is not None:
        plans["control arm only"] = enrolled(size.control_only, size.unadjusted / 2)
    rate, price = prices.enrolment_per_month, prices.cost_per_patient
    rows = {
        plan: (n, None if rate is None else n / rate + prices.follow_up_months, None if price is None else float(n * price))
        for plan, n in plans.items()
    }
    _, months, money = rows["without the prognosis"]
    return tuple(
        Cost(plan, n, m, c, None if m is None or months is None else months - m, None if c is None or money is None else money - c)
        for plan, (n, m, c) in rows.items()
    )
