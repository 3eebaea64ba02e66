"""``gemel bench NAME``: an exact name runs one benchmark, a beginning all that have it."""

from __future__ import annotations

import pytest

from gemel.cli import bench as command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    home = tmp_path / "benchmarks"
    home.mkdir()
    for name in ("trials", "trials_mmrm", "other_one", "other_two", "_hidden"):
        (home / f"{name}.py").write_text(f"print('ran {name}')\n")
    monkeypatch.setattr(command, "_folder", lambda: home)
    return home


@pytest.mark.parametrize(
    ("name", "ran"),
    [("trials", ["trials"]), ("trials-m", ["trials_mmrm"]), ("other", ["other_one", "other_two"]), ("other-two", ["other_two"])],
)
@pytest.mark.usefixtures("folder")
def test_which_benchmarks_run(gemel, name, ran):
    found = gemel("bench", name)
    assert found.code == 0, found.err
    assert [line.removeprefix("ran ") for line in found.out.split("\n") if line.startswith("ran ")] == ran


@pytest.mark.usefixtures("folder")
def test_the_list_hides_helpers(gemel):
    assert gemel("bench", "--json").json()["benchmarks"] == ["other_one", "other_two", "trials", "trials_mmrm"]
    assert gemel("bench", "nothing").code == 4
    assert gemel("bench", "_hidden").code == 2
