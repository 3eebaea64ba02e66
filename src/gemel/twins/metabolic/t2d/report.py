"""What a person sees of the type 2 twin: glucose to come, meals and drugs compared, what the data said nothing about, drugs without a mapping."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.record import PatientRecord
from gemel.core.time import HOUR
from gemel.core.view import Table, Text, View, compare_figure, fan_figure, posterior_figure
from gemel.engine.forecast import Comparison, Forecast
from gemel.engine.keys import stream
from gemel.engine.recommend import Abstained, Choice
from gemel.engine.twin import Twin, prior_dominated
from gemel.twins.metabolic.observe import glucose
from gemel.twins.metabolic.t2d.priors import DRUGS

__all__ = ["NOT_FOR", "drug_table", "view"]

DRAWS, BEFORE = 400, 8 * HOUR
TARGET = (70.0, 180.0)
NOT_FOR = (
    "Not for dosing, diagnosis, type 1 diabetes, pregnancy, intensive care, children. What drugs do is an assumed class mean with a wide personal "
    "response; forecasts are the equations' own, without the statistical layer of the room's default twin. A comparison of plans shows what the model "
    "expects: the life not lived is never seen."
)


def view(
    twin: Twin, record: PatientRecord, forecast: Forecast, advice: Choice | Abstained | None = None, *, comparison: Comparison | None = None,
    shown_on: ShownOn | None = None, simulated: bool = False, scores: Table | None = None,
) -> View:  # fmt: skip
    """Return one page about one person. An abstained forecast is a sentence, not a figure.

    Parameters
    ----------
    comparison : of plans; left out, that of the advice. shown_on : on whom, and how many. simulated : mark every figure SIMULATED.
    scores : how earlier forecasts did, from whoever streamed them.
    """
    standing: dict[str, Any] = {"status": "simulated" if simulated else "current", "lineage": forecast.lineage, "shown_on": shown_on}
    sections: list[Any] = [Text(body=forecast.reason, title="Status", tone="plain" if forecast.usable else "warning")]
    if len(forecast.draws):
        known = glucose(record.as_of(twin.now))
        seen = (known.time <= twin.now) & (known.time > twin.now - BEFORE)
        sections.append(
            fan_figure(
                title="Glucose to come", quantity="Glucose", unit="mg/dL", time=forecast.times, draws=forecast.draws[:, :, 0], issued=forecast.issued,
                data=(known.time[seen], known.value[seen]), target=TARGET, **standing,
            )
        )  # fmt: skip
    plans = comparison if comparison is not None else None if advice is None else advice.comparison
    if plans is not None and all(len(f.draws) for f in plans.forecasts.values()):
        first = next(iter(plans.forecasts))
        sections.append(
            compare_figure(
                title="Plans compared under the same draws", quantity="Glucose", unit="mg/dL", time=plans.forecasts[first].times,
                plans={name: f.draws[:, :, 0] for name, f in plans.forecasts.items()}, reference=first, target=TARGET, **standing,
            )
        )  # fmt: skip
    if advice is not None:
        sections.append(Text(body=advice.sentence, title="Advice", tone="note" if isinstance(advice, Choice) else "limit"))
    if scores is not None:
        sections.append(scores)
    sections += _learnt(twin, standing)
    if twin.notes:
        sections.append(
            Text(body="\n".join(f"- {note}" for note in twin.notes), title="What was assumed, ignored or not understood", tone="note")
        )
    sections += [drug_table(), Text(body=NOT_FOR, title="What this is not for", tone="warning")]
    name = f"{twin.patient}: SIMULATED" if simulated else twin.patient
    return View(id=twin.model.id, title="One person's glucose, with a beta cell", subtitle=name, sections=tuple(sections))


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


def drug_table() -> Table:
    """Return what each class of drugs is assumed to change."""
    rows = [(name, ", ".join(d.codes), ", ".join(f"{k} times {np.exp(v):.2f}" for k, v in d.changes.items())) for name, d in DRUGS.items()]
    words = [list(column) for column in zip(*rows, strict=True)]
    return Table.of(
        ("class", None, words[0]), ("ATC", None, words[1]), ("change at the defined daily dose", None, words[2]), title="Drugs as parameter changes",
        note="All ASSUMED, with a personal response whose logarithm has a standard deviation of 0.5.",
    )  # fmt: skip
