"""The pages of the metabolic room: made from hand-made forecasts, rendered, and read again."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import jax
import numpy as np
import pytest

import gemel.engine  # noqa: F401  sets the numerics before the room is imported
from gemel.core.advice import AbstentionReason, PlanScore, Proposal, ShownOn
from gemel.core.code import Code
from gemel.core.lineage import Lineage
from gemel.core.record import Demographics, Exposure, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.view import Figure, Table, Text, View
from gemel.engine.forecast import Comparison, Forecast
from gemel.engine.infer.base import Inference
from gemel.engine.infer.laplace import Laplace as LaplaceMethod
from gemel.engine.model import Domain
from gemel.engine.posterior import Laplace
from gemel.engine.prior import Prior
from gemel.engine.recommend import Abstained, Choice
from gemel.engine.scoring import score
from gemel.engine.status import Status
from gemel.engine.stream import EnsembleFilter
from gemel.engine.twin import Twin, with_prior
from gemel.evidence.alarms import AlarmCurve
from gemel.evidence.validation import Row, Validation
from gemel.twins.metabolic import metrics, report
from gemel.twins.metabolic.model import MetabolicModel
from gemel.web import render_html

MINUTE = 60_000_000_000
START = int(np.datetime64("2026-03-02T16:00", "ns").astype(np.int64))
NOW = START + 5 * 1440 * MINUTE + 14 * 60 * MINUTE
SHOWN = ShownOn(kind="replayed", n=1, what="a hand-made person")
LINEAGE = Lineage(record="r", model="metabolic", model_version="0.1.0", code_version="0.1", method="by hand", seed=1)
MEALS = ((7.5, 50.0, 4.5), (13.0, 70.0, 6.0), (19.5, 80.0, 7.0))


def glucose_at(minute):
    """Glucose of the hand-made person: a night, three meals, days that differ."""
    hour, day = (minute / 60.0) % 24.0, minute // 1440
    value = 128.0 - 18.0 * np.cos(2 * np.pi * (hour - 4) / 24) + 9.0 * np.sin(1.7 * day)
    for at, grams, _ in MEALS:
        since = np.maximum(hour - at, 0.0)
        value = value + grams * 1.9 * since * np.exp(-since / 0.8) - 55.0 * np.where(since > 0, np.exp(-(((since - 3.3) / 1.1) ** 2)), 0.0)
    return value


@pytest.fixture(scope="module")
def record():
    time = np.arange(START, NOW + 90 * MINUTE + 1, 5 * MINUTE)
    rng = np.random.default_rng(0)
    value = glucose_at((time - START) / MINUTE) + np.convolve(rng.normal(0, 5, len(time)), np.ones(4) / 2, "same")
    keep = (time < START + 2000 * MINUTE) | (time > START + 2240 * MINUTE)
    series = Series(code=Code.parse("loinc:99504-3"), unit="mg/dL", time=time[keep], value=np.clip(value[keep], 40, 400), source="sensor")
    facts = [series]
    for day in range(6):
        for at, grams, units in MEALS:
            when = START + round((1440 * day + 60 * at) * MINUTE)
            facts.append(Exposure(code=Code.parse("loinc:9059-7"), quantity=Quantity(value=grams, unit="g"), start=when))
            facts.append(Exposure(code=Code.parse("atc:A10AB"), quantity=Quantity(value=units, unit="[iU]"), start=when - 10 * MINUTE))
    facts.append(Exposure(code=Code.parse("atc:A10AB"), quantity=Quantity(value=0.8, unit="[iU]/h"), start=START, end=NOW))
    return PatientRecord(id="p-0001", demographics=Demographics(zone="Asia/Shanghai")).with_facts(*facts)


def a_forecast(issued, *, shift=0.0, name="as known", status=Status.OK, n=256, seed=0):
    """Draws of paths around what the hand-made person will do, spreading as a random walk does."""
    horizons = np.array([15, 30, 45, 60, 90, 120])
    rng = np.random.default_rng(seed)
    middle = glucose_at((issued - START) / MINUTE + horizons)
    steps = rng.normal(0, 1, (n, len(horizons))) * np.sqrt(np.diff(horizons, prepend=0)) * 1.1
    draws = middle * 0.97 + np.cumsum(steps, axis=1) + shift * (1 + 0.3 * rng.normal(size=(n, 1))) * horizons / 120
    outputs = MetabolicModel.outputs if isinstance(MetabolicModel.outputs, tuple) else MetabolicModel().outputs
    return Forecast(
        draws=draws[:, :, None] if status < Status.USABLE_LIMIT else np.zeros((0, 6, 1)), times=issued + horizons * MINUTE, outputs=outputs, issued=int(issued), status=status,
        reason="all gates passed" if status == Status.OK else "data too old: the last reading is 47 min old", plan=name, patient="p-0001", lineage=LINEAGE.then(name),
    )  # fmt: skip


@pytest.fixture(scope="module")
def twin(record):
    """A twin with a posterior by hand: some parameters learnt, some not."""
    model = MetabolicModel()
    prior = model.prior
    shrink = np.where(np.arange(prior.size) < 6, 0.35, 0.97)
    mode = np.asarray(prior.mean) + np.where(shrink < 0.8, 0.5, 0.0) * np.sqrt(np.diag(np.asarray(prior.covariance)))
    posterior = Laplace(jax.numpy.asarray(mode), jax.numpy.asarray(np.asarray(prior.cholesky) * shrink[:, None]))
    observed = model.observe(record.as_of(NOW), NOW)
    return Twin(
        patient="p-0001", model=model, inference=Inference(posterior, {}, 0, "laplace", "approximate: a Gaussian at the mode"), epoch=observed.epoch, calibrated=NOW, now=NOW,
        observed=observed, domain=Domain(), lineage=LINEAGE, key=jax.random.key(0), method=LaplaceMethod(), filter=EnsembleFilter(), notes=observed.notes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def streamed(record):
    found = []
    for k, issued in enumerate(range(NOW - 30 * 60 * MINUTE, NOW + 1, 15 * MINUTE)):
        forecast = a_forecast(issued, seed=k)
        found.append((issued, forecast, score(forecast, record, NOW) if issued < NOW else None))
    return found


@pytest.fixture(scope="module")
def comparison():
    return Comparison(
        {
            name: a_forecast(NOW, shift=shift, name=name, seed=7)
            for name, shift in (("as logged", 0.0), ("bolus 20 % less", 28.0), ("walk after the meal", -16.0))
        }
    )


def a_choice(comparison):
    ranking = (
        PlanScore(
            plan="walk after the meal",
            utility=-31.4,
            utility_error=1.1,
            probability_best=0.81,
            violations={"below 70 within 2 h": 0.012},
            feasible=True,
        ),
        PlanScore(
            plan="as logged",
            utility=-36.2,
            utility_error=1.2,
            probability_best=0.16,
            violations={"below 70 within 2 h": 0.004},
            feasible=True,
        ),
        PlanScore(
            plan="bolus 20 % less",
            utility=-58.0,
            utility_error=1.9,
            probability_best=0.03,
            violations={"below 70 within 2 h": 0.071},
            feasible=False,
        ),
    )
    explanation = {
        "best": "walk after the meal", "second": "as logged", "gain": {"mean": 4.8, "low": 0.9, "high": 8.8},
        "parameters": {"SI_dinner": 0.41, "Gb": 0.2}, "flip": {"SI_dinner": -2.6, "kempt": 3.1},
        "data": [{"time": "2026-03-08T11:45:00Z", "output": "glucose", "value": 141.0, "moved": 0.62}, {"time": "2026-03-08T11:40:00Z", "output": "glucose", "value": 138.0, "moved": -0.31}],
    }  # fmt: skip
    return Choice(
        plan="walk after the meal", ranking=ranking, evpi=0.7, comparison=comparison, explanation=explanation, objective="glucose cost",
        limits={"below 70 within 2 h": "at most 5%"}, patient="p-0001", issued=NOW, lineage=LINEAGE,
        sentence="'walk after the meal': best of 2 with probability 81%; expected glucose cost -31.4 against -36.2",
    )  # fmt: skip


def page_of(record, twin, streamed, comparison, /, **changes):
    given = {
        "record": record, "twin": twin, "streamed": streamed, "comparison": comparison, "outcome": a_choice(comparison), "summary": metrics.summary(record.as_of(NOW)),
        "notes": ["4 readings at the sensor's limit enter as censored", "1 row without a time was left out"], "shown_on": SHOWN,
    }  # fmt: skip
    return report.person_view(**(given | changes))


class Page(HTMLParser):
    """Collects tags, and text outside style and script."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.inside = [], [], []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words).replace("\u00a0", " "))

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


def titles(view):
    return [getattr(s, "title", getattr(s, "label", "")) for s in view.sections]


def figures(view):
    return [s for s in view.sections if isinstance(s, Figure)]


def test_the_whole_page(record, twin, streamed, comparison):
    view = page_of(record, twin, streamed, comparison)
    assert titles(view) == [
        "Last reading", "Forecast in 60 min", "Chance below 70 mg/dL", "90 % bands held, to date", "What comes next", "Advice", "Ranking", "Limits in force",
        "Readings that moved it", "Parameters that carry it", "Plans compared", "Plans side by side", "What was said 60 minutes before", "Promises kept, 60 minutes ahead",
        "Forecasts beside the last value", "How past forecasts did", "Ambulatory glucose profile", "Consensus metrics", "Other metrics", "What the record taught", "Parameters", "Notes of the import",
        "What this page is not",
    ]  # fmt: skip
    assert View.from_json(view.to_json()) == view
    html = render_html(view)
    page = Page(html)
    assert "Research use only" in page.text
    assert "Choice: walk after the meal." in page.text
    assert "90 % interval 0.9 to 8.8" in page.text
    assert "4 readings at the sensor's limit enter as censored" in page.text
    assert "SIMULATED" not in page.text
    drawn = figures(view)
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == len(drawn) == 7
    assert page.text.count("shown on: replayed, n = 1 (a hand-made person)") >= len(drawn)
    last = streamed[-1][1].draws[:, 3, 0]
    cards = {s.label: s for s in view.sections if type(s).__name__ == "Number"}
    assert (cards["Forecast in 60 min"].value, cards["Forecast in 60 min"].lower) == pytest.approx(np.quantile(last, [0.5, 0.05]))
    assert cards["Forecast in 60 min"].lineage == streamed[-1][1].lineage.id
    time, value = metrics.readings(record.as_of(NOW))
    assert cards["Last reading"].value == value[time <= NOW][-1]


def test_the_fan_keeps_later_readings_apart_and_marks_what_was_taken(record, streamed):
    figure = report.forecast_figure(
        record, streamed[-1][1], past=[f for _, f, _ in streamed[:-1]], standing={"status": "current", "lineage": "x"}
    )
    points = {layer.name: layer for layer in figure.layers if layer.type == "points"}
    assert points["observed"].x.numpy().max() <= NOW < points["observed since"].x.numpy().min()
    past = [layer for layer in figure.layers if layer.type == "line" and layer.name == "past forecasts"]
    assert 0 < len(past) <= 6
    assert {e.label for e in figure.events} >= {"meal 70 g", "fast insulin 6 U"}
    assert not [e for e in figure.events if "0.8" in e.label]  # the basal rate is not an event


def test_the_band_at_a_fixed_lead_is_what_was_said_then(record, streamed):
    figure = report.lead_figure(record, streamed, 60.0, standing={"status": "current", "lineage": "x"})
    band = next(layer for layer in figure.layers if layer.type == "band" and layer.level == 0.9)
    assert band.x.numpy().tolist() == [f.times[3] for _, f, _ in streamed]
    np.testing.assert_allclose(band.lower.numpy()[5], np.quantile(streamed[5][1].draws[:, 3, 0], 0.05))
    assert band.max_gap == 45 * MINUTE


def test_scores_by_lead(streamed):
    scores = [s for _, _, s in streamed if s is not None]
    calibration, bars, table = report.score_sections(scores, standing={"status": "current", "lineage": "x"})
    at60 = [r for s in scores for r in s.rows if r.horizon == 60]
    column = {c.label: c.values.numpy() for c in table.columns}
    k = column["lead"].tolist().index(60.0)
    assert column["n"][k] == len(at60)
    assert column["RMSE"][k] == pytest.approx(np.sqrt(np.mean([(r.observed - r.mean) ** 2 for r in at60])), abs=0.05)
    assert column["90 % held"][k] == pytest.approx(100 * np.mean([r.inside["0.90"] for r in at60]), abs=0.05)
    assert column["skill"][k] == pytest.approx(100 * (1 - sum(r.crps for r in at60) / sum(r.naive_crps for r in at60)), abs=0.05)
    assert "limits for n = 29" in calibration.table.note.replace("30", "29")  # hours, not the 117 overlapping forecasts
    low, high = bars.layers[0].lower.numpy(), bars.layers[0].upper.numpy()
    assert (low <= bars.layers[0].value.numpy()).all()
    assert (bars.layers[0].value.numpy() <= high).all()


def test_paired_differences_are_those_of_the_draws(comparison):
    figure, table = report.compared_sections(comparison, "UTC", standing={"status": "current", "lineage": "x"})
    column = {c.label: c.values for c in table.columns}
    d = comparison.difference("bolus 20 % less", "as logged").mean(axis=1)
    low, middle, high = np.quantile(d, [0.05, 0.5, 0.95])
    assert column["difference, mg/dL (90 %)"][:2] == ("reference", f"{middle:+.1f} ({low:+.1f} to {high:+.1f})")
    worst = (comparison.forecasts["walk after the meal"].draws[:, :, 0] < 70).mean(axis=0).max()
    assert column["chance below 70"].numpy()[2] == pytest.approx(100 * worst, abs=0.05)
    assert figure.kind == "compare"


def test_prior_dominated_parameters_are_marked(twin):
    figure, table = report.learnt_sections(twin, standing={"status": "current", "lineage": "x"})
    state = dict(zip(table.columns[0].values, table.columns[3].values, strict=True))
    names = twin.model.prior.names
    assert [state[n] for n in names] == ["informed by data"] * 6 + ["prior-dominated"] * (len(names) - 6)
    assert [p.note for p in figure.panels] == [""] * 6 + ["prior-dominated"] * (len(names) - 6)
    np.testing.assert_allclose(table.columns[2].values.numpy(), [0.35] * 6 + [0.97] * (len(names) - 6), atol=1e-9)


def test_marks_and_sources_are_those_of_the_prior_that_was_used(twin):
    """Under a population's own prior, narrower than the room's, the same posterior has taught less, and the source is not the room's."""
    prior = twin.model.prior
    narrow = Prior(prior.parameters, prior.mean, prior.cholesky * 0.4)
    mine = replace(twin, model=with_prior(twin.model, narrow), extra={"prior": "hierarchical, fitted on 9 other people"})
    _, before = report.learnt_sections(twin, standing={"status": "current", "lineage": "x"})
    figure, table = report.learnt_sections(mine, standing={"status": "current", "lineage": "x"})
    assert table.columns[3].values == ("prior-dominated",) * prior.size  # 0.35 / 0.4 and more
    assert all(p.note == "prior-dominated" for p in figure.panels)
    np.testing.assert_allclose(
        table.columns[2].values.numpy(), np.round(before.columns[2].values.numpy() / 0.4, 2), atol=0.011
    )  # both rounded to 0.01
    assert set(table.columns[4].values) == {"hierarchical, fitted on 9 other people"}
    assert before.columns[4].values[0] == prior.parameters[0].source


def test_metrics_with_targets_agree_with_the_summary(record):
    targets, others = report.metrics_tables(record.as_of(NOW), metrics.summary(record.as_of(NOW)))
    rows = {r[0]: r[1:] for t in (targets, others) for r in zip(*(c.values for c in t.columns), strict=True)}
    found = metrics.extended_summary(record.as_of(NOW))
    assert rows["Days of wear"] == (f"{found['days_of_wear']:g} days", "≥ 14 days", "NOT met")
    assert rows["Time in range, 70 to 180 mg/dL"][1] == "> 70 %"
    low, high = (float(part) for part in rows["Low and high blood glucose index"][0].split(", "))
    assert (low, high) == (pytest.approx(found["lbgi"], rel=0.01), pytest.approx(found["hbgi"], rel=0.01))
    only, mean = report.metrics_tables(None, {"mean_mg_dl": 150.0, "very_low_percent": 1.0, "low_percent": 4.0})
    assert ("Time below 70 mg/dL", "5 %", "< 4 %", "NOT met") in set(zip(*(c.values for c in only.columns), strict=True))
    assert mean.columns[1].values == ("150 mg/dL",)


@pytest.mark.parametrize("absent", ["record", "twin", "streamed", "comparison", "outcome", "summary", "notes", "shown_on"])
def test_what_is_missing_is_said_with_its_command(record, twin, streamed, comparison, absent):
    view = page_of(record, twin, streamed, comparison, **{absent: None})
    page = Page(render_html(view))
    expected = {
        "record": "no forecast, or no reading before it", "twin": "gemel calibrate metabolic RECORD", "streamed": "gemel forecast metabolic RECORD",
        "comparison": "gemel compare metabolic RECORD", "outcome": "gemel recommend metabolic RECORD", "shown_on": "shown on: not stated",
    }  # fmt: skip
    assert expected.get(absent, "Consensus metrics") in page.text


def test_nothing_at_all_is_still_a_page():
    view = report.person_view(record=None, twin=None, streamed=None, comparison=None, outcome=None, summary=None, notes=None, shown_on=None)
    page = Page(render_html(view))
    assert page.text.count("Not shown:") == 6
    assert "gemel import FILE" in page.text


def test_simulated_stands_on_every_figure(record, twin, streamed, comparison):
    shown = ShownOn(kind="simulated", n=1, what="drawn from the model")
    view = page_of(record, twin, streamed, comparison, simulated=True, shown_on=shown)
    assert {f.status for f in figures(view)} == {"simulated"}
    page = Page(render_html(view))
    assert page.text.count("SIMULATED: not measured on a person") == len(figures(view))
    assert "p-0001: SIMULATED" in page.text


def test_abstentions_are_words_with_their_reason(record, twin, streamed, comparison):
    from dataclasses import replace

    stale = replace(twin, domain=Domain(AbstentionReason.DATA_TOO_OLD, "the last reading is 47 min old"))
    silent = [*streamed[:-1], (NOW, a_forecast(NOW, status=Status.ABSTAINED), None)]
    outcome = Abstained(AbstentionReason.DATA_TOO_OLD, "the last reading is 47 min old", "p-0001", NOW, LINEAGE)
    empty = Comparison({name: a_forecast(NOW, status=Status.ABSTAINED, name=name) for name in ("a", "b")})
    view = page_of(record, stale, silent, empty, outcome=outcome)
    said = {s.title: s for s in view.sections if isinstance(s, Text)}
    assert "No forecast is given. data too old" in said["What comes next"].body
    assert said["Advice"].tone == "warning"
    assert said["Advice"].body.startswith("No advice: data too old.")
    assert "No comparison: a: data too old" in said["Plans compared"].body
    assert "STALE" in Page(render_html(view)).text
    drifting = replace(twin, status=Status.INNOVATIONS_INCONSISTENT)
    assert {f.status for f in figures(page_of(record, drifting, streamed, comparison))} == {"drifting", "current"}


def test_a_proposal_that_came_back_from_a_store_is_shown_too():
    proposal = Proposal(
        twin="p", issued=NOW, choice=None, reason=AbstentionReason.MEASURE_FIRST, sentence="the plans cannot be told apart", lineage=LINEAGE
    )
    (text,) = report.advice_sections(Proposal.model_validate(json.loads(proposal.model_dump_json())), "UTC")
    assert text.body.startswith("No advice: measure first.")


def test_the_short_form(record, twin, comparison):
    view = report.view(twin, record.as_of(NOW), a_forecast(NOW), a_choice(comparison), simulated=True)
    assert {f.status for f in figures(view)} == {"simulated"}
    assert "Plans compared" in titles(view)


def a_validation(kind="replayed", alarms=True):
    rows = []
    sizes = {15: 9.0, 30: 17.0, 60: 29.0, 120: 43.0}
    factor = {"last value": 1.25, "ridge": 1.0, "twin": 0.91, "twin without inputs": 0.97, "LSTM": 0.98}
    zones = {"Clarke": {"A": 0.81, "B": 0.175, "D": 0.015}, "Parkes": {"A": 0.84, "B": 0.15, "C": 0.01}}
    for h, size in sizes.items():
        for name, f in factor.items():
            gain = 100 * (1 - f)
            rows.append(
                Row(
                    forecaster=name, horizon=h, n=2128, rmse=size * f, rmse_median_person=0.9 * size * f, mae=0.7 * size * f, crps=0.5 * size * f, coverage50=0.505, coverage90=0.903,
                    coverage90_interval=(0.88, 0.925), coverage90_median_person=0.905, coverage90_bands=(0.87, 0.912, 0.86 if name == "twin" else 0.74), width50=1.1 * size, width90=3.1 * size,
                    gain_rmse=gain, gain_rmse_interval=(-np.inf, np.inf) if h == 15 else (gain - 4, gain + 4), gain_crps=gain + 1, people_better=0.75, zones=zones,
                )
            )  # fmt: skip
    t = (0.1, 0.3, 0.5, 0.7)
    curves = {
        name: AlarmCurve(
            "glucose below 70 mg/dL within 30 min",
            41,
            27.5,
            t,
            tuple(np.array([0.95, 0.82, 0.6, 0.3]) * g),
            tuple(np.array([2.4, 0.9, 0.3, 0.05]) / g),
            0.3,
        )
        for name, g in (("twin", 1.0), ("ridge", 0.85))
    }
    return Validation(
        "Where will glucose be?", "glucose", "mg/dL", ShownOn(kind=kind, n=12, what="ShanghaiT1DM"), 12, 14, {"train": 6400, "calibrate": 2100, "test": 2128}, tuple(rows),
        curves if alarms else {}, (70.0, 180.0 + 1e-9), (180, 1500, 448), ("p3: 41 readings, left out",), {"twin": 12.3},
    )  # fmt: skip


def test_the_validation_page():
    found = a_validation()
    view = report.validation_view(found)
    assert titles(view) == [
        "Question", "In short", "Gain over ridge", "Where the 90 % band holds, 60 minutes ahead", "Alarm: glucose below 70 mg/dL within 30 min", "Accuracy of all forecasters",
        "Bands of all forecasters", "Error grids", "Notes", "What this does not show",
    ]  # fmt: skip
    page = Page(render_html(view))
    assert "shown on: replayed, n = 12 (ShanghaiT1DM)" in page.text
    assert "60 minutes ahead: RMSE 26.4 mg/dL, gain over ridge 9 % (95 % interval 5 to 13)" in page.text
    table = next(s for s in view.sections if isinstance(s, Table) and s.title == "Accuracy of all forecasters")
    column = {c.label: c.values for c in table.columns}
    assert table.rows == len(found.rows) == 20
    np.testing.assert_allclose(column["RMSE"].numpy(), [r.rmse for r in found.rows], atol=0.005)
    assert column["RMSE gain, % (95 %)"][0] == "−25.0 (no interval)"
    assert column["RMSE gain, % (95 %)"][12] == "9.0 (5.0 to 13.0)"
    bands = next(s for s in view.sections if isinstance(s, Table) and s.title == "Bands of all forecasters")
    column = {c.label: c.values for c in bands.columns}
    np.testing.assert_allclose(column["above 180"].numpy()[:3], [74, 74, 86])
    assert column["90 % held, % (95 %)"][0] == "90.3 (88.0 to 92.5)"
    alarm = next(f for f in figures(view) if f.kind == "curve")
    assert "twin warns of 82 % of events at 0.9 false alarms a day" in alarm.alt
    grids = next(s for s in view.sections if isinstance(s, Table) and s.title == "Error grids")
    assert sum(float(c.values.numpy()[0]) for c in grids.columns[3:]) == pytest.approx(100)
    simulated = report.validation_view(a_validation("simulated", alarms=False))
    assert {f.status for f in figures(simulated)} == {"simulated"}
    assert view.sections[2].lineage == report.validation_view(a_validation()).sections[2].lineage
