"""What no virtual patient may break: the steps and limits of an instrument, visits after leaving, an event that is taken back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gemel.trials.generate.panel import Panel

__all__ = ["constrained", "violations"]


def constrained(panel: Panel) -> Panel:
    """Return the panel on its instruments: whole steps inside the limits, nothing after the last visit, no visit after the event.

    The last visit attended is at most that of the event where the event ends follow-up (``event_name`` set); survival then cannot rise.
    """
    visits = len(panel.times)
    last = np.clip(panel.last, 0, visits - 1)
    event = np.clip(panel.event, 0, visits)
    event = np.where(event > last, visits, event)  # what happens after the last visit is not seen
    values = np.empty_like(panel.values)
    for j, variable in enumerate(panel.variables):
        values[:, :, j] = variable.decode(variable.encode(panel.values[:, :, j]))
        if variable.is_baseline:
            values[:, 1:, j] = np.nan
        else:
            values[:, :, j] = np.where(np.arange(visits) > last[:, None], np.nan, values[:, :, j])
    return replace(panel, values=values, last=last, event=event)


def violations(panel: Panel) -> dict[str, int]:
    """Count what no patient may break; all zero after :func:`constrained`.

    Returns
    -------
    Values off the steps of their instrument, beyond its limits, after the last visit; events after the last visit.
    """
    visits, found = len(panel.times), {"off step": 0, "beyond limits": 0, "after the last visit": 0}
    for j, variable in enumerate(panel.variables):
        value = panel.values[:, :, j]
        known = ~np.isnan(value)
        steps = value[known] / variable.resolution
        found["off step"] += int((np.abs(steps - np.rint(steps)) > 1e-6).sum())
        found["beyond limits"] += int(((value[known] < variable.low - 1e-9) | (value[known] > variable.high + 1e-9)).sum())
        if not variable.is_baseline:
            found["after the last visit"] += int((known & (np.arange(visits) > panel.last[:, None])).sum())
    return found | {"event after the last visit": int(((panel.event < visits) & (panel.event > panel.last)).sum())}
