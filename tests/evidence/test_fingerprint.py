"""The hash of a twin's code: what changes a number changes it, what does not does not."""

import shutil
import subprocess
import sys
import textwrap

import pytest

from gemel.core.errors import TwinNotFoundError
from gemel.evidence import fingerprint
from gemel.evidence.fingerprint import closure, code_hash, model_hash


def _package(folder, **files):
    package = folder / "some_plugin"
    package.mkdir(exist_ok=True)
    for name, text in ({"__init__": ""} | files).items():
        (package / f"{name}.py").write_text(textwrap.dedent(text))
    fingerprint._where.cache_clear()
    return package


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = _package(
        tmp_path,
        model="""
            '''Say something.'''
            from some_plugin.priors import RATE
            def run(): return RATE
            """,
        priors="from gemel.core.units import convert\nRATE = 0.1\n",
    )
    yield package
    fingerprint._where.cache_clear()


def test_a_constant_two_imports_away_changes_it_and_a_sentence_does_not(plugin):
    before = code_hash("some_plugin.model")
    (plugin / "model.py").write_text((plugin / "model.py").read_text().replace("Say something.", "Say it better.") + "# a remark\n")
    assert code_hash("some_plugin.model") == before
    (plugin / "priors.py").write_text("from gemel.core.units import convert\nRATE = 0.1000001\n")
    assert code_hash("some_plugin.model") != before


def test_it_follows_imports_into_gemel_and_nowhere_else(plugin):
    assert plugin.is_dir()
    found = closure(["some_plugin.model"])
    assert {"some_plugin.model", "some_plugin.priors", "gemel.core.units"} <= set(found)
    assert all(name.startswith(("some_plugin", "gemel.")) for name in found)
    assert not any(name.startswith("gemel.core.view") for name in found)


def test_relative_imports_are_followed(plugin):
    (plugin / "model.py").write_text("from .priors import RATE\nfrom . import other\n")
    (plugin / "other.py").write_text("x = 1\n")
    fingerprint._where.cache_clear()
    assert {"some_plugin.priors", "some_plugin.other"} <= set(closure(["some_plugin.model"]))


def test_a_twin_is_its_room_and_what_stands_below(tmp_path):
    here = closure(["gemel.twins.metabolic.t1d.model"])
    assert {"gemel.physics.ode", "gemel.twins.metabolic.t1d._uva_padova", "gemel.twins.metabolic.t1d.priors"} <= set(here)
    assert model_hash("metabolic-t1d") != model_hash("metabolic-t2d") != model_hash("metabolic")
    assert model_hash("toy-linear") == model_hash("toy-linear")
    assert model_hash("toy-linear") != model_hash("toy-growth")
    with pytest.raises(TwinNotFoundError):
        model_hash("no-such-twin")


def test_a_changed_constant_of_a_room_makes_it_another(tmp_path):
    source = fingerprint._where("gemel.twins.toys")
    assert source is not None
    copy = shutil.copytree(source.parents[2], tmp_path / "gemel", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from gemel.evidence.fingerprint import model_hash; import sys; print(model_hash('toy-growth')); assert 'jax' not in sys.modules"

    def asked():
        return subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)}
        ).stdout

    before = asked()
    assert before.strip() == model_hash("toy-growth")
    priors = copy / "twins" / "toys" / "priors.py"
    priors.write_text(priors.read_text().replace("CLEARANCE = ", "CLEARANCE = 1.0001 * "))
    assert asked() != before
