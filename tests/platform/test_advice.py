"""What a twin said, to bytes and back, and what was observed beside it."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core import AbstentionReason, Code, ForecastTable, Lineage, PatientRecord, PlanScore, Proposal, Series
from gemel.core.errors import FormatError
from gemel.core.time import MINUTE
from gemel.platform.advice import observed, read_forecast, read_proposal, write_forecast, write_proposal

LINEAGE = Lineage(record="r", model="toy-linear", model_version="1", code_version="0.1", method="laplace", seed=7, parents=("a",))
SIGNAL = Code.parse("gemel:toy-signal")


def table(quantiles, times=(60, 240)):
    quantiles = np.asarray(quantiles, float)
    return ForecastTable(
        twin="p1", issued=0, times=np.array(times, np.int64) * MINUTE, outputs=("signal",), units=("[arb'U]",), levels=(0.05, 0.5, 0.95),
        quantiles=quantiles, mean=quantiles[1], probabilities={"above": [0.1, 0.2][: len(times)]}, plan="2 mg", lineage=LINEAGE,
    )  # fmt: skip


def test_a_forecast_comes_back():
    one = table([[[1.5], [2]], [[3], [4]], [[5], [np.nan]]])
    back = read_forecast(write_forecast(one))
    np.testing.assert_array_equal(back.quantiles, one.quantiles)
    np.testing.assert_array_equal(back.times, one.times)
    assert (back.lineage, back.probabilities, back.plan) == (one.lineage, one.probabilities, one.plan)
    empty = table(np.zeros((3, 0, 1)), ())
    assert read_forecast(write_forecast(empty)).quantiles.shape == (3, 0, 1)


def test_a_proposal_comes_back():
    for one in (
        Proposal(
            twin="p1",
            issued=5,
            choice="2 mg",
            sentence="s",
            ranking=(PlanScore(plan="2 mg", utility=1, utility_error=0, probability_best=1),),
            lineage=LINEAGE,
        ),
        Proposal(twin="p1", issued=5, choice=None, reason=AbstentionReason.DATA_TOO_OLD, sentence="s", lineage=LINEAGE),
    ):
        assert read_proposal(write_proposal(one)) == one


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"lineage": 3}', b"\xff", b'{"twin": "secret patient"}'])
def test_what_is_neither_is_named_without_its_content(body):
    for read in (read_forecast, read_proposal):
        with pytest.raises(FormatError) as error:
            read(body)
        assert "secret" not in str(error.value)


def test_readings_are_found_at_the_times_of_the_forecast():
    one = table([[[1], [2]], [[3], [4]], [[5], [6]]])
    times = np.array([58, 59, 200, 242]) * MINUTE
    record = PatientRecord(id="p1").with_facts(Series(code=SIGNAL, unit="[arb'U]", time=times, value=[9.0, 4.0, 1.0, 7.0]))
    found = observed(one, record, {"signal": SIGNAL})
    assert found == {"signal+60min": (59 * MINUTE, 4.0, True), "signal+240min": (242 * MINUTE, 7.0, False)}
    assert observed(one, record, {}) == observed(one, PatientRecord(id="p"), {"signal": SIGNAL}) == {}
