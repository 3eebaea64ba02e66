"""Methods of inference by the names that the command line knows."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemel.engine.infer.base import AbstractMethod

__all__ = ["NAMES", "class_of", "method"]

_PLACES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "laplace": ("laplace", "Laplace", {}),
    "importance": ("laplace", "Laplace", {"resample": True}),
    "nuts": ("nuts", "Nuts", {}),
    "smc": ("smc", "Smc", {}),
    "eki": ("eki", "Eki", {}),
    "ladder": ("ladder", "Ladder", {}),
}
NAMES = tuple(_PLACES)
"""``importance`` is the Gaussian of ``laplace`` with its importance-weighted draws instead of the Gaussian itself."""


def class_of(name: str) -> type[AbstractMethod]:
    """Return the class of a method.

    Raises
    ------
    InferenceError
        When no method of that name is part of this release.
    """
    from gemel.core.errors import InferenceError

    module, attribute, _ = _PLACES.get(name, ("", "", {}))
    try:
        return getattr(importlib.import_module(f"gemel.engine.infer.{module}"), attribute)
    except (ModuleNotFoundError, AttributeError, ImportError) as error:
        there = [known for known, (where, _, _) in _PLACES.items() if importlib.util.find_spec(f"gemel.engine.infer.{where}")]
        raise InferenceError(
            "no such method in this release", seen=name, expected=", ".join(there), fix="choose one of these with --method"
        ) from error


def method(name: str | None) -> AbstractMethod | None:
    """Return a method with its default settings; ``None`` for the room's own."""
    return None if name is None else class_of(name)(**_PLACES[name][2])
