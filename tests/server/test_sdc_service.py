"""The devices of the configuration: what one reports is in the served store, and its silence is known."""

import asyncio
import sys
import time
import uuid
import warnings
from pathlib import Path

import pytest

from _data import require_dataset
from gemel.server import sdc
from gemel.server.config import ServerConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library warns of parts of its own
    pytest.importorskip("sdc11073", reason="sdc11073 is not installed")
sys.path.append(str(Path(__file__).parent / "listeners"))
from _device import Device

pytestmark = [pytest.mark.peer, pytest.mark.data, pytest.mark.slow]
EPR = uuid.uuid4().urn


@pytest.fixture
def config(tmp_path):
    return ServerConfig.model_validate(
        {
            "store": {"place": str(tmp_path / "s.sqlite"), "readers": 2}, "audit": {"sign": False}, "worker": {"count": 0},
            "sdc": {"devices": [EPR], "root": "urn:site", "batch_s": 0.1},
        }
    )  # fmt: skip


def test_what_a_device_reports_is_in_the_served_store(world):
    services, record = world.services, None
    world.clock.now = time.time_ns()  # the device lives in our time

    async def talk():
        nonlocal record
        stop = asyncio.Event()
        device = await asyncio.to_thread(Device, require_dataset("sdc-mdib") / "70041_MDIB_Final.xml", EPR)
        task = asyncio.create_task(sdc.run(services, stop))
        try:
            for _ in range(600):
                if services.state.get("sdc.signs", {}).get(EPR) == "fresh":
                    break
                await asyncio.sleep(0.05)
            await asyncio.to_thread(device.tell, "patient urn:site p5")
            await asyncio.to_thread(device.tell, "many 3 0.05")
            for _ in range(400):
                names = await services.readers.run(lambda store: store.patients())
                if "p5" in names:
                    record = await services.readers.run(lambda store: store.record("p5"))
                    if len(record.series) == 44 and all(float(s.current().value[-1]) >= 2 for s in record.series):
                        break
                await asyncio.sleep(0.05)
            device.kill()
            for _ in range(200):
                if services.state["sdc.signs"][EPR] == "lost":
                    break
                await asyncio.sleep(0.05)
            return services.state["sdc.signs"][EPR]
        finally:
            device.kill()
            stop.set()
            await asyncio.wait_for(task, 60)

    sign = asyncio.run(talk())
    assert sign == "lost"
    assert record is not None
    assert len(record.series) == 44
    assert all(2 <= float(series.current().value[-1]) < 3 for series in record.series)
    assert {str(series.code).partition(":")[0] for series in record.series} <= {"mdc", "loinc"}
