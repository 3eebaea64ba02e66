"""Executors: the same named task over many items, in this process, in others, or on other machines; results always in the order of the items."""

from gemel.platform.executors.choose import executor
from gemel.platform.executors.processes import Processes
from gemel.platform.executors.serial import Serial

__all__ = ["Processes", "Serial", "executor"]
