"""Gemel: medical digital twins. The six verbs stand here, loaded when first used: ``import gemel`` loads no JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gemel.verbs import assimilate, calibrate, compare, forecast, model, recommend, room, score

__all__ = ["__version__", "assimilate", "calibrate", "compare", "forecast", "model", "recommend", "room", "score"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from gemel import verbs

        return getattr(verbs, name)
    raise AttributeError(f"module 'gemel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
