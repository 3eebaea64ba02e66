"""Documentation is tested: what the code offers stands in it, and what stands in it runs.

Generated pages are taken as the build would write them; pages written by hand as they are.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from importlib.metadata import distribution
from pathlib import Path

import click
import pytest

from gemel.core import errors
from gemel.core.manifest import installed

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def _extension(name: str):
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DOCS / "_ext"))


@pytest.fixture(scope="module")
def by_hand() -> str:
    """All pages that a person wrote, as one text."""
    pages = [path for path in DOCS.rglob("*.md") if not {"_build", "_generated"} & set(path.relative_to(DOCS).parts)]
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(pages))


@pytest.fixture(scope="module")
def commands() -> dict[str, tuple[click.Command, click.Context]]:
    found = _extension("commands").commands()
    assert found, "no command line: gemel.cli.app.gemel"
    return found


def test_every_command_is_in_the_reference(commands):
    page = _extension("commands").page()
    missing = [path for path in commands if f"`{path}`\n" not in page]
    assert missing == []


def test_every_command_and_option_says_what_it_does(commands):
    silent = [path for path, (command, _) in commands.items() if not command.help]
    silent += [
        f"{path} {parameter.name}"
        for path, (command, _) in commands.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]
    assert silent == []


def test_no_page_names_a_command_that_there_is_not(commands, by_hand):
    first = {path.split()[1] for path in commands}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", by_hand + readme, re.DOTALL)
    named = {word for block in blocks for word in re.findall(r"^gemel ([a-z]+)", block, re.MULTILINE)}
    assert named - first == set()


def test_every_option_in_a_page_exists(commands, by_hand):
    unknown = []
    for block in re.findall(r"```sh\n(.*?)```", by_hand, re.DOTALL):
        for line in re.findall(r"^gemel .*", block, re.MULTILINE):
            words = line.split("#")[0].split()
            path = max((p for p in commands if words[: len(p.split())] == p.split()), key=len, default=None)
            known = {o for parameter in commands[path][0].params for o in parameter.opts} | {"--help", "-h"} if path else set()
            unknown += [f"{line}: {word}" for word in words if word.startswith("-") and word not in known]
    assert unknown == []


def test_every_error_is_in_the_table_and_in_the_tree():
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    classes = [name for name, thing in vars(errors).items() if inspect.isclass(thing) and issubclass(thing, errors.GemelError)]
    assert sorted(classes) == sorted(errors.__all__)
    for name in classes:
        assert f"~gemel.core.errors.{name}`" in page, name
        assert re.search(rf"(── |^){name}\b", page, re.MULTILINE), name
        assert re.search(rf"(── |^    ){name}\b", errors.__doc__ or "", re.MULTILINE), name


def test_every_group_of_entry_points_is_explained(by_hand):
    groups = {point.group for point in distribution("gemel").entry_points}
    assert [group for group in groups if f"`{group}`" not in by_hand] == []


def test_every_setting_is_explained():
    page = (DOCS / "reference" / "entry-points.md").read_text(encoding="utf-8")
    used = {
        name for path in (ROOT / "src").rglob("*.py") for name in re.findall(r"(?<![_\w])GEMEL_[A-Z_]+", path.read_text(encoding="utf-8"))
    }
    assert [name for name in sorted(used) if f"`{name}`" not in page] == []


def test_every_twin_has_a_page():
    twins = _extension("twins")
    pages = twins.every()
    assert {f"{twin}.md" for twin in installed()} == set(pages)
    for twin, told in installed().items():
        assert not isinstance(told, errors.GemelError), f"{twin}: {told}"
        page = pages[f"{twin}.md"]
        assert all(line in page for line in (told.question, told.context_of_use, *told.not_for, told.thin))
        assert all(f"`{variable.code}`" in page for variable in (*told.inputs, *told.outputs))
        assert f"[`{twin}`](#twin-{twin})" in twins.overview()


def test_every_public_module_is_in_the_reference():
    modules = _extension("modules")
    pages = "\n".join(modules.every().values())
    assert {"gemel.core.record", "gemel.engine.twin", "gemel.web"} <= set(re.findall(r"automodule:: (\S+)", pages))
    assert set(modules.modules()) <= set(modules.FLOORS), "a new floor: name it in docs/_ext/modules.py"


def test_a_name_that_is_passed_on_is_found_where_it_is_defined():
    home = _extension("modules").home
    assert home("gemel.web.render_html") == "gemel.web.report.render_html"
    assert home("gemel.calibrate") == "gemel.verbs.calibrate"
    assert home("gemel.nothing.at_all") is None


def test_the_room_s_readme_goes_deeper_and_loses_links_to_files():
    text = _extension("pages").embedded(
        "# title\n\nsee [the model](model.py) and [that](https://example.org)\n\n## part\n\n```\n# code\n```\n", 1
    )
    assert text == "see the model and [that](https://example.org)\n\n### part\n\n```\n# code\n```\n"


def _blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


RUN = [path for path in sorted(DOCS.rglob("*.md")) if path.read_text(encoding="utf-8").startswith("<!-- runs -->")]


@pytest.mark.slow
@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_python_in_a_page_runs(path):
    names: dict[str, object] = {"__name__": "page"}
    for block in _blocks(path):
        exec(compile(block, str(path), "exec"), names)
    assert _blocks(path)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_example_notebook_runs(path):
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells if cell.cell_type == "code"), "commit notebooks without outputs"
    NotebookClient(book, timeout=600, kernel_name="python3").execute()
    printed = "".join(out.get("text", "") for cell in book.cells if cell.cell_type == "code" for out in cell.outputs)
    assert "all gates passed" in printed
    assert "nan" not in printed
