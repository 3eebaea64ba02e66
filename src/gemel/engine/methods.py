"""Methods of inference by the names that people and stored twins call them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemel.engine.infer.base import AbstractMethod
    from gemel.engine.room import Room

__all__ = ["NAMES", "classes_of", "method"]

# Name, then module, class and settings; a setting ``method:NAME`` is that method.
_PLACES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "laplace": ("laplace", "Laplace", {}),
    "importance": ("laplace", "Laplace", {"resample": True}),
    "adaptive": ("adaptive", "Adaptive", {}),
    "nuts": ("nuts", "Nuts", {"pilot": "method:adaptive", "forward": True}),
    "smc": ("smc", "Smc", {}),
    "eki": ("eki", "EnsembleSmoother", {}),
}
_RUNGS = ("laplace", "adaptive", "smc")
"""Of ``--method ladder``: the cheapest first, the next only when the one before may not be used."""
NAMES = (*_PLACES, "ladder")
"""``importance`` is the Gaussian of ``laplace`` with its importance-weighted draws instead of the Gaussian itself."""


def class_of(name: str, room: Room) -> type[AbstractMethod]:
    """Return the class of a method by the name that is stored with a twin: one of the house, or the room's own.

    Raises
    ------
    FormatError
        When neither has that name.
    """
    from gemel.core.errors import FormatError

    own = room.method()
    if own.name == name:
        return type(own)
    if name not in _PLACES:
        raise FormatError(
            "the twin was made by a method that is not known here", seen=name, expected=", ".join(_PLACES), fix="calibrate again"
        )
    module, attribute, _ = _PLACES[name]
    return getattr(importlib.import_module(f"gemel.engine.infer.{module}"), attribute)


def classes_of(told: Mapping[str, Any], room: Room) -> dict[str, type[AbstractMethod]]:
    """Return the classes that a stored method needs: of its rungs if it is a ladder, of its pilot if it has one."""
    if "rungs" in told:
        return {name: found for rung in told["rungs"] for name, found in classes_of(rung, room).items()}
    inner = [classes_of(value, room) for value in told.get("settings", {}).values() if isinstance(value, Mapping)]
    return {told["name"]: class_of(told["name"], room)} | {name: found for part in inner for name, found in part.items()}


def method(name: str | None) -> AbstractMethod | None:
    """Return a method with its default settings; ``None`` for the room's own."""
    if name is None:
        return None
    if name == "ladder":
        from gemel.engine.infer.ladder import Ladder

        return Ladder([found for rung in _RUNGS if (found := method(rung)) is not None])
    module, attribute, settings = _PLACES[name]
    given = {k: method(v.removeprefix("method:")) if str(v).startswith("method:") else v for k, v in settings.items()}
    return getattr(importlib.import_module(f"gemel.engine.infer.{module}"), attribute)(**given)
