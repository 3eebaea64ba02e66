"""What is installed is listed; what is broken is listed with its error."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from gemel.core import manifest
from gemel.core.errors import GemelError
from gemel.platform import registry


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """Add two twins that cannot be used: one without a manifest, one whose import fails."""
    package = tmp_path / "gemel_test_broken"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('no licence')\n")
    toys = manifest.package_dir(manifest.entry_point("toy-linear")) / "twin.toml"
    (package / "twin.toml").write_text(toys.read_text().replace("toy-linear", "broken-import"))
    monkeypatch.syspath_prepend(tmp_path)
    real = manifest.entry_points
    more = [
        EntryPoint("broken-import", "gemel_test_broken:room", manifest.GROUP),
        EntryPoint("broken-place", "gemel_test_nowhere:room", manifest.GROUP),
    ]
    monkeypatch.setattr(manifest, "entry_points", lambda **k: [*real(**k), *more])


def test_toys_are_listed_with_manifest_and_room():
    found = {t.id: t for t in registry.twins(rooms=True)}
    assert {"toy-linear", "toy-growth"} <= set(found)
    assert found["toy-linear"].manifest.id == found["toy-linear"].room.id == "toy-linear"
    assert found["toy-linear"].provider == "gemel"


def test_what_is_broken_does_not_hide_the_rest(broken):
    found = {t.id: t for t in registry.twins(rooms=True)}
    assert isinstance(found["broken-place"].error, GemelError)
    assert "no licence" in str(found["broken-import"].error)
    assert found["toy-growth"].error is None
    listed = {t.id: t for t in registry.twins()}
    assert listed["broken-import"].error is None  # its manifest is sound, and nothing was imported
    models = registry.models(only=["toy-linear", "broken-import"])
    assert models["toy-linear"].id == "toy-linear"
    assert isinstance(models["broken-import"], GemelError)


def test_twins_that_fit_are_matched_by_code_and_unit(monkeypatch):
    linear, growth = (manifest.manifest_of(t) for t in ("toy-linear", "toy-growth"))
    dose = growth.imports[0].model_copy(update={"name": "given", "unit": "g"})
    monkeypatch.setattr(registry, "installed", lambda: {"a": linear.model_copy(update={"exports": (dose,)}), "b": growth})
    (found,) = registry.couplings()
    assert (found.exporter, found.importer, found.export.name, found.wanted.name) == ("toy-linear", "toy-growth", "given", "dose")
    assert found.factor == pytest.approx(1000.0)
