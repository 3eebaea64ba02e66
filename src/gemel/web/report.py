"""A view as one HTML file that opens from disk, asks nothing of any network, and prints to A4."""

from __future__ import annotations

import base64
import hashlib

from gemel.core.view import Figure, Form, Number, Scene, Table, Text, View
from gemel.web.html import figure_html, form_html, number_html, scene_html, table_html, text_html
from gemel.web.script import READ_OUT
from gemel.web.style import page_css
from gemel.web.svg import escape

RESEARCH_USE = "Research use only. Not a medical device: no diagnosis and no treatment may rest on this page."


def render_html(view: View) -> str:
    """Write a view as one self-contained HTML file.

    Figures are SVG in the page and need no script; a small one, allowed by its hash, adds a read-out under the pointer.

    Parameters
    ----------
    view : with its arrays in memory.

    Returns
    -------
    str
        HTML, UTF-8. Its content policy forbids every request.

    Examples
    --------
    >>> page = render_html(View(id="hello", title="Hello", sections=(Text(body="A first page."),)))
    >>> "A first page." in page
    True
    """
    css = page_css()
    policy = f"default-src 'none'; style-src {_hash(css)}; script-src {_hash(READ_OUT)}; img-src data:; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}"><meta name="referrer" content="no-referrer">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(view.title)}</title><style>{css}</style></head>'
        f'<body class="gemel gemel-page">{render_body(view)}<script>{READ_OUT}</script></body></html>'
    )


def render_body(view: View, prefix: str = "section") -> str:
    """Write the inner part of a report: heading, research-use banner, sections; numbers in a row share a grid.

    Ids begin with `prefix`, which must be unique where several views share a page.
    """
    parts: list[str] = []
    cards: list[str] = []
    for i, section in enumerate(view.sections):
        if isinstance(section, Number):
            cards.append(number_html(section))
            continue
        if cards:
            parts.append(f'<div class="numbers">{"".join(cards)}</div>')
            cards = []
        parts.append(section_html(section, f"{prefix}-{i + 1}"))
    if cards:
        parts.append(f'<div class="numbers">{"".join(cards)}</div>')
    subtitle = f'<p class="subtitle">{escape(view.subtitle)}</p>' if view.subtitle else '<p class="subtitle"></p>'
    return (
        f'<main class="sheet"><div class="mark">Gemel</div><h1>{escape(view.title)}</h1>{subtitle}'
        f'<p class="research" role="note"><strong>{escape(RESEARCH_USE)}</strong></p>{"".join(parts)}'
        f"<footer>{escape(RESEARCH_USE)} View {escape(view.id)}, {escape(view.schema_)}.</footer></main>"
    )


def section_html(section: Figure | Scene | Text | Table | Form, prefix: str) -> str:
    """Write one section; `prefix` is its id, unique in the page."""
    if isinstance(section, Figure):
        return figure_html(section, prefix)
    if isinstance(section, Scene):
        return scene_html(section, prefix)
    if isinstance(section, Text):
        return text_html(section)
    if isinstance(section, Table):
        return table_html(section)
    return form_html(section)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
