"""How the documentation is built: ``make docs``, that is ``sphinx-build -n -W``. No network: nothing refers to inventories elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from gemel import __version__  # noqa: E402  the extensions' folder first

project = "Gemel"
author = "The Gemel authors"
copyright = "2026, The Gemel authors"
version = release = __version__
language = "en"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "twins",
    "commands",
    "modules",
    "notebooks",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_ext", "_generated/parts", "_generated/floors"]
default_role = "code"
smartquotes_action = "qe"  # two hyphens begin an option; they are no dash

html_theme = "furo"
html_title = f"Gemel {release}"
html_static_path = ["_static"]
html_show_sourcelink = False
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units stand in "Parameters"; jaxtyping's annotations are unreadable in a signature
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# -n reports every reference that leads nowhere. Ours must lead somewhere; what other projects define has no page here.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!gemel\.).*"),
    (r"py:class", r"gemel\.(.*\.)?_\w+"),  # private bases
    (r"py:obj", r"gemel\.(.*\.)?[A-Z]"),  # parameters of a type
]
