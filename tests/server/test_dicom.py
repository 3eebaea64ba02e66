"""The listener of the configuration: what it is sent is in the served store, and a whole series is a volume there."""

import asyncio

import pytest

from _images import slice_of
from gemel.interop.dicom.network import Peer, send
from gemel.server import dicom
from gemel.server.config import ServerConfig


@pytest.fixture
def config(tmp_path):
    return ServerConfig.model_validate(
        {
            "store": {"place": str(tmp_path / "s.sqlite"), "readers": 2},
            "audit": {"sign": False},
            "worker": {"count": 0},
            "dicom": {"port": 0},
        }
    )


def test_a_series_that_is_sent_becomes_a_volume_of_its_patient(world):
    services = world.services

    async def talk():
        stop = asyncio.Event()
        task = asyncio.create_task(dicom.run(services, stop))
        while "dicom.port" not in services.state:
            await asyncio.sleep(0.02)
        peer = Peer("127.0.0.1", services.state["dicom.port"], "GEMEL")
        report = await asyncio.to_thread(send, peer, [slice_of(k, patient="p9") for k in range(3)])
        for _ in range(200):
            record = await services.readers.run(lambda store: store.record("p9"))
            if record.geometry:
                break
            await asyncio.sleep(0.05)
        stop.set()
        await asyncio.wait_for(task, 20)
        return report, record

    report, record = asyncio.run(talk())
    assert (len(report.sent), report.refused) == (3, ())
    assert record.geometry[0].values[0, 0].tolist() == [0, 100, 200]
    assert len(record.documents) == 3
