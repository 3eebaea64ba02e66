"""Sections as HTML: figures, scenes, words, numbers, tables and forms; every word escaped."""

from __future__ import annotations

from gemel.core.view import Figure, Form, Link, Number, Scene, ShownOn, Table, Text, number_text, unit_text
from gemel.core.view.words import percent, span_text
from gemel.web.figures import STATUS_WORDS, figure_svg, is_drawable
from gemel.web.svg import escape
from gemel.web.tables import render_table

LONG = 60
"""Rows of a table of its own beyond which it scrolls within the page."""
SIGNS = {"current": "●", "stale": "◔", "drifting": "◆", "abstained": "⊘", "simulated": "◇"}


def chips(status: str, shown_on: ShownOn | None) -> str:
    """Write the state of a result and on whom it was shown."""
    state = "SIMULATED" if status == "simulated" else status
    shown = f"shown on: {shown_on}" if shown_on is not None else "shown on: not stated"
    first = f'<span class="chip {escape(status)}">{SIGNS[status]} {escape(state)}</span>'
    return f'<div class="chips">{first}<span class="chip">{escape(shown)}</span></div>'


def links(items: tuple[Link, ...]) -> str:
    """Write links, which lead nowhere until followed."""
    if not items:
        return ""
    return (
        '<p class="small">'
        + " · ".join(f'<a href="{escape(item.href)}" rel="noreferrer noopener">{escape(item.label)}</a>' for item in items)
        + "</p>"
    )


def _head(title: str, question: str, status: str, shown_on: ShownOn | None) -> str:
    asked = f'<p class="question">{escape(question)}</p>' if question else ""
    return f'<div class="head"><div><h2>{escape(title)}</h2>{asked}</div>{chips(status, shown_on)}</div>'


def unbroken(text: str) -> str:
    """Keep a number and its per cent sign on one line."""
    return text.replace(" %", "\u00a0%")


def figure_html(figure: Figure, prefix: str) -> str:
    """Write a figure: state, drawing, what it says, its table, its lineage."""
    table = f"<details><summary>Data as table</summary>{render_table(figure.table)}</details>"
    if not is_drawable(figure):
        said = (
            ""
            if figure.kind == "table"
            else f'<p class="small">This version cannot draw a figure of kind “{escape(figure.kind)}”; here are its numbers.</p>'
        )
        strip = (
            f'<p class="research">{escape(figure.banner or STATUS_WORDS[figure.status])}</p>'
            if figure.status != "current" or figure.banner
            else ""
        )
        drawing, table = strip + said + render_table(figure.table), ""
    else:
        svg = figure_svg(figure, width=940, is_standalone=False, prefix=prefix)
        drawing = f'<div class="plot">{svg}</div><div class="read" aria-live="polite"></div>'
    return (
        f'<section id="{escape(prefix)}">{_head(figure.title, figure.question, figure.status, figure.shown_on)}<figure>{drawing}'
        f"<figcaption>{escape(unbroken(figure.alt))}</figcaption>{table}</figure>{links(figure.links)}"
        f'<p class="small">lineage {escape(figure.lineage)}</p></section>'
    )


def scene_html(scene: Scene, prefix: str) -> str:
    """Write a scene on paper: what it says and its numbers; the geometry itself needs a workspace."""
    strip = (
        f'<p class="research">{escape(scene.banner or STATUS_WORDS[scene.status])}</p>' if scene.status != "current" or scene.banner else ""
    )
    listed = "".join(f"<li>{escape(item.name)}: {escape(item.type)}</li>" for item in scene.objects)
    return (
        f'<section id="{escape(prefix)}">{_head(scene.title, scene.question, scene.status, scene.shown_on)}{strip}'
        f"<p>{escape(unbroken(scene.alt))}</p>"
        f'<p class="small">A three-dimensional scene, not drawn on paper. It holds:</p><ul>{listed}</ul>'
        f"<details><summary>Data as table</summary>{render_table(scene.table)}</details>{links(scene.links)}"
        f'<p class="small">lineage {escape(scene.lineage)}</p></section>'
    )


def text_html(text: Text) -> str:
    """Write plain words: paragraphs at empty lines, items at lines that begin with a dash."""
    title = f"<h2>{escape(text.title)}</h2>" if text.title else ""
    blocks = []
    for block in text.body.split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if lines and all(line.startswith("- ") for line in lines):
            blocks.append("<ul>" + "".join(f"<li>{escape(line[2:])}</li>" for line in lines) + "</ul>")
        elif lines:
            blocks.append(f"<p>{escape(' '.join(lines))}</p>")
    return f'<section class="{"words" if text.tone == "plain" else text.tone}">{title}{"".join(blocks)}{links(text.links)}</section>'


def number_html(item: Number) -> str:
    """Write one number as a card: value, unit, interval, state, lineage."""
    unit = unit_text(item.unit)
    value = number_text(item.value, sides=item.sides) if item.value is not None else "no value"
    under = item.certain_because
    if item.lower is not None and item.upper is not None and item.level is not None:
        under = f"{percent(item.level)} interval {span_text(item.lower, item.upper, item.unit, sides=item.sides)}"
    lines = "".join(f'<div class="interval">{escape(line)}</div>' for line in (under, item.note) if line)
    return (
        f'<div class="number"><div class="label">{escape(item.label)}</div>'
        f'<div class="value">{escape(value)} <span>{escape(unit)}</span></div>{lines}'
        f'<div class="small">{chips(item.status, item.shown_on)}lineage {escape(item.lineage)}</div></div>'
    )


def form_html(form: Form) -> str:
    """Write a form on paper: what can be set, in which unit, between which limits."""
    rows = []
    for field in form.fields:
        ends = [number_text(end) if end is not None else "" for end in (field.minimum, field.maximum)]
        allowed = ", ".join(field.choices) or (f"{ends[0]} to {ends[1]}".strip() if any(ends) else field.kind)
        value = "" if field.value is None else number_text(field.value) if isinstance(field.value, float | int) else str(field.value)
        rows.append((field.label, value, unit_text(field.unit), allowed, field.why))
    columns = tuple(zip(*rows, strict=True)) if rows else ((),) * 5
    names = ("what", "now", "unit", "allowed", "why")
    table = Table.of(*((name, None, column) for name, column in zip(names, columns, strict=True)), title=form.title)
    said = '<p class="small">Set in the workspace; a report only shows it.</p>'
    return f"<section><h2>{escape(form.title)}</h2>{render_table(table)}{said}</section>"


def table_html(table: Table) -> str:
    """Write a table that stands by itself."""
    title = f"<h2>{escape(table.title)}</h2>" if table.title else ""
    return f"<section>{title}{render_table(table, is_whole=table.rows <= LONG)}</section>"
