"""What a person sees: the page of the metabolic room, about this twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gemel.core.advice import Proposal, ShownOn
from gemel.core.record import PatientRecord
from gemel.core.view import Text, View
from gemel.engine.forecast import Comparison, Forecast
from gemel.engine.recommend import Abstained, Choice
from gemel.engine.twin import Twin
from gemel.twins.metabolic import report as shared

__all__ = ["person_view", "view"]

TWIN = "metabolic-t1d"
WHAT = (
    "The UVA/Padova equations with nine personal parameters; everything else is that of a typical virtual person of the same age group. "
    "Forecasts are the equations' own: no layer has learnt what they miss in this person."
)


def _of_this_twin(page: View) -> View:
    """Return the room's page with this twin's name, and commands that name it."""
    sections = [
        s.model_copy(update={"body": s.body.replace("metabolic RECORD", f"{TWIN} RECORD")}) if isinstance(s, Text) else s
        for s in page.sections
    ]
    told = Text(title="What this twin is", body=WHAT, tone="note")
    return page.model_copy(
        update={
            "id": page.id.replace("metabolic-", f"{TWIN}-", 1),
            "subtitle": page.subtitle.replace("twin metabolic ", f"twin {TWIN} "),
            "sections": (*sections[:-1], told, sections[-1]),
        }
    )


def person_view(
    *, record: PatientRecord | None, twin: Twin | None, streamed: Sequence[shared.Streamed] | None, comparison: Comparison | None,
    outcome: Choice | Abstained | Proposal | None, summary: Mapping[str, float] | None, notes: Sequence[str] | None, shown_on: ShownOn | None,
    simulated: bool = False, title: str = "One person's glucose",
) -> View:  # fmt: skip
    """Return the page of one person; parameters as in :func:`gemel.twins.metabolic.report.person_view`."""
    return _of_this_twin(
        shared.person_view(
            record=record, twin=twin, streamed=streamed, comparison=comparison, outcome=outcome, summary=summary, notes=notes, shown_on=shown_on,
            simulated=simulated, title=title,
        )
    )  # fmt: skip


def view(
    twin: Twin, record: PatientRecord, forecast: Forecast, advice: Choice | Abstained | None = None, *, simulated: bool = False
) -> View:
    """Return the page for one forecast and, where asked for, its advice."""
    return _of_this_twin(shared.view(twin, record, forecast, advice, simulated=simulated))
