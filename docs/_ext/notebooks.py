"""Notebooks of ``examples/`` become pages; they are executed by the build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pages

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def _write(app: Sphinx) -> None:
    examples = Path(app.srcdir).parent / "examples"
    pages.write(Path(app.srcdir), "examples", {path.name: path.read_text(encoding="utf-8") for path in sorted(examples.glob("*.ipynb"))})


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}
