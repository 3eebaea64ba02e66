"""A third-party package, found by its entry point alone: checked, calibrated, forecast, recommended and drawn."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import gemel
from gemel.core.errors import TwinNotFoundError
from gemel.core.manifest import installed
from gemel.engine import serialise
from gemel.testing import check_twin
from gemel.testing.writers import write_distribution
from gemel.web.report import render_html

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "third_party"


@pytest.fixture(scope="module")
def pulse(tmp_path_factory):
    """Install the package without a network and without touching the environment: its source and a ``.dist-info`` on the path."""
    site = tmp_path_factory.mktemp("site")
    write_distribution(site, "gemel-pulse", {"pulse": "gemel_pulse:room"})
    paths = [str(EXAMPLE / "src"), str(site)]
    sys.path[:0] = paths
    yield gemel.room("pulse")
    for path in paths:
        sys.path.remove(path)
    for name in [n for n in sys.modules if n.startswith("gemel_pulse")]:
        del sys.modules[name]


@pytest.mark.slow
def test_it_keeps_the_contract(pulse):
    report = check_twin("pulse", quick=True)
    assert report.passed, report.lines()


def test_the_entry_point_is_that_of_its_project(pulse):
    text = (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points."gemel.twins"]\npulse = "gemel_pulse:room"' in text
    assert installed()["pulse"].id == "pulse"
    assert pulse.manifest.title == "Recovery of the pulse after exercise"


def test_it_is_calibrated_forecast_stored_and_drawn(pulse):
    import jax

    record, now, truth = pulse.simulate_record(jax.random.key(5))
    twin = gemel.calibrate("pulse", record, now, key=1)
    z = np.asarray(twin.inference.posterior.moments()[0])
    found = {k: float(v) for k, v in twin.model.prior.constrain(z).items()}
    assert found["rest"] == pytest.approx(truth["rest"], abs=6.0)  # four posterior standard deviations
    made = gemel.forecast(twin, None, pulse.times(twin), key=2)
    assert made.usable
    advice = gemel.recommend(twin, pulse.plans(twin), pulse.objective(), pulse.limits(), times=pulse.times(twin), key=3)
    assert advice.plan == "rest"
    loaded = serialise.load(serialise.dump(twin), pulse.model(), {"laplace": type(pulse.method())})
    assert np.array_equal(gemel.forecast(loaded, None, pulse.times(twin), key=2).draws, made.draws)
    page = render_html(pulse.load("report").view(twin, record, made, advice))
    assert "The next minutes" in page
    assert "Research use only" in page


def test_it_is_written_from_the_public_contract():
    """Nothing private is imported, and the package is an afternoon's: at most 250 lines of code."""
    lines = 0
    for path in sorted((EXAMPLE / "src" / "gemel_pulse").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:from|import) gemel\S*\._|import _", text), path.name
        lines += sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))
    assert lines <= 250


def test_the_page_matches_the_example():
    page = (ROOT / "docs" / "howto" / "write-a-twin.md").read_text(encoding="utf-8")
    for target, options in re.findall(r"```\{literalinclude\} (\S+)\n((?::.*\n)*)```", page):
        path = (ROOT / "docs" / "howto" / target).resolve()
        assert path.is_file(), target
        text = path.read_text(encoding="utf-8")
        for kind, words in re.findall(r":(start-at|end-before): \"?([^\"\n]+)\"?", options):
            assert words in text, (kind, words)
        for thing in re.findall(r":pyobject: (\S+)", options):
            assert f"def {thing.rpartition('.')[2]}(" in text, thing
    from gemel.testing import CHECKS

    for promise in CHECKS:
        assert f"`{promise}`" in page, promise


def test_it_is_gone_when_it_is_not_installed():
    if "pulse" not in installed():
        with pytest.raises(TwinNotFoundError):
            gemel.room("pulse")
