"""What a person sees of the pulse twin: one fan, and a sentence when there is none."""

from gemel.core import ShownOn
from gemel.core.view import Text, View, fan_figure


def view(twin, record, forecast, advice=None):
    """Return one page."""
    words = Text(title="Status", body=forecast.reason, tone="plain" if forecast.usable else "warning")
    if not len(forecast.draws):
        return View(id="pulse", title="Pulse", sections=(words,))
    series = record.as_of(twin.now).series[0].current()
    fan = fan_figure(
        title="The next minutes",
        quantity="pulse",
        unit="/min",
        time=forecast.times,
        draws=forecast.draws[:, :, 0],
        data=(series.time, series.value),
        issued=forecast.issued,
        status="simulated",
        lineage=forecast.lineage,
        shown_on=ShownOn(kind="simulated", n=1),
    )
    told = (Text(title="Advice", body=advice.sentence),) if advice is not None else ()
    return View(id="pulse", title="Pulse", sections=(words, fan, *told))
