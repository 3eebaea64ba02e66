"""An executor from the string that a configuration or a flag holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemel.platform.executors.processes import Processes
from gemel.platform.executors.serial import Serial

if TYPE_CHECKING:
    from gemel.core.protocols import Executor

__all__ = ["executor"]

FORMS = "serial, processes:2, dask:2, dask:tcp://host:8786, ray:2 or ray:ray://host:10001"


def executor(said: str, *, label: str = "items") -> Executor:
    """Return the executor that a string names. Nothing starts before it runs.

    Parameters
    ----------
    said : ``serial``; ``processes``, ``dask`` or ``ray`` with the number of workers behind a colon (2 when left out), the last two also with an address.
    label : what progress calls the work.

    Raises
    ------
    DataError
        When no executor has that name, or the number of workers is not from 1 to 1,024.

    Examples
    --------
    >>> executor("processes:3").workers
    3
    """
    from gemel.core.errors import DataError

    name, mark, rest = said.strip().partition(":")
    is_number = rest.isdigit() and 1 <= int(rest) <= 1024
    workers = int(rest) if is_number else 2
    if name == "serial" and not mark:
        return Serial(label)
    if name == "processes" and (is_number or not mark):
        return Processes(workers, label)
    if name in ("dask", "ray") and (is_number or not mark or "://" in rest):
        address = rest if "://" in rest else ""
        if name == "dask":
            from gemel.platform.executors.dask import Dask

            return Dask(workers, address, label)
        from gemel.platform.executors.ray import Ray

        return Ray(workers, address, label)
    raise DataError("no executor has this name", seen=said, expected=FORMS, fix="correct the executor")
