"""Figures drawn as SVG: one drawer per family of kinds, found by kind."""

from __future__ import annotations

from collections.abc import Callable

from gemel.core.view import Figure, UnknownLayer
from gemel.web.scale import text_width
from gemel.web.style import svg_css, tokens
from gemel.web.svg import element, words

from .cartesian import draw_cartesian
from .timeline import draw_timeline

__all__ = ["STATUS_WORDS", "figure_svg", "is_drawable"]

Drawer = Callable[[Figure, float, float, str, float | None], tuple[str, float]]

DRAWERS: dict[str, Drawer] = {
    **dict.fromkeys(
        ("fan", "series", "agp", "posterior", "compare", "distribution", "curve", "calibration", "scatter", "heatmap", "tornado", "bars"),
        draw_cartesian,
    ),
    "timeline": draw_timeline,
}

STATUS_WORDS = {
    "current": "",
    "stale": "STALE: the data are older than they should be",
    "drifting": "DRIFTING: forecasts no longer keep their promises",
    "abstained": "ABSTAINED",
    "simulated": "SIMULATED: not measured on a person",
}


def is_drawable(figure: Figure) -> bool:
    """Return whether this version can draw a figure; if not, its table is shown and the page says so."""
    return figure.kind in DRAWERS and not any(isinstance(layer, UnknownLayer) for layer in figure.layers)


def banner_text(figure: Figure) -> str:
    """Write the strip above a figure: its state, unless current, and its own banner."""
    state = STATUS_WORDS[figure.status]
    if figure.banner and state:
        return f"{figure.status.upper()}: {figure.banner}"
    return figure.banner or state


def figure_svg(
    figure: Figure, *, width: float = 860, height: float | None = None, is_standalone: bool = True, prefix: str = "figure"
) -> str:
    """Draw a figure as SVG.

    Parameters
    ----------
    figure : any kind that `is_drawable`; another is drawn as a note that points to its table.
    width : pixels.
    height : of the first plot area, pixels; by kind when None.
    is_standalone : adds title, paper and style, for a picture of its own; without, the page's style is used.
    prefix : of ids, unique in the document.

    Returns
    -------
    str
        One `<svg>` element with `role="img"` and the alt sentence as its label; no script and no address but the namespace.
    """
    margin = 18.0 if is_standalone else 0.0
    inner, top, drawn = width - 2 * margin, 0.0, ""
    if is_standalone:
        drawn += words(0.0, 12.0, figure.title, class_="strong", size=17)
        top = 34.0
    text = banner_text(figure)
    if text:
        strip, top = _banner(text, inner, top)
        drawn += strip
    if is_drawable(figure):
        body, end = DRAWERS[figure.kind](figure, inner, top, prefix, height)
        drawn += element("g", body, class_="greyed") if figure.status in ("stale", "abstained") else body
    else:
        drawn += words(
            0.0, top + 14, f"This version cannot draw a figure of kind {figure.kind!r}: its numbers are in its table.", class_="axis-title"
        )
        end = top + 30
    total = end + 4 + 2 * margin
    head = (
        (element("style", tokens(".gemel-svg") + svg_css()) + element("rect", width="100%", height="100%", class_="paper", rx="10"))
        if is_standalone
        else ""
    )
    return element(
        "svg",
        head,
        element("g", drawn, transform=f"translate({margin:g} {margin:g})") if is_standalone else drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {total:.0f}",
        width=f"{width:g}" if is_standalone else None,
        height=f"{total:.0f}" if is_standalone else None,
        class_="gemel-svg",
        role="img",
        aria_label=figure.alt,
        data_kind=figure.kind,
        data_status=figure.status,
    )


def _banner(text: str, width: float, top: float) -> tuple[str, float]:
    """Draw a strip of words, broken where it is too long."""
    lines = [""]
    for word in text.split():
        if lines[-1] and text_width(f"{lines[-1]} {word}", 12.5) > width - 30:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    tall = 12.0 + 16.0 * len(lines)
    drawn = element("rect", x=0.5, y=top + 0.5, width=width - 1, height=tall, rx="4", class_="banner")
    drawn += "".join(words(12.0, top + 14 + 16 * i, line, class_="banner-text", size=12.5) for i, line in enumerate(lines))
    return element("g", drawn, class_="banner-strip"), top + tall + 14
