"""A stored forecast as a picture that goes with the advice."""

from __future__ import annotations

from gemel.core.advice import ForecastTable
from gemel.core.errors import ViewError
from gemel.interop.fhir.advice import Figure

__all__ = ["draw_forecast"]


def draw_forecast(table: ForecastTable, *, is_simulated: bool = False) -> tuple[Figure, ...]:
    """Return one SVG for each output of a forecast: median and bands, no script, nothing from elsewhere; none of one that says nothing.

    What is drawn goes to the hospital's server, where the forecast goes anyway.
    """
    if table.status != "OK" or len(table.times) < 2:
        return ()
    from gemel.core.view.forecasts import fan_figure
    from gemel.web.figures import figure_svg

    drawn = []
    pairs = [(i, len(table.levels) - 1 - i) for i in range(len(table.levels) // 2)]
    middle = len(table.levels) // 2 if len(table.levels) % 2 else None
    for column, (output, unit) in enumerate(zip(table.outputs, table.units, strict=True)):
        bands = {
            round(table.levels[high] - table.levels[low], 6): (table.quantiles[low, :, column], table.quantiles[high, :, column])
            for low, high in pairs
        }
        median = table.mean[:, column] if middle is None else table.quantiles[middle, :, column]
        try:
            made = fan_figure(
                title=f"Forecast of {output}", quantity=output.capitalize(), unit=unit, time=table.times, median=median, bands=bands, issued=table.issued,
                status="simulated" if is_simulated else "current", lineage=table.lineage,
            )  # fmt: skip
        except ViewError:
            continue
        drawn.append(Figure("image/svg+xml", figure_svg(made).encode(), f"Forecast of {output}"))
    return tuple(drawn)
