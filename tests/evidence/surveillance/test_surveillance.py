"""The watch: what rings, when it knew, how often for nothing, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError, FormatError, TimeError
from gemel.core.time import DAY, HOUR
from gemel.evidence.surveillance import watch as surveillance
from gemel.evidence.surveillance.adaptive import replay_adaptive_log
from gemel.evidence.surveillance.people import people_rates
from gemel.evidence.surveillance.prediction_log import UNKNOWN, PredictionLog, log_of, read_log
from gemel.evidence.surveillance.release import freeze, read_release
from gemel.evidence.surveillance.report_periodic import periodic_report
from gemel.evidence.surveillance.scan import residual_scan, scan_limit
from gemel.evidence.surveillance.view import watch_to_dict
from gemel.evidence.surveillance.watch import Settings, surveil
from gemel.web import render_html

START = 1_767_225_600 * 1_000_000_000
LATER = START + 3650 * DAY


def events(n, seed, *, at=None, ratio=1.0, delay=5.0, factor=1.0) -> PredictionLog:
    """Probabilities and outcomes, one an hour; from row ``at`` on odds are ``ratio`` times those predicted, and an input is multiplied."""
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(-2.5, 1, n)))
    after = np.arange(n) >= (n if at is None else at)
    odds = np.where(after, ratio, 1.0)
    outcome = (rng.random(n) < odds * p / (1 - p + odds * p)).astype(float)
    time = START + np.arange(n) * HOUR
    recorded = time + (rng.exponential(delay, n) * DAY).astype(np.int64)
    inputs = {"glucose": np.exp(rng.normal(1.7, 0.2, n)) * np.where(after, factor, 1.0), "age": rng.normal(60, 10, n)}
    return PredictionLog(
        time, recorded, np.array([f"p{i % 50}" for i in range(n)]), "event", {"prediction": p, "outcome": outcome}, np.full(n, UNKNOWN),
        rng.choice(["a", "b"], n), inputs, {"device": rng.choice(["x", "y"], n)},
    )  # fmt: skip


def values(n, seed, *, at=None, shift=0.0, scale=1.0) -> PredictionLog:
    """Forecasts of standard deviation 10 with their 90 % intervals, PIT, CRPS and innovations."""
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    after = np.arange(n) >= (n if at is None else at)
    centre = rng.normal(120, 30, n)
    z = rng.normal(size=n) * np.where(after, scale, 1.0) + np.where(after, shift, 0.0)
    crps = 10 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    time = START + np.arange(n) * HOUR
    numbers = {"prediction": centre, "outcome": centre + 10 * z, "lower": centre - 16.449, "upper": centre + 16.449, "crps": crps, "pit": norm.cdf(z), "innovation": z}  # fmt: skip
    return PredictionLog(
        time, time + 2 * HOUR, np.array([f"p{i % 50}" for i in range(n)]), "value", numbers, np.full(n, UNKNOWN), np.full(n, "")
    )


@pytest.fixture(scope="module", autouse=True)
def _limits_once():
    """The same mix and run length have the same limits: simulate them once."""
    kept: dict[tuple, float] = {}

    def once(function):
        def found(source, share, *rest, **named):
            told = (function.__name__, np.asarray(getattr(source, "value", source)).tobytes(), share)
            if told not in kept:
                kept[told] = function(source, share, *rest, **named)
            return kept[told]

        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surveillance, "scan_limit", once(surveillance.scan_limit))
        patch.setattr(surveillance, "ewma_limit", once(surveillance.ewma_limit))
        yield


@pytest.fixture(scope="module")
def baseline():
    return events(5000, 0)


@pytest.fixture(scope="module")
def release(baseline):
    return freeze(baseline, model="m", version="1.0.0", now=LATER)


@pytest.fixture(scope="module")
def drifted(release):
    return surveil(events(2200, 2, at=1000, ratio=2.5), now=LATER, release=release)


def test_doubled_odds_ring_soon_after_they_begin(drifted):
    chart = drifted.charts[0]
    assert chart.name == "events, more than predicted"
    assert len(chart.path.alarms) >= 3
    assert drifted.log.recorded[chart.alarm_rows].min() > START + 1000 * HOUR
    assert drifted.alarms[0].time < START + (1000 + 24 * 5 + 3 * chart.delay) * HOUR
    assert not drifted.charts[1].path.alarms.size
    assert drifted.scan is not None
    assert len(drifted.scan[1].alarms)
    # known at once it would have rung before it did
    assert chart.by_time.alarms.size
    assert drifted.log.time[chart.rows_by_time[chart.by_time.alarms]].min() < drifted.log.recorded[chart.alarm_rows].min()


def test_lost_ranks_ring_where_the_number_of_events_does_not(release):
    log = events(2600, 12)
    rng = np.random.default_rng(0)
    p = log.numbers["prediction"].copy()
    p[800:] = rng.permutation(p[800:])  # the same risks, of other people
    watch = surveil(replace(log, numbers=log.numbers | {"prediction": p}), now=LATER, release=release)
    rang = {a.chart for a in watch.alarms if a.row >= 700}
    assert "predictions too extreme" in rang
    chart = next(c for c in watch.charts if c.name == "predictions too extreme")
    assert log.time[chart.alarm_rows].min() > START + 700 * HOUR


def test_a_later_outcome_does_not_change_what_was_said(release):
    log = events(1500, 2, at=700, ratio=2.5)
    early, late = START + 1100 * HOUR, LATER
    then, now = (surveil(log, now=t, release=release) for t in (early, late))
    assert then.pending + then.missing > 0
    known_then = [a for a in now.alarms if a.time <= early]
    assert known_then
    assert [a.key for a in then.alarms] == [a.key for a in known_then]


@pytest.mark.slow
def test_the_whole_watch_keeps_its_run_length(release):
    rang = [bool(surveil(events(500, 100 + i), now=LATER, release=release, settings=Settings(run_length=1000)).alarms) for i in range(50)]
    # a constant rate of one in 1,000 rings in 39 % of stretches of 500; at most that, and 0.3 % of honest watches pass 58 %
    assert 0.04 < np.mean(rang) < 0.58


@pytest.mark.parametrize(
    ("shift", "scale", "expected"),
    [(0.5, 1.0, "outcomes above their forecasts"), (-0.5, 1.0, "outcomes below their forecasts"), (0.0, 1.6, "intervals hold too few"), (0.0, 0.5, "intervals hold too many"), (0.0, 1.6, "CRPS above release")],
)  # fmt: skip
def test_each_chart_of_forecasts_finds_what_it_looks_for(shift, scale, expected):
    base = freeze(values(1500, 1), model="m", version="1", now=LATER)
    watch = surveil(values(1600, 2, at=600, shift=shift, scale=scale), now=LATER, release=base)
    assert expected in {a.chart for a in watch.alarms}


def test_a_good_forecaster_is_left_alone():
    base = freeze(values(1500, 1), model="m", version="1", now=LATER)
    watches = [surveil(values(700, seed), now=LATER, release=base, settings=Settings(run_length=10_000)) for seed in range(2, 12)]
    # 0.7 of ten are expected to ring, at most: five or more by chance in 0.1 %
    assert sum(bool(w.alarms) for w in watches) < 5
    assert np.mean([w.rolling["everybody"][1].outside for w in watches]) < 0.4
    assert np.mean([low <= v <= high for w in watches for v, low, high in w.innovation.values()]) > 0.85


def test_inputs_explain_a_change_of_unit(baseline, release):
    watch = surveil(events(1600, 4, at=800, factor=18.016), now=LATER, release=release, reference=baseline)
    rang = [b for b in watch.batches if b.rings]
    assert [b.first for b in rang] == [800]
    assert "glucose" in rang[0].sentence
    assert "change of unit (glucose: mg/dL for mmol/L" in rang[0].sentence
    assert any(f.statistic == "MMD" and f.p_value < 1e-3 for f in rang[0].findings)
    assert {a.chart for a in watch.alarms} == {"inputs"}


def test_missing_outcomes_are_counted_and_mark_the_watch(release):
    log = events(600, 5)
    outcome = log.numbers["outcome"].copy()
    outcome[:80] = np.nan
    recorded = np.where(np.arange(600) < 80, UNKNOWN, log.recorded)
    watch = surveil(replace(log, numbers=log.numbers | {"outcome": outcome}, recorded=recorded), now=LATER, release=release)
    assert (watch.known, watch.missing, watch.pending, watch.is_incomplete) == (520, 80, 0, True)
    soon = surveil(log, now=START + 599 * HOUR, release=release, settings=Settings(due_days=30))
    assert soon.pending > 50
    assert (soon.missing, soon.is_incomplete) == (0, False)
    assert "INCOMPLETE" in render_html(periodic_report(watch, (), title="t", shown_on=ShownOn(kind="simulated", n=50)))


def test_small_groups_are_not_shown(release):
    log = events(300, 6)
    group = np.array(["a"] * 285 + ["few"] * 15)
    watch = surveil(replace(log, group=group), now=LATER, release=release)
    row = next(g for g in watch.groups if g.group == "few")
    assert row.n == 0
    assert np.isnan(row.observed)
    assert "few" not in {c.group for c in watch.charts}


def test_what_the_charts_cannot_do_is_refused(release):
    log = events(200, 7)
    sure = log.numbers["prediction"].copy()
    sure[41] = 1.0
    with pytest.raises(EvidenceError, match=r"exactly 0 or 1.*1 in row 42"):
        surveil(replace(log, numbers=log.numbers | {"prediction": sure}), now=LATER, release=release)
    with pytest.raises(EvidenceError, match=r"cannot reach this run length.*more than"):
        surveil(log, now=LATER, release=release, settings=Settings(run_length=1.1))
    with pytest.raises(EvidenceError, match=r"scan cannot be set.*100 to"):
        surveil(log, now=LATER, release=release, settings=Settings(run_length=10))
    with pytest.raises(EvidenceError, match="no prediction was made"):
        surveil(log, now=START - 1, release=release)
    with pytest.raises(EvidenceError, match="different kinds"):
        surveil(values(100, 1), now=LATER, release=release)
    with pytest.raises(EvidenceError, match="nothing that a chart"):
        surveil(replace(log, kind="value"), now=LATER)


def rows(**changes):
    one = {"time": "2026-01-01T00:00:00Z", "recorded": "2026-01-02T00:00:00Z", "patient": "a", "prediction": "0.2", "outcome": "0"}
    two = one | {"time": "2026-01-01T01:00:00Z"} | changes
    return [one, two]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"prediction": "1.2"}, EvidenceError, r"outside \[0, 1\]; seen: 1.2 in row 2"),
        ({"prediction": "-0.1"}, EvidenceError, "row 2"),
        ({"outcome": "2"}, EvidenceError, "outcome of an event must be 0 or 1.*row 2"),
        ({"time": "2025-12-31T00:00:00Z"}, TimeError, "time runs backwards.*row 2"),
        ({"recorded": "2025-12-31T00:00:00Z"}, TimeError, "known before its prediction.*row 2"),
        ({"recorded": ""}, TimeError, "without the time at which it became known"),
        ({"time": "yesterday"}, TimeError, "row 2, column 'time'"),
        ({"time": "2026-01-01T01:00:00"}, TimeError, "without a zone"),
        ({"prediction": "high"}, FormatError, "'prediction' holds numbers only.*row 2"),
        ({"prediction": ""}, EvidenceError, "neither a prediction nor abstained"),
    ],
)
def test_bad_rows_are_named(changes, error, said):
    with pytest.raises(error, match=said):
        log_of(rows(**changes))


def test_a_log_is_read_and_its_kind_told(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("time,recorded,patient,prediction,outcome,glucose,site\n2026-01-01T00:00:00Z,,a,0.2,,5.1,north\n2026-01-01T00:00:00Z,2026-01-03T00:00:00Z,b,0.7,1,,south\n")  # fmt: skip
    log = read_log(path)
    assert log.kind == "event"
    assert log.known.tolist() == [False, True]
    assert list(log.inputs) == ["glucose"]
    assert log.categories["site"].tolist() == ["north", "south"]
    assert log.hash == read_log(path).hash
    with pytest.raises(FormatError, match="lacks a column"):
        log_of([{"time": "2026-01-01T00:00:00Z", "patient": "a"}])
    assert log_of([{k: v for k, v in r.items() if k != "recorded"} for r in rows()]).notes
    assert log_of(rows(prediction="120.0", outcome="118.5"), kind="value").kind == "value"
    assert log_of([r | {"lower": "0", "upper": "1", "outcome": "0.4"} for r in rows()]).kind == "value"
    with pytest.raises(EvidenceError, match="ends before it begins"):
        log_of([r | {"lower": "2", "upper": "1", "outcome": "0.4"} for r in rows()])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([0.005, 0.02, 0.1]), st.sampled_from([0.0, 1.0, 30.0]), st.booleans()
)
def test_the_bound_of_the_adaptive_level_is_never_broken(seed, n, rate, delay, adversarial):
    rng = np.random.default_rng(seed)
    outcome = rng.normal(size=n) * (np.exp(rng.normal(0, 3, n)) if adversarial else 1) + (np.linspace(0, 50, n) if adversarial else 0)
    time = np.arange(n, dtype=float)
    replay = replay_adaptive_log(
        -np.ones(n), np.ones(n), outcome, time, time + rng.exponential(delay, n) if delay else time, target=0.1, rate=rate
    )
    assert replay.settled == n
    assert abs(replay.missed - replay.target) <= replay.bound + 1e-12
    assert replay.delay >= 1


def test_the_adaptive_level_falls_where_intervals_are_too_narrow():
    watch = surveil(values(2000, 8, scale=2.0, at=0), now=LATER, settings=Settings(level=0.9))
    assert watch.adaptive is not None
    replay = watch.adaptive[1]
    assert replay.missed == pytest.approx(0.1, abs=0.03)
    own = np.mean(np.abs(watch.log.numbers["outcome"] - watch.log.numbers["prediction"]) > 16.449)
    assert own > 0.3
    width = (replay.upper - replay.lower)[-200:]
    assert np.median(width[np.isfinite(width)]) > 1.5 * 32.9


def test_people():
    log = events(480, 9)
    alarmed = np.zeros(480)
    alarmed[::48] = 1
    numbers = log.numbers | {"alarmed": alarmed, "overridden": np.where(np.arange(480) % 96 == 0, 1.0, 0.0), "abstained": np.zeros(480)}
    acted = np.where(alarmed == 1, log.time + 15 * 60 * 10**9, UNKNOWN)
    burden, override, act, abstained = people_rates(replace(log, numbers=numbers, acted=acted))
    assert burden.n == 480  # 50 people, each at most once a day
    assert burden.value == pytest.approx(100 * 10 / 480)
    assert burden.low < burden.value < burden.high
    assert override.value == 50.0
    assert act.value == 15.0
    assert abstained.value == 0.0
    assert next(r.note for r in people_rates(log)) == "no column 'alarmed'"


def test_the_adaptive_window_tells_since_when():
    rng = np.random.default_rng(1)
    p = np.full(1500, 0.1)
    y = (rng.random(1500) < np.where(np.arange(1500) < 1000, 0.1, 0.3)).astype(float)
    scan = residual_scan(p, y, scan_limit(p, 2000))
    first = int(scan.alarms[scan.alarms >= 1000][0])
    assert first < 1100
    assert abs(first - scan.lag[first] - 1000) < 60
    assert scan.sign[first] == 1
    with pytest.raises(EvidenceError, match="cannot be set"):
        scan_limit(p, 10)


def test_nothing_known_yet_is_no_error(release):
    early = surveil(events(50, 3, delay=300), now=START + 10 * HOUR, release=release)
    assert (early.known, early.alarms) == (0, ())
    assert "No outcome is known" in render_html(periodic_report(early, (), title="t", shown_on=ShownOn(kind="simulated", n=50)))
    forecasts = values(40, 3)
    assert surveil(forecasts, now=START + HOUR).known == 0


def test_a_row_with_too_many_cells_is_named(tmp_path):
    (tmp_path / "log.csv").write_text("time,patient,prediction,outcome\n2026-01-01T00:00:00Z,a,0.2,1,7\n")
    with pytest.raises(FormatError, match="row 1"):
        read_log(tmp_path / "log.csv")


def test_a_release_is_frozen_without_rows_and_comes_back(tmp_path, baseline, release):
    path = tmp_path / "release.json"
    path.write_text(release.model_dump_json())
    assert read_release(path) == release
    assert np.mean(release.mix) == pytest.approx(baseline.numbers["prediction"].mean(), rel=5e-3)
    assert len(release.inputs["age"].quantiles) == 201
    path.write_text('{"format": "gemel-release/1", "model": "m"}')
    with pytest.raises(FormatError, match="version"):
        read_release(path)
    path.write_text("rubbish")
    with pytest.raises(FormatError, match="no release"):
        read_release(path)
    with pytest.raises(EvidenceError, match="50 or more"):
        freeze(events(30, 1), model="m", version="1", now=LATER)


def test_the_same_log_gives_the_same_answer(drifted, release):
    again = surveil(events(2200, 2, at=1000, ratio=2.5), now=LATER, release=release)
    assert again.lineage == drifted.lineage
    assert str(watch_to_dict(again)) == str(watch_to_dict(drifted))


def test_no_jax_is_loaded():
    code = "import sys, gemel.evidence.surveillance.watch, gemel.evidence.surveillance.report_periodic, gemel.evidence.change.protocol_run; print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
