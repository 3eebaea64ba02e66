"""Executors: the same results in the same order from each, a stop between items, a lost worker, the refusals."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
from pathlib import Path

import pytest

from _tasks import die_once
from gemel.core.errors import DataError, InferenceError
from gemel.core.protocols import Executor
from gemel.platform.executors import Processes, Serial, executor
from gemel.platform.executors.base import check_task, in_order
from gemel.platform.executors.dask import Dask
from gemel.platform.executors.ray import Ray

# Tasks of the standard library: a spawned process cannot import a test module by the name that pytest gives it.
WORKERS = [Serial(), Processes(1), Processes(2), pytest.param(Dask(2), marks=pytest.mark.slow)]


class Told:
    """A progress that asks for a stop after some items."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.stop_after, self.said = stop_after, []

    def start(self, label, total):
        self.said.append((label, total))

    def update(self, done, note=""):
        self.said.append(done)
        return done < self.stop_after

    def finish(self):
        self.said.append("end")


@pytest.mark.parametrize("workers", WORKERS, ids=repr)
def test_results_come_in_the_order_of_the_items(workers):
    assert isinstance(workers, Executor)
    told = Told()
    assert workers.run(math.factorial, range(12), progress=told) == [math.factorial(i) for i in range(12)]
    assert told.said == [("items", 12), *range(1, 13), "end"]


@pytest.mark.parametrize("workers", WORKERS, ids=repr)
def test_an_error_of_a_task_arrives_as_itself(workers):
    told = Told()
    with pytest.raises(ValueError, match=r"negative"):
        workers.run(math.factorial, [1, -1, 2], progress=told)
    assert told.said[-1] == "end"


@pytest.mark.parametrize("workers", [Serial(), Processes(2)], ids=repr)
def test_a_stop_leaves_the_first_results(workers):
    found = workers.run(math.factorial, range(50), progress=Told(stop_after=3))
    assert found == [math.factorial(i) for i in range(len(found))]
    assert len(found) <= 3


def test_results_after_a_gap_are_not_returned():
    assert in_order({0: "a", 1: "b", 3: "d"}) == ["a", "b"]


def test_a_lost_worker_is_replaced_and_its_item_run_again(tmp_path):
    mark = tmp_path / "killed"
    assert Processes(2).run(die_once, [(str(mark), i) for i in range(5)]) == list(range(5))
    assert mark.exists()


def test_a_worker_lost_each_time_is_an_error():
    with pytest.raises(InferenceError, match="lost again and again"):
        Processes(1).run(signal.raise_signal, [signal.SIGKILL])


@pytest.mark.parametrize("task", [lambda item: item, Told().update], ids=["lambda", "method"])
def test_a_task_that_nobody_can_import_is_refused(task):
    with pytest.raises(InferenceError, match="by its name"):
        check_task(task)


def test_strings_name_executors():
    assert executor("serial") == Serial()
    assert executor("processes") == Processes(2)
    assert executor("processes:3", label="shards") == Processes(3, "shards")
    assert executor("dask:4") == Dask(4)
    assert executor("dask:tcp://10.0.0.1:8786").address == "tcp://10.0.0.1:8786"
    assert executor("ray:2") == Ray(2)


@pytest.mark.parametrize("said", ["", "threads:2", "serial:2", "processes:0", "processes:tcp://a:1", "dask:many", "processes:5000"])
def test_other_strings_are_refused(said):
    with pytest.raises(DataError, match="no executor"):
        executor(said)


def test_workers_take_one_thread_each():
    assert Processes(1).run(os.getenv, ["OMP_NUM_THREADS"]) == ["1"]


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_error_says_how_to_install_it():
    with pytest.raises(InferenceError, match="pip install ray"):
        executor("ray:2").run(math.factorial, [1])


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.slow
def test_ray_gives_the_same_results():
    assert executor("ray:2").run(math.factorial, range(6)) == [math.factorial(i) for i in range(6)]


def test_without_dask_the_error_says_how_to_install_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InferenceError, match=r"gemel\[scale\]"):
        Dask(2).run(math.factorial, [1])


def test_a_scheduler_that_is_not_there_is_an_error(monkeypatch):
    import distributed

    def refuse(*_, **__):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(InferenceError, match="cannot be reached"):
        Dask(address="tcp://127.0.0.1:1").run(math.factorial, [1])


def test_a_worker_reads_nothing_heavy_before_its_threads_are_set():
    source = Path(__import__("gemel.platform.executors.base", fromlist=["x"]).__file__).read_text()
    assert "\nfrom gemel" not in source
    assert "\nimport numpy" not in source
