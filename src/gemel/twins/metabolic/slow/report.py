"""What a person sees of the slow axis: weight and HbA1c to come, plans compared, what the data said nothing about, and what all of it rests on."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.record import PatientRecord
from gemel.core.view import Table, Text, View, compare_figure, fan_figure, posterior_figure
from gemel.engine.forecast import Comparison, Forecast
from gemel.engine.keys import stream
from gemel.engine.recommend import Abstained, Choice
from gemel.engine.twin import Twin, prior_dominated
from gemel.twins.metabolic.slow._external import CREDIBILITY
from gemel.twins.metabolic.slow.observe import FASTING, HBA1C, WEIGHT, measured
from gemel.twins.metabolic.slow.plans import HIGHEST

__all__ = ["ASSUMPTIONS", "view"]

DRAWS = 400
_SHOWN = (("HbA1c", HBA1C), ("Weight", WEIGHT), ("Fasting glucose", FASTING))

ASSUMPTIONS = (
    "- Insulin sensitivity rises exponentially with weight lost, beta-cell function along a logistic curve and less so the longer diabetes has lasted: both "
    "ASSUMED, with wide priors that no data of individuals inform.\n"
    "- Drugs act by class, by a mean effect of trials: ASSUMED, and not this person's answer.\n"
    "- A plan is what is kept. Who keeps it is not in the model.\n"
    "- The external check against DiRECT is FAILED: with priors informed by Look AHEAD the model expects less remission than that trial saw. See README."
)


def view(
    twin: Twin, record: PatientRecord, forecast: Forecast, advice: Choice | Abstained | None = None, *, comparison: Comparison | None = None,
    shown_on: ShownOn | None = None, simulated: bool = False,
) -> View:  # fmt: skip
    """Return one page about one person. An abstained forecast is a sentence, not a figure.

    Parameters
    ----------
    comparison : of plans; left out, that of the advice. shown_on : on whom, and how many. simulated : mark every figure SIMULATED.
    """
    standing: dict[str, Any] = {"status": "simulated" if simulated else "current", "lineage": forecast.lineage, "shown_on": shown_on}
    sections: list[Any] = [
        Text(body=CREDIBILITY, title="How far to trust this page", tone="warning"),
        Text(body=forecast.reason, title="Status", tone="plain" if forecast.usable else "warning"),
    ]
    known = record.as_of(twin.now)
    if len(forecast.draws):
        sections += [_fan(twin, forecast, known, i, *shown, standing) for i, shown in zip((0, 1, 2), _SHOWN, strict=True)]
    plans = comparison if comparison is not None else None if advice is None else advice.comparison
    if plans is not None and all(len(f.draws) for f in plans.forecasts.values()):
        sections += _compared(plans, standing)
    if advice is not None:
        sections.append(Text(body=advice.sentence, title="Advice", tone="note" if isinstance(advice, Choice) else "limit"))
    sections += _learnt(twin, standing)
    if twin.notes:
        sections.append(
            Text(body="\n".join(f"- {note}" for note in twin.notes), title="What was assumed, ignored or not understood", tone="note")
        )
    sections.append(Text(body=ASSUMPTIONS, title="What this rests on", tone="warning"))
    name = f"{twin.patient}: SIMULATED" if simulated else twin.patient
    return View(id=twin.model.id, title="Weight and HbA1c over months", subtitle=name, sections=tuple(sections))


def _fan(twin: Twin, forecast: Forecast, known: PatientRecord, i: int, title: str, code: Any, standing: dict[str, Any]) -> Any:
    output = twin.model.outputs[i]
    time, value = measured(known, code)
    return fan_figure(
        title=title, quantity=title, unit=output.unit, time=forecast.times, draws=forecast.draws[:, :, i], issued=forecast.issued,
        data=(time[time <= twin.now], value[time <= twin.now]), thresholds=((HIGHEST, "threshold of the diagnosis"),) if i == 0 else (), **standing,
    )  # fmt: skip


def _compared(plans: Comparison, standing: dict[str, Any]) -> list[Any]:
    first = next(iter(plans.forecasts))
    times = plans.forecasts[first].times
    figure = compare_figure(
        title="Plans compared under the same draws", quantity="HbA1c", unit="%", time=times,
        plans={name: f.draws[:, :, 0] for name, f in plans.forecasts.items()}, reference=first, thresholds=((HIGHEST, "threshold of the diagnosis"),), **standing,
    )  # fmt: skip
    names = list(plans.forecasts)
    hba1c = [plans.forecasts[n].quantiles((0.05, 0.5, 0.95))[:, -1] for n in names]
    weight = [plans.forecasts[n].quantiles((0.5,), output="weight")[0, -1] for n in names]
    table = Table.of(
        ("plan", None, names),
        ("HbA1c", "%", [float(q[1]) for q in hba1c]),
        ("5 %", "%", [float(q[0]) for q in hba1c]),
        ("95 %", "%", [float(q[2]) for q in hba1c]),
        ("weight", "kg", [float(w) for w in weight]),
        title="At the last time",
        note="Model consequences under stated assumptions; what a plan costs the person is not in them.",
    )
    return [figure, table]


def _learnt(twin: Twin, standing: dict[str, Any]) -> list[Any]:
    prior, key = twin.model.prior, jax.random.key(0)
    before = prior.constrain(prior.draw(DRAWS, key=stream(key, "prior")))
    after = prior.constrain(twin.posterior.draw(DRAWS, key=stream(key, "posterior")))
    flagged = prior_dominated(prior, twin.posterior)
    shown = {p.name: (np.asarray(before[p.name]), np.asarray(after[p.name]), p.unit) for p in prior.parameters}
    told = f"The data hardly moved: {', '.join(flagged) or 'none'}. What follows from these is the prior's, not this person's."
    return [
        posterior_figure(title="Parameters", parameters=shown, dominated=flagged, **standing),
        Text(body=told, title="Prior-dominated", tone="note"),
    ]
