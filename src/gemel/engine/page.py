"""The plainest page of a twin: its status, the forecast as a fan over what was read, parameters before and after, the advice in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.view import Text, View, fan_figure, posterior_figure
from gemel.engine.forecast import Forecast
from gemel.engine.keys import stream
from gemel.engine.recommend import Abstained, Choice
from gemel.engine.twin import Twin

__all__ = ["plain_page"]

DRAWS = 400


def plain_page(
    twin: Twin,
    read: tuple[np.ndarray, np.ndarray],
    forecast: Forecast,
    advice: Choice | Abstained | None = None,
    *,
    shown_on: ShownOn,
    subtitle: str = "",
) -> View:
    """Return one page about a twin. An abstained forecast is a sentence, not a figure.

    Parameters
    ----------
    read : (n,) times, ns UTC, and (n,) values of the first output, in its unit.
    shown_on : on whom it is shown; stands beside every figure.
    """
    output = twin.model.outputs[0]
    standing: Mapping[str, Any] = {"status": "simulated", "lineage": forecast.lineage, "shown_on": shown_on}
    sections = [Text(body=forecast.reason, title="Status", tone="plain" if forecast.usable else "warning")]
    if len(forecast.draws):
        sections.append(
            fan_figure(
                title="What comes next",
                quantity=output.name,
                unit=output.unit,
                time=forecast.times,
                draws=forecast.draws[:, :, 0],
                issued=forecast.issued,
                data=read,
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
    return View(id=twin.model.id, title=f"Twin {twin.model.id}", subtitle=subtitle or twin.patient, sections=tuple(sections))
