"""A view on paper: PDF with tags for screen readers (PDF/UA-1), set by Typst; no browser is needed and no network is asked."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files as package_files
from typing import Any

from gemel.core.errors import ViewError
from gemel.core.view import Array, Figure, Number, Table, Text, View, number_text, unit_text
from gemel.core.view.words import percent, span_text, stamp_text
from gemel.web.figures import figure_svg, is_drawable
from gemel.web.flat_svg import flatten
from gemel.web.report import RESEARCH_USE
from gemel.web.tables import DIGITS, chosen_rows

__all__ = ["render_pdf"]

MOST_ROWS = 400
"""Longer tables are thinned on paper; all rows are in the JSON of the view."""
WIDE = 7
"""Tables of so many columns lie better on a page that is wider than high."""


@lru_cache(maxsize=1)
def _template() -> bytes:
    return package_files("gemel.web").joinpath("report.typ").read_bytes()


def _breakable(word: str) -> str:
    """Let long identifiers break across lines."""
    return "\u200b".join(word[i : i + 12] for i in range(0, len(word), 12)) if len(word) > 24 and " " not in word else word


def _text(section: Text) -> dict[str, Any]:
    blocks = []
    for block in section.body.split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if lines and all(line.startswith("- ") for line in lines):
            blocks.append({"kind": "items", "lines": [line[2:] for line in lines]})
        elif lines:
            blocks.append({"kind": "words", "lines": [" ".join(lines)]})
    return {"type": "text", "title": section.title, "blocks": blocks}


def _table(table: Table, title: str | None = None) -> dict[str, Any]:
    rows = chosen_rows(table, MOST_ROWS)
    columns, heads, sides = [], [], []
    for column in table.columns:
        if not isinstance(column.values, Array):
            columns.append([" ".join(_breakable(w) for w in (column.values[i] or "").split()) for i in rows.tolist()])
        else:
            values = column.values.numpy()[rows].tolist()
            if column.kind == "time":
                columns.append([stamp_text(v, column.zone) for v in values])
            else:
                columns.append([number_text(v, digits=DIGITS) if v == v else "" for v in values])
        unit = unit_text(column.written_unit) if column.kind == "number" else ""
        heads.append(f"{column.label} ({unit})" if unit else column.label or "#")
        sides.append("right" if column.kind == "number" else "left")
    longest = [max([len(h), *(len(c) for c in cells)]) for h, cells in zip(heads, columns, strict=True)]
    widths = [min(max(n, 5), 60) ** 0.6 for n in longest]
    note = table.note + (f" {len(rows)} of {table.rows} rows are shown." if len(rows) < table.rows else "")
    return {
        "type": "table", "title": table.title if title is None else title, "heads": heads, "sides": sides, "widths": widths, "note": note,
        "cells": [list(row) for row in zip(*columns, strict=True)],
    }  # fmt: skip


def _number(item: Number) -> dict[str, Any]:
    value = "no value" if item.value is None else f"{number_text(item.value, sides=item.sides)} {unit_text(item.unit)}"
    under = item.certain_because
    if item.lower is not None and item.upper is not None and item.level is not None:
        under = f"{percent(item.level)} interval {span_text(item.lower, item.upper, item.unit, sides=item.sides)}"
    shown = f"shown on: {item.shown_on}" if item.shown_on is not None else ""
    return {"type": "number", "label": item.label, "value": value, "note": "; ".join(x for x in (under, item.note, shown) if x)}


def render_pdf(view: View) -> bytes:
    """Write a view as a PDF that is tagged for screen readers.

    Figures are vector drawings with their description as alternative text; scenes and forms are left to the page and named.

    Parameters
    ----------
    view : with its arrays in memory.

    Returns
    -------
    bytes
        The same view gives the same bytes.

    Raises
    ------
    ViewError
        When the typesetter refuses the page.
    """
    import typst

    sections: list[dict[str, Any]] = []
    pictures: dict[str, bytes] = {}
    for section in view.sections:
        if isinstance(section, Text):
            sections.append(_text(section))
        elif isinstance(section, Table):
            sections.append(_table(section))
        elif isinstance(section, Number):
            sections.append(_number(section))
        elif isinstance(section, Figure) and is_drawable(section):
            name = f"figure-{len(pictures)}.svg"
            pictures[name] = flatten(figure_svg(section, width=940)).encode()
            state = "SIMULATED" if section.status == "simulated" else section.status
            standing = f"{state}; shown on: {section.shown_on or 'not stated'}; lineage {section.lineage}"
            sections.append({"type": "figure", "title": section.title, "file": name, "alt": section.alt, "standing": standing})
        elif isinstance(section, Figure):
            sections.append(_table(section.table, section.title))
        else:
            sections.append(_text(Text(title=section.title, body="This part is shown on the page only.")))
    told = {
        "title": view.title, "subtitle": view.subtitle, "research": RESEARCH_USE, "footer": f"{RESEARCH_USE} View {view.id}, {view.schema_}.",
        "wide": any(s["type"] == "table" and len(s["heads"]) >= WIDE for s in sections), "sections": sections,
    }  # fmt: skip
    given = {"main.typ": _template(), "view.json": json.dumps(told).encode(), **pictures}
    try:
        made = typst.compile(given, format="pdf", pdf_standards=["ua-1"])
    except typst.TypstError as error:
        raise ViewError("the page cannot be set", seen=error, fix="report this with the view's JSON: it is a defect") from error
    assert isinstance(made, bytes)
    return made
