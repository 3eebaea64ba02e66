"""V14 and constructed traces: metrics with known answers, and another way of computing each."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from scipy.optimize import brentq

from gemel.core.code import Code
from gemel.core.errors import DataError, ValueRangeError
from gemel.core.record import Demographics, PatientRecord
from gemel.core.series import Series
from gemel.interop.fhir import SUMMARY_KEYS
from gemel.twins.metabolic import metrics as m

MINUTE = 60_000_000_000
START = int(np.datetime64("2026-03-02T00:00", "ns").astype(np.int64))


def trace(value, step=5, start=START):
    return start + np.arange(len(value)) * step * MINUTE, np.asarray(value, float)


def test_risk_is_zero_where_f_is_zero():
    zero = brentq(lambda g: float(m.risk_transform(np.array([g]))[0]), 80, 150, xtol=1e-13)
    assert zero == pytest.approx(112.5, abs=0.02)  # Kovatchev gives four digits of each constant
    at = np.full(10, zero)
    assert m.lbgi(at) + m.hbgi(at) < 1e-20
    assert m.lbgi(np.full(3, 112.5)) + m.hbgi(np.full(3, 112.5)) < 1e-5
    # Each side alone, by hand: 10 f^2 with f = 1.509 ((ln G)^1.084 - 5.381).
    low, high = (10 * (1.509 * (np.log(g) ** 1.084 - 5.381)) ** 2 for g in (50.0, 300.0))
    assert m.lbgi(np.array([50.0, 300.0])) == pytest.approx(low / 2, rel=1e-12)
    assert m.hbgi(np.array([50.0, 300.0])) == pytest.approx(high / 2, rel=1e-12)
    # The scale was made so that 20 and 600 mg/dL both bear a risk of 100 (Kovatchev 1997).
    assert [10 * f**2 for f in m.risk_transform(np.array([20.0, 600.0]))] == pytest.approx([100, 100], rel=0.01)


def test_a_hand_made_day_is_exact():
    day = [53.9] * 3 + [54.0] * 6 + [69.9] * 6 + [70.0] * 100 + [180.0] * 101 + [180.1] * 30 + [250.0] * 30 + [250.1] * 12
    shares = m.times_in_ranges(np.array(day))
    assert len(day) == 288
    assert shares == {
        "very_low_percent": 100 * 3 / 288, "low_percent": 100 * 12 / 288, "in_range_percent": 100 * 201 / 288, "high_percent": 100 * 60 / 288,
        "very_high_percent": 100 * 12 / 288,
    }  # fmt: skip
    assert m.gri(shares) == pytest.approx((3.0 * 3 + 2.4 * 12 + 1.6 * 12 + 0.8 * 60) * 100 / 288, rel=1e-14)
    assert m.gri(m.times_in_ranges(np.full(9, 40.0))) == 100.0
    found = m.extended_summary(trace(day))
    assert found["below_70_percent"] == pytest.approx(100 * 15 / 288, rel=1e-14)
    assert found["above_180_percent"] == pytest.approx(25.0, rel=1e-14)


def test_mean_gmi_adag_and_cv():
    value = np.array([100.0, 200.0])
    found = m.extended_summary(trace(value))
    assert found["mean_mg_dl"] == 150.0
    assert found["mean_mmol_l"] == pytest.approx(150 / 18.0156, rel=1e-5)  # molar mass 180.156 g/mol
    assert found["gmi_percent"] == pytest.approx(6.898, abs=1e-12)
    assert found["estimated_a1c_percent"] == pytest.approx(196.7 / 28.7, rel=1e-14)
    assert m.estimated_a1c(28.7 * 7 - 46.7) == pytest.approx(7.0, rel=1e-14)
    assert found["cv_percent"] == pytest.approx(100 * np.sqrt(5000) / 150, rel=1e-14)
    assert m.gmi(154.0) == pytest.approx(7.0, abs=0.01)  # the table of Bergenstal 2018 pairs 150 with 6.9 and 200 with 8.1
    assert (round(m.gmi(150), 1), round(m.gmi(200), 1), round(m.gmi(250), 1)) == (6.9, 8.1, 9.3)


def test_the_summary_speaks_the_keys_of_the_fhir_bundle():
    found = m.summary(trace(np.linspace(60, 260, 600)))
    assert set(found) == set(SUMMARY_KEYS)
    assert sum(found[k] for k in found if k.endswith(("low_percent", "range_percent", "high_percent"))) == pytest.approx(100, abs=1e-9)
    assert m.summary((np.zeros(0, np.int64), np.zeros(0))) == {}
    one = m.summary(trace([100.0]))
    assert "cv_percent" not in one
    assert set(one) <= set(SUMMARY_KEYS)


def test_wear_counts_local_days_and_the_share_of_expected_readings():
    time, value = trace(np.full(288 * 2, 120.0))
    keep = np.ones(len(time), bool)
    keep[100:244] = False  # half a day is missing
    assert m.sensor_active(time) == 100.0
    assert m.sensor_active(time[keep]) == pytest.approx(75.0)
    assert m.days_of_wear(time, "UTC") == 2
    assert m.days_of_wear(time, "America/New_York") == 3
    jitter = time + np.random.default_rng(0).integers(-60, 60, len(time)) * 1_000_000_000
    assert m.sensor_active(np.sort(jitter)) == pytest.approx(100.0, abs=0.4)  # a reading at either end may lie one slot off
    assert m.summary((time[keep], value[keep]), "America/New_York")["days_of_wear"] == 3
    slow, _ = trace(np.ones(96), step=15)
    assert m.cadence(slow) == 15.0


def test_local_days_with_daylight_saving_and_odd_zones():
    time = START + np.arange(0, 400 * 24 * 4) * 15 * MINUTE
    for name in ("Europe/Berlin", "America/Adak", "Pacific/Chatham", "Asia/Kathmandu", "Pacific/Auckland"):
        expected = [dt.datetime.fromtimestamp(t // 10**9, ZoneInfo(name)).date().toordinal() for t in time[::97].tolist()]
        assert m.local_days(time[::97], name).tolist() == expected


def test_readings_from_a_record_and_refusals():
    time, value = trace([5.0, 6.0, 7.0])
    series = Series(code=Code.parse("loinc:105272-9"), unit="mmol/L", time=time, value=value)
    record = PatientRecord(id="p", demographics=Demographics(zone="Asia/Shanghai")).with_facts(series)
    _, found = m.readings(record)
    np.testing.assert_allclose(found, value * 18.0156, rtol=1e-4)
    assert m.summary(record)["mean_mmol_l"] == pytest.approx(6.0, rel=1e-12)
    twice = m.readings((np.array([2, 1, 2]), np.array([20.0, 10.0, 30.0])))
    assert twice[1].tolist() == [10.0, 20.0]
    with pytest.raises(ValueRangeError):
        m.readings((np.array([1]), np.array([0.5])))
    with pytest.raises(DataError):
        m.readings((np.array([1, 2]), np.array([100.0])))


def brute_mage(value):
    """Another way: all local extremes, the smallest swing removed until every swing exceeds one SD; swings in the direction of the first."""
    points = [v for i, v in enumerate(value) if i in (0, len(value) - 1) or (value[i] - value[i - 1]) * (value[i + 1] - value[i]) < 0]
    spread = np.std(value, ddof=1)
    while len(points) > 1:
        swing = np.abs(np.diff(points))
        k = int(np.argmin(swing))
        if swing[k] > spread:
            break
        if k in (0, len(swing) - 1):
            points.pop(0 if k == 0 else -1)
        else:
            del points[k : k + 2]
    swing = np.diff(points)
    return float(np.mean(np.abs(swing[np.sign(swing) == np.sign(swing[0])]))) if len(swing) else 0.0


def test_mage_on_constructed_signals():
    minute = np.arange(288) * 5
    wave = 150 + 50 * np.sin(2 * np.pi * minute / 360)
    # Rises: the first is cut off by midnight (50), then three whole ones (100), and the last as far as the day goes.
    assert m.mage(trace(wave)) == pytest.approx((50 + 3 * 100 + wave[-1] - 100) / 5, abs=1e-9)
    ripple = wave + 4 * np.sin(2 * np.pi * minute / 30)
    assert m.mage(trace(ripple)) == pytest.approx(m.mage(trace(wave)), abs=8)  # swings below one SD do not count, but move the peaks
    saw = np.concatenate(
        [np.linspace(100, 200, 73)[:-1], np.linspace(200, 80, 73)[:-1], np.linspace(80, 240, 73)[:-1], np.linspace(240, 100, 72)]
    )
    assert m.mage(trace(saw)) == pytest.approx((100 + 160) / 2, abs=1e-9)
    assert m.mage(trace(300 - saw)) == pytest.approx((100 + 160) / 2, abs=1e-9)  # now falls come first
    assert m.mage(trace(np.full(288, 120.0))) == 0.0
    assert np.isnan(m.mage(trace([100.0])))


def test_mage_agrees_with_another_algorithm():
    rng = np.random.default_rng(1)
    for _ in range(40):
        value = 140 + np.cumsum(rng.normal(0, 6, 288))
        value = 60 + np.abs(value - 60)
        assert m.mage(trace(value)) == pytest.approx(brute_mage(value), rel=1e-9)


def test_mage_is_a_mean_over_whole_local_days():
    one = 150 + 50 * np.sin(2 * np.pi * np.arange(288) * 5 / 360)
    two = 150 + 20 * np.sin(2 * np.pi * np.arange(288) * 5 / 360)
    both = np.concatenate([one, two, np.full(50, 300.0)])
    assert m.mage(trace(both)) == pytest.approx(0.5 * (m.mage(trace(one)) + m.mage(trace(two))), rel=1e-12)


def test_modd_and_conga_on_constructed_signals():
    minute = np.arange(3 * 288) * 5
    daily = 140 + 30 * np.sin(2 * np.pi * minute / 1440)
    assert m.modd(trace(daily)) == pytest.approx(0.0, abs=1e-9)
    assert m.modd(trace(daily + 10.0 * (minute // 1440))) == pytest.approx(10.0, abs=1e-9)
    ramp = 100 + 0.02 * minute
    assert m.conga(trace(ramp), 2) == pytest.approx(0.0, abs=1e-9)
    wave = 150 + 40 * np.sin(2 * np.pi * minute / 240)
    difference = wave[24:] - wave[:-24]  # two hours = half a period: twice the wave
    assert m.conga(trace(wave), 2) == pytest.approx(np.std(difference, ddof=1), rel=1e-12)
    assert m.conga(trace(wave), 2) == pytest.approx(80 / np.sqrt(2), rel=0.01)
    assert np.isnan(m.modd(trace(wave[:200])))
    # With gaps and jitter: pairs found by looking through all.
    rng = np.random.default_rng(2)
    keep = rng.random(len(minute)) > 0.3
    time, value = trace(wave + rng.normal(0, 5, len(wave)))
    time, value = time[keep] + rng.integers(-40, 40, keep.sum()) * 1_000_000_000, value[keep]
    pairs = []
    for i in range(len(time)):
        gap = np.abs(time - (time[i] - 86_400_000_000_000))
        j = int(np.argmin(gap))
        if gap[j] <= 0.5 * m.cadence(time) * MINUTE:
            pairs.append(abs(value[i] - value[j]))
    assert m.modd((time, value)) == pytest.approx(np.mean(pairs), rel=1e-12)


def test_agp_percentiles_by_local_time():
    rng = np.random.default_rng(3)
    time, value = trace(rng.normal(150, 30, 14 * 288))
    found = m.agp((time, value), "Asia/Shanghai", bin_minutes=60)
    hour = ((time // (3600 * 10**9)) + 8) % 24
    for h in (0, 7, 23):
        np.testing.assert_allclose(found.percentile[:, h], np.quantile(value[hour == h], [0.05, 0.25, 0.5, 0.75, 0.95]), rtol=1e-12)
    assert found.count.sum() == len(value)
    assert found.minute[7] == 450.0
    assert np.isnan(m.agp((time[:10], value[:10])).percentile[:, 40]).all()


def test_mard_and_grmse():
    r, p = np.array([100.0, 200.0]), np.array([110.0, 180.0])
    assert m.mard(r, p) == pytest.approx(10.0, rel=1e-14)
    # Far from both thresholds, or wrong to the safe side, an error weighs as its square.
    assert m.grmse(np.array([120.0]), np.array([150.0])) == pytest.approx(30.0, rel=1e-14)
    assert m.grmse_weight(np.array([50.0, 300.0]), np.array([40.0, 340.0])).tolist() == [1.0, 1.0]
    # Deep in each region and far enough off: 1 + 1.5 and 1 + 1.
    assert m.grmse_weight(np.array([55.0, 255.0]), np.array([65.0, 235.0])) == pytest.approx([2.5, 2.0], rel=1e-14)
    # Half way along both steps the weight is half of half.
    assert m.grmse_weight(np.array([70.0, 205.0]), np.array([75.0, 195.0])) == pytest.approx([1 + 1.5 / 4, 1 + 1 / 4], rel=1e-14)


def step(x, a, width):
    """The published quartic step, piece by piece."""
    xi = 2 / width * (x - a - width / 2)
    if x <= a:
        return 0.0
    if x >= a + width:
        return 1.0
    return (-0.5 if xi <= 0 else 0.5) * xi**4 - xi**3 + xi + 0.5


def test_grmse_weight_agrees_with_its_formula_and_is_smooth():
    rng = np.random.default_rng(4)
    r, p = rng.uniform(40, 400, (2, 500))
    p = r + rng.normal(0, 15, 500)
    expected = [1 + 1.5 * step(-a, -85, 30) * step(b, a, 10) + step(a, 155, 100) * step(-b, -a, 20) for a, b in zip(r, p, strict=True)]
    np.testing.assert_allclose(m.grmse_weight(r, p), expected, rtol=1e-12)
    x = np.linspace(40, 90, 5001)
    second = np.diff(m.grmse_weight(x, x + 20), 2) / 0.01**2
    assert np.abs(np.diff(second)).max() < 1e-3  # the second derivative has no jump


def test_targets_are_of_known_keys_and_sides():
    found = m.extended_summary(trace(np.full(288 * 14, 120.0)))
    assert {t.key for t in m.TARGETS} <= set(found)
    assert all(t.met(found[t.key]) for t in m.TARGETS)
    assert not m.Target("x", "x", "below", 4.0).met(4.0)
    assert m.Target("x", "x", "at most", 36.0).met(36.0)
