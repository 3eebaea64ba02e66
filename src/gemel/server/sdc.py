"""The devices of ``[sdc]``: each followed by threads of its own, what it reports taken in as it comes, and a word when it falls silent."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading

from gemel.interop.ieee11073.sdc import Discovery, Follower, Sign
from gemel.interop.ieee11073.sdc_message import Report, write_report
from gemel.platform.adapters import sdc
from gemel.platform.intake import Intake, Taken
from gemel.platform.store import Store
from gemel.server.sections.devices import Sdc
from gemel.server.services import Services

__all__ = ["run"]

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 60.0


def _tls(config: Sdc) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    if config.certificate is None or config.authority is None:
        return None
    asking = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(config.authority))
    asking.check_hostname = False  # devices have addresses, not names; whose they are, their certificate says
    listening = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(config.authority))
    listening.verify_mode = ssl.CERT_REQUIRED
    for context in (asking, listening):
        context.load_cert_chain(config.certificate, config.certificate_key)
    return asking, listening


async def run(services: Services, stop: asyncio.Event) -> None:
    """Follow the devices until ``stop``."""
    config: Sdc = services.config.sdc  # type: ignore[assignment]
    loop, ended = asyncio.get_running_loop(), threading.Event()
    adapter, signs = sdc.adapter(root=config.root), services.state.setdefault("sdc.signs", {})

    def take(report: Report) -> None:
        body = write_report(report)

        def change(store: Store) -> Taken:
            return Intake(store, [adapter]).take(report.device, "sdc", body, name=report.name, received=report.received)

        asyncio.run_coroutine_threadsafe(services.write(change), loop).result(_PATIENCE_S)

    def told(device: str, sign: Sign) -> None:
        signs[device] = sign
        if sign != "fresh":
            _LOG.warning("device %s is %s", device, sign)

    discovery = await asyncio.to_thread(Discovery, config.address)
    try:
        tls = _tls(config)
        followers = [
            Follower(device, discovery, take, clock=services.clock, told=told, fresh_s=config.fresh_s, batch_s=config.batch_s, tls=tls)
            for device in config.devices
        ]
        threads = [threading.Thread(target=one.run, args=(ended,), name=f"gemel-sdc-{i}", daemon=True) for i, one in enumerate(followers)]
        for thread in threads:
            thread.start()
        await stop.wait()
        ended.set()
        for thread in threads:
            await asyncio.to_thread(thread.join, _PATIENCE_S)
    finally:
        ended.set()
        await asyncio.to_thread(discovery.close)
