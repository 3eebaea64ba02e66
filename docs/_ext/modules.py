"""The reference of the code: one page per floor, every public module on it, from the docstrings."""

from __future__ import annotations

import ast
import contextlib
import importlib
import pkgutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pages

import gemel

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

FLOORS = {
    "verbs": "The top of the package: the six verbs",
    "core": "What is known: record, codes, units, time, geometry, lineage, errors",
    "physics": "Verified solvers",
    "learn": "Networks",
    "engine": "A model becomes a twin: priors, posteriors, inference, forecast, plans",
    "evidence": "How far to trust it",
    "interop": "Data in, results out",
    "imaging": "Pictures into geometry",
    "web": "Descriptions drawn",
    "twins": "One room per organ or question",
    "platform": "Keeping and guarding data and twins",
    "trials": "Many patients",
    "testing": "The contract of a twin, for third parties",
    "server": "How programs talk to it",
}
"""Floor -> what it is. The command line has a reference of its own."""

LEFT_OUT = ("migrations",)
"""Folders that are run by a tool and have no public names."""


def _source(name: str) -> Path | None:
    base = Path(gemel.__file__).parent.joinpath(*name.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _public(name: str) -> bool:
    """Whether a module says which of its names are public, read without importing it."""
    path = _source(name)
    if path is None:
        return False
    return any(
        isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
    )


def _names(folder: Path, prefix: str) -> Iterator[str]:
    for found in sorted(pkgutil.iter_modules([str(folder)]), key=lambda module: module.name):
        if found.name.startswith("_") or found.name in LEFT_OUT:
            continue
        yield f"{prefix}.{found.name}"
        if found.ispkg:
            yield from _names(folder / found.name, f"{prefix}.{found.name}")


def modules() -> dict[str, list[str]]:
    """Return the public modules of each floor, by full name."""
    found: dict[str, list[str]] = {}
    for name in _names(Path(gemel.__file__).parent, "gemel"):
        floor = name.split(".")[1]
        if floor != "cli" and _public(name):
            found.setdefault(floor, []).append(name)
    return found


def _is_package(name: str) -> bool:
    path = _source(name)
    return path is not None and path.name == "__init__.py"


def page(floor: str, names: list[str]) -> str:
    """Return the page of one floor, in reStructuredText. A package's names are documented where they are defined: in it, or in a module of it."""
    title = f"gemel.{floor}"
    lines = [f".. _floor-{floor}:", "", title, "=" * len(title), "", f"{FLOORS.get(floor, '')}.".replace("..", "."), ""]
    for name in names:
        lines += [name, "-" * len(name), "", f".. automodule:: {name}"]
        lines += ["   :members:", *(["   :ignore-module-all:"] if _is_package(name) else []), "   :show-inheritance:", ""]
    return "\n".join(lines)


def every() -> dict[str, str]:
    """Return all pages by file name."""
    return {f"{floor}.rst": page(floor, names) for floor, names in modules().items()}


def overview() -> str:
    """Return the table of contents, from the top floor down."""
    rows = [(f"[`gemel.{floor}`](#floor-{floor})", FLOORS.get(floor, "")) for floor in reversed([*FLOORS]) if floor in modules()]
    return "\n".join(pages.table(("floor", ""), rows)) + "\n"


def _load() -> None:
    """Import every module before autodoc does, which sets TYPE_CHECKING meanwhile: pydantic then builds other classes, or none."""
    for names in modules().values():
        for name in names:
            with contextlib.suppress(Exception):  # autodoc reports it, with the name of the page
                importlib.import_module(name)


def _write(app: Sphinx) -> None:
    _load()
    pages.write(Path(app.srcdir), "modules", every())
    pages.write(Path(app.srcdir), "floors", {"floors.txt": overview()})


def home(target: str) -> str | None:
    """Return where a name that a package passes on is defined: ``gemel.web.figure_svg`` is ``gemel.web.figures.figure_svg``."""
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
            owner = getattr(found, parts[cut])
            rest = ".".join(parts[cut + 1 :])
            name = f"{owner.__module__}.{owner.__qualname__}"
        except (ImportError, AttributeError):
            continue
        return f"{name}.{rest}" if rest else name
    return None


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, inside: nodes.Element) -> nodes.Element | None:
    """Let a reference by the public name reach the page of the definition."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("gemel."):
        return None
    defined = home(target)
    if defined is None or defined == target:
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, node["reftype"], defined, node, inside)


def _skip(*event: Any) -> bool | None:
    """Leave out aliases such as ``tuple[int, str]``: autodoc takes them for classes, and cannot write their signature."""
    return True if isinstance(event[3], types.GenericAlias) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-skip-member", _skip)
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}
