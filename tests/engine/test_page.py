"""The plainest page of a twin: a fan, the parameters, the advice; a sentence where there is no forecast."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
from _toys import calibrated, person

from gemel.core.advice import AbstentionReason, ShownOn
from gemel.core.view import Figure, Text
from gemel.engine.forecast import forecast
from gemel.engine.model import Domain
from gemel.engine.page import plain_page
from gemel.engine.recommend import Abstained

SHOWN = ShownOn(kind="simulated", n=1, what="drawn from the toy")


def test_a_page_has_what_was_read_what_comes_and_what_was_learnt():
    twin = calibrated("toy-linear")
    record, _, _ = person("toy-linear")
    read = record.series[0].time, record.series[0].value
    made = forecast(twin, None, twin.times(60, 240), n=32, key=jax.random.key(0))
    advice = Abstained(
        AbstentionReason.INDISTINGUISHABLE, "they cannot be told apart", patient="p", issued=0, lineage=made.lineage, limits={}
    )
    page = plain_page(twin, read, made, advice, shown_on=SHOWN)
    assert page.title == "Twin toy-linear"
    assert page.subtitle == twin.patient
    assert [type(s) for s in page.sections] == [Text, Figure, Figure, Text]
    assert all(s.shown_on == SHOWN for s in page.sections if isinstance(s, Figure))
    assert page.sections[-1].body == "they cannot be told apart"


def test_an_abstained_forecast_is_a_sentence():
    twin = replace(calibrated("toy-linear"), domain=Domain(AbstentionReason.OUT_OF_DOMAIN, "too young"))
    made = forecast(twin, None, twin.times(60), n=8, key=jax.random.key(0))
    page = plain_page(twin, (np.zeros(0, np.int64), np.zeros(0)), made, shown_on=SHOWN)
    assert [type(s) for s in page.sections] == [Text, Figure]
    assert page.sections[0].tone == "warning"
    assert "too young" in page.sections[0].body
