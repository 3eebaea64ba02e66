"""What a person sees of a virtual control: the forecast as a fan, and the parameters as prior and posterior."""

from __future__ import annotations

import jax
import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.record import PatientRecord
from gemel.core.view import Text, View, fan_figure, posterior_figure
from gemel.engine.forecast import Forecast
from gemel.engine.keys import stream
from gemel.engine.recommend import Abstained, Choice
from gemel.engine.twin import Twin
from gemel.twins.virtual_control.observe import readings

__all__ = ["view"]

SIMULATED = ShownOn(kind="simulated", n=1, what="drawn from the model")
DRAWS = 400


def view(twin: Twin, record: PatientRecord, forecast: Forecast, advice: Choice | Abstained | None = None) -> View:
    """Return one page about a virtual control. An abstained forecast is a sentence, not a figure."""
    output = twin.model.outputs[0]
    standing = {"status": "simulated", "lineage": forecast.lineage, "shown_on": SIMULATED}
    sections = [Text(body=forecast.reason, title="Status", tone="plain" if forecast.usable else "warning")]
    if len(forecast.draws):
        time, value, _ = readings(record.as_of(twin.now))
        sections.append(
            fan_figure(
                title="What comes next",
                quantity=output.name,
                unit=output.unit,
                time=forecast.times,
                draws=forecast.draws[:, :, 0],
                issued=forecast.issued,
                data=(time, value),
                **standing,
            )
        )
    prior = twin.model.prior
    key = jax.random.key(0)
    before = prior.constrain(prior.draw(DRAWS, key=stream(key, "prior")))
    after = prior.constrain(twin.posterior.draw(DRAWS, key=stream(key, "posterior")))
    shown = {p.name: (np.asarray(before[p.name]), np.asarray(after[p.name]), p.unit) for p in prior.parameters}
    sections.append(posterior_figure(title="Parameters", parameters=shown, **standing))
    if advice is not None:
        sections.append(Text(body=advice.sentence, title="Advice", tone="note"))
    return View(id=twin.model.id, title=f"Twin {twin.model.id}", subtitle=f"{twin.patient}: SIMULATED", sections=tuple(sections))
