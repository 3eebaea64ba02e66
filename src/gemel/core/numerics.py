"""Flags of the numeric stack, set before it is imported. Knows JAX by name only.

``physics``, ``learn`` and ``engine`` call :func:`configure` first thing, whichever is imported first.
"""

from __future__ import annotations

import os
import sys
import warnings

__all__ = ["CacheWarning", "configure"]


class CacheWarning(UserWarning):
    """Compiled programs will not be cached between processes."""


def configure() -> None:
    """Set float64 and ``EQX_ON_ERROR=nan`` before JAX and equinox read them.

    Without the flag equinox puts host callbacks into compiled programs, which makes them uncacheable
    (diffrax issue 664): each start then pays the compilation again.
    """
    late = "equinox" in sys.modules and os.environ.get("EQX_ON_ERROR") != "nan"
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    os.environ.setdefault("JAX_ENABLE_X64", "True")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if late:
        warnings.warn(
            "equinox was imported before gemel without EQX_ON_ERROR=nan: compiled programs cannot be cached; import gemel.engine first or set the variable",
            CacheWarning,
            stacklevel=3,
        )
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", os.environ["JAX_ENABLE_X64"].lower() in ("1", "true", "yes"))
