"""Ray, where somebody has installed it: never a dependency of Gemel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemel.platform.executors.base import RETRIES, THREADS, as_list, check_task, collect, in_order

if TYPE_CHECKING:
    from gemel.core.protocols import Progress

__all__ = ["Ray"]


@dataclass(frozen=True)
class Ray:
    """Run a task over items on Ray workers.

    Parameters
    ----------
    workers : started on this machine for the run; unused with an address.
    address : of a cluster, as ``ray.init`` takes it.
    label : what progress calls the work.
    """

    workers: int = 2
    address: str = ""
    label: str = "items"

    def run(self, task: Callable[[Any], Any], items: Iterable[Any], *, progress: Progress | None = None) -> list[Any]:
        """Run ``task`` on every item. Results in the order of the items; only the first of them when ``progress`` asked for a stop.

        Raises
        ------
        InferenceError
            When Ray is not installed or cannot be started, or the task cannot be imported.
        """
        from gemel.core.errors import InferenceError

        try:
            import ray  # pyright: ignore[reportMissingImports]  never a dependency
        except ImportError as error:
            raise InferenceError(
                "Ray is not installed", seen="executor ray", fix="pip install ray (about 200 MB), or use processes:2 or dask:2"
            ) from error
        check_task(task)
        given = as_list(items)
        place = {"address": self.address} if self.address else {"num_cpus": self.workers, "include_dashboard": False}
        begun = not ray.is_initialized()
        if begun:
            ray.init(log_to_driver=False, runtime_env={"env_vars": dict.fromkeys(THREADS, "1")}, **place)
        try:
            return in_order(collect(_finished(ray, task, given, self.workers), given, label=self.label, progress=progress)[0])
        finally:
            if begun:
                ray.shutdown()


def _finished(ray: Any, task: Callable[[Any], Any], items: list[Any], workers: int) -> Iterator[tuple[int, Any]]:
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
    waiting, under_way = iter(enumerate(items)), {}
    while True:
        while len(under_way) < 2 * workers and (following := next(waiting, None)) is not None:
            under_way[remote.remote(task, following[1])] = following[0]
        if not under_way:
            return
        for done in ray.wait(list(under_way), num_returns=1)[0]:
            yield under_way.pop(done), ray.get(done)


def _call(task: Callable[[Any], Any], item: Any) -> Any:
    """Run a task: Ray takes functions written in Python only."""
    return task(item)
