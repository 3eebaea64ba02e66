"""HUPA-UCM, the preprocessed tables: one file per person, semicolons, a row every 5 min, 25 people with type 1 diabetes.

Columns: ``time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input``. Carbohydrate is in servings of 10 g. The unit of
``basal_rate`` is told neither by the table nor agreed upon by those who read it: it is decided from the data (see :func:`basal_per_hour`), and left out where
the data do not decide. The sensors measure every 15 min and the publisher interpolated to 5 min: two of three readings hold no news.

References
----------
Hidalgo JI et al. 2024, HUPA-UCM diabetes dataset, Data in Brief; data doi:10.17632/3hbcscwz44.1 (CC BY 4.0).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemel.core import Demographics, Exposure, PatientRecord, Series
from gemel.core.errors import UnitError
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._grid import has_columns, read_grid
from gemel.interop.wearables.base import Layout, Options, Parsed, Source

__all__ = ["LAYOUT", "basal_per_hour"]

ZONE = "Europe/Madrid"  # recorded in Madrid
SERVING = 10.0  # g of carbohydrate, the Spanish ration; independent readers of the set multiply by it
_COLUMNS = ("glucose", "calories", "heart_rate", "steps", "basal_rate", "bolus_volume_delivered", "carb_input")
_SERIES = {"heart_rate": (facts.HEART_RATE, "/min"), "steps": (facts.STEPS, "{steps}"), "calories": (facts.ENERGY_SPENT, "kcal")}
_PER_HOUR = 12.0  # rows of 5 min
_PUMP_STEP = 0.025  # U/h, the finest step of the pumps in the study
_DAILY = (3.0, 100.0)  # U of basal insulin per day that an adult with type 1 diabetes takes


def _on_steps(values: np.ndarray, step: float) -> bool:
    # 6 decimals in the table, so 12 x a rounded value is off by up to 6e-6, 288 x by 1.5e-4
    return bool(np.mean(np.abs(values / step - np.round(values / step)) < 0.02) > 0.95)


def basal_per_hour(values: np.ndarray) -> float | None:
    """Decide what turns the basal column into U/h: 1 (it is U/h), 12 (it is units per row of 5 min), or None (undecided).

    Two witnesses. Pumps are set in steps of 0.025 U/h, and pens give whole half units a day: the values stand on such steps in one unit and not in the other.
    And a day's basal insulin lies between 3 and 100 U.

    Examples
    --------
    >>> basal_per_hour(np.array([0.091667, 0.091667, 0.075]))
    12.0
    >>> basal_per_hour(np.array([0.8, 1.1, 0.95]))
    1.0
    """
    given = values[np.isfinite(values) & (values > 0)]
    if not len(given):
        return None
    mean = float(given.mean())
    possible = {
        1.0: _DAILY[0] <= 24 * mean <= _DAILY[1],
        _PER_HOUR: _DAILY[0] <= 24 * _PER_HOUR * mean <= _DAILY[1],
    }
    steps = {
        1.0: _on_steps(given, _PUMP_STEP),
        _PER_HOUR: _on_steps(_PER_HOUR * given, _PUMP_STEP) or _on_steps(24 * _PER_HOUR * given, 0.5),
    }
    both = [factor for factor in possible if possible[factor] and steps[factor]]
    if len(both) == 1:
        return both[0]
    plausible = [factor for factor, fits in possible.items() if fits]
    return plausible[0] if len(plausible) == 1 else None


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        grid = read_grid(source, "hupa", "time", _COLUMNS, options, ZONE, in_order=True)
        notes = grid.notes
        readings = grid.glucose("glucose", limits=((40.0,), (400.0, 500.0)))
        facts.require_glucose(readings, grid.name)
        found: list[Series | Exposure] = [*readings]
        servings = grid.numbers("carb_input")
        eaten = servings[np.isfinite(servings) & (servings > 0)]
        if len(eaten) and float(np.median(eaten)) > 20.0:
            raise UnitError(
                f"carbohydrate of {grid.name} looks like grams",
                seen=f"median {np.median(eaten):g} servings of {SERVING:g} g",
                expected="a median of at most 20 servings",
                fix="use the publisher's table, or rename the columns to those of the generic table",
            )
        found += grid.doses(facts.CARBOHYDRATES, "g", servings * SERVING)
        if len(eaten):
            notes.repair(f"servings of carbohydrate turned into grams ({SERVING:g} g each)", len(eaten))
        found += grid.doses(facts.INSULIN_RAPID, "[iU]", grid.numbers("bolus_volume_delivered"))
        basal = grid.numbers("basal_rate")
        factor = basal_per_hour(basal)
        if factor is not None:
            found += grid.basal(basal * factor)
            if factor != 1.0:
                notes.repair("basal insulin per row of 5 min turned into U/h", int(np.isfinite(basal).sum()))
            notes.warn(f"the unit of basal_rate is not published; the values decide for {'U/h' if factor == 1.0 else 'U per 5 min'}")
        elif np.nansum(basal) > 0:
            notes.unclear("basal_rate: its unit is not published and the values do not decide", int((basal > 0).sum()))
        found += grid.series(_SERIES, zero_is_absent=("heart_rate",))
        notes.warn("glucose was interpolated from 15 to 5 min by the publisher: do not count every reading as a measurement")
        grid.ignore_others(("time", *_COLUMNS))
        record = PatientRecord(
            id=options.id if options.id and len(sources) == 1 else source.stem,
            demographics=Demographics(zone=grid.zone, traits={"diabetes": "T1D", "dataset": "HUPA-UCM"}),
        ).with_facts(*found)
        parsed.append((record, notes.report(record)))
    return parsed


LAYOUT = Layout(
    "hupa",
    "HUPA-UCM full tables (semicolons; glucose, insulin, carbohydrate servings, heart rate, steps)",
    has_columns("time", *_COLUMNS),
    _parse,
)
