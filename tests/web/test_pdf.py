"""A view on paper: tagged, searchable, the same bytes for the same view, and no markup in words is ever obeyed."""

import xml.etree.ElementTree as ET

import numpy as np

from gemel.core.view import Number, Table, Text, View, bars_figure, calibration_figure
from gemel.web import figure_svg
from gemel.web.flat_svg import flatten
from gemel.web.pdf import render_pdf

NASTY = "#image(\"x\") *bold* _it_ $x$ <b>&amp; @ref // none [a] \\ 'quotes' \u2265 \u00e9"


def a_view():
    standing = {"lineage": "abc", "status": "current"}
    return View(
        id="v", title=f"Evidence {NASTY}", subtitle="s",
        sections=(
            Text(title="Words", body=f"One paragraph {NASTY}\n\n- an item\n- another"),
            Table.of(("name", None, [NASTY, "b"]), ("value", "mg/dL", [1.0, 2.5])),
            Number(label="n", value=1.0, unit="1", certain_because="counted", status="current", lineage="abc"),
            bars_figure(title="Bars", quantity="q", unit="1", values={"a": 0.5, "b": 0.2}, intervals={"a": (0.4, 0.6), "b": (0.1, 0.3)}, **standing),
        ),
    )  # fmt: skip


def test_it_is_a_tagged_pdf_and_the_same_each_time():
    made = render_pdf(a_view())
    assert made.startswith(b"%PDF-")
    for mark in (b"/StructTreeRoot", b"/Lang", b"pdfuaid:part"):
        assert mark in made
    assert render_pdf(a_view()) == made


def test_a_flat_drawing_needs_no_style_sheet():
    figure = calibration_figure(title="x", pit=np.linspace(0.01, 0.99, 50), lineage="abc", status="current")
    svg = figure_svg(figure, width=700)
    flat = flatten(svg)
    assert "var(" in svg
    assert "var(" not in flat
    assert "<style" not in flat
    root = ET.fromstring(flat)
    drawn = [e for e in root.iter() if e.get("class") and "bar" in e.get("class").split()]
    assert drawn
    assert all(e.get("fill", "").startswith("#") for e in drawn)
    words = [e.get("fill") for e in root.iter() if e.tag.endswith("}text")]
    assert words
    assert all(w and w.startswith("#") for w in words)
