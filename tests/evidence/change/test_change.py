"""The gate of change control: what it blocks, each with its row, and the one case that passes."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError, FormatError, ManifestError
from gemel.evidence.change.gate import figure_name, gate_change, gate_view
from gemel.evidence.change.plan import read_plan
from gemel.evidence.change.protocol_run import figures_of_log, protocol_run, rollback_run
from gemel.evidence.change.snapshot import Snapshot, changes_between, read_snapshot
from gemel.evidence.run import EvidenceRun, Measured
from gemel.evidence.surveillance.prediction_log import log_of
from gemel.web import render_html

MANIFEST = """
[twin.risk-model]
version = "{version}"
title = "A risk model"
question = "Who will be readmitted?"
context_of_use = "{use}"
not_for = ["children"]
inputs = [{{ name = "age", code = "loinc:30525-0", unit = "a", domain = [18.0, {oldest}] }}]
outputs = [{{ name = "risk", code = "gemel:readmission", unit = "1" }}]
"""
PLAN = """
[plan]
twin = "risk-model"
version = "1"
rollback = "1.0.0"
[[modification]]
type = "parameters"
why = "yearly recalibration"
names = ["intercept", "slope"]
relative = 0.2
[[modification]]
type = "domain"
why = "older people"
relative = 0.1
[protocol]
data = "the last twelve months, split by patient"
practice = "intercept and slope only"
update = "all sites at once"
study = "recalibration"
subgroups = ["female", "male"]
[[protocol.criterion]]
figure = "AUROC"
low = 0.7
smallest = 50
[[protocol.criterion]]
figure = "Brier score"
high = 0.15
per_subgroup = false
[impact]
benefit = "calibration is kept"
risk = "a subgroup may lose"
mitigation = "criteria per subgroup"
"""


@pytest.fixture
def place(tmp_path):
    """Two versions in folders, a plan, and a way to write another version."""

    def write(name, *, version="1.1.0", use="ward rounds, advisory", oldest=90.0, slope=1.1, extra=None):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "twin.toml").write_text(MANIFEST.format(version=version, use=use, oldest=oldest))
        (folder / "release.json").write_text(json.dumps({"parameters": {"intercept": -2.0, "slope": slope}}))
        (folder / "model.py").write_text("x = 1\n" + (extra or ""))
        return read_snapshot(str(folder))

    (tmp_path / "pccp.toml").write_text(PLAN)
    return write, read_plan(tmp_path / "pccp.toml"), tmp_path


def runs_of(plan, new, *, auroc=0.8, female=0.78, male=0.79, n=100, criteria=None, tested=True, hash_=None):
    shown = ShownOn(kind="simulated", n=n)
    told = {"AUROC": auroc, figure_name("AUROC", "female"): female, figure_name("AUROC", "male"): male, "Brier score": 0.1}
    made = EvidenceRun(
        kind="validation", twin="risk-model", study="recalibration", model_version=new.manifest.version, model_hash=new.model_hash if hash_ is None else hash_, time=2,
        settings={"criteria": plan.criteria_hash if criteria is None else criteria}, figures=tuple(Measured(name=k, value=v, shown_on=shown) for k, v in told.items() if v is not None),
    )  # fmt: skip
    back = EvidenceRun(
        kind="rollback", twin="risk-model", model_version="1.0.0", model_hash="x", time=3, settings={"from": new.manifest.version, "to": "1.0.0"},
        figures=(Measured(name="largest difference of a prediction", value=0.0 if tested else 1.0, high=0.0, met=tested, shown_on=shown),),
    )  # fmt: skip
    return [made, back]


def failed(gate):
    return [row.id for row in gate.rows if row.status == "failed"]


def test_a_foreseen_change_passes(place):
    write, plan, _ = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new", oldest=95.0)
    gate = gate_change(old, new, plan, runs_of(plan, new))
    assert failed(gate) == []
    assert gate.passed
    assert {(c.type, c.where) for c in gate.changes} == {("parameters", "slope"), ("domain", "age")}
    assert "human judgement needed" in render_html(gate_view(gate, plan))
    assert json.dumps(gate.to_dict())


def test_a_changed_intended_use_is_blocked(place):
    write, plan, _ = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new", use="discharge without a physician")
    gate = gate_change(old, new, plan, runs_of(plan, new))
    assert failed(gate) == ["intended use"]
    assert "discharge" in next(r for r in gate.rows if r.id == "intended use").seen


def test_an_unlisted_change_is_blocked(place):
    write, plan, _ = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new", extra="y = 2\n")
    assert failed(gate_change(old, new, plan, runs_of(plan, new))) == ["listed"]


def test_a_change_outside_its_bounds_is_blocked(place):
    write, plan, _ = place
    old = write("old", version="1.0.0", slope=1.0)
    for name, more in (("a", {"slope": 1.3}), ("b", {"oldest": 110.0})):
        new = write(name, **more)
        assert failed(gate_change(old, new, plan, runs_of(plan, new))) == ["bounds"]


def test_one_failing_subgroup_blocks(place):
    write, plan, _ = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new")
    assert failed(gate_change(old, new, plan, runs_of(plan, new, female=0.69))) == ["criterion: AUROC | female"]
    assert failed(gate_change(old, new, plan, runs_of(plan, new, female=None))) == ["criterion: AUROC | female"]
    assert failed(gate_change(old, new, plan, runs_of(plan, new, n=30))) == [
        "criterion: AUROC",
        "criterion: AUROC | female",
        "criterion: AUROC | male",
    ]


def test_criteria_edited_afterwards_void_the_run(place):
    write, plan, folder = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new")
    runs = runs_of(plan, new, auroc=0.68, female=0.66, male=0.67)
    (folder / "pccp.toml").write_text(PLAN.replace("low = 0.7", "low = 0.6"))
    softened = read_plan(folder / "pccp.toml")
    gate = gate_change(old, new, softened, runs)
    assert failed(gate) == ["criteria"]
    assert "void" in next(r for r in gate.rows if r.id == "criteria").seen


def test_an_untested_roll_back_blocks(place):
    write, plan, _ = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new")
    runs = runs_of(plan, new)
    assert failed(gate_change(old, new, plan, runs[:1])) == ["roll-back"]
    assert failed(gate_change(old, new, plan, runs_of(plan, new, tested=False))) == ["roll-back"]


def test_a_run_of_another_model_does_not_count(place):
    write, plan, _ = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new")
    assert failed(gate_change(old, new, plan, runs_of(plan, new, hash_="another"))) == ["run"]
    assert failed(gate_change(old, new, plan, [])) == ["run", "roll-back"]


@pytest.mark.parametrize("version", ["1.0.0", "0.9.0", "2.0.0"])
def test_the_version_goes_up_by_what_was_foreseen(place, version):
    write, plan, _ = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new", version=version)
    assert "version" in failed(gate_change(old, new, plan, runs_of(plan, new)))


def test_a_plan_of_another_twin_or_of_another_way_back_blocks(place):
    write, plan, _ = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new")
    assert failed(gate_change(old, new, plan.model_copy(update={"twin": "other"}), runs_of(plan, new))) == ["plan"]
    assert failed(gate_change(old, new, plan.model_copy(update={"rollback": "0.9.0"}), runs_of(plan, new))) == ["plan"]


def test_without_code_the_model_is_taken_as_changed(place):
    write, _, _ = place
    old = write("old", version="1.0.0")
    bare = [Snapshot(replace_version(old.manifest, v)) for v in ("1.0.0", "1.1.0")]
    assert [c.type for c in changes_between(*bare)] == ["model"]
    with pytest.raises(EvidenceError, match="nothing changed"):
        gate_change(old, old, read_plan(place[2] / "pccp.toml"), [])


def replace_version(manifest, version):
    return manifest.model_copy(update={"version": version})


def test_versions_are_read_from_files_folders_wheels_and_ids(place):
    write, _, folder = place
    snapshot = write("old", version="1.0.0")
    assert read_snapshot(str(folder / "old" / "twin.toml")).model_hash == snapshot.model_hash
    with zipfile.ZipFile(folder / "risk-1.0.0-py3-none-any.whl", "w") as wheel:
        for name in ("twin.toml", "release.json", "model.py"):
            wheel.write(folder / "old" / name, f"risk/{name}")
        wheel.writestr("risk-1.0.0.dist-info/METADATA", "Name: risk\n")
    assert read_snapshot(str(folder / "risk-1.0.0-py3-none-any.whl")) == snapshot
    installed = read_snapshot("toy-linear")
    assert installed.manifest.id == "toy-linear"
    assert len(installed.model_hash) == 32
    with pytest.raises(ManifestError, match="no version of a model"):
        read_snapshot("nothing-here")
    (folder / "broken.whl").write_text("no zip")
    with pytest.raises(FormatError, match="no wheel"):
        read_snapshot(str(folder / "broken.whl"))


@pytest.mark.parametrize(
    ("cut", "said"),
    [('benefit = "calibration is kept"', "impact.benefit"), ("relative = 0.2", "needs a bound"), ("low = 0.7", "no limit"), ('why = "older people"', "why"), ('rollback = "1.0.0"', "rollback")],
)  # fmt: skip
def test_an_incomplete_plan_is_named(tmp_path, cut, said):
    path = tmp_path / "pccp.toml"
    path.write_text(PLAN.replace(cut, ""))
    with pytest.raises(ManifestError, match=said):
        read_plan(path)


def log_with(n=400, seed=0, slope=1.0):
    rng = np.random.default_rng(seed)
    z = rng.normal(-1, 1, n)
    p, y = 1 / (1 + np.exp(-slope * z)), rng.random(n) < 1 / (1 + np.exp(-z))
    return log_of([
        {"time": "2026-01-01T00:00:00Z", "patient": f"p{i}", "prediction": f"{a:.6f}", "outcome": str(int(b)), "group": ("female", "male")[i % 2]}
        for i, (a, b) in enumerate(zip(p, y, strict=True))
    ])  # fmt: skip


def test_a_log_makes_the_protocol_s_run_and_the_roll_back_s(place):
    write, plan, _ = place
    old, new = write("old", version="1.0.0", slope=1.0), write("new")
    log = log_with()
    made, back = protocol_run(log, plan, new, time=5, kind="simulated"), rollback_run(log, log, old, new, time=6, kind="simulated")
    figures = {f.name: f.value for f in made.figures}
    assert {"AUROC", "AUROC | female", "Brier score | male"} <= set(figures)
    assert 0.6 < figures["AUROC"] < 0.85
    gate = gate_change(old, new, plan, [made, back])
    assert {r.id for r in gate.rows} >= {"run", "criteria", "roll-back", "criterion: AUROC | female"}
    assert next(r for r in gate.rows if r.id == "roll-back").status == "passed"
    moved = replace(log, numbers=log.numbers | {"prediction": log.numbers["prediction"] * 0.999})
    assert not rollback_run(log, moved, old, new, time=6).met
    with pytest.raises(EvidenceError, match="same rows"):
        rollback_run(log, log.take(np.arange(10)), old, new, time=6)


def test_figures_of_events_are_those_of_their_definitions():
    log = log_with(3000, slope=2.0)
    figures = {f.name: f.value for f in figures_of_log(log)}
    p, y = log.numbers["prediction"], log.numbers["outcome"]
    pairs = p[y == 1][:, None] - p[y == 0][None]
    assert figures["AUROC"] == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert figures["Brier score"] == pytest.approx(np.mean((p - y) ** 2))
    assert figures["calibration slope"] == pytest.approx(0.5, abs=0.1)  # predictions twice too extreme
