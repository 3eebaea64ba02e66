"""The qualification passes where the numbers are right, fails where one is not, and says what it could not run."""

from __future__ import annotations

import pytest

import gemel.trials.qualify as module
from _data import data_environment, require_dataset
from gemel.core.errors import DatasetError, InferenceError
from gemel.platform import datasets
from gemel.trials.qualification import GROUPS, known
from gemel.trials.qualify import qualification_view, qualify
from gemel.web import render_html


def resolve(name):
    return datasets.resolve(name, environ=data_environment(), download=False)


def absent(name):
    raise DatasetError("cannot be had", seen=name)


def test_every_number_has_a_group_a_source_and_a_tolerance_that_it_could_miss():
    rows = known()
    assert len({(k.group, k.name) for k in rows}) == len(rows)
    assert {k.group for k in rows} == set(GROUPS)
    assert all(k.source for k in rows)
    assert all(k.tolerance < 0.01 * max(abs(k.value), 0.1) or k.name.endswith(("df", "as printed", "F", "estimate", "p")) for k in rows)


@pytest.mark.data
def test_the_whole_table_passes_here():
    for name in ("mmrm-fev", "robincar2-glm", "cdisc-pilot", "actg175"):
        require_dataset(name)
    judged = qualify(resolve)
    assert [(j.known.group, j.known.name, j.found) for j in judged if j.status != "pass"] == []
    assert len(judged) == len(known())


def test_what_needs_no_data_passes_and_the_rest_is_not_run():
    seen = []
    judged = qualify(absent, told=lambda group, n: seen.append((group, n)))
    status = {g: {j.status for j in judged if j.known.group == g} for g in GROUPS}
    assert status["survival"] == status["group-sequential"] == status["sample size"] == status["installation"] == {"pass"}
    assert status["mixed model"] == status["ACTG 175"] == {"not run"}
    assert all("cannot be had" in j.reason for j in judged if j.status == "not run")
    assert [g for g, _ in seen] == list(GROUPS)


def test_a_wrong_number_a_missing_one_and_an_analysis_that_breaks_all_fail(monkeypatch):
    right = module._RUN["survival"](absent)
    monkeypatch.setitem(module._RUN, "survival", lambda resolve: right | {"chi-squared": 16.8})
    judged = qualify(absent, groups=("survival",))
    assert [j.known.name for j in judged if j.status == "FAIL"] == ["chi-squared"]
    monkeypatch.setitem(module._RUN, "survival", lambda resolve: {k: v for k, v in right.items() if k != "expected"})
    assert [(j.known.name, j.found) for j in qualify(absent, groups=("survival",)) if j.status == "FAIL"] == [("expected", None)]

    def broken(resolve):
        raise InferenceError("has not converged")

    monkeypatch.setitem(module._RUN, "survival", broken)
    judged = qualify(absent, groups=("survival",))
    assert {j.status for j in judged} == {"FAIL"}
    assert "has not converged" in judged[0].reason
    page = render_html(qualification_view(judged, environment={"gemel": "0"}, created="2026-01-01"))
    assert "10 numbers FAIL" in page
    nan = right | {"expected": float("nan")}
    monkeypatch.setitem(module._RUN, "survival", lambda resolve: nan)
    assert [j.known.name for j in qualify(absent, groups=("survival",)) if j.status == "FAIL"] == ["expected"]
