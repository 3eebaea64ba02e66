"""Studies: run once, kept, found again while they are true, and never one data set for both calibration and validation."""

from types import SimpleNamespace

import pytest

from gemel.core.advice import ShownOn
from gemel.core.errors import DatasetError, EvidenceError
from gemel.evidence import study as module
from gemel.evidence.run import Measured
from gemel.evidence.study import Found, People, Problem, Study, known_answers, run_studies

ON = ShownOn(kind="simulated", n=3)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(module, "model_hash", lambda twin: f"model of {twin}")  # a room that is not installed
    calls, kept = [], []

    def measure(context):
        calls.append(context.seed)
        return Found((Measured(name="x", value=1.0, met=True, shown_on=ON),), {"t": {"c": [1.0, float("nan")]}})

    def go(*studies, people=None, runs=None, **options):
        room = SimpleNamespace(id="some-twin", manifest=SimpleNamespace(version="1"))
        given = people or (lambda name: People((), f"hash of {name}"))
        return run_studies(
            room, studies, runs=kept if runs is None else runs, save=kept.append, now=lambda: len(kept) + 1, people=given, **options
        )

    return SimpleNamespace(go=go, measure=measure, calls=calls, kept=kept)


def test_what_is_still_true_is_not_measured_again(bench):
    one = Study("one", "verification", "claim", bench.measure, (2,), "code verification")
    (first,) = bench.go(one)
    (again,) = bench.go(one)
    assert (first.was_fresh, again.was_fresh) == (False, True)
    assert bench.calls == [0]
    assert first.run.factors == (2,)
    assert first.run.tables["t"]["c"] == [1.0, None]
    bench.go(one, seed=5)
    bench.go(one, quick=True)
    bench.go(one, seed=0, force=True)
    assert bench.calls == [0, 5, 0, 0]


def test_a_study_that_is_looked_at_each_time_is_kept_only_when_something_changed(bench):
    value = [1.0]

    def look(_):
        return Found((Measured(name="x", value=value[0], met=True, shown_on=ON),))

    one = Study("one", "verification", "claim", look, always=True)
    bench.go(one)
    (same,) = bench.go(one)
    assert same.was_fresh
    assert len(bench.kept) == 1
    value[0] = 2.0
    (other,) = bench.go(one)
    assert not other.was_fresh
    assert other.run.figures[0].value == 2.0


def test_a_changed_model_is_measured_again(bench, monkeypatch):
    one = Study("one", "verification", "claim", bench.measure)
    bench.go(one)
    monkeypatch.setattr(module, "model_hash", lambda twin: "another")
    (again,) = bench.go(one)
    assert not again.was_fresh
    assert again.run.model_hash == "another"


def test_an_interrupted_call_goes_on_where_it_was(bench):
    def stop(_):
        raise KeyboardInterrupt

    one, two = (Study(n, "verification", "claim", bench.measure) for n in ("one", "two"))
    with pytest.raises(KeyboardInterrupt):
        bench.go(one, Study("broken off", "verification", "claim", stop), two)
    assert len(bench.kept) == 1
    done = bench.go(one, two)
    assert [d.was_fresh for d in done] == [True, False]


def test_what_cannot_be_run_says_why_and_hides_nothing_else(bench):
    def refuse(_):
        raise EvidenceError("no step to refine")

    def nobody(name):
        raise DatasetError(f"{name} cannot be had", fix="gemel data fetch")

    done = bench.go(
        Study("a", "calculation", "claim", refuse), Study("b", "validation", "claim", bench.measure, data=("secret",)),
        Study("c", "verification", "claim", bench.measure), people=nobody,
    )  # fmt: skip
    assert [d.run is None for d in done] == [True, True, False]
    assert "no step" in done[0].reason
    assert "secret cannot be had; gemel data fetch" in done[1].reason


def test_data_of_the_calibration_are_no_validation(bench):
    fit = Study("fit", "calibration", "claim", bench.measure, category="model calibration", data=("people",))
    test = Study("test", "validation", "claim", bench.measure, category="in-vivo validation", data=("people",))
    with pytest.raises(EvidenceError, match="same data"):
        bench.go(fit, test)
    other = Study("test", "validation", "claim", bench.measure, category="in-vivo validation", data=("others",))
    assert all(d.run is not None for d in bench.go(fit, other))


def test_known_answers_are_figures():
    found = known_answers([Problem("half", "of one", 0.5, 0.01, lambda: 0.505), Problem("third", "of one", 1 / 3, 1e-3, lambda: 0.5, "m")])
    assert [f.met for f in found.figures] == [True, False]
    assert found.figures[0].shown_on.kind == "proof"
    assert found.tables["problems"]["result"] == [0.505, 0.5]
    assert Problem("half", "of one", 0.5, 0.01, lambda: 0.505).passed()
