"""Protocol P on hand-made recordings: windows, baselines, alarms, intervals, and the whole of ``validate``."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from _glucose import person
from gemel.core.errors import DataError
from gemel.evidence.alarms import alarm_curve, events
from gemel.evidence.bootstrap import clustered_interval
from gemel.evidence.stream_protocol import Alarm, StreamProtocol, windows
from gemel.evidence.validation import baselines, validate
from gemel.twins.metabolic.evidence import PROTOCOL

ALARM = Alarm("below 70 within 30 min", 70.0, 30, 15)
PLAIN = StreamProtocol(
    "glucose", "mg/dL", (15, 30, 60), lambda records: (list(records), []), lambda *_: [], bands=(70.0, 180.0), alarm=ALARM
)


@dataclass(frozen=True)
class Made:
    value: np.ndarray
    step: int = 5
    id: str = "r"
    cluster: str = "p"
    logged: frozenset[str] = frozenset()


def with_gaps(seed=0, n=600):
    rng = np.random.default_rng(seed)
    value = 120 + np.cumsum(rng.normal(0, 2, n))
    value[rng.random(n) < 0.05] = np.nan  # single missing readings
    value[200:230] = np.nan  # a gap of two and a half hours
    return value


def test_windows_straddle_no_cut_and_no_gap():
    value = with_gaps()
    w = windows(Made(value), PLAIN)
    cuts = [round(0.6 * 600), round(0.8 * 600)]
    assert set(w.part) == {0, 1, 2}
    for o, part in zip(w.origin, w.part, strict=True):
        first, last = o - 12, o + 12
        assert np.digitize([first, last], cuts).tolist() == [part, part]
        assert not np.isnan(value[o]), "an origin is a real reading"
    assert not ((w.origin >= 200) & (w.origin < 230 + 9)).any(), "a gap longer than 15 min makes no window"


def test_windows_hold_but_never_interpolate():
    value = with_gaps()
    w = windows(Made(value), PLAIN)
    real = value[~np.isnan(value)]
    assert np.isin(w.lags, real).all(), "every lag is a reading that was made, at most held"
    for j, horizon in enumerate(PLAIN.horizons):
        assert np.array_equal(w.outcome[:, j], value[w.origin + horizon // 5]), "a target is the real reading"
    held = np.flatnonzero(np.isnan(value[w.origin - 1]))
    assert len(held)
    for i in held:
        back = next(k for k in range(1, 4) if not np.isnan(value[w.origin[i] - 1 - k]))
        assert w.lags[i, 1] == value[w.origin[i] - 1 - back]


def test_every_horizon_has_the_same_origins():
    w = windows(Made(with_gaps()), PLAIN)
    shorter = windows(Made(with_gaps()), replace(PLAIN, horizons=(15, 60)))
    assert np.array_equal(w.origin, shorter.origin[np.isin(shorter.origin, w.origin)])
    assert np.isfinite(w.outcome).all()
    assert w.outcome.shape == (len(w.origin), 3)
    assert len(windows(Made(np.full(20, 100.0)), PLAIN).origin) == 0, "too short for one window"


def test_a_change_of_the_future_changes_no_lag():
    value = with_gaps()
    changed = value.copy()
    changed[400:] += 50.0
    a, b = (windows(Made(v), PLAIN) for v in (value, changed))
    before = a.origin < 400
    assert np.array_equal(a.lags[before], b.lags[before])


def test_baselines_are_what_they_say():
    rng = np.random.default_rng(1)
    parts = [windows(Made(100 + np.cumsum(rng.normal(0, 3, 800))), PLAIN) for _ in range(3)]
    found = baselines(parts)
    x, y = (np.concatenate([getattr(w, k)[w.part == 0] for w in parts]) for k in ("lags", "outcome"))
    for w, last, ridge in zip(parts, found["last value"], found["ridge"], strict=True):
        assert (last.mean == w.lags[:, :1]).all()
        # The penalised normal equations, stated anew: augmented least squares with one row of 1 per column.
        a = np.concatenate([x - x.mean(0), np.eye(x.shape[1])])
        b = np.concatenate([y - y.mean(0), np.zeros((x.shape[1], 3))])
        weights = np.linalg.lstsq(a, b, rcond=None)[0]
        assert np.allclose(ridge.mean, (w.lags - x.mean(0)) @ weights + y.mean(0), atol=1e-6)  # two solvers of a system of condition 1e4
        assert (np.diff(ridge.quantiles, axis=2) >= 0).all()
    for forecasts in found.values():
        inside = np.concatenate(
            [(w.outcome >= f.quantiles[..., 4]) & (w.outcome <= f.quantiles[..., 94]) for w, f in zip(parts, forecasts, strict=True)]
        )
        calibrate = np.concatenate([w.part == 1 for w in parts])
        assert (np.abs(inside[calibrate].mean(axis=0) - 0.9) < 0.02).all(), "split conformal: 90 % by construction where it was calibrated"


def test_events_of_a_hand_made_series():
    nan = np.nan
    value = np.array([100.0] * 5 + [60] * 3 + [100] * 2 + [60] + [100] * 4 + [65] + [nan] * 3 + [60])
    # 5: after 15 min above. 10: only ten minutes above. 15: again after 20 min. 19: nothing is known of the 15 min before.
    assert events(value, 5, ALARM).tolist() == [5, 15]
    assert events(np.array([60.0, 60, 60, 60]), 5, ALARM).tolist() == [], "a series that begins low begins no event"


def _dips():
    value = np.full(1500, 120.0)
    for start in range(40, 1500, 50):
        value[start : start + 3] = 60.0
    return Made(value)


def test_alarms_that_know_and_alarms_that_do_not():
    recording = _dips()
    w = windows(recording, PLAIN)
    begins = events(recording.value, 5, ALARM)
    soon = np.array([((begins > o) & (begins <= o + 6)).any() for o in w.origin])
    quantiles = np.where(soon[:, None], 50.0, 120.0) + np.linspace(-1, 1, 99)
    knows = alarm_curve(ALARM, [recording], [w], [quantiles])
    in_test = [b for b in begins if b > w.origin[w.part == 2][0]]
    assert knows.events == len(in_test)
    assert knows.at_chosen() == (1.0, 0.0)
    silent = alarm_curve(ALARM, [recording], [w], [np.full((len(w.origin), 99), 120.0)])
    assert silent.at_chosen() == (0.0, 0.0)
    always = alarm_curve(ALARM, [recording], [w], [np.full((len(w.origin), 99), 50.0)])
    assert always.sensitivity[0] == 1.0
    assert always.false_per_day[0] > 5, "one alarm each half hour, most of them for nothing"
    assert always.chosen == 0.9, "no threshold keeps to one false alarm a day: the highest is taken"
    assert json.dumps(knows.to_dict())


def test_intervals_resample_people():
    rng = np.random.default_rng(2)
    value = rng.normal(10, 3, 40)
    low, high = clustered_interval(lambda w: float(w @ value / w.sum()), 40)
    half = 1.96 * value.std() / np.sqrt(40)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)  # 1,000 replicates: each end is good to about 5 % of its distance
    assert low < value.mean() < high
    assert clustered_interval(lambda w: float(w @ value[:1]), 1) == (-np.inf, np.inf)
    same = clustered_interval(lambda w: float(w @ np.ones(5) / w.sum()), 5)
    assert same == (1.0, 1.0)
    # Thirty readings of each person say no more about people than one does.
    many = np.repeat(value, 30)
    owner = np.repeat(np.arange(40), 30)
    again = clustered_interval(lambda w: float(w[owner] @ many / w[owner].sum()), 40)
    assert again == pytest.approx((low, high))


def test_validate_from_records_to_rows():
    people = [person(i) for i in range(4)]
    found = validate(PROTOCOL, people, peers=False, shown_on="simulated")
    names = ["last value", "ridge", "twin", "twin without inputs"]
    assert (found.people, found.recordings, found.shown_on.kind) == (4, 4, "simulated")
    assert {r.forecaster for r in found.rows} == set(names)
    assert len({r.n for r in found.rows}) == 1, "the same origins for every horizon and every forecaster"
    assert found.rows[0].n == found.windows["test"] == sum(found.bands_n)
    for row in found.rows:
        assert row.rmse >= 0
        assert row.crps < row.mae + 1e-9, "a distribution does no worse than its median"
        assert 0.5 < row.coverage90 <= 1.0
        assert row.width50 < row.width90
        assert set(row.zones) == {"Clarke", "Parkes", "DTS"}
        assert all(sum(z.values()) == pytest.approx(1, abs=1e-3) for z in row.zones.values())
    for horizon in PROTOCOL.horizons:
        assert found.row("ridge", horizon).gain_rmse == pytest.approx(0, abs=1e-9)
        assert found.row("twin", horizon).rmse < found.row("last value", horizon).rmse
    assert set(found.alarms) == set(names)
    assert json.dumps(found.to_dict(), allow_nan=True)
    again = validate(PROTOCOL, people, peers=False, ablations=False, horizons=(30,), shown_on="simulated")
    assert {r.horizon for r in again.rows} == {30}


def test_validate_says_what_it_cannot_do():
    with pytest.raises(DataError, match="long enough"):
        validate(PROTOCOL, [person(0, days=0.6)], peers=False)
    with pytest.raises(DataError, match="multiple of the slot"):
        validate(PROTOCOL, [person(0)], horizons=(20,), peers=False)
