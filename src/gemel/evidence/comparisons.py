"""Many comparisons at once: p-values that stay honest however many were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["holm"]


def holm(p_values: Mapping[Any, float]) -> dict[Any, float]:
    """Return p-values adjusted for their number by Holm's step-down rule.

    Examples
    --------
    >>> holm({"a": 0.01, "b": 0.04, "c": 0.5})
    {'a': 0.03, 'b': 0.08, 'c': 0.5}
    """
    order = sorted(p_values, key=lambda k: p_values[k])
    adjusted, highest = {}, 0.0
    for i, name in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - i) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}
