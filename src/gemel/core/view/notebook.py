"""How a notebook finds a renderer: by entry point, so that nothing here knows one."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

GROUP = "gemel.renderers"


def mimebundle(thing: Any, words: str) -> dict[str, Any]:
    """Ask every installed renderer for its form of a figure, scene or view; words alone when there is none.

    Parameters
    ----------
    thing : Figure, Scene or View.
    words : plain text that stands in for the drawing.

    Returns
    -------
    MIME type -> content; later renderers (by name) do not overwrite earlier ones.
    """
    bundle: dict[str, Any] = {"text/plain": words}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        for mime, content in entry.load()(thing).items():
            bundle.setdefault(mime, content)
    return bundle
