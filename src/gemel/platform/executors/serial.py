"""One item after the other, in this process: the default."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemel.platform.executors.base import as_list, collect, in_order

if TYPE_CHECKING:
    from gemel.core.protocols import Progress

__all__ = ["Serial"]


@dataclass(frozen=True)
class Serial:
    """Run a task over items in this process.

    Parameters
    ----------
    label : what progress calls the work.

    Examples
    --------
    >>> Serial().run(abs, [-2, 1])
    [2, 1]
    """

    label: str = "items"

    def run(self, task: Callable[[Any], Any], items: Iterable[Any], *, progress: Progress | None = None) -> list[Any]:
        """Run ``task`` on every item; an error of an item ends the run.

        Returns
        -------
        Results in the order of the items; only the first of them when ``progress`` asked for a stop.
        """
        given = as_list(items)
        return in_order(collect(((i, task(item)) for i, item in enumerate(given)), given, label=self.label, progress=progress)[0])
