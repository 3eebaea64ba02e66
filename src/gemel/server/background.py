"""What runs beside the routes: listeners, pollers, the return path. One failing is started again, later each time; it never takes the server with it."""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
from collections.abc import Awaitable, Callable

from gemel.server.services import Services

__all__ = ["BACKGROUND", "run_background"]

Service = Callable[[Services, asyncio.Event], Awaitable[None]]

BACKGROUND: tuple[tuple[str, str], ...] = (
    ("imports", "importing:run"),
    ("dicom", "dicom:run"),
    ("sdc", "sdc:run"),
    ("return_path", "return_path:run"),
    ("poll", "listeners.poll:run"),
    ("mllp", "mllp:run"),
    ("live", "mllp:ring"),
    ("upkeep", "upkeep:run"),
)  # fmt: skip
"""(section of the configuration, ``module:function`` below ``gemel.server``): ``async def run(services, stop)``, started where the section is there."""

_FIRST_S, _LONGEST_S = 1.0, 60.0


def _find(target: str) -> Service:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(f"gemel.server.{module}"), name or "run")


def wanted(services: Services) -> dict[str, Service]:
    """Return the services whose section is there, by their section."""
    return {section: _find(target) for section, target in BACKGROUND if getattr(services.config, section, None) is not None}


async def _keep(name: str, service: Service, services: Services, stop: asyncio.Event) -> None:
    log, pause = logging.getLogger("gemel.server"), _FIRST_S
    up = services.metrics.background.labels(name)
    while not stop.is_set():
        began = asyncio.get_running_loop().time()
        up.set(1)
        try:
            await service(services, stop)
        except asyncio.CancelledError:
            up.set(0)
            raise
        except Exception as error:
            log.error("background service failed", extra={"service": name, "error": type(error).__name__})
        up.set(0)
        if stop.is_set():
            return
        services.metrics.restarts.labels(name).inc()
        if asyncio.get_running_loop().time() - began > 10 * _LONGEST_S:
            pause = _FIRST_S
        try:
            await asyncio.wait_for(stop.wait(), pause * random.uniform(0.5, 1.5))
        except TimeoutError:
            pause = min(_LONGEST_S, 2 * pause)


async def run_background(services: Services, stop: asyncio.Event, *, patience_s: float = 20.0) -> None:
    """Run every wanted service until ``stop`` is set; then wait for them to end, and cancel who does not.

    Parameters
    ----------
    patience_s : how long a service may take to finish what it has begun.
    """
    tasks = [asyncio.create_task(_keep(name, service, services, stop), name=name) for name, service in wanted(services).items()]
    await stop.wait()
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=patience_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
