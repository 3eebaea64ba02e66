"""The listener of ``[dicom]``: objects into the store, and volumes of the series that an association brought."""

from __future__ import annotations

import asyncio
import logging

from gemel.platform.images import Kept, keep_image, read_volumes
from gemel.platform.store import Store
from gemel.server.listeners.dicom_scp import DicomListener, ImageArrival
from gemel.server.sections.devices import Dicom
from gemel.server.services import Services
from gemel.server.tls import listening

__all__ = ["run"]

_LOG = logging.getLogger(__name__)
_QUIET_S = 2.0


async def _volumes(services: Services, config: Dicom, patient: str, study: str, series: str) -> None:
    """Read outside the one thread that writes: a study is hundreds of files."""
    now = services.clock()
    made, left = await services.readers.run(lambda store: read_volumes(store, study, series, recorded=now, tz=config.zone))
    if made:
        await services.write(lambda store: store.append(patient, made, recorded=now))
    if left:
        _LOG.info("a series is not whole yet, or is no volume (%d reasons)", len(left))


async def _assemble(services: Services, config: Dicom, changed: dict[tuple[str, str, str], float]) -> None:
    """Make volumes of series that have been quiet for a while: many scanners open an association for each image, and a series is read as a whole."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_QUIET_S / 4)
        for one in [one for one, since in changed.items() if loop.time() - since >= _QUIET_S]:
            del changed[one]
            try:
                await _volumes(services, config, *one)
            except Exception as error:  # what is stored is stored; the next image of the series tries again
                _LOG.error("a series could not be put together: %s", type(error).__name__)


async def run(services: Services, stop: asyncio.Event) -> None:
    """Listen until ``stop``."""
    config: Dicom = services.config.dicom  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()

    def commit(arrival: ImageArrival) -> Kept:
        def change(store: Store) -> Kept:
            return keep_image(store, arrival.sender, arrival.body, received=arrival.received, tz=config.zone)

        return asyncio.run_coroutine_threadsafe(services.write(change), loop).result(config.patience_s)

    changed: dict[tuple[str, str, str], float] = {}

    def done(series: list[tuple[str, str, str]]) -> None:
        now = loop.time()
        loop.call_soon_threadsafe(lambda: changed.update(dict.fromkeys(series, now)))

    listener = DicomListener(
        commit, clock=services.clock, done=done, title=config.title, senders=config.senders, host=config.host, port=config.port,
        limit=int(config.object_mib * (1 << 20)), associations=config.associations, patience=config.patience_s, idle=config.idle_s, tls=listening(config.certificate, config.certificate_key, config.client_authority),
    )  # fmt: skip
    services.state["dicom.port"] = await asyncio.to_thread(listener.start)
    assembling = asyncio.create_task(_assemble(services, config, changed))
    try:
        await stop.wait()
    finally:
        await asyncio.to_thread(listener.stop)
        assembling.cancel()
        await asyncio.gather(assembling, return_exceptions=True)
        for one in tuple(changed):
            await _volumes(services, config, *one)
