"""Figures and views in a notebook: the renderer that `core` finds by the entry point group `gemel.renderers`."""

from __future__ import annotations

import hashlib

from gemel.core.view import Figure, Scene, View
from gemel.web.report import RESEARCH_USE, render_body, section_html
from gemel.web.style import page_css
from gemel.web.svg import escape


def mimebundle(thing: Figure | Scene | View) -> dict[str, str]:
    """Draw a figure, scene or view for a notebook.

    Returns
    -------
    MIME type -> content: HTML whose style touches nothing outside it.
    """
    unique = f"cell-{hashlib.sha256(thing.model_dump_json().encode()).hexdigest()[:12]}"
    if isinstance(thing, View):
        inner = render_body(thing, unique)
    else:
        inner = f'<p class="research" role="note">{escape(RESEARCH_USE)}</p>{section_html(thing, unique)}'
    return {"text/html": f'<style>{page_css()}</style><div class="gemel">{inner}</div>'}
