"""What a person sees of a toy: the forecast as a fan, the parameters as prior and posterior, and the advice in words."""

from __future__ import annotations

from gemel.core.advice import ShownOn
from gemel.core.record import PatientRecord
from gemel.core.view import View
from gemel.engine.forecast import Forecast
from gemel.engine.page import plain_page
from gemel.engine.recommend import Abstained, Choice
from gemel.engine.twin import Twin
from gemel.twins.toys.observe import readings

__all__ = ["view"]

SIMULATED = ShownOn(kind="simulated", n=1, what="drawn from the toy's own model")


def view(twin: Twin, record: PatientRecord, forecast: Forecast, advice: Choice | Abstained | None = None) -> View:
    """Return one page about a toy twin. An abstained forecast is a sentence, not a figure."""
    time, value, _ = readings(record.as_of(twin.now))
    return plain_page(twin, (time, value), forecast, advice, shown_on=SIMULATED, subtitle=f"{twin.patient}: SIMULATED")
