"""Differential privacy: noise of the right size, a budget that is spent once, and a named error without OpenDP."""

import json
import math
import sys
import threading

import numpy as np
import pytest

from gemel.core.errors import DataError, FormatError, StoreError
from gemel.platform.differential import BudgetLedger, _mean_measurement, private_count, private_counts, private_mean


@pytest.fixture
def paid(tmp_path):
    return {"ledger": BudgetLedger(tmp_path / "budget.jsonl", limit=2.0), "project": "p", "what": "w", "time": 1}


# The relative standard error of a variance of n Laplace draws is sqrt((kurtosis - 1) / n) = sqrt(5 / n); OpenDP's noise has no seed.
# Four and a half of them: an honest mechanism misses once in 150,000 runs.
def band(n):
    return 4.5 * math.sqrt(5 / n)


def test_the_noise_of_a_mean_has_the_variance_of_the_laplace_mechanism():
    """Problem V12, a small version: 2 (sensitivity / epsilon)^2, sensitivity (upper - lower) / n. The benchmark draws 100,000 and holds them to 2 %."""
    n, epsilon, width = 4, 0.5, 10.0
    measure, scale = _mean_measurement(n, 0.0, width, epsilon)
    assert scale == pytest.approx(width / (n * epsilon), rel=1e-9)  # OpenDP adds what floating-point sums may lose
    draws = np.array([measure([5.0] * n) for _ in range(10_000)])
    assert np.var(draws) == pytest.approx(2 * (width / n / epsilon) ** 2, rel=band(len(draws)))
    assert np.mean(draws) == pytest.approx(5, abs=4.5 * math.sqrt(2 / len(draws)) * scale)


def test_the_noise_of_counts_is_discrete_laplace(paid):
    """Its variance is 2 a / (1 - a)^2 with a = exp(-epsilon)."""
    told = private_counts([100] * 40_000, epsilon=0.5, **paid)
    assert isinstance(told.value, tuple)
    a = math.exp(-0.5)
    assert np.var(told.value) == pytest.approx(2 * a / (1 - a) ** 2, rel=band(40_000))
    assert (told.status, told.scale) == ("dp(0.5, 0)", 2.0)
    assert {type(v) for v in told.value} == {int}


def test_answers_cost_what_they_say(paid):
    one = private_count(50, epsilon=0.5, **paid)
    mean = private_mean([1.0, 2.0, 300.0], lower=0, upper=10, epsilon=1.0, **paid)
    assert (one.epsilon, mean.epsilon, mean.n) == (0.5, 1.0, 3)
    assert paid["ledger"].spent("p") == 1.5
    assert paid["ledger"].spent("other") == 0


def test_a_value_beyond_the_bounds_weighs_no_more_than_the_bound(paid, tmp_path):
    rich = BudgetLedger(tmp_path / "rich.jsonl", limit=1e9)
    told = private_mean([0.0, 1e12], lower=0, upper=10, epsilon=1e6, **(paid | {"ledger": rich}))
    assert told.value == pytest.approx(5, abs=1e-3)  # scale 5e-6


def test_a_spent_budget_refuses_before_anything_is_drawn(paid):
    ledger = paid["ledger"]
    assert ledger.spend("p", 1.5, what="w", time=1) == pytest.approx(0.5)
    with pytest.raises(DataError, match=r"0\.6 asked, 0\.5 of 2 left"):
        private_count(1, epsilon=0.6, **paid)
    assert ledger.spent("p") == 1.5
    private_count(1, epsilon=0.5, **paid)
    with pytest.raises(DataError, match="does not reach"):
        private_count(1, epsilon=1e-6, **paid)
    assert ledger.spend("other", 2.0, what="w", time=1) == 0  # each project has its own
    assert [json.loads(line)["epsilon"] for line in ledger.path.read_text().splitlines()] == [1.5, 0.5, 2.0]


def test_ten_tenths_are_one(tmp_path):
    ledger = BudgetLedger(tmp_path / "l", limit=1.0)
    for _ in range(10):
        ledger.spend("p", 0.1, what="w", time=1)
    with pytest.raises(DataError, match="does not reach"):
        ledger.spend("p", 0.1, what="w", time=1)


def test_many_at_once_spend_no_more_than_there_is(tmp_path):
    path, done = tmp_path / "l", []

    def work():
        for _ in range(20):
            try:
                BudgetLedger(path, limit=10.0).spend("p", 0.5, what="w", time=1)
                done.append(1)
            except DataError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 20
    assert BudgetLedger(path, limit=10.0).spent("p") == 10.0


@pytest.mark.parametrize(
    "text", ["rubbish\n", "{}\n", '{"project": "p", "epsilon": -1, "what": "w", "time": 1}\n', '{"project": "p", "epsilon": "NaN"}\n']
)
def test_a_ledger_that_cannot_be_read_pays_nothing(tmp_path, text):
    (tmp_path / "l").write_text(text)
    with pytest.raises(FormatError, match="cannot be read"):
        BudgetLedger(tmp_path / "l", limit=1).spend("p", 0.1, what="w", time=1)


def test_a_ledger_that_was_cut_off_pays_nothing(tmp_path):
    (tmp_path / "l").write_text('{"project": "p", "eps')
    with pytest.raises(StoreError, match="cut off"):
        BudgetLedger(tmp_path / "l", limit=1).spend("p", 0.1, what="w", time=1)


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, math.inf])
def test_a_price_must_be_one(paid, epsilon):
    with pytest.raises(DataError, match="must be positive"):
        private_count(1, epsilon=epsilon, **paid)
    assert paid["ledger"].spent("p") == 0


@pytest.mark.parametrize(
    ("values", "bounds"),
    [([], (0, 1)), ([math.nan], (0, 1)), ([[1.0]], (0, 1)), ([1.0], (1, 0)), ([1.0], (0, math.inf)), ([1.0], (1, 1))],
)
def test_values_and_bounds_are_checked_before_anything_is_paid(paid, values, bounds):
    with pytest.raises(DataError, match="private mean"):
        private_mean(values, lower=bounds[0], upper=bounds[1], epsilon=1.0, **paid)
    with pytest.raises(DataError, match="no groups"):
        private_counts([], epsilon=1.0, **paid)
    assert paid["ledger"].spent("p") == 0


def test_without_opendp_there_is_a_named_error_and_nothing_is_paid(paid, monkeypatch):
    monkeypatch.setitem(sys.modules, "opendp.prelude", None)
    with pytest.raises(DataError, match=r"gemel\[privacy\]"):
        private_count(1, epsilon=1.0, **paid)
    assert paid["ledger"].spent("p") == 0
