"""Evidence of the room: the validation protocol it declares, its verification problems, and what is conserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gemel.core.record import PatientRecord
from gemel.evidence.stream_protocol import Alarm, Forecasts, StreamProtocol, Windows
from gemel.twins.metabolic import observe
from gemel.twins.metabolic.correct import learn, recording, slot_minutes
from gemel.twins.metabolic.discrepancy import PersonSeries
from gemel.twins.metabolic.error_grids import clarke, dts, parkes

__all__ = ["PROTOCOL", "forecaster", "recordings"]

SHORTEST = 50
"""Readings below which a recording is left out."""


def recordings(records: Sequence[PatientRecord]) -> tuple[list[PersonSeries], list[str]]:
    """Return recordings on a common slot length, and what was left out."""
    known = [(r, observe.glucose(r)) for r in records]
    notes = [f"{r.id}: {len(g.time)} readings, left out (fewer than {SHORTEST})" for r, g in known if len(g.time) < SHORTEST]
    kept = [(r, g) for r, g in known if len(g.time) >= SHORTEST]
    step = slot_minutes([g.time for _, g in kept])
    return [recording(r, step) for r, _ in kept], notes


def forecaster(people: Sequence[PersonSeries], parts: Sequence[Windows], horizons: tuple[int, ...], options: Mapping[str, Any]) -> list[Forecasts]:
    """Forecast every window of every recording, each from what was known at its origin.

    Options
    -------
    inputs : ``False`` leaves meals and insulin out.
    """
    if not options.get("inputs", True):
        people = [replace(p, carbohydrate=p.carbohydrate * 0, meal=p.meal * 0, insulin=p.insulin * 0) for p in people]
    _, members = learnt = learn(
        people, [w.origin for w in parts], [w.lags for w in parts], [w.outcome for w in parts], [w.part for w in parts], horizons, inputs=options.get("inputs", True)
    )
    out = []
    for i, w in enumerate(parts):
        mean, quantiles = np.zeros((len(w.origin), len(horizons))), np.zeros((len(w.origin), len(horizons), 99))
        if len(w.origin):
            for j, (d, group) in enumerate(zip(learnt[0].parts, members, strict=True)):
                made = d.distribution(group[i])
                mean[:, j], quantiles[:, j] = made.mean, made.quantiles
        out.append(Forecasts(mean, quantiles))
    return out


PROTOCOL = StreamProtocol(
    output="glucose",
    unit="mg/dL",
    horizons=(15, 30, 60, 120),
    recordings=recordings,
    forecaster=forecaster,
    bands=(70.0, 180.0 + 1e-9),
    zones={"Clarke": clarke, "Parkes": parkes, "DTS": dts},
    alarm=Alarm("glucose below 70 mg/dL within 30 min", 70.0, 30, 15),
    question="Given this person's CGM (and meals and insulin where logged), where will glucose be in 15 to 120 minutes, and with what certainty?",
)
