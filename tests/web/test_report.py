"""Reports: the numbers in the drawing are those of the description; nothing leaves the page; nothing gets in."""

import base64
import hashlib
import re
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from gemel.core.view import (
    Array,
    Axis,
    Bars,
    Cells,
    Event,
    Figure,
    Form,
    FormField,
    Line,
    Link,
    Number,
    Points,
    Region,
    Rule,
    Scene,
    ShownOn,
    Surface,
    Table,
    Text,
    View,
    agp_figure,
    bars_figure,
    calibration_figure,
    compare_figure,
    fan_figure,
    posterior_figure,
    series_figure,
    timeline_figure,
)
from gemel.web import figure_svg, mimebundle, render_html
from gemel.web.figures.labels import apart
from gemel.web.scale import Scale, nice_step
from gemel.web.style import DARK, LIGHT, SERIES

SVG = "{http://www.w3.org/2000/svg}"
MINUTE = 60_000_000_000
START = int(np.datetime64("2026-03-03T14:00", "ns").astype(np.int64))
STANDING = {"status": "current", "lineage": "9f2c41d7a3b0", "shown_on": ShownOn(kind="replayed", n=12, what="Hall 2018")}
NASTY = "<script>alert('x')</script>\"&<img src=x onerror=alert(1)>"


def a_fan(**changes):
    at = START + np.arange(0, 125, 5) * MINUTE
    middle = np.linspace(140, 100, 25)
    given = {
        "title": "Next two hours",
        "quantity": "Glucose",
        "unit": "mg/dL",
        "time": at,
        "median": middle,
        "bands": {0.5: (middle - 10, middle + 10), 0.9: (middle - 30, middle + 30)},
        "data": (START - np.arange(12)[::-1] * 5 * MINUTE, np.linspace(120, 140, 12)),
        "issued": START,
        "target": (70, 180),
        "thresholds": ((54, "very low"),),
        "events": (Event(x=START, label="meal 60 g", kind="meal"),),
        **STANDING,
    }
    return fan_figure(**(given | changes))


def every_kind():
    rng = np.random.default_rng(0)
    at = START + np.arange(300) * 5 * MINUTE
    glucose = 130 + 30 * np.sin(np.arange(300) / 30)
    x = Array.of(np.linspace(0, 10, 11), unit="mg")
    y = Array.of(np.linspace(1, 90, 11), unit="%")
    axes = (Axis(name="x", label="Dose", unit="mg"), Axis(name="y", label="Effect", unit="%"))
    plain = {"alt": "Eleven doses.", "table": Table.of(("dose", "mg", x), ("effect", "%", y), is_keyed=True), **STANDING}
    names = Axis(name="y", label="Input", unit="1", kind="category", categories=("a", "b"))
    cells = Cells(x_edges=Array.of([0.0, 1, 2], unit="mg"), y_edges=Array.of([0.0, 1], unit="%"), value=Array.of([[1.0, np.nan]], unit="1"))
    return {
        "fan": a_fan(),
        "timeline": timeline_figure(title="Known", lanes={"Lab": [(START, None, START + 9 * MINUTE, "HbA1c")]}, **STANDING),
        "series": series_figure(title="Past", quantity="Glucose", unit="mg/dL", time=at, values=glucose, **STANDING),
        "agp": agp_figure(time=at, glucose=glucose, unit="mg/dL", **STANDING),
        "posterior": posterior_figure(
            title="Learnt", parameters={"rate": (rng.normal(5, 1, 300), rng.normal(6, 0.2, 300), "/min")}, **STANDING
        ),
        "compare": compare_figure(
            title="Plans",
            quantity="Glucose",
            unit="mg/dL",
            time=at[:9],
            plans={"a": rng.normal(99, 9, (50, 9)), "b": rng.normal(95, 9, (50, 9))},
            **STANDING,
        ),
        "distribution": Figure(
            kind="distribution",
            title="Draws",
            axes=axes,
            layers=(Bars(value=Array.of([3.0, 5.0], unit="%"), edges=Array.of([0.0, 1, 2], unit="mg")),),
            **plain,
        ),
        "curve": Figure(kind="curve", title="Dose and effect", axes=axes, layers=(Line(x=x, y=y),), **plain),
        "calibration": calibration_figure(title="Promises", pit=rng.random(200), **STANDING),
        "scatter": Figure(kind="scatter", title="Pairs", axes=axes, layers=(Points(x=x, y=y, name="pairs"),), **plain),
        "heatmap": Figure(kind="heatmap", title="Grid", axes=(*axes, Axis(name="colour", label="p", unit="1")), layers=(cells,), **plain),
        "tornado": Figure(
            kind="tornado", title="Inputs", axes=(axes[0], names), layers=(Bars(value=Array.of([-3.0, 2.0], unit="mg")),), **plain
        ),
        "bars": bars_figure(title="Groups", quantity="Coverage", unit="%", values={"a": 88.0, "b": 91.0}, **STANDING),
        "table": Figure(kind="table", title="Numbers", **plain),
        "sankey": Figure(kind="sankey", title="Of a later version", **plain),
    }


def drawn(figure):
    return ET.fromstring(figure_svg(figure))


def texts(root, of=""):
    found = [item for item in root.iter(f"{SVG}text") if of in item.get("class", "").split() or not of]
    return ["".join(part for part in item.itertext()) for item in found]


def inverse(panel, axis):
    """Return the map from pixels back to values of a panel's axis."""
    ends = [float(panel.get(name)) for name in (("data-left", "data-right") if axis == "x" else ("data-bottom", "data-top"))]
    low, high = (float(panel.get(f"data-{axis}-{end}")) for end in ("low", "high"))
    return lambda pixel: low + (np.asarray(pixel) - ends[0]) / (ends[1] - ends[0]) * (high - low)


def points(path):
    return np.array([[float(part) for part in pair.split(",")] for pair in re.findall(r"-?[\d.]+,-?[\d.]+", path.get("d"))])


class Page(HTMLParser):
    """Collects tags, and text outside style and script."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.inside = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("style", "script"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.words.append(data)


def test_the_fan_draws_the_numbers_it_was_given():
    root = drawn(a_fan())
    panel = next(item for item in root.iter(f"{SVG}g") if item.get("class") == "panel")
    x, y = inverse(panel, "x"), inverse(panel, "y")
    by_name = {item.get("data-name"): item for item in root.iter(f"{SVG}path") if item.get("data-name")}
    tenth = abs(float(y(0.06) - y(0.0)))  # coordinates are written to a tenth of a pixel
    median = points(by_name["median"])
    np.testing.assert_allclose(y(median[:, 1]), np.linspace(140, 100, 25), atol=tenth)
    np.testing.assert_allclose(x(median[:, 0]), START + np.arange(0, 125, 5) * MINUTE, atol=float(x(0.06) - x(0.0)))
    band = y(points(by_name["90 % band"])[:, 1])
    np.testing.assert_allclose(band[:25], np.linspace(140, 100, 25) + 30, atol=tenth)
    np.testing.assert_allclose(band[:24:-1], np.linspace(140, 100, 25) - 30, atol=tenth)
    assert by_name["50 % band"].get("data-level") == "0.5"
    rule = next(item for item in root.iter(f"{SVG}line") if item.get("data-value") == "54")
    assert float(y(float(rule.get("y1")))) == pytest.approx(54, abs=tenth)
    region = next(item for item in root.iter(f"{SVG}rect") if item.get("class") == "target")
    top, tall = float(region.get("y")), float(region.get("height"))
    np.testing.assert_allclose(y([top, top + tall]), [180, 70], atol=2 * tenth)


def test_axes_ticks_units_and_labels_of_the_fan():
    root = drawn(a_fan(zone="Europe/Berlin"))
    assert texts(root, "label-y") == ["Glucose (mg/dL)"]
    assert texts(root, "label-x") == ["Time (Europe/Berlin)"]
    assert texts(root, "tick-x") == ["14:30", "15:00", "15:30", "16:00", "16:30", "17:00"]
    assert texts(root, "tick-day") == ["Tue 3 Mar"]
    assert texts(root, "tick-y") == ["50", "75", "100", "125", "150", "175"]
    assert {"90 % band", "50 % band", "median", "very low 54", "target 70 to 180", "observed", "meal 60 g", "forecast made"} <= {
        text.removeprefix("meal 60 g") or text for text in texts(root)
    }
    assert root.get("role") == "img"
    assert root.get("aria-label") == a_fan(zone="Europe/Berlin").alt


@pytest.mark.parametrize("kind", [kind for kind in every_kind() if kind not in ("table", "sankey")])
def test_every_kind_is_drawn_as_valid_svg_with_its_units(kind):
    figure = every_kind()[kind]
    root = drawn(figure)
    labels = " ".join(texts(root))
    assert root.get("data-kind") == kind
    assert not [item for item in root.iter() if item.get("style") or item.tag.endswith("script")]
    for axis in figure.axes:
        if axis.kind not in ("time", "clock", "category") and axis.unit != "1" and not (kind == "agp" and axis.panel == 1):
            assert f"({axis.unit})" in labels, axis
    numbers = [float(n) for item in root.iter() for key in ("x", "y", "x1", "y2", "cx") if (n := item.get(key)) and n[-1] != "%"]
    assert np.isfinite(numbers).all()
    assert "nan" not in figure_svg(figure)


def test_a_report_of_every_kind_has_banner_alt_table_lineage_and_evidence():
    figures = every_kind()
    html = render_html(View(id="v", title="All kinds", sections=tuple(figures.values())))
    page = Page(html)
    words = " ".join(page.words)
    assert "Research use only. Not a medical device" in words
    for figure in figures.values():
        assert figure.alt.replace(" %", "\u00a0%") in words
        assert figure.title in words
    images = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert all(image["role"] == "img" and image["aria-label"] for image in images)
    assert len(images) == len([tag for tag, _ in page.tags if tag == "details"]) == len(figures) - 2
    assert words.count("lineage 9f2c41d7a3b0") == len(figures)
    assert words.count("shown on: replayed, n = 12 (Hall 2018)") == len(figures)
    assert "cannot draw a figure of kind “sankey”" in words
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_tables_hold_the_numbers_of_the_figure():
    html = render_html(View(id="v", title="t", sections=(a_fan(),)))
    rows = re.findall(r'<tr data-x="(\d+)"><td class="t">([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td>', html)
    assert len(rows) == 25
    assert rows[0] == (str(START), "2026-03-03 14:00", "140", "130")
    assert rows[-1][1:3] == ("2026-03-03 16:00", "100")
    assert "rounded to 6 significant digits" in html


def test_a_long_table_is_thinned_without_losing_an_extreme():
    values = np.full(20_000, 120.0)
    values[12_345] = 41.5
    figure = series_figure(title="t", quantity="Glucose", unit="mg/dL", time=START + np.arange(20_000) * MINUTE, values=values, **STANDING)
    html = render_html(View(id="v", title="t", sections=(figure,)))
    assert ">41.5</td>" in html
    assert re.search(r"\d+ of 20,000 rows: first, last, lowest and highest", html)
    assert html.count("<tr data-x") < 700


def test_a_dip_of_one_reading_is_still_drawn_among_many():
    values = np.full(50_000, 120.0)
    values[31_007] = 40.0
    figure = series_figure(title="t", quantity="Glucose", unit="mg/dL", time=START + np.arange(50_000) * MINUTE, values=values, **STANDING)
    root = drawn(figure)
    panel = next(item for item in root.iter(f"{SVG}g") if item.get("class") == "panel")
    line = next(item for item in root.iter(f"{SVG}path") if "line" in item.get("class", ""))
    lowest = inverse(panel, "y")(points(line)[:, 1].max())
    assert lowest == pytest.approx(40.0, abs=0.1)
    assert len(points(line)) < 4 * 900


def test_no_line_is_drawn_over_a_gap():
    at = START + np.concatenate([np.arange(10), np.arange(30, 40)]) * 5 * MINUTE
    given = dict(title="t", quantity="x", unit="1", time=at, values=np.arange(20.0), **STANDING)

    def subpaths(**more):
        return (
            next(item for item in drawn(series_figure(**given, **more)).iter(f"{SVG}path") if "line" in item.get("class", ""))
            .get("d")
            .count("M")
        )

    assert subpaths() == 1
    assert subpaths(max_gap=15 * MINUTE) == 2


@pytest.mark.parametrize(
    ("status", "banner", "said"),
    [
        ("simulated", "", "SIMULATED: not measured on a person"),
        ("simulated", "drawn from the model", "SIMULATED: drawn from the model"),
        ("stale", "", "STALE"),
        ("drifting", "", "DRIFTING"),
        ("abstained", "no reading for 9 h", "ABSTAINED: no reading for 9 h"),
    ],
)
def test_a_state_is_written_in_the_figure_itself(status, banner, said):
    root = drawn(a_fan(status=status, banner=banner))
    assert any(text.startswith(said) for text in texts(root, "banner-text"))
    assert ("greyed" in {item.get("class") for item in root.iter()}) == (status in ("stale", "abstained"))
    assert not texts(drawn(a_fan()), "banner-text")


def test_what_lies_beyond_a_stated_axis_is_counted():
    x, y = Array.of([0.0, 1, 2, 3], unit="h"), Array.of([5.0, 50, 150, 160], unit="%")
    axes = (Axis(name="x", label="Time", unit="h"), Axis(name="y", label="Share", unit="%", range=(10, 100)))
    figure = Figure(kind="scatter", title="t", axes=axes, layers=(Points(x=x, y=y),), alt="a", table=Table.of(("t", "h", x)), **STANDING)
    assert {"▲ 2 above", "▼ 1 below"} <= set(texts(drawn(figure)))


def test_everything_is_escaped_everywhere():
    fan = a_fan(
        title=NASTY, quantity=NASTY, question=NASTY, banner=NASTY, thresholds=((54, NASTY),), lineage=NASTY,
        links=(Link(label=NASTY, href="x?a=1&b='\"<>"),),
        shown_on=ShownOn(kind="real", n=1, what=NASTY), events=(Event(x=START, label=NASTY),),
    )  # fmt: skip
    lane = timeline_figure(title=NASTY, lanes={NASTY: [(START, None, None, NASTY)]}, **STANDING)
    bars = bars_figure(title=NASTY, quantity=NASTY, unit="<b>", values={NASTY: 1.0}, **STANDING)
    unknown = Figure(kind=NASTY, title=NASTY, alt=NASTY, table=Table.of((NASTY, None, [NASTY]), title=NASTY, note=NASTY), **STANDING)
    number = Number(label=NASTY, value=1.0, unit="<i>", certain_because=NASTY, note=NASTY, status="current", lineage=NASTY)
    form = Form(
        title=NASTY, action="x", fields=(FormField(name="a", label=NASTY, kind="choice", choices=(NASTY,), value=NASTY, why=NASTY),)
    )
    vertices = Array.of(np.eye(3), unit="mm")
    scene = Scene(
        title=NASTY,
        unit="mm",
        objects=(Surface(name=NASTY, vertices=vertices, triangles=vertices),),
        alt=NASTY,
        table=unknown.table,
        **STANDING,
    )
    text = Text(title=NASTY, body=f"{NASTY}\n\n- {NASTY}")
    view = View(id=NASTY, title=NASTY, subtitle=NASTY, sections=(fan, lane, bars, unknown, number, form, scene, text, unknown.table))
    page = Page(render_html(view))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1
    assert not {"img", "b", "i", "iframe", "form", "input", "object", "link"} & set(tags)
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on") or key == "style"]
    ET.fromstring(figure_svg(fan))
    assert NASTY in "".join(page.words)


def test_the_page_asks_nothing_of_any_network():
    html = render_html(View(id="v", title="t", sections=tuple(every_kind().values())))
    stripped = html.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(?:https?:)?//[a-z]", stripped, re.IGNORECASE)
    assert not re.search(r"url\((?!#)|@import|srcset|<link|<iframe", stripped)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1]
        assert f"'sha256-{base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'" in policy


def test_dark_print_and_contrast():
    html = render_html(View(id="v", title="t", sections=(a_fan(),)))
    for rule in ("@media (prefers-color-scheme:dark)", "@page{size:A4", "@media print", "prefers-contrast:more"):
        assert rule in html

    def light(colour):
        part = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    def contrast(one, two):
        high, low = sorted((light(one), light(two)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for colours in (LIGHT, DARK):
        for words in ("ink", "soft", "target-ink", *(f"s{i}" for i in range(SERIES))):
            assert contrast(colours[words], colours["paper"]) >= 4.5, words
        assert contrast(colours["soft"], colours["page"]) >= 4.5
        assert contrast(colours["warn-ink"], colours["warn"]) >= 4.5
        assert contrast(colours["rule"], colours["paper"]) >= 3.0


def test_the_notebook_shows_the_same_svg_as_the_report(monkeypatch):
    class Entry:
        name = "html"

        def load(self):
            return mimebundle

    monkeypatch.setattr("gemel.core.view.notebook.entry_points", lambda group: [Entry()] if group == "gemel.renderers" else [])
    bundle = a_fan()._repr_mimebundle_()
    report = render_html(View(id="v", title="t", sections=(a_fan(),)))

    def svg(html):
        return re.sub(r"(section|cell)-\w+", "", re.search(r"<svg.*?</svg>", html, re.DOTALL)[0])

    assert svg(bundle["text/html"]) == svg(report)
    assert bundle["text/plain"] == a_fan().alt
    assert "body{" not in bundle["text/html"]


@pytest.mark.parametrize(
    ("low", "high", "zone", "ticks"),
    [
        ("2026-03-03T00:00", "2026-03-03T04:00", "UTC", ["00:00", "01:00", "02:00", "03:00", "04:00"]),
        (
            "2026-03-28T23:00",
            "2026-03-29T04:00",
            "Europe/Berlin",
            ["00:00", "01:00", "03:00", "04:00", "05:00", "06:00"],
        ),  # a day of 23 hours
        ("2026-01-15T00:00", "2026-05-02T00:00", "UTC", ["Feb", "Mar", "Apr", "May"]),
        ("2019-06-01T00:00", "2026-03-01T00:00", "UTC", ["2020", "2022", "2024", "2026"]),
        ("2026-03-03T10:00:00", "2026-03-03T10:00:20", "UTC", ["10:00:00", "10:00:05", "10:00:10", "10:00:15", "10:00:20"]),
    ],
)
def test_time_ticks_are_round_in_local_time(low, high, zone, ticks):
    ends = [int(np.datetime64(end, "ns").astype(np.int64)) for end in (low, high)]
    scale = Scale("time", *ends, 0.0, 480.0, zone=zone)
    assert [tick.text for tick in scale.ticks(80)] == ticks


def test_ticks_are_round_and_inside():
    assert [nice_step(span, 5) for span in (1, 3.1, 12, 97)] == [0.2, 1.0, 2.5, 20.0]
    assert [tick.text for tick in Scale("linear", -0.3, 0.3, 0.0, 100.0).ticks(30)] == ["\u22120.2", "0", "0.2"]
    assert [tick.text for tick in Scale("log", 0.1, 100, 0.0, 300.0).ticks(30)] == [
        "0.1",
        "0.2",
        "0.5",
        "1",
        "2",
        "5",
        "10",
        "20",
        "50",
        "100",
    ]
    assert [tick.text for tick in Scale("clock", 0, 1440, 0.0, 700.0).ticks(80)][::4] == ["00:00", "12:00", "24:00"]


def test_labels_move_apart_and_stay_inside():
    placed = apart([1.0, 2.0, 3.0, 50.0, 99.0], 0.0, 100.0, 15.0)
    assert min(np.diff(placed)) >= 15 - 1e-9
    assert placed[0] >= 0
    assert placed[-1] <= 100
    assert placed[3] == 50.0


def test_rules_and_regions_without_data_still_draw():
    axes = (Axis(name="x", label="Time", unit="h"), Axis(name="y", label="Share", unit="%"))
    figure = Figure(
        kind="series", title="t", axes=axes, layers=(Rule(value=5, name="limit"), Region(lower=None, upper=3)), alt="a",
        table=Table.of(("t", "h", [1.0])), **STANDING,
    )  # fmt: skip
    assert "limit 5" in texts(drawn(figure))


def test_ten_figures_of_3000_points_take_less_than_a_second():
    rng = np.random.default_rng(0)
    at = START + np.arange(3000) * 5 * MINUTE
    draws = rng.normal(120, 20, (60, 3000))
    figures = tuple(
        fan_figure(title=f"f{i}", quantity="Glucose", unit="mg/dL", time=at, draws=draws, data=(at, draws[i]), target=(70, 180), **STANDING)
        for i in range(10)
    )
    view = View(id="v", title="t", sections=figures)
    before = time.process_time()
    html = render_html(view)
    assert time.process_time() - before < 1.0  # about 0.4 s on one core
    assert len(html) < 6_000_000
