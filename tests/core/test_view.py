"""Descriptions: what is refused, what alt sentences say, what survives JSON."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemel.core.view as view_package
from gemel.core.errors import GemelError, ViewError
from gemel.core.view import (
    KINDS,
    Array,
    Axis,
    Column,
    Contours,
    Event,
    Field,
    Figure,
    Form,
    FormField,
    Line,
    Link,
    Number,
    Scene,
    ShownOn,
    Surface,
    Table,
    Text,
    Tubes,
    View,
    agp_figure,
    bars_figure,
    calibration_figure,
    compare_figure,
    fan_figure,
    json_schema,
    number_text,
    posterior_figure,
    series_figure,
    timeline_figure,
    unit_text,
)
from gemel.core.view.statistics import binomial_limits, density, quantiles
from gemel.core.view.words import duration_text, span_text

MINUTE = 60_000_000_000
START = int(np.datetime64("2026-03-03T14:05", "ns").astype(np.int64))
STANDING = {"status": "current", "lineage": "9f2c41d7", "shown_on": ShownOn(kind="simulated", n=3)}


def a_table():
    return Table.of(("dose", "mg", [1.0, 2.0]), ("effect", "%", [10.0, 35.0]), is_keyed=True)


def parts(**changes):
    whole = {
        "kind": "curve",
        "title": "Dose and effect",
        "axes": (Axis(name="x", label="Dose", unit="mg"), Axis(name="y", label="Effect", unit="%")),
        "layers": (Line(x=Array.of([1.0, 2.0], unit="mg"), y=Array.of([10.0, 35.0], unit="%")),),
        "alt": "Effect rises from 10 % to 35 %.",
        "table": a_table(),
        **STANDING,
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def a_fan(**changes):
    given_ = {
        "title": "Next hour",
        "quantity": "Glucose",
        "unit": "mg/dL",
        "time": START + np.arange(0, 65, 5) * MINUTE,
        "median": np.linspace(142, 128, 13),
        "bands": {0.5: (np.linspace(142, 118, 13), np.linspace(142, 140, 13)), 0.9: (np.linspace(142, 92, 13), np.linspace(142, 171, 13))},
        "data": (START - np.arange(6)[::-1] * 5 * MINUTE, [130.0, 132, 135, 137, 140, 142]),
        "issued": START,
        **STANDING,
    }
    return fan_figure(**(given_ | changes))


@pytest.mark.parametrize("missing", ["status", "lineage", "alt", "table"])
def test_a_figure_is_refused_without(missing):
    with pytest.raises(ViewError, match=rf"{missing} is missing \(expected .*; pass {missing}=") as refused:
        Figure(**parts(**{missing: None}))
    assert "Dose and effect" in str(refused.value)
    assert isinstance(refused.value, GemelError)


def test_a_figure_is_refused_without_axes_or_unit():
    with pytest.raises(ViewError, match="no x axis"):
        Figure(**parts(axes=None))
    for unit in ({}, {"unit": ""}, {"unit": "  "}):
        with pytest.raises(ViewError, match="expected a UCUM unit"):
            Axis(name="x", label="Dose", **unit)


@pytest.mark.parametrize(("changes", "said"), [({"alt": " "}, "alt"), ({"lineage": ""}, "lineage"), ({"status": "fine"}, "status")])
def test_empty_and_unknown_words_are_refused(changes, said):
    with pytest.raises(ViewError, match=said):
        Figure(**parts(**changes))


def test_a_layer_in_another_unit_than_its_axis_is_refused():
    layer = Line(x=Array.of([1.0], unit="mg"), y=Array.of([0.1], unit="1"), name="effect")
    with pytest.raises(ViewError, match="'effect' is in '1', its y axis in '%'; convert"):
        Figure(**parts(layers=(layer,)))


def test_an_abstained_figure_needs_its_reason():
    with pytest.raises(ViewError, match="reason of an abstained"):
        Figure(**parts(status="abstained"))
    assert Figure(**parts(status="abstained", banner="the last reading is 9 h old")).banner


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Line(x=Array.of([1.0], unit="1"), y=Array.of([1.0, 2.0], unit="1")), "differ in length"),
        (lambda: Link(label="here", href="javascript:alert(1)"), "relative or begin with https"),
        (lambda: Link(label="here", href="//elsewhere.example/x"), "relative or begin with https"),
        (lambda: Link(label="here", href="java\nscript:alert(1)"), "relative or begin with https"),
        (lambda: Axis(name="x", label="Time", unit="s", kind="time"), "'ns' since 1970"),
        (lambda: Axis(name="x", label="Time", unit="ns", kind="time", zone="Mars/Base"), "zone"),
        (lambda: Axis(name="y", label="Lane", unit="1", kind="category"), "categories"),
        (lambda: Number(label="FFR", value=0.81, unit="1", status="current", lineage="x"), "interval is missing"),
        (lambda: Number(label="FFR", value=None, unit="1", status="abstained", lineage="x"), "why there is no value"),
        (lambda: Number(label="FFR", value=float("nan"), unit="1", status="current", lineage="x", certain_because="count"), "finite"),
        (lambda: FormField(name="dose", label="Dose", kind="number"), "unit"),
        (lambda: Field(name="FFR", values=Array.of([0.8], unit="1")), "standard deviation"),
        (lambda: Array.of(["a"], unit="1"), "cannot be shown"),
        (lambda: Column(label="x", values=("a",)), "kind='text'"),
        (lambda: fan_figure(title="x", quantity="x", unit="1", time=[START], median=[1.0], **STANDING), "without its uncertainty"),
        (lambda: fan_figure(title="x", quantity="x", unit="1", time=[0.5], draws=[[1.0]], **STANDING), "time_unit"),
        (lambda: compare_figure(title="x", quantity="x", unit="1", time=[START], plans={"a": [[1.0]]}, **STANDING), "two or more"),
        (lambda: agp_figure(time=[START], glucose=[5.0], unit="g/L", **STANDING), "mmol/L"),
    ],
)
def test_refusals(make, said):
    with pytest.raises(ViewError, match=said):
        make()


def test_the_alt_of_a_fan_is_computed_from_its_data():
    assert a_fan().alt == "Glucose forecast from 142 mg/dL at 14:05: median 128 mg/dL after 60 min, 90 % band 92 to 171 mg/dL."
    assert "at 15:05" in a_fan(zone="Europe/Berlin").alt
    assert (
        "the 90 % band falls below 100 mg/dL at 15:00" in a_fan(target=(100, 200)).alt
    )  # 142 - 50/60 * 55 = 96.2, five minutes before: 100.3
    relative = fan_figure(title="x", quantity="Pressure", unit="mm[Hg]", time=[0, 10], time_unit="min", draws=np.ones((4, 2)), **STANDING)
    assert relative.alt == "Pressure forecast: median 1 mmHg after 10 min, 90 % band 1 to 1 mmHg."


def test_no_alt_rounds_a_value_to_the_other_side_of_a_threshold():
    values = np.array([120.0, 69.97, 90.0])
    figure = series_figure(
        title="x", quantity="Glucose", unit="mg/dL", time=START + np.arange(3) * MINUTE, values=values, target=(70, 180), **STANDING
    )
    assert "lowest 69.97 mg/dL at 14:06" in figure.alt


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_numbers_in_words_stay_on_their_side(value, side):
    text = number_text(value, sides=(side,)).replace(",", "").replace("\u2212", "-")
    assert np.sign(float(text) - side) == np.sign(value - side)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (142.34, "142"),
        (5.5, "5.5"),
        (0.01234, "0.0123"),
        (-0.5, "\u22120.5"),
        (1234.6, "1,235"),
        (0, "0"),
        (1e-9, "1e\u22129"),
        (float("nan"), "not available"),
    ],
)
def test_numbers_in_words(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("unit", "text"), [("mg/dL", "mg/dL"), ("mm[Hg]", "mmHg"), ("10*9/L", "10⁹/L"), ("1", ""), ("m2", "m²"), ("ug/L", "µg/L")]
)
def test_units_in_words(unit, text):
    assert unit_text(unit) == text


def test_spans_and_durations_in_words():
    assert span_text(90.9, 164.2, "mg/dL") == "91 to 164 mg/dL"
    assert [duration_text(n * MINUTE) for n in (0.5, 60, 360, 14 * 1440)] == ["30 s", "60 min", "6 h", "14 days"]


def test_the_bands_of_normal_draws_are_where_they_should_be():
    draws = np.random.default_rng(0).normal(size=(40_000, 3))
    figure = fan_figure(title="x", quantity="x", unit="1", time=[START, START + MINUTE, START + 2 * MINUTE], draws=draws, **STANDING)
    bands = {layer.level: layer for layer in figure.layers if layer.type == "band"}
    # standard error of the 5 % quantile of 40,000 normal draws is 0.011; five of them
    np.testing.assert_allclose(bands[0.9].upper.numpy(), 1.6449, atol=0.055)
    np.testing.assert_allclose(bands[0.9].lower.numpy(), -1.6449, atol=0.055)
    np.testing.assert_allclose(bands[0.5].upper.numpy(), 0.6745, atol=0.04)
    assert list(bands) == [0.9, 0.5]


def test_weighted_quantiles_equal_those_of_repeated_draws():
    values, weights = np.array([1.0, 2.0, 3.0, 4.0]), np.array([100, 300, 500, 100])
    repeated = np.quantile(np.repeat(values, weights), [0.05, 0.25, 0.6, 0.97], method="inverted_cdf")
    np.testing.assert_allclose(np.round(quantiles(values, [0.05, 0.25, 0.6, 0.97], weights)), repeated)
    np.testing.assert_allclose(quantiles(values, [0.5], np.array([0, 0, 1, 0])), [3.0])


def test_density_integrates_to_one_and_binomial_limits_are_exact():
    draws = np.random.default_rng(1).normal(5, 2, 3000)
    grid = np.linspace(-6, 16, 800)
    assert np.trapezoid(density(draws, grid), grid) == pytest.approx(1, abs=1e-3)  # the grid leaves out less than 1e-6
    assert binomial_limits(10, 0.5) == (2, 8)  # P(X <= 1) = 0.0107, P(X <= 2) = 0.0547; symmetric
    assert binomial_limits(1, 0.9) == (0, 1)


def test_plans_are_compared_draw_by_draw():
    rng = np.random.default_rng(2)
    base = rng.normal(140, 30, (500, 4))
    plans = {"stay": base, "more": base - np.array([0, 5, 10, 15])}
    figure = compare_figure(title="x", quantity="Glucose", unit="mg/dL", time=START + np.arange(4) * MINUTE, plans=plans, **STANDING)
    difference = [layer for layer in figure.layers if layer.panel == 1 and layer.type == "band"]
    np.testing.assert_allclose(difference[0].lower.numpy(), [0, -5, -10, -15], atol=1e-9)
    np.testing.assert_allclose(difference[0].upper.numpy(), [0, -5, -10, -15], atol=1e-9)
    assert "more minus stay \u221215 (\u221215 to \u221215 mg/dL), 90 % interval" in figure.alt


def test_prior_dominated_parameters_are_marked():
    rng = np.random.default_rng(3)
    prior = rng.normal(0, 1, 4000)
    parameters = {"learnt": (prior, rng.normal(1, 0.2, 4000), "mL/min"), "not learnt": (prior, rng.normal(0, 0.95, 4000), "1")}
    figure = posterior_figure(title="x", parameters=parameters, **STANDING)
    assert [panel.note for panel in figure.panels] == ["", "prior-dominated"]
    assert figure.alt.endswith("prior-dominated: not learnt.")
    assert [figure.axis("x", panel).unit for panel in (0, 1)] == ["mL/min", "1"]
    assert posterior_figure(title="x", parameters=parameters, dominated=["learnt"], **STANDING).panels[0].note == "prior-dominated"


def test_calibration_says_whether_coverage_is_what_chance_allows():
    uniform = (np.arange(1000) + 0.5) / 1000
    honest = calibration_figure(title="x", pit=uniform, **STANDING)
    assert "the 90 % band held 90 %, inside the" in honest.alt
    narrow = calibration_figure(title="x", pit=np.where(uniform < 0.5, uniform / 2, 1 - (1 - uniform) / 2), **STANDING)
    assert "OUTSIDE" in narrow.alt
    assert honest.table.columns[1].values.numpy()[4] == pytest.approx(50.0)


def test_agp_counts_its_ends_unrounded_and_by_local_day():
    glucose = np.array([53.99, 54.0, 69.9, 70.0, 180.0, 180.1, 250.0, 250.1])
    figure = agp_figure(time=START + np.arange(8) * MINUTE, glucose=glucose, unit="mg/dL", zone="Europe/Berlin", **STANDING)
    shares = next(layer for layer in figure.layers if layer.type == "shares").value.numpy()
    np.testing.assert_allclose(shares, [12.5, 25, 25, 25, 12.5])
    known = np.flatnonzero(np.isfinite(figure.table.columns[3].values.numpy()))
    assert known.tolist() == [15 * 4]  # 14:05 to 14:12 UTC is the quarter from 15:00 in Berlin
    assert "8 readings on 1 day" in figure.alt


def test_a_timeline_keeps_both_times():
    lanes = {"Laboratory": [(START, None, START + 5 * MINUTE, "HbA1c 7.1 %")], "Drugs": [(START - 9 * MINUTE, START, None, "insulin")]}
    figure = timeline_figure(title="Known", lanes=lanes, **STANDING)
    assert figure.alt == "Timeline: 2 facts in 2 lanes, 3 Mar 2026 to 3 Mar 2026; 1 known later than true."
    assert figure.table.columns[2].values.numpy().tolist() == [START - 9 * MINUTE, START + 5 * MINUTE]


def test_bars_name_the_highest_with_its_interval():
    figure = bars_figure(
        title="x", quantity="Coverage", unit="%", values={"a": 88.0, "b": 91.0}, intervals={"a": (85, 91), "b": (88, 94)}, **STANDING
    )
    assert figure.alt == "Coverage of 2: highest b, 91 % (90 % interval 88 to 94 %); lowest a, 88 %."


def test_arrays_are_read_only_little_endian_and_named_by_content():
    one, two = Array.of(np.arange(3, dtype=">f8"), unit="1"), Array.of(np.arange(3.0), unit="mg")
    assert one.ref == two.ref != Array.of(np.arange(3), unit="1").ref
    assert one != two
    with pytest.raises(ValueError, match="read-only"):
        one.numpy()[0] = 9
    assert Array.of(np.array(["2026-03-03T14:05"], dtype="datetime64[m]"), unit="ns").numpy().tolist() == [START]


def a_scene():
    vertices = Array.of(np.eye(3), unit="mm")
    wall = Field(name="shear", values=Array.of([1.0, 2, 3], unit="Pa"), deviation=Array.of([0.1, 0.1, 0.1], unit="Pa"), thresholds=(2.0,))
    objects = (
        Surface(name="wall", vertices=vertices, triangles=Array.of([[0, 1, 2]], unit="1"), fields=(wall,)),
        Tubes(name="LAD", points=vertices, radius=Array.of([1.0, 1, 1], unit="mm")),
        Contours(name="line", of="wall", field="shear", values=(2.0,)),
    )
    return Scene(title="Vessel", unit="mm", objects=objects, alt="A vessel of 3 vertices.", table=a_table(), **STANDING)


def a_view():
    form = Form(title="Plan", action="plans", fields=(FormField(name="dose", label="Dose", kind="number", unit="U", minimum=0, maximum=9),))
    number = Number(label="In range", value=71.0, lower=60, upper=80, level=0.9, unit="%", status="current", lineage="x")
    event = Event(x=START, label="meal", kind="meal")
    return View(
        id="v", title="All", sections=(a_fan(events=(event,)), a_scene(), Text(body="Words."), number, a_table(), form, Figure(**parts()))
    )


def test_a_view_survives_json_inline_and_apart():
    view = a_view()
    text = view.to_json()
    assert json.loads(text)["schema"] == "gemel-view/1"
    read = View.from_json(text)
    assert read == view
    assert read.to_json() == text
    apart = View.from_json(view.to_json(arrays="apart"), arrays=view.arrays)
    assert apart == view
    np.testing.assert_array_equal(apart.sections[0].layers[0].x.numpy(), view.sections[0].layers[0].x.numpy())
    bare = View.from_json(view.to_json(arrays="apart"))
    assert bare == view
    with pytest.raises(ViewError, match="not in memory"):
        bare.sections[0].layers[0].x.numpy()
    assert bare.sections[0].events[0].x == START  # nanoseconds do not fit into a double


def test_changed_numbers_and_other_schemas_are_refused():
    document = json.loads(a_view().to_json())
    ref = next(iter(document["arrays"]))
    changed = document | {"arrays": document["arrays"] | {ref: document["arrays"][ref][:-4] + "AAA="}}
    with pytest.raises(ViewError, match=r"hash|bytes"):
        View.from_json(json.dumps(changed))
    with pytest.raises(ViewError, match="expected 'gemel-view/1'"):
        View.from_json(json.dumps(document | {"schema": "gemel-view/9"}))
    with pytest.raises(ViewError, match="not JSON"):
        View.from_json("{")


def test_a_refused_document_is_refused_as_view_error():
    text = a_view().to_json().replace('"unit": "mg/dL"', '"unit": ""')
    with pytest.raises(ViewError, match="unit"):
        View.from_json(text)


def test_an_unknown_layer_or_kind_is_kept():
    document = json.loads(View(id="v", title="New", sections=(Figure(**parts()),)).to_json())
    document["sections"][0]["layers"].append({"type": "hologram", "depth": 3})
    document["sections"][0]["kind"] = "sankey"
    read = View.from_json(json.dumps(document))
    assert read.sections[0].layers[-1].type == "hologram"
    assert View.from_json(read.to_json()) == read


def test_the_json_schema_names_every_section_and_requires_the_five():
    schema = json_schema()
    assert {"Figure", "Scene", "Text", "Number", "Table", "Form"} <= set(schema["$defs"])
    assert {"status", "lineage", "alt", "table", "title", "kind"} <= set(schema["$defs"]["Figure"]["required"])
    assert "unit" in schema["$defs"]["Axis"]["required"]
    assert schema["properties"]["schema"]["const"] == "gemel-view/1"
    assert set(json.loads(a_view().to_json())) <= set(schema["properties"])


def test_descriptions_are_frozen_and_messages_repeat_no_values():
    figure = Figure(**parts())
    with pytest.raises(ValueError, match="frozen"):
        figure.title = "other"
    with pytest.raises(ViewError) as refused:
        Figure(**parts(status="Jane Doe, HIV positive"))
    assert "Jane" not in str(refused.value)


def test_a_notebook_without_renderer_gets_the_words(monkeypatch):
    monkeypatch.setattr("gemel.core.view.notebook.entry_points", lambda group: [])
    assert a_fan()._repr_mimebundle_() == {"text/plain": a_fan().alt}
    assert a_fan().alt in a_view()._repr_mimebundle_(include=None, exclude=None)["text/plain"]


def test_public_names_exist_and_kinds_are_those_of_the_specification():
    assert all(hasattr(view_package, name) for name in view_package.__all__)
    assert len(KINDS) == len(set(KINDS)) == 14


def test_importing_descriptions_needs_neither_scipy_nor_jax():
    code = "import sys, gemel.core.view, gemel.web; print([m for m in ('jax', 'scipy', 'pint', 'equinox') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
