"""A study of a design: worlds with and without the effect, twins beside each other, a stop that loses nothing, a page."""

from __future__ import annotations

import pytest

from gemel.core.errors import ModelError
from gemel.core.view import Figure
from gemel.trials.design.boundary import boundary
from gemel.trials.simulate import Design, LinearModel, LinearWorld, SubgroupWorld, recommend
from gemel.trials.simulate.choose import analyses_of, world_of
from gemel.trials.simulate.recommend import Abstained, Limits
from gemel.trials.simulate.report import study_view
from gemel.trials.simulate.study import PANEL, study
from gemel.web import render_html

BOTH = (LinearModel(0, "hc2"), LinearModel(1, "hc2"))
DESIGN = Design(100, 100, BOTH)


class Stop:
    def __init__(self, after):
        self.after, self.seen = after, 0

    def start(self, label, total): ...

    def update(self, done, note=""):
        self.seen += 1
        return self.seen < self.after

    def finish(self): ...


def test_level_and_power_stand_in_one_row():
    found = study(DESIGN, LinearWorld(0.4), 2000, key=1)
    assert found.is_whole
    assert [row.analysis for row in found.rows] == ["unadjusted", "ancova"]
    plain, adjusted = found.rows
    assert plain.under_null.power < 0.08
    assert adjusted.under_effect.power > plain.under_effect.power > 0.7
    assert plain.reduction is None
    assert adjusted.reduction == pytest.approx(0.25, abs=4 * adjusted.reduction_error + 0.01)
    assert "stopped" not in found.lineage.note


def test_a_world_without_effect_has_no_power():
    assert all(row.under_effect is None for row in study(DESIGN, LinearWorld(), 500, key=1).rows)


def test_early_stops_say_nothing_of_a_reduction():
    design = Design(100, 100, BOTH, boundary=boundary([0.5, 1.0]))
    assert all(row.reduction is None for row in study(design, LinearWorld(0.4), 500, key=1).rows)


def test_a_stop_keeps_what_is_done_and_names_what_is_not():
    found = study(DESIGN, LinearWorld(0.4), 1000, key=1, twins=PANEL, progress=Stop(10))  # 4 blocks a world, 2 worlds a twin
    assert not found.is_whole
    assert found.left_out == ("biased", "shifted", "anti-correlated")
    assert {row.twin for row in found.rows} == {"true", "noise"}
    assert found.done == 500
    assert "stopped" in found.lineage.note
    early = recommend({"a": DESIGN, "b": Design(50, 50, BOTH)}, LinearWorld(0.4), Limits(0.6), replicates=1000, key=1, progress=Stop(2))
    assert isinstance(early, Abstained)
    assert "stopped" in early.reason


def test_a_page_has_its_figures_tables_and_words():
    found = study(DESIGN, LinearWorld(0.4), 500, key=1, twins=PANEL)
    view = study_view(found, words="A trial of 200.")
    figures = [s for s in view.sections if isinstance(s, Figure)]
    assert [f.title for f in figures] == ["Without an effect", "With the effect"]
    for figure in figures:
        assert figure.status == "simulated"
        assert figure.shown_on.kind == "simulated"
        assert figure.table.rows == 10
    page = render_html(view)
    assert "anti-correlated" in page
    assert "A trial of 200." in page


def test_lineage_changes_with_what_was_simulated_and_only_then():
    ids = {
        study(design, world, replicates, key=key).lineage.id
        for design, world, replicates, key in ((DESIGN, LinearWorld(0.4), 500, 1), (DESIGN, LinearWorld(0.5), 500, 1), (Design(90, 100, BOTH), LinearWorld(0.4), 500, 1), (DESIGN, LinearWorld(0.4), 750, 1), (DESIGN, LinearWorld(0.4), 500, 2))
    }  # fmt: skip
    assert len(ids) == 5
    assert study(DESIGN, LinearWorld(0.4), 500, key=1).lineage.id in ids


def test_refusals():
    for call in (
        lambda: study(DESIGN, LinearWorld(), 500, key=1, twins=("perfect",)),
        lambda: world_of("flat", effect=0.1),
        lambda: world_of("linear"),
        lambda: world_of("linear", effect=0.1, median=3.0),
        lambda: analyses_of("linear", ("guess",)),
    ):
        with pytest.raises(ModelError):
            call()
    assert SubgroupWorld().null().effect == 0
