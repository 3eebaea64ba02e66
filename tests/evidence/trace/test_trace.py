"""The trace: our own twins have no orphan in either direction, and every kind of orphan is found when it is planted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError, FormatError, TwinNotFoundError
from gemel.core.manifest import installed
from gemel.evidence.fingerprint import model_hash
from gemel.evidence.run import EvidenceRun, Measured
from gemel.evidence.trace.check import contract_promises, declared_studies, project_of, project_tests, scan_tests, trace_check
from gemel.evidence.trace.data import Rating, read_trace, trace_of
from gemel.evidence.trace.report import trace_report, trace_study, trace_study_result, trace_view, traced_twins
from gemel.web import render_html

pytestmark = pytest.mark.requirement("R-G-TRACED")

SHARED = """
[[item]]
id = "S-1"
what = "all of it"
modules = ["gemel.core.units"]
class = "B"
[[requirement]]
id = "R-1"
text = "knows no future"
items = ["S-1"]
promises = ["look-ahead"]
tests = ["tests/test_a.py::test_one"]
"""
OWN = """
contract = "tests/test_a.py::TestAll::test_contract"
[[requirement]]
id = "R-2"
text = "keeps its walls"
items = ["S-1"]
tests = ["tests/test_a.py::test_two[1-x]"]
studies = ["loop"]
[[requirement]]
id = "R-3"
text = "is marked"
items = ["S-1"]
[[hazard]]
id = "H-1"
situation = "s"
harm = "h"
before = { severity = 4, probability = 3 }
residual = { severity = 4, probability = 1 }
controls = [{ what = "a wall", kind = "barrier", requirements = ["R-2"] }]
"""
TESTS = """
import pytest
def test_one(): ...
def test_two(x): ...
@pytest.mark.requirement("R-3")
@pytest.mark.slow
async def test_three(): ...
def helper(): ...
class TestAll:
    pytestmark = [pytest.mark.slow, pytest.mark.requirement("R-2")]
    def test_contract(self): ...
"""
STUDIES = frozenset({"loop", "ranks"})


@pytest.fixture
def project(tmp_path):
    """A project with a package, its trace, and tests."""
    room = tmp_path / "src" / "some_room"
    room.mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "shared.toml").write_text(SHARED)
    (tmp_path / "src" / "shared.toml").write_text(SHARED)
    (room / "trace.toml").write_text(OWN)
    (tmp_path / "tests" / "test_a.py").write_text(TESTS)
    return tmp_path


def checked(project, own=OWN, shared=SHARED, tests=TESTS, **more):
    (project / "src" / "some_room" / "trace.toml").write_text(own)
    (project / "src" / "shared.toml").write_text(shared)
    (project / "tests" / "test_a.py").write_text(tests)
    trace = read_trace(project / "src" / "some_room" / "trace.toml", twin="some-twin", version="1", shared=project / "src" / "shared.toml")
    return trace_check(trace, more.pop("index", None) or project_tests(trace), STUDIES, **more)


def test_our_own_twins_have_no_orphan_in_either_direction():
    everyone = traced_twins()
    ours = [twin for twin in installed() if twin.startswith(("metabolic", "toy-"))]
    assert len(ours) >= 6
    for twin in ours:
        report = trace_report(twin, traces=everyone)
        assert report.checked.passed, report.checked
        assert report.trace.contract
        assert all(item.safety_class for item in report.trace.items)
        assert {row.requirement.origin for row in report.rows} == {"gemel", twin}


def test_a_sound_trace_has_none(project):
    assert checked(project).passed
    assert scan_tests(project).nodes == {
        "tests/test_a.py::test_one": (), "tests/test_a.py::test_two": (), "tests/test_a.py::test_three": ("R-3",), "tests/test_a.py::TestAll::test_contract": ("R-2",),
    }  # fmt: skip


BROKEN = {
    "a requirement that names nothing": ({"tests": TESTS.replace('"R-3"', '"R-2"')}, {("requirement that nothing shows", "R-3")}),
    "a test that was renamed": (
        {"tests": TESTS.replace("test_one", "test_uno")},
        {("test that does not exist", "R-1")},
    ),
    "a test in a class that was renamed": ({"tests": TESTS.replace("TestAll", "TestSome")}, {("test that does not exist", "contract of some-twin")}),
    "a promise that there is not": ({"shared": SHARED.replace("look-ahead", "clairvoyance")}, {("promise that does not exist", "R-1")}),
    "a study that there is not": ({"own": OWN.replace('"loop"', '"loops"')}, {("study that does not exist", "R-2")}),
    "no contract": ({"own": OWN.replace('contract = "tests/test_a.py::TestAll::test_contract"', "")}, {("promise without contract", "some-twin")}),
    "a hazard without control": ({"own": OWN.replace("controls = [{", "controls = [] #")}, {("hazard without control", "H-1")}),
    "a control by nothing": (
        {"own": OWN.replace('requirements = ["R-2"]', 'requirements = ["R-9"]')},
        {("control of a requirement that does not exist", "H-1"), ("control that nothing shows", "H-1")},
    ),
    "a control by a test that is not there": (
        {"own": OWN.replace('requirements = ["R-2"]', 'tests = ["tests/test_a.py::test_nine"]')},
        {("test that does not exist", "H-1"), ("control that nothing shows", "H-1")},
    ),
    "a control that makes it worse": (
        {"own": OWN.replace("residual = { severity = 4, probability = 1", "residual = { severity = 5, probability = 3")},
        {("risk that its controls make larger", "H-1")},
    ),
    "an item without class": ({"shared": SHARED.replace('class = "B"', "")}, {("software item without safety class", "S-1")}),
    "an item of no module": ({"shared": SHARED.replace("core.units", "core.unicorns")}, {("software item of a module that does not exist", "S-1")}),
    "an item nobody asked for": (
        {"shared": SHARED + '[[item]]\nid = "S-2"\nwhat = "more"\nclass = "A"\n'},
        {("software item without requirement", "S-2")},
    ),
    "a requirement without item": ({"shared": SHARED.replace('items = ["S-1"]\n', "")}, {("requirement without software item", "R-1")}),
    "a requirement of no item": (
        {"shared": SHARED.replace('items = ["S-1"]', 'items = ["S-1", "S-8"]')},
        {("requirement of a software item that does not exist", "R-1")},
    ),
    "a test of no requirement": (
        {"tests": TESTS + '\n@pytest.mark.requirement("R-7")\ndef test_orphan(): ...\n'},
        {("test of a requirement that does not exist", "tests/test_a.py::test_orphan")},
    ),
    "a module of no requirement": (
        {"tests": TESTS.replace("import pytest", 'import pytest\npytestmark = pytest.mark.requirement("R-8")')},
        {("test of a requirement that does not exist", f"tests/test_a.py::{name}") for name in ("test_one", "test_two", "test_three", "TestAll::test_contract")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_every_kind_of_orphan_is_found(project, name):
    change, expected = BROKEN[name]
    found = checked(project, **change)
    assert not found.passed
    assert {(o.kind, o.where) for o in found.orphans} == expected


def test_a_mark_of_another_twins_requirement_is_no_orphan(project):
    tests = TESTS + '\n@pytest.mark.requirement("R-7")\ndef test_other(): ...\n'
    assert checked(project, tests=tests, known=frozenset({"R-7"})).passed


def test_without_its_tests_nothing_is_said_to_have_passed(project):
    index = {"gemel": None, "some-twin": None}
    found = checked(project, index=index)
    assert found.orphans == ()
    assert not found.passed
    assert len(found.unchecked) == 2
    assert all("cannot be checked" in line for line in found.unchecked)
    wheel = project / "site-packages" / "some_room"
    wheel.mkdir(parents=True)
    assert project_of(wheel) is None
    assert project_of(project / "src" / "some_room") == project
    # what does not rest on names of tests is still found
    assert [o.kind for o in checked(project, own=OWN.replace("controls = [{", "controls = [] #"), index=index).orphans] == [
        "hazard without control"
    ]


def test_names_told_without_imports_are_the_real_ones():
    from gemel.evidence.standard import studies_of
    from gemel.testing import CHECKS
    from gemel.verbs import room

    assert contract_promises() == set(CHECKS)
    for twin in ("toy-linear", "metabolic"):
        real = {study.id for study in studies_of(room(twin))}
        assert real <= declared_studies(trace_of(twin).folders[twin]), twin
        assert ("validation" in real) == ("validation" in declared_studies(trace_of(twin).folders[twin]))


def a_run(study, *, model, met=True):
    figure = Measured(name="f", value=1.0, met=met, shown_on=ShownOn(kind="simulated", n=3))
    return EvidenceRun(kind="loop", twin="toy-linear", study=study, model_version="1", model_hash=model, time=1, figures=(figure,))


def test_runs_stand_in_the_matrix_with_their_state():
    here = model_hash("toy-linear")
    runs = [a_run("loop", model=here), a_run("ranks", model="another"), a_run("known-answers", model=here, met=False)]
    report = trace_report("toy-linear", runs=runs)
    said = {s.study: s.state for row in report.rows for s in row.studies}
    assert said["loop"] == "limits met"
    assert said["ranks"] == "stale: model changed"
    assert said["known-answers"] == "a limit is missed"
    assert said["sensitivity"] == "no run"
    told = json.loads(json.dumps(report.to_dict()))
    assert told["passed"] is True
    assert told["model_hash"] == here
    page = render_html(trace_view(report))
    assert "R-TOY-EXACT" in page
    assert "human judgement needed" in page
    assert runs[0].id in page


def test_it_is_a_study_of_factor_one():
    from gemel.evidence.credibility import grade

    found = trace_study_result("toy-linear")
    assert all(f.met is not False for f in found.figures)
    assert found.figures[3].value == 0.0
    assert found.figures[0].value == len(found.tables["matrix"]["requirement"]) == len(trace_of("toy-linear").requirements)
    assert (trace_study().id, trace_study().factors) == ("trace", (1,))
    assert "trace" in declared_studies(trace_of("toy-linear").folders["toy-linear"])
    run = EvidenceRun(
        kind="verification",
        twin="toy-linear",
        study="trace",
        model_version="1",
        model_hash="h",
        time=1,
        factors=(1,),
        figures=found.figures,
    )
    assert grade([run], risk=1)[0].gradation == 3


def test_a_study_without_tests_is_refused(monkeypatch):
    from gemel.evidence.trace import report as module

    monkeypatch.setattr(module, "project_tests", lambda trace: dict.fromkeys(trace.folders))
    with pytest.raises(EvidenceError, match="cannot be checked here"):
        trace_study_result("toy-linear")


def test_risk_is_severity_times_probability():
    assert Rating(severity=4, probability=3).risk == 12
    assert Rating(severity=5, probability=1).words == "catastrophic x improbable = 5"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ("[[item]", "cannot be read"),
        ('[[item]]\nid = "S-1"\nwhat = "twice"\n', "stands twice"),
        ('[[item]]\nid = "S-2"\nwhat = "x"\nclass = "D"\n', "does not say what it must"),
        ('[[hazard]]\nid = "H"\nsituation = "s"\nharm = "h"\nbefore = { severity = 6, probability = 1 }\nresidual = { severity = 1, probability = 1 }\n', "severity"),
    ],
)  # fmt: skip
def test_files_that_do_not_say_what_they_must(project, own, words):
    with pytest.raises(FormatError, match=words):
        checked(project, own=own)


def test_twins_that_trace_nothing(monkeypatch, tmp_path):
    with pytest.raises(TwinNotFoundError):
        trace_of("no-such-twin")
    monkeypatch.setattr("gemel.evidence.trace.data.package_dir", lambda point: tmp_path)
    with pytest.raises(EvidenceError, match="traces nothing"):
        trace_of("toy-linear")


def test_the_trace_is_no_part_of_the_model(tmp_path, monkeypatch):
    import shutil

    from gemel.evidence import fingerprint

    before = model_hash("toy-linear")
    copy = shutil.copytree(Path(fingerprint.__file__).parents[1] / "twins" / "toys", tmp_path / "toys")
    monkeypatch.setattr(fingerprint, "package_dir", lambda point: copy)
    assert model_hash("toy-linear") == before
    (copy / "trace.toml").write_text("# another\n")
    assert model_hash("toy-linear") == before
    (copy / "table.toml").write_text("x = 1\n")
    assert model_hash("toy-linear") != before


def test_none_of_it_needs_jax():
    code = "from gemel.evidence.trace import report as t; from gemel.evidence import card, checklist; t.trace_report('toy-linear'); import sys; print([m for m in ('jax', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
