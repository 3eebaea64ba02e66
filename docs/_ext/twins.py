"""One page per installed twin, from its ``twin.toml`` and the README of its room. No twin is imported for it."""

from __future__ import annotations

import importlib.util
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pages

from gemel.core.errors import GemelError
from gemel.core.manifest import GROUP, TwinManifest, installed

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def _room(twin: str) -> Path | None:
    point = next((p for p in entry_points(group=GROUP) if p.name == twin), None)
    spec = importlib.util.find_spec(point.module) if point else None
    return Path(spec.origin).parent if spec and spec.origin else None


def _range(bounds: tuple[float, float] | None) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}" if bounds else "not bounded"


def page(told: TwinManifest, readme: str = "") -> str:
    """Return the Markdown page of one twin."""
    lines = [f"(twin-{told.id})=", f"# `{told.id}`: {told.title}", "", f"Version {told.version}.", ""]
    lines += ["Question of interest", f": {told.question}", "", "Context of use", f": {told.context_of_use}", ""]
    lines += ["## Not for", "", *(f"- {line}" for line in told.not_for), ""]
    for title, variables in (("What it takes", told.inputs), ("What it gives", told.outputs)):
        rows = [
            (f"`{v.name}`", v.description + (" (needed)" if v.required else ""), f"`{v.code}`", f"`{v.unit}`", _range(v.domain))
            for v in variables
        ]
        lines += [f"## {title}", "", *pages.table(("name", "", "code", "unit", "validated"), rows)]
    if told.domain:
        lines += ["## Validated domain", "", "Outside it the twin abstains.", ""]
        lines += pages.table(("quantity", "range"), [(f"`{name}`", _range(bounds)) for name, bounds in told.domain.items()])
    ports = [
        (direction, f"`{port.name}`", port.role, f"`{port.code}`", f"`{port.unit}`")
        for direction, those in (("hands on", told.exports), ("takes", told.imports))
        for port in those
    ]
    if ports:
        lines += ["## What it exchanges with other twins", "", *pages.table(("", "name", "role", "code", "unit"), ports)]
    lines += ["## Evidence", "", "Verify it on this machine, and see its manifest as installed:", ""]
    lines += ["```sh", f"gemel twins {told.id}", f"gemel check {told.id}", "```", ""]
    lines += ["[](#howto-validate) says how to run its validation protocol on people of your own.", ""]
    if told.thin:
        lines += ["## Where the truth is thin", "", told.thin, ""]
    if told.sources:
        lines += ["## Sources", "", *(f"- {source}" for source in told.sources), ""]
    if readme:
        lines += ["## The room", "", pages.embedded(readme, 1)]
    return "\n".join(lines).rstrip() + "\n"


def every() -> dict[str, str]:
    """Return the page of every installed twin by file name; a twin whose manifest cannot be read has a page that says so."""
    found = {}
    for twin, told in installed().items():
        if isinstance(told, GemelError):
            found[f"{twin}.md"] = f"(twin-{twin})=\n# `{twin}`\n\nInstalled, but its manifest cannot be read: {told.what}.\n"
            continue
        room = _room(twin)
        readme = room / "README.md" if room else None
        found[f"{twin}.md"] = page(told, readme.read_text(encoding="utf-8") if readme and readme.is_file() else "")
    return found


def overview() -> str:
    """Return a table of the installed twins."""
    rows = []
    for twin, told in installed().items():
        known = isinstance(told, TwinManifest)
        rows.append((f"[`{twin}`](#twin-{twin})", told.question if known else "its manifest cannot be read", told.version if known else ""))
    return "\n".join(pages.table(("twin", "question", "version"), rows)) + "\n"


def _write(app: Sphinx) -> None:
    pages.write(Path(app.srcdir), "twins", every())
    pages.write(Path(app.srcdir), "parts", {"twins.txt": overview()})


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}
