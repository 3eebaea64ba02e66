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
        reports = [await asyncio.to_thread(send, peer, [slice_of(k, patient="p9")]) for k in range(3)]  # an association each
        for _ in range(600):
            record = await services.readers.run(lambda store: store.record("p9"))
            if record.geometry:
                break
            await asyncio.sleep(0.05)
        stop.set()
        await asyncio.wait_for(task, 20)
        return reports, record

    reports, record = asyncio.run(talk())
    assert [(len(one.sent), one.refused) for one in reports] == [(1, ())] * 3
    assert record.geometry[0].values[0, 0].tolist() == [0, 100, 200]
    assert len(record.documents) == 3
    assert len(record.geometry) == 1  # read once, when it had been quiet for a while
