"""What all executors share: results by place, told and stopped between items, a lost worker's items run again."""

# Nothing of gemel or NumPy is imported here: a spawned worker reads this module before the number of its threads is set.
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemel.core.protocols import Progress

__all__ = ["RETRIES", "check_task", "collect", "one_thread"]

RETRIES = 2
"""How often an item whose worker was lost runs again."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that set how many threads linear algebra takes: one worker per core, so one thread per worker."""


def one_thread() -> None:
    """Give this process one thread of linear algebra. Runs in a worker, before it imports NumPy."""
    import os

    for name in THREADS:
        os.environ[name] = "1"


def check_task(task: Callable[[Any], Any]) -> None:
    """Refuse a task that another process cannot import by its name.

    Raises
    ------
    InferenceError
        For a lambda, a function inside a function, a method, or a function of ``__main__``.
    """
    import importlib

    module, name = getattr(task, "__module__", None), getattr(task, "__qualname__", "")
    found: Any = None
    if module and module != "__main__" and "<" not in name:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part, None)
    if found is not task:
        from gemel.core.errors import InferenceError

        raise InferenceError(
            "a task cannot be found by its name in another process",
            seen=f"{module}:{name or task!r}",
            expected="a function at the top of an importable module",
            fix="move it into a module, or use the executor 'serial'",
        )


def collect(
    finished: Iterator[tuple[int, Any]], items: Sequence[Any], *, label: str, progress: Progress | None
) -> tuple[dict[int, Any], bool]:
    """Gather results by place, telling how far the work is.

    Parameters
    ----------
    finished : (place, result) in any order.
    items : what the results are of.

    Returns
    -------
    The results by place, and whether a clean stop was asked for.
    """
    results: dict[int, Any] = {}
    if progress is not None:
        progress.start(label, len(items))
    try:
        for place, result in finished:
            results[place] = result
            if progress is not None and progress.update(len(results)) is False:
                return results, True
    finally:
        if progress is not None:
            progress.finish()
    return results, False


def in_order(results: dict[int, Any]) -> list[Any]:
    """Return the results up to the first place that is not there: all of them, unless a stop was asked for."""
    found: list[Any] = []
    while len(found) in results:
        found.append(results[len(found)])
    return found


def as_list(items: Iterable[Any]) -> list[Any]:
    """Return the items as a list."""
    return items if isinstance(items, list) else list(items)
