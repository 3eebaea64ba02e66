"""A bedside device with 44 metrics: is any final state lost when reports are lost and the device is killed, and how soon is it known to be gone?

    gemel bench platform-sdc -- [--rounds 720] [--period 0.05] [--loss 0.05] [--kills 3] [--json FILE]

The device is the provider of sdc11073 in a process of its own, with the anaesthesia workstation of the data set ``sdc-mdib``. It reports all 44 metrics in every round; a share of its
reports is lost on the way (dropped before they are read, as on a bad network), and it is killed and started anew between parts. An hour at 1 Hz is 3,600 rounds; here they follow each
other faster, and how many were made is printed. *Beside it*: the library's own mirror of the device in the same process, under the same losses, without reading anew what was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

from gemel import __version__  # noqa: E402
from gemel.interop.ieee11073.sdc import Discovery, Follower  # noqa: E402
from gemel.interop.ieee11073.sdc_message import Report, write_report  # noqa: E402
from gemel.platform.adapters import sdc  # noqa: E402
from gemel.platform.intake import Intake  # noqa: E402
from gemel.platform.store import Store  # noqa: E402
from gemel.platform.store.group import GroupWriter  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
from _data import require_dataset  # noqa: E402

PROVIDER = ROOT / "tests" / "_sdc_provider.py"


class Device:
    def __init__(self, place: Path, epr: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROVIDER), str(place), epr], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def lose(share: float, seed: int) -> dict[str, int]:
    """Drop a share of the metric reports before the mirror sees them; the last of each part as well, so that only reading anew can repair it."""
    from sdc11073.mdib.consumermdib import ConsumerMdib

    rng, counted = random.Random(seed), {"reports": 0, "lost": 0}
    usual = ConsumerMdib.process_incoming_metric_states_report

    def process(self: ConsumerMdib, group: object, report: object) -> None:
        counted["reports"] += 1
        if rng.random() < share:
            counted["lost"] += 1
            return
        usual(self, group, report)  # type: ignore[arg-type]

    ConsumerMdib.process_incoming_metric_states_report = process  # type: ignore[method-assign]
    return counted


def until(claim, patience: float = 60.0) -> float:
    end = time.monotonic() + patience
    while not claim():
        if time.monotonic() > end:
            raise TimeoutError("it did not come to pass")
        time.sleep(0.01)
    return time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=720)
    parser.add_argument("--period", type=float, default=0.05)
    parser.add_argument("--loss", type=float, default=0.05)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    place, epr, stop = require_dataset("sdc-mdib") / "70041_MDIB_Final.xml", uuid.uuid4().urn, threading.Event()
    alarms, stale, peer_stale, readings = [], [], [], 0
    with tempfile.TemporaryDirectory() as name, GroupWriter(Path(name) / "a.sqlite") as writer, Discovery("127.0.0.1") as discovery:
        counted = lose(settings.loss, 1)
        messages: list[int] = []

        def take(report: Report) -> None:
            body = write_report(report)
            taken = writer.submit(
                lambda s: Intake(s, [sdc.adapter(root="urn:site")]).take(epr, "sdc", body, name=report.name, received=report.received)
            ).result(60)
            messages.append(taken.facts)

        device = Device(place, epr)
        follower = Follower(epr, discovery, take, clock=time.time_ns, batch_s=0.5, fresh_s=5.0)
        thread = threading.Thread(target=follower.run, args=(stop,), daemon=True)
        thread.start()
        parts = settings.kills + 1
        for part in range(parts):
            until(lambda: follower.sign == "fresh")
            device.tell(f"patient urn:site p{part}")
            rounds = settings.rounds // parts
            device.tell(f"many {rounds} {settings.period}")
            device.tell(f"many 1 {settings.period}")  # round 0 again: the final state is known
            time.sleep(5.0)  # it is asked every two seconds how far it is
            with Store(Path(name) / "a.sqlite") as store:
                record = store.record(f"p{part}")
                final = {s.source: float(s.current().value[-1]) for s in record.series}
                readings += sum(len(s) for s in record.series)
            stale.append(44 - sum(value < 1 for value in final.values()))
            print(f"part {part + 1}: {rounds} rounds, final states {len(final)}, not the last one {stale[-1]}", flush=True)
            begin = time.monotonic()
            device.kill()
            alarms.append(until(lambda: follower.sign == "lost") - begin)
            if part < parts - 1:
                device = Device(place, epr)
        stop.set()
        thread.join(30)
        peer_stale = peer(place, discovery)
    reports = counted["reports"]
    print(
        f"reports {reports}, lost {counted['lost']}, read anew {follower.reloads}, messages kept {len(messages)}, readings stored {readings}"
    )
    print(f"known to be gone after {max(alarms):.2f} s at most ({len(alarms)} kills)")
    print(f"sdc11073's mirror alone: final states that were not the last one {sum(peer_stale)} of {44 * len(peer_stale)}")
    if settings.json:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "gemel": __version__, "cores": os.cpu_count()}
        told = {
            "stale": stale,
            "alarms": alarms,
            "counted": counted,
            "readings": readings,
            "peer": peer_stale,
            "settings": vars(settings) | {"json": None},
        }
        settings.json.write_text(json.dumps(told | machine, indent=1))
    print(
        f"final states lost: ours {sum(stale)} of {44 * len(stale)}, the mirror alone {sum(peer_stale)} of {44 * len(peer_stale)}; gone after {max(alarms):.2f} s"
    )


def peer(place: Path, discovery: Discovery) -> list[int]:
    """The library's mirror, without anything of ours: how many of its final states are old ones, over 100 short parts."""
    from sdc11073.consumer.consumerimpl import SdcConsumer
    from sdc11073.mdib.consumermdib import ConsumerMdib
    from sdc11073.xml_types.actions import periodic_actions

    epr, stale = uuid.uuid4().urn, []
    device = Device(place, epr)
    try:
        found = next(one for one in discovery.search() if one.device == epr)
        consumer = SdcConsumer.from_wsd_service(found.service, ssl_context_container=None)
        consumer.start_all(not_subscribed_actions=periodic_actions)
        mdib = ConsumerMdib(consumer)
        mdib.init_mdib()
        for _ in range(100):
            device.tell("many 3 0.01")
            device.tell("many 1 0.01")
            time.sleep(0.15)
            values = [
                s.MetricValue.Value
                for s in mdib.states.objects
                if type(s).__name__.startswith("NumericMetric") and s.MetricValue is not None
            ]
            stale.append(44 - sum(value is not None and value < 1 for value in values))
        consumer.stop_all()
    finally:
        device.kill()
    return stale


if __name__ == "__main__":
    main()
