"""What a person reads: no suppressed number in any section, limits and gaps in words, figures that can be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core.advice import ShownOn
from gemel.core.errors import FormatError
from gemel.core.view import View
from gemel.evidence.diagnostic import Estimate
from gemel.evidence.fairness.audit import Settings, audit
from gemel.evidence.fairness.mitigation import mitigate
from gemel.evidence.fairness.planted import PlantedBias
from gemel.evidence.fairness.proxy import audit_proxy
from gemel.evidence.fairness.remedy_view import proxy_sections, remedy_sections
from gemel.evidence.fairness.scored import Scored
from gemel.evidence.fairness.scored_table import Columns, groups_of, number_column, read_columns, scored_of
from gemel.evidence.fairness.view import fairness_view, forest_figure, interval_text

QUICK = Settings(replicates=80, depth=1)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1.2, 700)
    site = np.array(["a"] * 500 + ["b"] * 150 + ["c"] * 43 + ["d"] * 7)
    return Scored(outcome=rng.random(700) < 1 / (1 + np.exp(-z)), probability=1 / (1 + np.exp(-z))), {"site": site, "sex": None}


def test_the_document_says_what_is_missing_and_hides_what_is_small(rows):
    report = audit(*rows, settings=QUICK, shown_on=ShownOn(kind="simulated", n=700))
    view = fairness_view(report)
    text = view.to_json()
    assert View.from_json(text) == view
    assert all(words in text for words in ("Not assessable: sex", "language", "suppressed", "No audit shows that a model is fair"))
    figure = forest_figure(report, ("site",), status="simulated")
    assert figure.status == "simulated"
    people = next(c for c in figure.table.columns if c.label == "people").values
    assert people == ("700", "500", "150", "-", "-")
    assert "site d" not in str(figure.axes)
    assert forest_figure(report, ("sex",)) is None
    auroc = next(layer for layer in figure.layers if layer.type == "points" and layer.panel == 0)
    assert auroc.lower.numpy()[1] == report.group(site="a").metrics["auroc"].low


def test_remedies_and_proxies_become_sections(rows):
    remedy = mitigate("recalibration", rows[0], {"site": rows[1]["site"]}, settings=QUICK)
    text, table = remedy_sections(remedy)
    assert "shown on" in text.body
    assert table.rows == len(remedy.changes)
    people = PlantedBias().draw(800, seed=1)
    found = audit_proxy(
        people.score, people.need, people.group, need_score=people.need_score, bins=20, replicates=80, totals={"paid": np.exp(people.cost)}
    )
    sections = proxy_sections(found, lineage="x" * 16, shown_on=ShownOn(kind="simulated", n=1600), need="conditions")
    assert [s.type for s in sections] == ["text", "figure", "table", "table"]
    assert "not explained by a proxy alone" in sections[0].body
    assert sections[1].layers[0].value.numpy()[0] == found.groups[0].before.gap.value


def test_a_share_of_none_has_its_exact_interval():
    rng = np.random.default_rng(0)
    p = np.r_[rng.uniform(0.01, 0.4, 60), rng.uniform(0.01, 0.99, 200)]
    y = np.r_[np.tile([0, 1, 0], 20), rng.integers(0, 2, 200)]
    found = audit(Scored(outcome=y, probability=p), {"g": np.repeat(["low", "all"], [60, 200])}, settings=QUICK).group(g="low").metrics
    assert found["true_positive_rate"].value == 0
    assert found["true_positive_rate"].high == pytest.approx(1 - 0.025 ** (1 / 20))  # Clopper and Pearson 1934, none of 20
    assert found["selection_rate"].high == pytest.approx(1 - 0.025 ** (1 / 60))


def test_intervals_in_words():
    assert interval_text(Estimate(0.7123, 0.65, 0.77)) == "0.712 (0.65 to 0.77)"
    assert interval_text(Estimate(0.5, np.nan, np.nan)) == "0.5"
    assert interval_text(None) == "-"


def test_tables_of_other_programs(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("\ufeffid;p;died;sex;rang;gave\r\n1;0.25;0;f;no;1\r\n2;0.75;1;;yes;\r\n".encode())
    table = read_columns(path)
    scored = scored_of(table, Columns(probability="p", outcome="died", alarmed="rang"))
    assert scored.probability.tolist() == [0.25, 0.75]
    assert scored.people.tolist() == [0, 1]
    assert scored.alarmed.tolist() == [False, True]
    assert groups_of(table, ["sex", "race"])["race"] is None
    assert np.isnan(number_column(table, "gave")[1])
    with pytest.raises(FormatError, match="'f' in row 1"):
        number_column(table, "sex")
    with pytest.raises(FormatError, match="yes or no"):
        scored_of(table, Columns(probability="p", outcome="died", alarmed="p"))
