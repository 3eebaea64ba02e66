"""Dask: workers started here, or those of a scheduler that runs elsewhere. An extra: ``pip install 'gemel[scale]'``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemel.platform.executors.base import RETRIES, as_list, check_task, collect, in_order

if TYPE_CHECKING:
    from gemel.core.protocols import Progress

__all__ = ["Dask"]


@dataclass(frozen=True)
class Dask:
    """Run a task over items on Dask workers.

    Parameters
    ----------
    workers : processes started on this machine for the run, one thread each; unused with an address.
    address : of a scheduler (``tcp://host:8786``). Its workers need this version of Gemel, and output folders under the same path.
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
            When Dask is not installed, the scheduler cannot be reached, the task cannot be imported, or a worker was lost on one item three times.
        """
        from gemel.core.errors import InferenceError

        try:
            from distributed import Client, LocalCluster
            from distributed.scheduler import KilledWorker
        except ImportError as error:
            raise InferenceError(
                "Dask is not installed", seen="executor dask", fix="pip install 'gemel[scale]', or use processes:2"
            ) from error
        check_task(task)
        given = as_list(items)
        settings = {"n_workers": self.workers, "threads_per_worker": 1, "dashboard_address": None, "worker_dashboard_address": None}
        try:
            cluster = None if self.address else LocalCluster(**settings)
            client = Client(self.address or cluster, timeout="20s", set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise InferenceError(
                "the Dask scheduler cannot be reached", seen=self.address or "a local cluster", expected="tcp://host:port", fix=str(error)
            ) from error
        try:
            return in_order(collect(_finished(client, task, given), given, label=self.label, progress=progress)[0])
        except KilledWorker as error:
            raise InferenceError(
                "a Dask worker was lost again and again",
                seen=str(error).splitlines()[0],
                expected="workers that live",
                fix="look for too little memory; use fewer workers",
            ) from error
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


def _finished(client: Any, task: Callable[[Any], Any], items: list[Any]) -> Iterator[tuple[int, Any]]:
    from distributed import as_completed

    futures = client.map(task, items, pure=False, retries=RETRIES)
    places = {future.key: i for i, future in enumerate(futures)}
    try:
        for future in as_completed(futures, loop=client.loop):
            yield places[future.key], future.result()
    finally:
        client.cancel(futures)
